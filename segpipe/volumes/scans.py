"""Find the scans in a folder, and list its other files."""

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
        path: the file, or the folder of a DICOM series; of several files that of the first channel.
        format: its format.
        name: path relative to the searched folder, with "/" and without suffix; the name of the case.
        further: the files of the second and later channels, if each channel has a file.
        frame: number of the time frame of 4D files, from 1; None for the whole file.
        is_series: True for a scan whose time frames, all of them, are read one by one.
    """

    path: Path
    format: VolumeFormat
    name: str
    further: tuple[Path, ...] = ()
    frame: int | None = None
    is_series: bool = False

    @property
    def files(self) -> tuple[Path, ...]:
        """The file, or one file a channel in the network's order."""
        return (self.path, *self.further)


@dataclass(frozen=True)
class RefusedScan:
    """A scan that cannot be read.

    Attributes:
        path: the file, or the folder.
        name: path relative to the searched folder, with "/" and suffix.
        reason: message with the reason and the remedy.
        is_unread_format: True if segpipe does not read the format; False if the scan cannot be opened.
    """

    path: Path
    name: str
    reason: str
    is_unread_format: bool = False


@dataclass(frozen=True)
class FoundScans:
    """The result of searching a folder for scans.

    Attributes:
        scans: sorted by name, then path.
        refused: images in formats that segpipe does not read, and files and folders that cannot be opened.
        ignored_files: files that are neither scans nor companions, as paths relative to the folder, with "/".
        why_none: the reason why the folder has no scan; empty where no reason is known.
    """

    scans: tuple[Scan, ...] = ()
    refused: tuple[RefusedScan, ...] = ()
    ignored_files: tuple[str, ...] = ()
    why_none: str = ""

    def without_segmentations(self) -> FoundScans:
        """Return the result with 3D Slicer's segmentations (.seg.nrrd) moved from `scans` to `ignored_files`."""
        segmentations = [scan for scan in self.scans if scan.format is VolumeFormat.SEG_NRRD]
        if not segmentations:
            return self
        return replace(
            self,
            scans=tuple(scan for scan in self.scans if scan not in segmentations),
            ignored_files=(*self.ignored_files, *(name_with_suffix(scan) for scan in segmentations)),
            why_none="; its .seg.nrrd files are segmentations, no scans",
        )


def ignored_files_note(names: Sequence[str]) -> str:
    """Return a note on the ignored files.

    Args:
        names: of at least one file, see `FoundScans`.
    """
    return f"{counted(len(names), 'file')} ignored: {shown(names, most=_NAMES_SHOWN)}"


def left_out_beside(header: VolumeHeader, series_uid: str | None = None) -> tuple[LeftOut, ...]:
    """Return the DICOM files in a series' folder that are not slices of the series; empty for other formats.

    The files are read again only where the folder has more DICOM files than the series has slices.

    Args:
        header: of the scan.
        series_uid: the UID with which the header was read.

    Raises:
        SegpipeError: the files can no longer be read.
    """
    if header.format is not VolumeFormat.DICOM:
        return ()
    if len(dicom_files(header.path)) == math.prod(header.grid.size[2:]):
        return ()
    return left_out_files(header.path, series_uid)


def left_out_note(names: Sequence[str]) -> str:
    """Return a note on the DICOM files beside slices that were left out.

    Args:
        names: of at least one file.
    """
    return f"{counted(len(names), 'DICOM file')} beside slices left out (no slices): {shown(names, most=_NAMES_SHOWN)}"


def find_scans(path: str | Path, *, strict: bool = True) -> list[Scan]:
    """Return every scan in a folder and below it, or the scan of one file; see `look_for_scans`.

    Args:
        path: a folder, or one scan (a file, or a folder with one DICOM series).
        strict: False ignores files that are neither scans nor companions, and allows an empty result.

    Returns:
        Scans sorted by name, then path.

    Raises:
        SegpipeError: the path is missing, or a file or folder in it cannot be opened. With `strict` also: the folder
            holds no scan, or files that are neither scans nor companions.
    """
    path = Path(path)
    if path.is_file():
        return [_file_scan(path, path.parent, volume_format(path))]
    listing = look_for_scans(path, strict=strict)
    reasons = [refused.reason for refused in listing.refused if not refused.is_unread_format]
    if reasons:
        raise SegpipeError(shown(reasons, "; "))
    if not listing.scans and strict:
        raise SegpipeError(f"{path}: no scan there{listing.why_none}; segpipe reads {KNOWN_FORMATS}")
    return list(listing.scans)


