"""Findings on the files of one case, whatever the target of the data set."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from segpipe.dataset.manifest import Case, Manifest
from segpipe.dataset.reports import CaseReport, Finding, ImageReport
from segpipe.errors import SegpipeError
from segpipe.files import file_sha256, is_folder

_FINDINGS_SHOWN = 10


class RejectedError(Exception):
    """A finding that ends the examination of a case."""

    def __init__(self, file: str, message: str) -> None:
        super().__init__(message)
        self.file = file
        self.message = message


@contextmanager
def rejecting(path: str) -> Iterator[None]:
    """Turn an error about a file into a `RejectedError`."""
    try:
        yield
    except SegpipeError as error:
        raise RejectedError(path, _without_path(str(error), path)) from error
    except OSError as error:  # for example, no permission for a folder
        raise RejectedError(path, f"cannot be read ({error.strerror}); check path and permissions") from error


def _without_path(message: str, path: str) -> str:
    """Return a message without the file at its beginning, since the finding names the file already."""
    above, found, rest = message.partition(f"{path}: ")
    return rest if found and (not above or above[-1] in "/\\") and ": " not in above else message


def checksum_findings(case: Case, dataset_dir: Path) -> list[Finding]:
    """Return an error for each file of a case whose SHA-256 differs from the manifest's; missing files are left out.

    Raises:
        RejectedError: a file cannot be read.
    """
    findings = []
    for path, expected in case.sha256.items():
        file = dataset_dir / path
        with rejecting(path):
            digest = file_sha256(file) if file.is_file() else expected
        if digest != expected:
            message = (
                f"SHA-256 is {digest[:12]}..., the manifest says {expected[:12]}...; fetch the file again, or give "
                "--no-checksums (checksums: false in YAML) to use this copy anyway"
            )
            findings.append(Finding("error", case.case, path, message))
    return findings


def require_dataset_folder(manifest: Manifest, cases: Sequence[Case], dataset_dir: Path) -> None:
    """Refuse a data set's folder that is none.

    Raises:
        SegpipeError: with the path at which the folder should begin.
    """
    if not is_folder(dataset_dir):
        raise SegpipeError(
            f"{manifest.name}: --dataset-dir (dataset_dir in YAML) {dataset_dir} is no folder; give the one in which "
            f"the manifest's paths ({cases[0].images[0] if cases else 'of its files'}) begin"
        )


def refuse_errors(
    manifest: Manifest, reports: Sequence[CaseReport] | Sequence[ImageReport], dataset_dir: Path
) -> None:
    """Refuse cases of which at least one has an error.

    Raises:
        SegpipeError: with the number of errors and the first ten.
    """
    errors = [finding for report in reports for finding in report.findings if finding.severity == "error"]
    if errors:
        lines = [f"  {finding}" for finding in errors[:_FINDINGS_SHOWN]]
        if len(errors) > len(lines):
            lines.append(f"  and {len(errors) - len(lines)} more")
        bad = len({finding.case for finding in errors})
        raise SegpipeError(
            f"{manifest.name}: {len(errors)} error(s) in {bad} of {len(reports)} cases below {dataset_dir}:",
            *lines,
        )


def refuse_window(manifest: Manifest, window: Sequence[float] | None) -> None:
    """Refuse a window for label maps, whose images have no brightness to choose.

    Raises:
        SegpipeError: a window is given.
    """
    if window is not None:
        raise SegpipeError(
            f"{manifest.name}: --window is for images with a class or findings, its target is {manifest.target}; leave "
            "it out"
        )
