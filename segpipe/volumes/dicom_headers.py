"""Sort the DICOM files of a folder into image series and files that are left out."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from pydicom.uid import (
    UID,
    EnhancedUSVolumeStorage,
    MultiFrameGrayscaleByteSecondaryCaptureImageStorage,
    MultiFrameGrayscaleWordSecondaryCaptureImageStorage,
    MultiFrameSingleBitSecondaryCaptureImageStorage,
    MultiFrameTrueColorSecondaryCaptureImageStorage,
    RTStructureSetStorage,
    SecondaryCaptureImageStorage,
    SegmentationStorage,
    SurfaceSegmentationStorage,
)

from segpipe.errors import SegpipeError, counted, shown
from segpipe.files import is_folder
from segpipe.volumes.dicom_file import DicomFile, read_dicom_file, stated_class
from segpipe.volumes.folder_files import why_no_file
from segpipe.volumes.formats import is_dicom_file

_LABEL_MAP_SEGMENTATION = "1.2.840.10008.5.1.4.1.1.66.7"  # missing in pydicom
_LABEL_CLASSES = frozenset(
    {SegmentationStorage, _LABEL_MAP_SEGMENTATION, SurfaceSegmentationStorage, RTStructureSetStorage}
)
_VOLUME_CLASSES = frozenset({EnhancedUSVolumeStorage})  # scans without Image in their names
_CAPTURE_CLASSES = frozenset(
    {
        SecondaryCaptureImageStorage,
        MultiFrameSingleBitSecondaryCaptureImageStorage,
        MultiFrameGrayscaleByteSecondaryCaptureImageStorage,
        MultiFrameGrayscaleWordSecondaryCaptureImageStorage,
        MultiFrameTrueColorSecondaryCaptureImageStorage,
    }
)
_PLACE = ("ImagePositionPatient", "ImageOrientationPatient")


@dataclass(frozen=True)
class LeftOut:
    """A DICOM file in a series' folder that is not a slice of the series.

    Attributes:
        path: the file.
        reason: kind of the file, for messages.
    """

    path: Path
    reason: str


@dataclass(frozen=True)
class SeriesFiles:
    """The files of one image series of a folder.

    Attributes:
        uid: SeriesInstanceUID.
        files: the images with this UID, in the order of file names.
        left_out: other files of the folder: objects that are no image, screen shots and localisers.
    """

    uid: str
    files: list[DicomFile]
    left_out: tuple[LeftOut, ...]


def series_files(folder: Path, series_uid: str | None = None) -> SeriesFiles:
    """Choose the only image series of a folder, or the series `series_uid`; folders below it are ignored.

    Objects that are no scan (structure sets, segmentations, doses, reports, presentation states) are left out. Where
    the folder has images with a position in the patient, screen shots (secondary captures and colour images without a
    position) and localisers are left out, too. A damaged file is left out only where its kind is certain.

    Args:
        folder: contains the files, under any names.
        series_uid: SeriesInstanceUID, needed only where the folder has several image series.

    Raises:
        SegpipeError: the folder has no image, several series, or no series of that UID; an image has no
            SeriesInstanceUID; or the header of a possible slice cannot be read.
    """
    paths = dicom_files(folder)
    if not paths:
        raise SegpipeError(
            f"{folder}: no DICOM file there; give the folder that holds the files of one series"
        )
    images: list[DicomFile] = []
    others: list[DicomFile | LeftOut] = []
    for path in paths:
        file = _read(path)
        is_image = isinstance(file, DicomFile) and _is_image(file)
        (images if is_image else others).append(file)  # type: ignore[arg-type]  # an image is a DicomFile
    series_of_images = {file.text("SeriesInstanceUID") for file in images if "Rows" in file.header}
    for file in [file for file in images if _is_private_object(file, series_of_images)]:
        images.remove(file)
        others.append(file)
    if not images:
        kinds = sorted({_modality(file) for file in others})
        raise SegpipeError(
            f"{folder}: holds no image series, only DICOM objects of modality {', '.join(kinds)}; give the "
            "folder of the images they belong to"
        )
    _refuse_without_header(images)
    _refuse_slices_among(others, series_of_images)
    by_uid = _by_uid(images)
    _refuse_without_uid(folder, by_uid)
    if series_uid is not None and series_uid not in by_uid:
        raise SegpipeError(f"{folder}: no image series {series_uid} there; choose one of: {_listing(by_uid)}")
    considered = images if series_uid is None else by_uid[series_uid]
    kept, no_slices = _slices_alone(considered)
    remaining = _by_uid(kept)
    if len(remaining) > 1:
        raise SegpipeError(
            f"{folder}: {len(remaining)} image series in one folder, must be one; move them apart, or choose "
            f"one with --series-uid of `segpipe predict` (series_uid in YAML): {_listing(remaining)}"
        )
    ((uid, files),) = remaining.items()
    return SeriesFiles(uid, files, (*(_left_out(file) for file in others), *no_slices))


def left_out_files(folder: Path, series_uid: str | None = None) -> tuple[LeftOut, ...]:
    """Return the DICOM files of a folder that are left out of its series; arguments and errors as `series_files`."""
    return series_files(folder, series_uid).left_out


def holds_images(folder: Path) -> bool:
    """Return whether a folder directly contains a DICOM image.

    A damaged file counts as an image, so that reading refuses it.
    """
    return any(is_image_file(path) for path in dicom_files(folder))


def is_image_file(path: Path) -> bool:
    """Return whether a DICOM file holds an image; True for a damaged file, so that reading refuses it."""
    try:
        file = _read(path)
    except SegpipeError:
        return True
    return isinstance(file, DicomFile) and _is_image(file) and not _is_private_object(file, set())


def holds_labels(path: Path) -> bool:
    """Return whether a DICOM file holds labels or contours: a segmentation or structure set."""
    try:
        file = _read(path)
    except SegpipeError:
        return False
    return isinstance(file, DicomFile) and file.sop_class in _LABEL_CLASSES


def dicom_files(folder: Path) -> list[Path]:
    """List the DICOM files directly in a folder, sorted by name, without hidden files and the DICOMDIR index.

    A file whose name differs from a DICOM file's only in its numbers (IM0002 beside IM0001) counts as DICOM, since it
    may be a truncated slice.

    Raises:
        SegpipeError: the folder or a file in it cannot be opened; or a file is a broken link, a pipe or a device.
    """
    try:
        entries = sorted(folder.iterdir())
    except OSError as error:
        raise SegpipeError(
            f"{folder}: cannot be read ({error.strerror}); check the path and permissions"
        ) from error
    candidates = [
        path
        for path in entries
        if not path.name.startswith(".") and path.name.upper() != "DICOMDIR" and not is_folder(path)
    ]
    certain = {path for path in candidates if is_dicom_file(path)}
    patterns = {_pattern(path) for path in certain if any(map(str.isdigit, path.name))}
    chosen = [path for path in candidates if path in certain or _pattern(path) in patterns]
    for path in chosen:
        if reason := why_no_file(path):
            raise SegpipeError(f"{path}: {reason}")
    return chosen


def _pattern(path: Path) -> str:
    return re.sub(r"\d+", "#", path.name)


def _read(path: Path) -> DicomFile | LeftOut:
    """Read a header; return a damaged file that is certainly no image as `LeftOut`."""
    try:
        return read_dicom_file(path)
    except SegpipeError:
        kind = stated_class(path)
        if not _is_no_image(kind):
            raise
        return LeftOut(path, f"{kind.name}, cannot be read")


def _is_no_image(kind: str) -> bool:
    name = UID(kind).name
    if kind in _LABEL_CLASSES:
        return True
    return "Storage" in name and "Image" not in name and kind not in _VOLUME_CLASSES


def _is_image(file: DicomFile) -> bool:
    return not _is_no_image(file.sop_class)


def _is_private_object(file: DicomFile, series_of_images: Collection[str]) -> bool:
    """Return whether a file has a vendor's private SOP class, no pixels, and a series without images."""
    is_known = not file.sop_class or UID(file.sop_class).name != file.sop_class
    uid = file.text("SeriesInstanceUID")
    return not is_known and "Rows" not in file.header and bool(uid) and uid not in series_of_images


