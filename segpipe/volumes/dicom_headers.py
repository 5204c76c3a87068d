"""The DICOM headers of a folder: what a slice must say of itself, and which objects are no image at all."""

from __future__ import annotations

import struct
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
from pydicom.errors import BytesLengthException, InvalidDicomError
from pydicom.uid import (
    UID,
    RTDoseStorage,
    RTStructureSetStorage,
    SegmentationStorage,
    SurfaceSegmentationStorage,
)

from segpipe.errors import SegpipeError
from segpipe.volumes.formats import is_dicom_file
from segpipe.volumes.geometry import FloatArray

_TAGS = [
    "BitsAllocated",
    "BitsStored",
    "Columns",
    "ImageOrientationPatient",
    "ImagePositionPatient",
    "Modality",
    "ModalityLUTSequence",
    "RescaleType",
    "NumberOfFrames",
    "PixelRepresentation",
    "PixelSpacing",
    "RescaleIntercept",
    "RescaleSlope",
    "Rows",
    "SOPClassUID",
    "SamplesPerPixel",
    "SeriesDescription",
    "SeriesInstanceUID",
    "SliceThickness",
    "SpacingBetweenSlices",
]
_REQUIRED = (
    "SeriesInstanceUID",
    "ImagePositionPatient",
    "ImageOrientationPatient",
    "PixelSpacing",
    "Rows",
    "Columns",
    "BitsAllocated",
)
_LABEL_MAP_SEGMENTATION = "1.2.840.10008.5.1.4.1.1.66.7"  # not yet among pydicom's
_SEGMENTATIONS = frozenset({SegmentationStorage, _LABEL_MAP_SEGMENTATION})
_DERIVED_CLASSES = _SEGMENTATIONS | {RTDoseStorage}  # have rows and columns, yet are no scan
_LABEL_CLASSES = _SEGMENTATIONS | {SurfaceSegmentationStorage, RTStructureSetStorage}
_READING_ERRORS = (
    InvalidDicomError,
    EOFError,
    struct.error,
    zlib.error,
    OSError,
    ValueError,
    KeyError,
    TypeError,
    NotImplementedError,  # what pydicom raises for a value representation that it does not know
    BytesLengthException,
)
_MAX_BITS = 32
_PIXEL_DATA_TAG = (0x7FE0, 0x0010)
_UNDEFINED_LENGTH = 0xFFFFFFFF


@dataclass(frozen=True)
class DicomSlice:
    """One single-frame image file of a series.

    Args:
        path: the file.
        series_uid: SeriesInstanceUID.
        modality: CT, MR, ...
        description: SeriesDescription, may be empty.
        rows: pixels along y.
        columns: pixels along x.
        spacing_xy_mm: distance between pixel centres along x and along y.
        position_lps: (3,), LPS mm of the first pixel's centre.
        orientation_lps: (6,), LPS unit vectors along x (a row) and along y (a column).
        thickness_mm: SpacingBetweenSlices, else SliceThickness, else None.
        slope: RescaleSlope, 1 if absent.
        intercept: RescaleIntercept, 0 if absent.
        is_hounsfield: a CT whose header has both, with RescaleType HU or none: what they give is HU.
        stored_range: smallest and largest value that the stored bits can hold.
        pixel_bytes: bytes of the uncompressed pixels.
        is_compressed: encapsulated or deflated: GDCM itself refuses what is cut short.
        held_bytes: pixel data that the file really holds.
    """

    path: Path
    series_uid: str
    modality: str
    description: str
    rows: int
    columns: int
    spacing_xy_mm: tuple[float, float]
    position_lps: FloatArray
    orientation_lps: FloatArray
    thickness_mm: float | None
    slope: float
    intercept: float
    is_hounsfield: bool
    stored_range: tuple[int, int]
    pixel_bytes: int
    is_compressed: bool
    held_bytes: int

    def check_pixel_bytes(self) -> None:
        """Refuse uncompressed pixels that are fewer than rows x columns; GDCM would fill them in silence.

        Raises:
            SegpipeError: naming both lengths in bytes.
        """
        if not self.is_compressed and self.held_bytes < self.pixel_bytes:
            raise SegpipeError(
                f"{self.path}: pixel data truncated: {self.held_bytes} bytes, {self.rows} x {self.columns} "
                f"pixels need {self.pixel_bytes}; copy the file again from its source"
            )


