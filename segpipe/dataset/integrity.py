"""Every finding about a data set, before the first batch: each file read once, each fault with its remedy."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from segpipe.dataset.examination import examine_case, shown_by
from segpipe.dataset.leaks import shared_findings
from segpipe.dataset.manifest import Case, Manifest
from segpipe.dataset.outliers import set_findings
from segpipe.dataset.progress import with_progress
from segpipe.dataset.reports import CaseReport, Finding
from segpipe.errors import SegpipeError
from segpipe.files import is_folder
from segpipe.labels import LabelTable, check_same_labels

_FINDINGS_SHOWN = 10
_MOST_THREADS = 4  # each holds a whole case in memory


def examine_cases(
    cases: Sequence[Case],
    dataset_dir: Path,
    manifest: Manifest,
    table: LabelTable,
    spatial_dims: int | None = None,
    *,
    checksums: bool = True,
    shapes: bool = False,
    progress: bool = True,
) -> list[CaseReport]:
    """Read every file of every case once and report what is wrong with it.

    Args:
        cases: those to examine, usually the manifest's training cases.
        dataset_dir: the folder in which the manifest's paths begin.
        manifest: says how many channels there are and which values its files store.
        table: the classes of the bundle that is to train.
        spatial_dims: 2 or 3; None for what most of the cases are.
        checksums: also compare files with the manifest's SHA-256, where it has them.
        shapes: also look for slips of the hand in label maps, see `segpipe.dataset.label_shapes`.
        progress: show a bar on stderr, where that is a terminal.

    Returns:
        One report a case, in the order of `cases`.

    Raises:
        SegpipeError: there is no such folder, or the manifest's labels are not the table's.
    """
    if manifest.target == "mask":
        check_same_labels(table, manifest.labels)
    if not is_folder(dataset_dir):
        raise SegpipeError(
            f"{manifest.name}: --dataset-dir (dataset_dir in YAML) {dataset_dir} is no folder; give the one in which "
            f"the manifest's paths ({cases[0].images[0] if cases else 'of its files'}) begin"
        )
    examine = partial(
        examine_case,
        dataset_dir=dataset_dir,
        manifest=manifest,
        table=table,
        checksums=checksums,
        shapes=shapes,
    )
    with ThreadPoolExecutor(min(_MOST_THREADS, os.cpu_count() or 1)) as pool:
        reports = list(
            with_progress(pool.map(examine, cases), "Checking cases", total=len(cases), show=progress)
        )
    return _with_odd_dimensions(reports, spatial_dims, {case.case: case.images[0] for case in cases})


def check_cases(
    cases: Sequence[Case],
    dataset_dir: Path,
    manifest: Manifest,
    table: LabelTable,
    spatial_dims: int | None = None,
    *,
    checksums: bool = True,
    progress: bool = True,
) -> list[Finding]:
    """Return all findings: those of `examine_cases`, which describes the arguments, and of the cases side by side.

    To these belong the leaks of the manifest's folds, its splits and its list of test cases.
    """
    reports = examine_cases(
        cases, dataset_dir, manifest, table, spatial_dims, checksums=checksums, shapes=True, progress=progress
    )
    contents = {report.case: report.facts.content_sha256 for report in reports if report.facts is not None}
    return [
        *(finding for report in reports for finding in report.findings),
        *shared_findings(manifest, contents),
        *set_findings(cases, reports),
    ]


def require_valid(
    cases: Sequence[Case],
    dataset_dir: Path,
    manifest: Manifest,
    table: LabelTable,
    spatial_dims: int | None = None,
    *,
    checksums: bool = True,
    progress: bool = True,
) -> list[CaseReport]:
    """Examine the cases and refuse them if one has an error; see `examine_cases` for the arguments.

    Returns:
        The reports, with warnings only.

    Raises:
        SegpipeError: at least one error; the message holds the first ten and says how many there are.
    """
    reports = examine_cases(
        cases, dataset_dir, manifest, table, spatial_dims, checksums=checksums, progress=progress
    )
    errors = [finding for report in reports for finding in report.findings if finding.severity == "error"]
    if errors:
        lines = [f"  {finding}" for finding in errors[:_FINDINGS_SHOWN]]
        if len(errors) > len(lines):
            lines.append(f"  and {len(errors) - len(lines)} more")
        bad = len({finding.case for finding in errors})
        raise SegpipeError(
            f"{manifest.name}: {len(errors)} error(s) in {bad} of {len(cases)} cases below {dataset_dir}:",
            *lines,
        )
    return reports


def training_records(cases: Sequence[Case], dataset_dir: str | Path) -> list[dict[str, Any]]:
    """Return the cases as MONAI's datasets take them.

    Args:
        cases: as `training_split` gives them.
        dataset_dir: the folder in which the manifest's paths begin.

    Returns:
        One dict a case: `case` (its id), `image` (absolute path, or a list of one a channel) and, where there
            is one, `label` (absolute path).
    """
    folder = Path(dataset_dir).absolute()
    records: list[dict[str, Any]] = []
    for case in cases:
        images = [str(folder / path) for path in case.images]
        record: dict[str, Any] = {"case": case.case, "image": images[0] if len(images) == 1 else images}
        if case.label is not None:
            record["label"] = str(folder / case.label)
        records.append(record)
    return records


def content_hashes_of_tests(manifest: Manifest, dataset_dir: Path) -> dict[str, str]:
    """Return what each case listed under test shows, see `content_sha256`, as far as its files are there and whole.

    Nothing is asked of them but that none of them trains: they may be elsewhere.
    """
    found = {case.case: shown_by(case, dataset_dir) for case in manifest.test}
    return {case: sha256 for case, sha256 in found.items() if sha256 is not None}


def _with_odd_dimensions(
    reports: list[CaseReport], spatial_dims: int | None, first_image: dict[str, str]
) -> list[CaseReport]:
    """Add an error to each case that is 2D where 3D is wanted, or 3D where 2D is."""
    found = Counter(len(report.facts.size) for report in reports if report.facts)
    wanted = spatial_dims or (found.most_common(1)[0][0] if found else 0)
    checked = []
    for report in reports:
        if report.facts and len(report.facts.size) != wanted:
            message = (
                f"the image is {len(report.facts.size)}D, size {report.facts.size}; {wanted}D is wanted; "
                "convert it, or remove the case"
            )
            finding = Finding("error", report.case, first_image[report.case], message)
            report = replace(report, findings=(*report.findings, finding))
        checked.append(report)
    return checked