def _refuse_without_header(images: Sequence[DicomFile]) -> None:
    """Refuse an image with an incomplete header, whose SeriesInstanceUID may be missing, too."""
    for file in images:
        if file.fault and "Rows" not in file.header:
            raise SegpipeError(f"{file.path}: {file.fault}")


def _refuse_slices_among(others: Sequence[DicomFile | LeftOut], series_of_images: Collection[str]) -> None:
    """Refuse a file whose SOP class is no image but whose other tags are those of a slice of a series."""
    for file in others:
        if not isinstance(file, DicomFile) or file.text("SeriesInstanceUID") not in series_of_images:
            continue
        if len(file.stated_classes) > 1 or all(tag in file.header for tag in _PLACE):
            raise SegpipeError(
                f"{file.path}: SOPClassUID {file.sop_class} ({file.sop_class.name}) is no image, but the file has a "
                "place among the slices of its series; export it again, or move it to another folder"
            )


def _by_uid(files: Iterable[DicomFile]) -> dict[str, list[DicomFile]]:
    by_uid: dict[str, list[DicomFile]] = {}
    for file in files:
        by_uid.setdefault(file.text("SeriesInstanceUID"), []).append(file)
    return by_uid


def _refuse_without_uid(folder: Path, by_uid: dict[str, list[DicomFile]]) -> None:
    files = by_uid.get("", [])
    if files:
        raise SegpipeError(
            f"{folder}: SeriesInstanceUID (0020,000E) is missing or empty in "
            f"{shown(file.path.name for file in files)}, so that their series is unknown; write one UID into all "
            "slices of a series (dcmodify -i), or export the series again"
        )


