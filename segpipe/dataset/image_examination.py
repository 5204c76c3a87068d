"""Read every image of a data set of classes or findings once: the twin of `segpipe.dataset.integrity`."""

from __future__ import annotations

import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

from segpipe.dataset.file_findings import (
    RejectedError,
    checksum_findings,
    refuse_errors,
    rejecting,
    require_dataset_folder,
)
from segpipe.dataset.manifest import Case, Manifest
from segpipe.dataset.near_copies import thumbnail
from segpipe.dataset.progress import with_progress
from segpipe.dataset.reports import Finding, ImageFacts, ImageReport
from segpipe.errors import SegpipeError
from segpipe.volumes import Picture, read_picture

_MOST_THREADS = 4
_FEWEST_PIXELS = 256  # of which an image that is no mask has more than two values
_ALMOST_BLANK = 0.01  # standard deviation of the pixels, of 1


def examine_images(
    cases: Sequence[Case],
    dataset_dir: Path,
    manifest: Manifest,
    *,
    checksums: bool = True,
    window: Sequence[float] | None = None,
    progress: bool = True,
) -> list[ImageReport]:
    """Read the image of every case once and report the findings and facts of each case.

    Args:
        cases: of the manifest.
        dataset_dir: the folder in which the manifest's paths begin.
        manifest: of target class or findings.
        checksums: also compare files with the manifest's SHA-256, where the manifest has them.
        window: lowest and highest value of images without a scale of their own, see `segpipe.volumes.read_picture`.
        progress: show a progress bar on stderr, if stderr is a terminal.

    Returns:
        One report a case, in the order of `cases`.

    Raises:
        SegpipeError: the folder does not exist, or the manifest's target is mask.
    """
    manifest.categories()
    require_dataset_folder(manifest, cases, dataset_dir)
    examine = partial(_examine_image, dataset_dir=dataset_dir, checksums=checksums, window=window)
    with ThreadPoolExecutor(min(_MOST_THREADS, os.cpu_count() or 1)) as pool:
        return list(
            with_progress(pool.map(examine, cases), "Checking images", total=len(cases), show=progress)
        )


def require_valid_images(
    cases: Sequence[Case],
    dataset_dir: Path,
    manifest: Manifest,
    *,
    checksums: bool = True,
    window: Sequence[float] | None = None,
    progress: bool = True,
) -> list[ImageReport]:
    """Examine the images and refuse them if one has an error; see `examine_images` for the arguments.

    Returns:
        The reports, with warnings only; every report has facts.

    Raises:
        SegpipeError: at least one error; the message holds the number of errors and the first ten.
    """
    reports = examine_images(
        cases, dataset_dir, manifest, checksums=checksums, window=window, progress=progress
    )
    refuse_errors(manifest, reports, dataset_dir)
    return reports


def image_hashes_of_tests(
    manifest: Manifest, dataset_dir: Path, *, window: Sequence[float] | None = None
) -> dict[str, str]:
    """Return case id -> hash of the decoded pixels for the manifest's test cases.

    A test case with a missing or damaged file is left out: test cases are only compared with training cases, and their
    files may lie on another machine.
    """
    hashes = {}
    for case in manifest.test:
        try:
            hashes[case.case] = _picture(case, dataset_dir, window).content_sha256
        except RejectedError:
            continue
    return hashes


def _examine_image(
    case: Case, *, dataset_dir: Path, checksums: bool, window: Sequence[float] | None
) -> ImageReport:
    findings: list[Finding] = []
    facts = None
    try:
        if checksums:
            findings += checksum_findings(case, dataset_dir)
        picture = _picture(case, dataset_dir, window)
        facts = _facts(picture)
        if facts.deviation < _ALMOST_BLANK:
            message = (
                f"almost blank: the standard deviation of its pixels is {facts.deviation:.2g} of 1; look at the image, "
                "and remove the case if nothing shows"
            )
            findings.append(Finding("warning", case.case, case.images[0], message))
        elif _has_two_values(picture):
            message = (
                "only two different values, as a mask has; look at the image, and remove it if it is one"
            )
            findings.append(Finding("warning", case.case, case.images[0], message))
    except RejectedError as rejected:
        findings.append(Finding("error", case.case, rejected.file, rejected.message))
    return ImageReport(case.case, tuple(findings), facts)


def _picture(case: Case, dataset_dir: Path, window: Sequence[float] | None) -> Picture:
    path = case.images[0]
    with rejecting(path):
        if len(case.images) > 1 or case.frame is not None:
            what = f"{len(case.images)} files" if len(case.images) > 1 else f"the time frame {case.frame}"
            raise SegpipeError(
                f"the manifest gives {what}, an image to classify is one file of one image; correct the manifest"
            )
        if not (dataset_dir / path).exists():
            raise SegpipeError(f"missing below {dataset_dir}; fetch it, or remove the case from the manifest")
        return read_picture(dataset_dir / path, window=window)


def _has_two_values(picture: Picture) -> bool:
    pixels = picture.pixels
    return pixels.size >= _FEWEST_PIXELS and bool(((pixels == pixels.min()) | (pixels == pixels.max())).all())


def _facts(picture: Picture) -> ImageFacts:
    pixels = picture.pixels
    return ImageFacts(
        rows=picture.rows,
        columns=picture.columns,
        stored_bits=picture.stored_bits,
        bits=picture.bits,
        is_rgb=picture.is_rgb,
        is_coloured=picture.is_coloured,
        is_inverted=picture.is_inverted,
        mean=float(pixels.mean(dtype=float)),
        deviation=float(pixels.std(dtype=float)),
        content_sha256=picture.content_sha256,
        thumbnail=thumbnail(picture),
    )