@dataclass(frozen=True)
class DicomImage:
    """One image file before anything is demanded of its header.

    Args:
        path: the file.
        header: the few tags that segpipe uses.
        held_bytes: pixel data that the file really holds.
    """

    path: Path
    header: pydicom.FileDataset
    held_bytes: int

    def slice(self) -> DicomSlice:
        """Return what one slice of a series must say of itself.

        Raises:
            SegpipeError: multi-frame, colour, a lookup table in place of a slope, or tags that are missing
                or no numbers.
        """
        return _slice(self.path, self.header, self.held_bytes)


def dicom_images(folder: Path) -> dict[str, list[DicomImage]]:
    """Read the headers of all images in a folder, in the order of file names; not of folders below it.

    Objects that are no scan (structure sets, segmentations, doses, reports) are left out.

    Returns:
        SeriesInstanceUID -> the images that carry it ("" where the tag is missing).

    Raises:
        SegpipeError: no image there, or a file whose header cannot be read.
    """
    paths = dicom_files(folder)
    if not paths:
        raise SegpipeError(
            f"{folder}: no DICOM file there; give the folder that holds the files of one series"
        )
    found = [DicomImage(path, *_read(path)) for path in paths]
    images = [image for image in found if _is_image(image.header)]
    if not images:
        modalities = ", ".join(sorted({str(image.header.get("Modality", "unknown")) for image in found}))
        raise SegpipeError(
            f"{folder}: holds no image series, only DICOM objects of modality {modalities}; give the "
            "folder of the images they belong to"
        )
    by_uid: dict[str, list[DicomImage]] = {}
    for image in images:
        by_uid.setdefault(str(image.header.get("SeriesInstanceUID", "")), []).append(image)
    return by_uid


def holds_images(folder: Path) -> bool:
    """Say whether a folder has a DICOM image directly in it.

    A damaged file counts, since it may have been one: reading then refuses it.
    """
    for path in dicom_files(folder):
        try:
            header, _ = _read(path)
        except SegpipeError:
            return True
        if _is_image(header):
            return True
    return False


def holds_labels(path: Path) -> bool:
    """Say whether a DICOM file holds labels or contours: a segmentation or structure set."""
    try:
        header, _ = _read(path)
    except SegpipeError:
        return False
    return str(header.get("SOPClassUID", "")) in _LABEL_CLASSES


def dicom_files(folder: Path) -> list[Path]:
    """List the DICOM files directly in a folder, sorted by name, without hidden files and the DICOMDIR index.

    Raises:
        SegpipeError: the folder or a file in it cannot be opened.
    """
    try:
        entries = sorted(folder.iterdir())
    except OSError as error:
        raise SegpipeError(
            f"{folder}: cannot be read ({error.strerror}); check the path and permissions"
        ) from error
    return [
        path
        for path in entries
        if not path.name.startswith(".")
        and path.name.upper() != "DICOMDIR"
        and path.is_file()
        and is_dicom_file(path)
    ]


def _is_image(header: pydicom.Dataset) -> bool:
    return "Rows" in header and str(header.get("SOPClassUID", "")) not in _DERIVED_CLASSES


def _read(path: Path) -> tuple[pydicom.FileDataset, int]:
    """Return the header and how many bytes of pixel data the file really holds."""
    try:
        with path.open("rb") as file:
            header = pydicom.dcmread(file, stop_before_pixels=True, specific_tags=list(_TAGS))
            start = file.tell()
            element = file.read(12)
            held = file.seek(0, 2) - start
        for stored in header:  # pydicom converts a value when it is asked for: here, where errors are caught
            stored.value  # noqa: B018
        syntax = _transfer_syntax(header)
    except _READING_ERRORS as error:
        raise SegpipeError(
            f"{path}: not a readable DICOM file ({error or type(error).__name__}); remove it or copy it again"
        ) from error
    if len(element) == 12 and not syntax.is_deflated:
        order = "<" if syntax.is_little_endian else ">"
        explicit = not syntax.is_implicit_VR
        header_bytes = 12 if explicit else 8
        tag = struct.unpack(f"{order}HH", element[:4])
        declared = struct.unpack(f"{order}I", element[8:12] if explicit else element[4:8])[0]
        held -= header_bytes
        if tag == _PIXEL_DATA_TAG and declared != _UNDEFINED_LENGTH:
            held = min(held, declared)
    return header, held


