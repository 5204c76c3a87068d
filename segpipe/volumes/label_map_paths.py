"""Output paths of label maps, and checks for collisions between them."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from segpipe.errors import SegpipeError
from segpipe.files import composed_name
from segpipe.volumes.formats import VolumeFormat
from segpipe.volumes.scans import RefusedScan, Scan, name_with_suffix


def output_path(
    scan: Scan,
    output_dir: str | Path,
    format: VolumeFormat | None = None,  # noqa: A002 - the word for it
) -> Path:
    """Return the path of a scan's label map: the scan's name below `output_dir`, in the scan's format by default.

    The label map of a JPEG is a .png, since JPEG changes labels; that of a DICOM series is a .nii.gz.

    Args:
        scan: from `find_scans`.
        output_dir: the folder that mirrors the searched folder.
        format: format of the label map; None for the scan's format.
    """
    chosen = (format or scan.format).label_map_format
    return Path(output_dir) / f"{scan.name}{chosen.value}"


def clashing_scans(scans: Sequence[Scan]) -> list[RefusedScan]:
    """Return the scans that share their name with another scan, so that one label map would replace the other.

    Names that differ only in upper and lower case, or in the composition of accents, are one file on many disks and
    count as equal.

    Args:
        scans: of one cohort.
    """
    owners: dict[str, list[Scan]] = {}
    for scan in scans:
        owners.setdefault(composed_name(scan.name).casefold(), []).append(scan)
    return [
        _clash(scan, next(other for other in group if other is not scan))
        for group in owners.values()
        if len(group) > 1
        for scan in group
    ]


def check_collisions(
    scans: Sequence[Scan],
    output_dir: str | Path,
    format: VolumeFormat | None = None,  # noqa: A002 - the word for it
    *,
    kept: Iterable[Path] = (),
) -> None:
    """Refuse scans whose label maps would replace each other or a scan file.

    Names that differ only in upper and lower case are one file on many disks, and are refused everywhere.

    Args:
        scans: from `find_scans`.
        output_dir: as `output_path`.
        format: as `output_path`.
        kept: other files that no label map may replace.

    Raises:
        SegpipeError: with the scans and the file.
    """
    owners: dict[str, Scan] = {}
    sources = {
        os.path.realpath(path).casefold(): path
        for path in (*kept, *(path for scan in scans for path in scan.files))
    }
    for scan in scans:
        target = output_path(scan, output_dir, format)
        for written in _written_files(target):
            source = sources.get(os.path.realpath(written).casefold())
            if source is not None:
                raise SegpipeError(
                    f"{scan.path}: its label map {written} would replace the scan {source}; choose "
                    "another output folder"
                )
            other = owners.setdefault(str(written).casefold(), scan)
            if other is not scan:
                raise SegpipeError(
                    f"{other.path} and {scan.path}: both label maps would be written to {written} (names "
                    "that differ in case count as one); rename one, or predict them into two output "
                    "folders"
                )


def existing_outputs(
    scans: Sequence[Scan],
    output_dir: str | Path,
    format: VolumeFormat | None = None,  # noqa: A002 - the word for it
) -> list[Path]:
    """Return the files, of any origin, that the label maps of these scans would replace.

    Args:
        scans: from `find_scans`.
        output_dir: as `output_path`.
        format: as `output_path`.
    """
    written = (file for scan in scans for file in _written_files(output_path(scan, output_dir, format)))
    return [file for file in written if os.path.lexists(file)]


def _written_files(target: Path) -> Iterator[Path]:
    yield target
    if target.suffix == VolumeFormat.MHD.value:
        yield target.with_suffix(".zraw")


def refused_scan(scan: Scan, reason: str) -> RefusedScan:
    """Return the refused scan of a scan, with its suffix in the name; a series folder's name ends in "/".

    Args:
        scan: from `find_scans`.
        reason: reason of the refusal and remedy, without the path.
    """
    return RefusedScan(scan.path, name_with_suffix(scan), f"{scan.path}: {reason}")


def _clash(scan: Scan, other: Scan) -> RefusedScan:
    reason = (
        f"has the same name without suffix as {other.path} (upper and lower case count as the same), so one label "
        "map or overlay would replace the other; rename one, or predict them into two output folders"
    )
    return refused_scan(scan, reason)
