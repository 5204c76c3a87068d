"""Read the header of one DICOM slice: meaning of its pixels and position in the patient."""

from __future__ import annotations

import re
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path

import numpy as np
from pydicom.uid import (
    JPEG2000,
    UID,
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGBaseline8Bit,
    JPEGExtended12Bit,
    JPEGLossless,
    JPEGLosslessSV1,
    JPEGLSLossless,
    JPEGLSNearLossless,
    RLELossless,
)

from segpipe.errors import SegpipeError
from segpipe.volumes.dicom_file import DicomFile, PixelElement
from segpipe.volumes.geometry import FloatArray

_NATIVE = (
    ImplicitVRLittleEndian,
    ExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    DeflatedExplicitVRLittleEndian,
)
_COMPRESSED = (
    JPEGBaseline8Bit,
    JPEGExtended12Bit,
    JPEGLossless,
    JPEGLosslessSV1,
    JPEGLSLossless,
    JPEGLSNearLossless,
    JPEG2000Lossless,
    JPEG2000,
    RLELossless,
)
_REQUIRED = (
    "SeriesInstanceUID",
    "ImagePositionPatient",
    "ImageOrientationPatient",
    "PixelSpacing",
    "Rows",
    "Columns",
    "BitsAllocated",
    "PixelRepresentation",
    "PhotometricInterpretation",
)
_WIDTHS = (8, 16, 32)
NEVER_INVERTED = ("CT", "MR", "PT")
"""Modalities whose stored values are measurements, in any display."""
_PROJECTIONS = ("CR", "DX", "MG")
_RESCALE = ("RescaleSlope", "RescaleIntercept")
_DECIMAL = re.compile(r"[+-]?(\d+(\.\d*)?|\.\d+)([eE][+-]?\d+)?")
_COARSEST_POSITION_MM = 0.1


