"""Finding the scans in a folder, and what else lies there."""

from __future__ import annotations

import itertools
import math
import os
from collections.abc import Sequence, Set
from dataclasses import dataclass, replace
from pathlib import Path

from segpipe.errors import SegpipeError, counted, shown
from segpipe.volumes.dicom_headers import LeftOut, dicom_files, holds_images, holds_labels, left_out_files
from segpipe.volumes.folder_files import (
    IGNORED_MARK,
    files_below,
    is_companion,
    refuse_unreadable,
    why_no_file,
)
from segpipe.volumes.formats import KNOWN_FORMATS, VolumeFormat, is_dicom_file, suffix_format, volume_format
from segpipe.volumes.metaimage_header import read_metaimage_header
from segpipe.volumes.unread_formats import UnreadImage, unread_images
from segpipe.volumes.volume import VolumeHeader

_NAMES_SHOWN = 10


@dataclass(frozen=True)
class Scan:
    """One scan to read.

    Args:
        path: the file, or the folder of a DICOM series.
        format: its format.
        name: where it lies below the folder that was searched, with "/" and without suffix; names the case.
    """

    path: Path
    format: VolumeFormat
    name: str


@dataclass(frozen=True)
class RefusedScan:
    """A scan that was found and cannot be read.

    Attributes:
        path: the file, or the folder.
        name: where it lies below the folder that was searched, with "/" and suffix.
        reason: why, and what to do, for people.
        is_unread_format: segpipe does not read its format; else it cannot be opened.
    """

    path: Path
    name: str
    reason: str
    is_unread_format: bool = False


@dataclass(frozen=True)
class FoundScans:
    """What a folder holds.

    Attributes:
        scans: sorted by name, then path.
        refused: images in formats that segpipe does not read, and files and folders that cannot be opened.
        passed_over: where the files that are neither scans nor companions lie below the folder, with "/".
        why_none: why there is no scan; empty where there is no particular reason.
    """

    scans: tuple[Scan, ...] = ()
    refused: tuple[RefusedScan, ...] = ()
    passed_over: tuple[str, ...] = ()
    why_none: str = ""

    def without_segmentations(self) -> FoundScans:
        """Return the same with 3D Slicer's segmentations (.seg.nrrd) passed over, for where scans alone are wanted."""
        segmentations = [scan for scan in self.scans if scan.format is VolumeFormat.SEG_NRRD]
        if not segmentations:
            return self
        return replace(
            self,
            scans=tuple(scan for scan in self.scans if scan not in segmentations),
            passed_over=(*self.passed_over, *(name_with_suffix(scan) for scan in segmentations)),
            why_none="; its .seg.nrrd files are segmentations, no scans",
        )


def passed_over_note(names: Sequence[str]) -> str:
    """Say which files were passed over, for people.

    Args:
        names: of at least one file, see `FoundScans`.
    """
    return f"{counted(len(names), 'file')} passed over: {shown(names, most=_NAMES_SHOWN)}"


def left_out_beside(header: VolumeHeader, series_uid: str | None = None) -> tuple[LeftOut, ...]:
    """Return the DICOM files in a series' folder that are none of its slices; empty for other formats.

    The files are read again only where the folder holds more of them than the series has slices.

    Args:
        header: of the scan.
        series_uid: as it was given for the header.

    Raises:
        SegpipeError: the files cannot be read any more.
    """
    if header.format is not VolumeFormat.DICOM:
        return ()
    if len(dicom_files(header.path)) == math.prod(header.grid.size[2:]):
        return ()
    return left_out_files(header.path, series_uid)


def left_out_note(names: Sequence[str]) -> str:
    """Say which DICOM files beside slices were left out, for people.

    Args:
        names: of at least one file.
    """
    return f"{counted(len(names), 'DICOM file')} beside slices left out (no slices): {shown(names, most=_NAMES_SHOWN)}"


def find_scans(path: str | Path, *, strict: bool = True) -> list[Scan]:
    """Find every scan in a folder and below it, or take one file as the one scan; see `look_for_scans`.

    Args:
        path: a folder, or one scan (a file, or a folder with one DICOM series).
        strict: False passes over files that are neither scans nor companions, and may find none.

    Returns:
        Scans sorted by name, then path.

    Raises:
        SegpipeError: the path is missing, or a file or folder in it cannot be opened. Where `strict`, also: it holds
            no scan, or files that are neither scans nor companions.
    """
    path = Path(path)
    if path.is_file():
        return [_file_scan(path, path.parent, volume_format(path))]
    found = look_for_scans(path, strict=strict)
    reasons = [refused.reason for refused in found.refused if not refused.is_unread_format]
    if reasons:
        raise SegpipeError(shown(reasons, "; "))
    if not found.scans and strict:
        raise SegpipeError(f"{path}: no scan there{found.why_none}; segpipe reads {KNOWN_FORMATS}")
    return list(found.scans)


