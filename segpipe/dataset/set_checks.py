"""All checks of a data set, chosen by its target: label maps, classes or findings."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from segpipe.categories import Categories
from segpipe.dataset.class_balance import balance_findings
from segpipe.dataset.file_findings import refuse_window
from segpipe.dataset.image_examination import examine_images
from segpipe.dataset.image_outliers import image_set_findings
from segpipe.dataset.integrity import check_cases
from segpipe.dataset.leaks import shared_findings
from segpipe.dataset.manifest import Manifest, Target
from segpipe.dataset.reports import Finding
from segpipe.documents import DocumentError, parse_json, read_document
from segpipe.errors import SegpipeError
from segpipe.files import is_folder
from segpipe.labels import load_label_table


@dataclass(frozen=True)
class CheckOptions:
    """What a check of a data set compares it with.

    Attributes:
        checksums: compare files with the manifest's SHA-256.
        metadata: a bundle's metadata.json, whose classes the manifest must have; None: the manifest's own.
        window: lowest and highest value of images without a scale of their own; of classes and findings only.
        where: the manifest on a command line, for commands in messages; empty: the manifest's name.
        progress: show a progress bar on stderr, if stderr is a terminal.
    """

    checksums: bool = True
    metadata: Path | None = None
    window: Sequence[float] | None = None
    where: str = ""
    progress: bool = True


def check_dataset(
    manifest: Manifest, dataset_dir: Path, options: CheckOptions = CheckOptions()
) -> list[Finding]:
    """Read every file of a data set and return everything that is wrong, for any target.

    Args:
        manifest: its training and test cases are checked; test cases only if at least one of their files is there.
        dataset_dir: the folder in which the manifest's paths begin.
        options: see `CheckOptions`.

    Raises:
        SegpipeError: the folder does not exist, or the classes differ from the bundle's.
    """
    present, notes = without_absent_tests(manifest, dataset_dir)
    return [*notes, *_CHECKS[manifest.target](present, dataset_dir, options)]


def without_absent_tests(manifest: Manifest, dataset_dir: Path) -> tuple[Manifest, list[Finding]]:
    """Leave the test cases out where none of their files is there: they may lie on another machine."""
    files = [dataset_dir / name for case in manifest.test for name in case.files]
    if not files or not is_folder(dataset_dir) or any(file.exists() for file in files):
        return manifest, []
    message = (
        f"none of the {len(manifest.test)} test cases is below {dataset_dir}, so they are not checked; a training "
        "needs none of them"
    )
    return replace(manifest, test=()), [Finding("warning", "test cases", "all files", message)]


def _check_label_maps(manifest: Manifest, dataset_dir: Path, options: CheckOptions) -> list[Finding]:
    refuse_window(manifest, options.window)
    table = load_label_table(options.metadata) if options.metadata else manifest.label_table()
    cases = [*manifest.training, *manifest.test]
    return check_cases(
        cases, dataset_dir, manifest, table, checksums=options.checksums, progress=options.progress
    )


def _check_images(manifest: Manifest, dataset_dir: Path, options: CheckOptions) -> list[Finding]:
    if manifest.resample_channels:
        raise SegpipeError(
            f"{manifest.name}: --resample-channels is for label maps, its target is {manifest.target}; leave it out"
        )
    if options.metadata is not None:
        require_same_categories(options.metadata, manifest)
    cases = [*manifest.training, *manifest.test]
    reports = examine_images(
        cases,
        dataset_dir,
        manifest,
        checksums=options.checksums,
        window=options.window,
        progress=options.progress,
    )
    contents = {report.case: report.facts.content_sha256 for report in reports if report.facts is not None}
    compared = image_set_findings(manifest, cases, reports)
    refused = {finding.case for finding in compared if finding.severity == "error"}
    return [
        *(finding for report in reports for finding in report.findings),
        *(
            finding
            for finding in shared_findings(manifest, contents)
            if finding.severity == "error" or finding.case not in refused  # one message a fault
        ),
        *compared,
        *balance_findings(manifest, options.where or manifest.name, contents),
    ]


_CHECKS: Mapping[Target, Callable[[Manifest, Path, CheckOptions], list[Finding]]] = {
    "mask": _check_label_maps,
    "class": _check_images,
    "findings": _check_images,
}


def require_same_categories(metadata: Path, manifest: Manifest) -> None:
    """Refuse a manifest whose classes or findings are not a bundle's, in the same order.

    Raises:
        SegpipeError: the metadata is unreadable, has no classes or findings, or names others.
    """
    try:
        content = parse_json(read_document(metadata))
    except DocumentError as error:
        raise SegpipeError(f"{metadata}: {error.reason}") from error
    if not isinstance(content, Mapping):
        raise SegpipeError(f"{metadata}: is no JSON object; give the metadata.json of a segpipe bundle")
    try:
        bundle = Categories.from_metadata(content)
    except SegpipeError as error:
        raise SegpipeError(f"{metadata}: {error}") from error
    own = manifest.categories()
    if bundle != own:
        raise SegpipeError(
            f"{manifest.name}: has {own.target} {', '.join(own.names)}; {metadata} has {bundle.target} "
            f"{', '.join(bundle.names)}: names and order must be equal; correct one of the two"
        )