@dataclass(frozen=True)
class DicomSlice:
    """One single-frame image file of a series.

    Args:
        path: the file.
        modality: CT, MR, ...
        sop_class: SOP class of the object.
        rows: pixels along y.
        columns: pixels along x.
        spacing_xy_mm: distance between pixel centres along x and along y.
        position_lps: (3,), LPS mm of the first pixel's centre.
        position_digits_mm: (3,), place value of the last written digit of each coordinate, at most 0.1 mm.
        orientation_lps: (6,), LPS unit vectors along x (a row) and along y (a column).
        frame_of_reference: FrameOfReferenceUID, empty if absent.
        instance_number: InstanceNumber, None if absent or no number.
        thickness_mm: SpacingBetweenSlices, else SliceThickness, else None.
        bits_allocated: 8, 16 or 32.
        bits_stored: number of the lowest bits of a pixel, which hold its value.
        is_signed: True if stored values are two's complement.
        has_overlay_bits: True if bits above `bits_stored` hold an overlay.
        photometric_interpretation: MONOCHROME1 or MONOCHROME2.
        is_inverted: True for a projection image whose low values are bright; reading inverts its stored values.
        rescale_tags: which of RescaleSlope and RescaleIntercept the file has, as text.
        slope: RescaleSlope, 1 if absent.
        intercept: RescaleIntercept, 0 if absent.
        rescale_type: RescaleType, empty if absent.
        units: Units of a PET, empty if absent.
        syntax: transfer syntax of the pixels.
        pixels: position of the pixels in the file.
    """

    path: Path
    modality: str
    sop_class: UID
    rows: int
    columns: int
    spacing_xy_mm: tuple[float, float]
    position_lps: FloatArray
    position_digits_mm: FloatArray
    orientation_lps: FloatArray
    frame_of_reference: str
    instance_number: int | None
    thickness_mm: float | None
    bits_allocated: int
    bits_stored: int
    is_signed: bool
    has_overlay_bits: bool
    photometric_interpretation: str
    is_inverted: bool
    rescale_tags: str
    slope: float
    intercept: float
    rescale_type: str
    units: str
    syntax: UID
    pixels: PixelElement

    @property
    def stored_range(self) -> tuple[int, int]:
        """Smallest and largest value that the stored bits can hold."""
        span = 1 << self.bits_stored
        return (-span // 2, span // 2 - 1) if self.is_signed else (0, span - 1)

    @property
    def pixel_bytes(self) -> int:
        """Bytes of the uncompressed pixels."""
        return self.rows * self.columns * self.bits_allocated // 8

    @property
    def is_compressed(self) -> bool:
        """True if the pixels are in fragments that must be unpacked."""
        return self.pixels.length is None

    @property
    def is_hounsfield(self) -> bool:
        """True for a CT with slope and intercept, and with RescaleType HU or none: its intensities are HU."""
        is_scaled = self.rescale_tags == " and ".join(_RESCALE)
        return is_scaled and self.modality == "CT" and self.rescale_type in ("", "HU")


def dicom_slice(file: DicomFile) -> DicomSlice:
    """Check the header of a file and return the slice.

    Raises:
        SegpipeError: the file is truncated, multi-frame, in colour, has a lookup table instead of a slope or an
            unsupported compression; or tags are missing, not numeric, or contradict each other.
    """
    if file.fault or file.pixels is None:
        raise SegpipeError(f"{file.path}: {file.fault}")
    _refuse_kind(file)
    try:
        return _checked_slice(file, file.pixels)
    except (ValueError, TypeError, IndexError, OverflowError) as error:
        raise SegpipeError(
            f"{file.path}: header value that is no number or is out of range ({error}); export the series again"
        ) from error


def _refuse_kind(file: DicomFile) -> None:
    """Refuse every file that is not an image of one frame with one value a pixel."""
    path, header = file.path, file.header
    frames = _integer(file, "NumberOfFrames", 1)
    if frames > 1 or "Enhanced" in file.sop_class.name:
        raise SegpipeError(
            f"{path}: a multi-frame file ({frames} frames) of kind {file.sop_class.name}: segpipe reads series of one "
            "slice a file (NumberOfFrames 1); convert it first, for instance to NIfTI with dcm2niix"
        )
    samples = _integer(file, "SamplesPerPixel", 1)
    photometric = file.text("PhotometricInterpretation")
    if samples != 1 or (not photometric.startswith("MONOCHROME") and photometric):
        raise SegpipeError(
            f"{path}: {samples} values a pixel (SamplesPerPixel) and PhotometricInterpretation {photometric}: must be "
            "1 and MONOCHROME1 or MONOCHROME2; export the original series, or convert it, for instance to NIfTI"
        )
    if "ModalityLUTSequence" in header:
        raise SegpipeError(
            f"{path}: a modality lookup table (ModalityLUTSequence) in place of RescaleSlope and RescaleIntercept; "
            "convert the series, for instance to NIfTI"
        )
    missing = [tag for tag in _REQUIRED if header.get(tag) in (None, "")]
    if missing:
        raise SegpipeError(
            f"{path}: tags {', '.join(missing)} missing, so its pixels or its place in the patient are unknown; "
            "export the series again, or convert a plain 2D image to PNG"
        )
    if file.syntax not in (*_NATIVE, *_COMPRESSED):
        raise SegpipeError(
            f"{path}: TransferSyntaxUID {file.syntax} ({file.syntax.name}) cannot be read; decompress the series "
            "first, for instance with gdcmconv --raw"
        )


def _checked_slice(file: DicomFile, pixels: PixelElement) -> DicomSlice:
    header = file.header
    slope, intercept = _number(file, "RescaleSlope", 1.0), _number(file, "RescaleIntercept", 0.0)
    if slope == 0:
        raise ValueError("RescaleSlope 0")
    modality = file.text("Modality") or "unknown modality"
    bits_allocated, bits_stored = _bits(file)
    position = _vector(file, "ImagePositionPatient", 3)
    row_mm, column_mm = _vector(file, "PixelSpacing", 2)
    slice_ = DicomSlice(
        path=file.path,
        modality=modality,
        sop_class=file.sop_class,
        rows=_integer(file, "Rows"),
        columns=_integer(file, "Columns"),
        spacing_xy_mm=(float(column_mm), float(row_mm)),
        position_lps=position,
        position_digits_mm=np.array([_last_digit(str(value)) for value in header.ImagePositionPatient]),
        orientation_lps=_vector(file, "ImageOrientationPatient", 6),
        frame_of_reference=file.text("FrameOfReferenceUID"),
        instance_number=_instance_number(file),
        thickness_mm=_thickness(file),
        bits_allocated=bits_allocated,
        bits_stored=bits_stored,
        is_signed=_integer(file, "PixelRepresentation") == 1,
        has_overlay_bits=file.overlay_bits,
        photometric_interpretation=file.text("PhotometricInterpretation"),
        is_inverted=_is_inverted(file, modality),
        rescale_tags=" and ".join(tag for tag in _RESCALE if file.text(tag)),
        slope=slope,
        intercept=intercept,
        rescale_type=file.text("RescaleType"),
        units=file.text("Units"),
        syntax=file.syntax,
        pixels=pixels,
    )
    _check_pixel_element(slice_)
    return slice_


def _bits(file: DicomFile) -> tuple[int, int]:
    """Return BitsAllocated and BitsStored; refuse pixels whose value is not in the lowest bits."""
    allocated = _integer(file, "BitsAllocated")
    stored = _integer(file, "BitsStored", allocated)
    high_bit = _integer(file, "HighBit", stored - 1)
    signed = _integer(file, "PixelRepresentation")
    if (
        allocated not in _WIDTHS
        or not 1 <= stored <= allocated
        or high_bit != stored - 1
        or signed not in (0, 1)
    ):
        raise SegpipeError(
            f"{file.path}: BitsAllocated {allocated}, BitsStored {stored}, HighBit {high_bit} and PixelRepresentation "
            f"{signed}: segpipe reads 8, 16 or 32 bits a pixel with HighBit BitsStored - 1 and PixelRepresentation 0 "
            "or 1; convert the series, for instance to NIfTI"
        )
    return allocated, stored


def _is_inverted(file: DicomFile, modality: str) -> bool:
    """Return whether low stored values are high intensities, by PhotometricInterpretation and modality."""
    photometric = file.text("PhotometricInterpretation")
    if photometric == "MONOCHROME2" or (photometric == "MONOCHROME1" and modality in NEVER_INVERTED):
        return False
    if photometric == "MONOCHROME1" and modality in _PROJECTIONS:
        return True
    if photometric != "MONOCHROME1":
        raise SegpipeError(
            f"{file.path}: PhotometricInterpretation {photometric}: must be MONOCHROME1 or MONOCHROME2; export the "
            "original series"
        )
    raise SegpipeError(
        f"{file.path}: PhotometricInterpretation MONOCHROME1 of modality {modality}: low values are shown bright, and "
        f"segpipe knows only that {', '.join(NEVER_INVERTED)} keep their values and {', '.join(_PROJECTIONS)} are "
        "inverted; convert the series to NIfTI with the values as they are meant"
    )


def _check_pixel_element(slice_: DicomSlice) -> None:
    """Refuse pixel data whose size or packing differs from the header."""
    if slice_.rows < 1 or slice_.columns < 1:
        raise ValueError(f"Rows {slice_.rows}, Columns {slice_.columns}")
    if slice_.is_compressed != (slice_.syntax in _COMPRESSED):
        packing = "in fragments" if slice_.is_compressed else "of a stated length"
        raise SegpipeError(
            f"{slice_.path}: TransferSyntaxUID {slice_.syntax.name} and pixel data {packing} contradict each other; "
            "export the series again"
        )
    if slice_.pixels.length is None:
        return
    length, held, needed = slice_.pixels.length, slice_.pixels.held, slice_.pixel_bytes
    what = f"{slice_.rows} x {slice_.columns} pixels need {needed}"
    if held < min(length, needed):
        raise SegpipeError(
            f"{slice_.path}: pixel data truncated: {held} bytes, {what}; copy the file again from its source"
        )
    if length < needed:
        raise SegpipeError(
            f"{slice_.path}: pixel data truncated: {length} bytes, {what}; export the series again"
        )
    # padding of a whole row or column would mean a wrong size in the header
    if length - needed >= max(2, min(slice_.rows, slice_.columns) * slice_.bits_allocated // 8):
        raise SegpipeError(
            f"{slice_.path}: pixel data too long: {length} bytes, {what}; export the series again"
        )


def _vector(file: DicomFile, tag: str, length: int) -> FloatArray:
    values = file.header[tag].value
    listed = [values] if isinstance(values, float | str) else list(values)
    if len(listed) != length:
        raise ValueError(f"{tag} {listed}, {length} finite numbers needed")
    return np.array([_float(tag, value) for value in listed], np.float64)


def _number(file: DicomFile, tag: str, default: float) -> float:
    value = file.header.get(tag)
    return default if value in (None, "") else _float(tag, value)


def _float(tag: str, value: object) -> float:
    text = str(getattr(value, "original_string", value)).strip()
    if not _DECIMAL.fullmatch(text):
        raise ValueError(f"{tag} {text}, a decimal number is needed")
    number = float(text)
    if not np.isfinite(number):
        raise ValueError(f"{tag} {text}, a finite number is needed")
    return number


def _integer(file: DicomFile, tag: str, default: int | None = None) -> int:
    value = file.header.get(tag)
    if value in (None, "") and default is not None:
        return default
    if not isinstance(value, int):
        raise SegpipeError(f"{file.path}: {tag} {value}: must be one whole number; export the series again")
    return int(value)


def _instance_number(file: DicomFile) -> int | None:
    value = file.header.get("InstanceNumber")
    return int(value) if isinstance(value, int) else None


def _last_digit(text: str) -> float:
    """Return the place value in mm of the last digit that is not zero, at most 0.1."""
    exponent = Decimal(text.strip()).normalize().as_tuple().exponent
    return min(_COARSEST_POSITION_MM, 10.0 ** int(exponent))


def _thickness(file: DicomFile) -> float | None:
    for tag in ("SpacingBetweenSlices", "SliceThickness"):
        try:
            value = abs(_number(file, tag, 0.0))
        except ValueError:  # a series of several slices needs no thickness
            continue
        if value > 0:
            return value
    return None