def look_for_scans(path: str | Path, *, strict: bool = False) -> FoundScans:
    """Look for scans in a folder and below it, or at one file, and say what else is there.

    A folder with DICOM images in it is one scan, named after the folder; scans of other formats beside its
    files are scans of their own. An image in a format that segpipe does not read (.mgz, .hdr with .img, .tif, ...) is
    a refused scan, and so is a scan file that is a link to nothing, a pipe or a device.

    Companions are not mentioned: hidden files and folders; the voxel files that headers name; DICOM objects that are
    no image (structure sets, segmentations) and DICOMDIR; documents, tables and settings (.json, .txt, .csv, ...);
    LICENSE, README, CHANGES, SHA256SUMS; and folders that hold a file `.segpipe-ignore`, such as those of
    `segpipe predict`'s pictures. All other files are passed over.

    Args:
        path: a folder, or one file.
        strict: refuse files that are neither scans nor companions, and formats that segpipe does not read.

    Raises:
        SegpipeError: there is no such path, or its folder cannot be read; or, where `strict`, as said there.
    """
    path = Path(path)
    try:
        path.stat()
    except OSError as error:
        if not os.path.lexists(path):
            raise SegpipeError(f"{path}: no such file or folder; check the path") from error
        return FoundScans(refused=(RefusedScan(path, path.name, f"{path}: {why_no_file(path)}"),))
    if path.is_dir():
        return _look_in_folder(path, strict=strict)
    if (found := suffix_format(path)) is not None:
        if (closed := _refused_to_open(path, path.parent)) is not None:
            return FoundScans(refused=(closed,))
        return FoundScans((_file_scan(path, path.parent, found[0]),))
    if is_companion(path):
        return FoundScans()
    if strict or (path.is_file() and is_dicom_file(path)):
        volume_format(path)  # says what is wrong
    beside = [path] if not os.access(path.parent, os.R_OK) else sorted(path.parent.iterdir())
    unread = [image for image in unread_images(beside) if path in (image.path, *image.voxel_files)]
    return FoundScans(
        refused=tuple(_refused_format(image, path.parent) for image in unread),
        passed_over=() if unread else (path.name,),
    )


def _look_in_folder(path: Path, *, strict: bool) -> FoundScans:
    refused: list[RefusedScan] = []
    files = list(files_below(path, lambda error: refused.append(_refused_folder(error, path))))
    scans, others, closed = _by_suffix(files, path)
    certain, unknown, unreadable = _by_content(others, path)
    if unknown and strict:
        names = shown((_below(file, path) for file in unknown), most=_NAMES_SHOWN)
        raise SegpipeError(
            f"{path}: {len(unknown)} files are neither scans nor known companions: {names}; segpipe "
            f"reads {KNOWN_FORMATS}: convert them or move them to another folder"
        )
    series, broken = _series(path, certain, unknown)
    unknown = _without_damaged_slices(
        unknown, {file.parent for file in certain} - {scan.path for scan in broken}
    )
    images = unread_images(unknown)
    named = {file for image in images for file in (image.path, *image.voxel_files)}
    refused += [*closed, *unreadable, *broken, *(_refused_format(image, path) for image in images)]
    why_none = "; its DICOM files are no images" if certain else ""
    if (path / IGNORED_MARK).exists():
        why_none = f": its file {IGNORED_MARK} says that none is to be looked for"
    return FoundScans(
        tuple(sorted([*scans, *series], key=lambda scan: (scan.name, str(scan.path)))),
        tuple(sorted(refused, key=lambda scan: scan.name)),
        tuple(_below(file, path) for file in unknown if file not in named),
        why_none,
    )


def _by_suffix(files: Sequence[Path], top: Path) -> tuple[list[Scan], list[Path], list[RefusedScan]]:
    """Return the scans by their suffix, files of other suffixes that are no companions, and what is no regular file."""
    scans, others, refused = [], [], []
    for file in files:
        found = suffix_format(file)
        if found is None:
            others.append(file)
        elif (closed := _refused_to_open(file, top)) is not None:
            refused.append(closed)
        else:
            scans.append(_file_scan(file, top, found[0]))
    voxel_files = {
        file for scan in scans if scan.format is VolumeFormat.MHD for file in _voxel_files(scan.path)
    }
    others = [file for file in others if os.path.realpath(file) not in voxel_files and not is_companion(file)]
    return scans, others, refused