def _slices_alone(files: Sequence[DicomFile]) -> tuple[list[DicomFile], list[LeftOut]]:
    """Separate slices from screen shots and localisers; files of one kind only are all kept."""
    kept, left_out = list(files), []
    for is_no_slice, reason in (
        (_is_screen_shot, "image without a place in the patient"),
        (_is_localiser, "localiser"),
    ):
        slices = [file for file in kept if not is_no_slice(file)]
        if slices and len(slices) < len(kept):
            left_out += [
                LeftOut(file.path, f"{_describe(file)}: {reason}") for file in kept if is_no_slice(file)
            ]
            kept = slices
    return kept, left_out


def _is_screen_shot(file: DicomFile) -> bool:
    if file.fault or any(file.text(tag) for tag in _PLACE):
        return False
    is_colour = file.text("SamplesPerPixel") not in ("", "1")
    return is_colour or set(file.stated_classes) <= _CAPTURE_CLASSES


def _is_localiser(file: DicomFile) -> bool:
    return not file.fault and "LOCALIZER" in (file.header.get("ImageType") or ())


def _left_out(file: DicomFile | LeftOut) -> LeftOut:
    return file if isinstance(file, LeftOut) else LeftOut(file.path, _describe(file))


def _describe(file: DicomFile) -> str:
    return f"{file.sop_class.name or 'object of unknown kind'} ({_modality(file)})"


def _modality(file: DicomFile | LeftOut) -> str:
    return "unknown" if isinstance(file, LeftOut) else file.text("Modality") or "unknown"


def _listing(by_uid: dict[str, list[DicomFile]]) -> str:
    return "; ".join(
        f"{uid} ({counted(len(files), 'file')}, {files[0].text('Modality') or 'unknown modality'}, "
        f"{files[0].text('SeriesDescription') or 'no description'})"
        for uid, files in sorted(by_uid.items())
    )
