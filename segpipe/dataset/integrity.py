"""Check every file of a data set before the first batch; each finding names its remedy."""

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
from segpipe.dataset.file_findings import refuse_errors, require_dataset_folder
from segpipe.dataset.leaks import shared_findings
from segpipe.dataset.manifest import Case, Manifest
from segpipe.dataset.outliers import set_findings
from segpipe.dataset.progress import with_progress
from segpipe.dataset.reports import CaseReport, Finding
from segpipe.labels import LabelTable, check_same_labels

_MOST_THREADS = 4  # each thread holds a whole case in memory


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
    """Read every file of every case once and report the findings and facts of each case.

    Args:
        cases: usually the manifest's training cases.
        dataset_dir: the folder in which the manifest's paths begin.
        manifest: names the channels and the values that label maps store.
        table: the classes of the bundle that will train.
        spatial_dims: 2 or 3; None for the dimensions of most cases.
        checksums: also compare files with the manifest's SHA-256, where the manifest has them.
        shapes: also look for annotation mistakes in label maps, see `segpipe.dataset.label_shapes`.
        progress: show a progress bar on stderr, if stderr is a terminal.

    Returns:
        One report a case, in the order of `cases`.

    Raises:
        SegpipeError: the folder does not exist, or the manifest's labels differ from the table's.
    """
    if manifest.target == "mask":
        check_same_labels(table, manifest.labels)
    require_dataset_folder(manifest, cases, dataset_dir)
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
    """Return all findings: those of `examine_cases`, and those of comparing the cases with each other.

    The comparison includes the leaks of the manifest's folds, splits and test cases. For the arguments see
    `examine_cases`.
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
        SegpipeError: at least one error; the message holds the number of errors and the first ten.
    """
    reports = examine_cases(
        cases, dataset_dir, manifest, table, spatial_dims, checksums=checksums, progress=progress
    )
    refuse_errors(manifest, reports, dataset_dir)
    return reports


def training_records(cases: Sequence[Case], dataset_dir: str | Path) -> list[dict[str, Any]]:
    """Return the cases as records for MONAI's datasets.

    Args:
        cases: from `training_split`.
        dataset_dir: the folder in which the manifest's paths begin.

    Returns:
        One dict a case: `case` (its id), `image` (absolute path, or a list of paths, one a channel) and, where the
            case has a label map, `label` (absolute path), and of 4D files `frame` (number of the time frame, from 1).
    """
    folder = Path(dataset_dir).absolute()
    records: list[dict[str, Any]] = []
    for case in cases:
        images = [str(folder / path) for path in case.images]
        record: dict[str, Any] = {"case": case.case, "image": images[0] if len(images) == 1 else images}
        if case.label is not None:
            record["label"] = str(folder / case.label)
        if case.frame is not None:
            record["frame"] = case.frame
        records.append(record)
    return records


def content_hashes_of_tests(manifest: Manifest, dataset_dir: Path) -> dict[str, str]:
    """Return case id -> hash of the image content, see `content_sha256`, for the manifest's test cases.

    A test case with a missing or damaged file is left out: test cases are only compared with training cases, and their
    files may lie on another machine.
    """
    hashes = {case.case: shown_by(case, dataset_dir) for case in manifest.test}
    return {case: sha256 for case, sha256 in hashes.items() if sha256 is not None}


def _with_odd_dimensions(
    reports: list[CaseReport], spatial_dims: int | None, first_image: dict[str, str]
) -> list[CaseReport]:
    """Add an error to each case that is 2D where 3D is wanted, or 3D where 2D is."""
    dimensions = Counter(len(report.facts.size) for report in reports if report.facts)
    wanted = spatial_dims or (dimensions.most_common(1)[0][0] if dimensions else 0)
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