def look_for_scans(path: str | Path, *, strict: bool = False) -> FoundScans:
    """Search a folder and the folders below it, or one file, for scans; also list refused and ignored files.

    A folder with DICOM images is one scan with the name of the folder; files of other formats in this folder are
    separate scans. An image in a format that segpipe does not read (.mgz, .hdr with .img, .tif, ...) is a refused scan,
    and so is a scan file that is a broken link, a pipe or a device.

    Companions are not listed: hidden files and folders; the voxel files that headers name; DICOM objects that are no
    image (structure sets, segmentations) and DICOMDIR; documents, tables and settings (.json, .txt, .csv, ...);
    LICENSE, README, CHANGES, SHA256SUMS; and folders with a file `.segpipe-ignore`, such as the folders of
    `segpipe predict`'s overlays. All other files are listed in `ignored_files`.

    Args:
        path: a folder, or one file.
        strict: refuse files that are neither scans nor companions, and formats that segpipe does not read.

    Raises:
        SegpipeError: the path does not exist, or its folder cannot be read; or `strict` refuses a file.
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
    if (format_and_suffix := suffix_format(path)) is not None:
        if (closed := _refused_to_open(path, path.parent)) is not None:
            return FoundScans(refused=(closed,))
        return FoundScans((_file_scan(path, path.parent, format_and_suffix[0]),))
    if is_companion(path):
        return FoundScans()
    if strict or (path.is_file() and is_dicom_file(path)):
        volume_format(path)  # raises the error
    beside = [path] if not os.access(path.parent, os.R_OK) else sorted(path.parent.iterdir())
    unread = [image for image in unread_images(beside) if path in (image.path, *image.voxel_files)]
    return FoundScans(
        refused=tuple(_refused_format(image, path.parent) for image in unread),
        ignored_files=() if unread else (path.name,),
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
        why_none = f": its file {IGNORED_MARK} marks it as a folder without scans"
    return FoundScans(
        tuple(sorted([*scans, *series], key=lambda scan: (scan.name, str(scan.path)))),
        tuple(sorted(refused, key=lambda scan: scan.name)),
        tuple(_below(file, path) for file in unknown if file not in named),
        why_none,
    )


def _by_suffix(files: Sequence[Path], top: Path) -> tuple[list[Scan], list[Path], list[RefusedScan]]:
    """Return the scans by suffix, the files of other suffixes without companions, and the irregular files."""
    scans, others, refused = [], [], []
    for file in files:
        format_and_suffix = suffix_format(file)
        if format_and_suffix is None:
            others.append(file)
        elif (closed := _refused_to_open(file, top)) is not None:
            refused.append(closed)
        else:
            scans.append(_file_scan(file, top, format_and_suffix[0]))
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
    """Return the DICOM segmentations and structure sets in a folder and below it, which `find_scans` ignores.

    Raises:
        SegpipeError: a folder or file cannot be opened.
    """
    return [file for file in files_below(folder) if is_dicom_file(file) and holds_labels(file)]


def _refused_to_open(file: Path, top: Path) -> RefusedScan | None:
    """Return a refused scan for an irregular file or one that cannot be reached; None for other files."""
    reason = why_no_file(file)
    return RefusedScan(file, _below(file, top), f"{file}: {reason}") if reason else None


def _require_whole(files: Sequence[Path]) -> None:
    """Refuse a series with a file that is a broken link or irregular, since a slice would be missing."""
    for file in files:
        if reason := why_no_file(file):
            raise SegpipeError(f"{file}: {reason}")


def _may_be_slice(file: Path) -> bool:
    """Return whether a file has a name common for DICOM files, such as IM000001 or 1.2.840.10008.7."""
    return not any(map(str.isalpha, file.suffix))


def _without_damaged_slices(unknown: Sequence[Path], of_series: Set[Path]) -> list[Path]:
    """Return the unknown files without the damaged slices of a series in their folder."""
    folders = of_series & {file.parent for file in unknown}
    slices = set(itertools.chain.from_iterable(map(dicom_files, sorted(folders))))
    return [file for file in unknown if file not in slices]


def _refused_format(image: UnreadImage, top: Path) -> RefusedScan:
    return RefusedScan(image.path, _below(image.path, top), image.reason, is_unread_format=True)


def _refused_folder(error: OSError, top: Path) -> RefusedScan:
    """Return a refused scan for a folder that cannot be listed; raise for the searched folder itself."""
    folder = Path(os.fsdecode(error.filename))
    if folder == top:
        refuse_unreadable(error)
    reason = f"{folder}: the folder cannot be read ({error.strerror}); check its permissions"
    return RefusedScan(folder, f"{_below(folder, top)}/", reason)


def _below(file: Path, top: Path) -> str:
    return file.relative_to(top).as_posix()


def _voxel_files(mhd: Path) -> list[str]:
    """Return the voxel file that a header names; for a damaged header its possible voxel files."""
    try:
        return [os.path.realpath(read_metaimage_header(mhd).data_path)]
    except SegpipeError:
        return [os.path.realpath(mhd.with_suffix(suffix)) for suffix in (".raw", ".zraw")]


def _series_scan(folder: Path, top: Path) -> Scan:
    name = folder.relative_to(top).as_posix() if folder != top else folder.resolve().name
    return Scan(folder, VolumeFormat.DICOM, name)


def _file_scan(path: Path, top: Path, format_: VolumeFormat) -> Scan:
    format_and_suffix = suffix_format(path)
    suffix = format_and_suffix[1] if format_and_suffix else ""
    return Scan(path, format_, path.relative_to(top).as_posix().removesuffix(suffix))


def name_with_suffix(scan: Scan) -> str:
    """Return the name of a scan with the suffix of its file; a series folder's name ends in "/"."""
    suffix = "/" if scan.path.is_dir() else scan.path.name.removeprefix(scan.name.rpartition("/")[2])
    return f"{scan.name}{suffix}"