def _transfer_syntax(header: pydicom.FileDataset) -> UID:
    syntax = UID(str(header.file_meta.get("TransferSyntaxUID", "1.2.840.10008.1.2")))
    if not syntax.is_transfer_syntax:
        raise ValueError(f"TransferSyntaxUID {syntax} is none")
    return syntax


def _slice(path: Path, header: pydicom.FileDataset, held_bytes: int) -> DicomSlice:
    try:
        return _checked_slice(path, header, held_bytes)
    except (ValueError, TypeError, IndexError, OverflowError) as error:
        raise SegpipeError(
            f"{path}: header value that is no number or is out of range ({error}); export the series again"
        ) from error


def _checked_slice(path: Path, header: pydicom.FileDataset, held_bytes: int) -> DicomSlice:
    frames = int(header.get("NumberOfFrames") or 1)
    if frames > 1:
        raise SegpipeError(
            f"{path}: a multi-frame file ({frames} frames): segpipe reads series of one slice a file; "
            "convert it first, for instance to NIfTI"
        )
    missing = [tag for tag in _REQUIRED if header.get(tag) in (None, "")]
    if missing:
        raise SegpipeError(
            f"{path}: tags {', '.join(missing)} missing, so its place in the patient is unknown; export "
            "the series again, or convert a plain picture to PNG"
        )
    samples = int(header.get("SamplesPerPixel") or 1)
    if samples != 1 or "ModalityLUTSequence" in header:
        what = f"{samples} values a pixel" if samples != 1 else "a modality lookup table"
        raise SegpipeError(
            f"{path}: {what}: must be one value a pixel, scaled by slope and intercept; export the "
            "original series"
        )
    syntax = _transfer_syntax(header)
    allocated = int(header.BitsAllocated)
    slope = _number(header, "RescaleSlope", 1.0)
    if slope == 0:
        raise ValueError("RescaleSlope 0")
    return DicomSlice(
        path=path,
        series_uid=str(header.SeriesInstanceUID),
        modality=str(header.get("Modality", "unknown modality")),
        description=str(header.get("SeriesDescription", "")),
        rows=int(header.Rows),
        columns=int(header.Columns),
        spacing_xy_mm=(float(header.PixelSpacing[1]), float(header.PixelSpacing[0])),
        position_lps=_vector(header.ImagePositionPatient, 3),
        orientation_lps=_vector(header.ImageOrientationPatient, 6),
        thickness_mm=_thickness(header),
        slope=slope,
        intercept=_number(header, "RescaleIntercept", 0.0),
        is_hounsfield=_is_hounsfield(header),
        stored_range=_stored_range(header),
        pixel_bytes=int(header.Rows) * int(header.Columns) * allocated // 8,
        is_compressed=syntax.is_compressed or syntax.is_deflated,
        held_bytes=held_bytes,
    )


def _is_hounsfield(header: pydicom.FileDataset) -> bool:
    scaled = all(header.get(tag) not in (None, "") for tag in ("RescaleSlope", "RescaleIntercept"))
    return scaled and header.get("Modality") == "CT" and str(header.get("RescaleType") or "HU") == "HU"


def _vector(values: Any, length: int) -> FloatArray:
    vector = np.array([float(value) for value in values], np.float64)
    if vector.shape != (length,) or not np.isfinite(vector).all():
        raise ValueError(f"{list(values)}, {length} finite numbers needed")
    return vector


def _number(header: pydicom.Dataset, tag: str, default: float) -> float:
    value = header.get(tag)
    number = default if value in (None, "") else float(value)
    if not np.isfinite(number):
        raise ValueError(f"{tag} {number}")
    return number


def _thickness(header: pydicom.Dataset) -> float | None:
    for tag in ("SpacingBetweenSlices", "SliceThickness"):
        value = abs(_number(header, tag, 0.0))
        if value > 0:
            return value
    return None


def _stored_range(header: pydicom.Dataset) -> tuple[int, int]:
    bits = int(header.get("BitsStored") or header.BitsAllocated)
    if not 1 <= bits <= _MAX_BITS:
        raise ValueError(f"BitsStored {bits}")
    if int(header.get("PixelRepresentation") or 0) == 1:
        return -(1 << (bits - 1)), (1 << (bits - 1)) - 1
    return 0, (1 << bits) - 1