def _by_content(files: Sequence[Path], top: Path) -> tuple[list[Path], list[Path], list[RefusedScan]]:
    """Return the DICOM files, the other files, and the files that cannot be opened."""
    certain: list[Path] = []
    unknown: list[Path] = []
    refused: list[RefusedScan] = []
    for file in files:
        try:
            (certain if is_dicom_file(file) else unknown).append(file)
        except SegpipeError as error:
            refused.append(RefusedScan(file, _below(file, top), str(error)))
        except OSError as error:
            reason = f"{file}: cannot be read ({error.strerror}); check the permissions"
            refused.append(RefusedScan(file, _below(file, top), reason))
    return certain, unknown, refused


def _series(
    top: Path, certain: Sequence[Path], unknown: Sequence[Path]
) -> tuple[list[Scan], list[RefusedScan]]:
    """Return the folders with DICOM images as scans, and the folders that cannot be read."""
    scans, refused = [], []
    slices: dict[Path, list[Path]] = {file.parent: [] for file in certain}
    for file in (*certain, *filter(_may_be_slice, unknown)):
        slices.get(file.parent, []).append(file)
    for folder, files in sorted(slices.items()):
        series = _series_scan(folder, top)
        try:
            _require_whole(files)
            if holds_images(folder):
                scans.append(series)
        except SegpipeError as error:
            refused.append(RefusedScan(folder, f"{series.name}/", str(error)))
    return scans, refused


def find_label_objects(folder: Path) -> list[Path]:
    """Find the DICOM segmentations and structure sets in a folder and below it, which `find_scans` passes over.

    Raises:
        SegpipeError: a folder or file cannot be opened.
    """
    return [file for file in files_below(folder) if is_dicom_file(file) and holds_labels(file)]


def _refused_to_open(file: Path, top: Path) -> RefusedScan | None:
    """Return a file that is no regular one, or cannot be reached, as a refused scan."""
    reason = why_no_file(file)
    return RefusedScan(file, _below(file, top), f"{file}: {reason}") if reason else None


def _require_whole(files: Sequence[Path]) -> None:
    """Refuse a series that would lose a slice: one of its files is a link that leads nowhere, or no file."""
    for file in files:
        if reason := why_no_file(file):
            raise SegpipeError(f"{file}: {reason}")


def _may_be_slice(file: Path) -> bool:
    """Return whether a file is named as DICOM files often are: IM000001, 1.2.840.10008.7."""
    return not any(map(str.isalpha, file.suffix))


def _without_damaged_slices(unknown: Sequence[Path], of_series: Set[Path]) -> list[Path]:
    """Return the unknown files without those that the reader of their folder's series takes for damaged slices."""
    folders = of_series & {file.parent for file in unknown}
    slices = set(itertools.chain.from_iterable(map(dicom_files, sorted(folders))))
    return [file for file in unknown if file not in slices]


def _refused_format(image: UnreadImage, top: Path) -> RefusedScan:
    return RefusedScan(image.path, _below(image.path, top), image.reason, is_unread_format=True)


def _refused_folder(error: OSError, top: Path) -> RefusedScan:
    """Return a folder that cannot be listed; raise where it is the one to search."""
    folder = Path(os.fsdecode(error.filename))
    if folder == top:
        refuse_unreadable(error)
    reason = f"{folder}: the folder cannot be read ({error.strerror}); check its permissions"
    return RefusedScan(folder, f"{_below(folder, top)}/", reason)


def _below(file: Path, top: Path) -> str:
    return file.relative_to(top).as_posix()


def _voxel_files(mhd: Path) -> list[str]:
    """Return the voxel file that a header names; where it is damaged, those that it could have named."""
    try:
        return [os.path.realpath(read_metaimage_header(mhd).data_path)]
    except SegpipeError:
        return [os.path.realpath(mhd.with_suffix(suffix)) for suffix in (".raw", ".zraw")]


def _series_scan(folder: Path, top: Path) -> Scan:
    name = folder.relative_to(top).as_posix() if folder != top else folder.resolve().name
    return Scan(folder, VolumeFormat.DICOM, name)


def _file_scan(path: Path, top: Path, format_: VolumeFormat) -> Scan:
    found = suffix_format(path)
    suffix = found[1] if found else ""
    return Scan(path, format_, path.relative_to(top).as_posix().removesuffix(suffix))


def name_with_suffix(scan: Scan) -> str:
    """Return the name of a scan with the suffix of its file; a series folder's name ends in "/"."""
    suffix = "/" if scan.path.is_dir() else scan.path.name.removeprefix(scan.name.rpartition("/")[2])
    return f"{scan.name}{suffix}"
