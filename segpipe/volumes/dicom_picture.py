"""Read one DICOM image file as the picture that a viewer shows: X-rays (CR, DX, MG) and photographs in grey.

Stored values go through the modality lookup table (or RescaleSlope and RescaleIntercept), then through the first VOI
lookup table or window of the file, and are inverted last where the file is MONOCHROME1. Files of CT, MR and PT hold
measurements in any display: their values are read as in a series, and the caller gives the window.

Source: DICOM PS3.3, C.11.1 (Modality LUT), C.11.2 (VOI LUT), C.7.6.3.1.2 (Photometric Interpretation).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
from numpy.typing import NDArray
from pydicom.tag import Tag

from segpipe.errors import SegpipeError
from segpipe.volumes.dicom_file import DicomFile, read_dicom_file
from segpipe.volumes.dicom_pixels import read_intensities
from segpipe.volumes.dicom_slice import NEVER_INVERTED, dicom_slice

_VOI_TAGS = ("VOILUTSequence", "VOILUTFunction", "WindowCenter", "WindowWidth")
_PLACE = {  # a projection has no place in the patient, and its picture needs none
    "ImagePositionPatient": [0.0, 0.0, 0.0],
    "ImageOrientationPatient": [1.0, 0.0, 0.0, 0.0, 1.0, 0.0],
    "PixelSpacing": [1.0, 1.0],
    "SeriesInstanceUID": "1.2",
}
_MODALITY_LUT, _VOI_LUT = "ModalityLUTSequence", "VOILUTSequence"
_LUT_ERRORS = (ValueError, TypeError, AttributeError, IndexError, KeyError)
_MOST_BITS = 16


@dataclass(frozen=True, eq=False)
class DicomPicture:
    """The picture of one DICOM file.

    Attributes:
        path: the file.
        pixels: float32 (rows, columns), 0 black to 1 white.
        bits_stored: BitsStored of the file.
        is_inverted: True if the file is MONOCHROME1 and its values were turned.
        modality: such as "DX".
    """

    path: Path
    pixels: NDArray[np.float32]
    bits_stored: int
    is_inverted: bool
    modality: str


def read_dicom_picture(path: Path, window: tuple[float, float] | None) -> DicomPicture:
    """Read one DICOM file of one frame.

    Args:
        path: the file.
        window: lowest and highest value for a file of CT, MR or PT; ignored for other files.

    Raises:
        SegpipeError: the file is no DICOM file, truncated, multi-frame, in colour or of an unsupported compression; a
            lookup table or window is unusable; or a CT, MR or PT without `window`.
    """
    file = read_dicom_file(path, _VOI_TAGS)
    _refuse_kind(file)
    header = file.header
    photometric = file.text("PhotometricInterpretation")
    table = header.get(_MODALITY_LUT)
    if table:
        del header[Tag(_MODALITY_LUT)]  # a series is refused for it
    if photometric == "MONOCHROME1":  # turned below, after the window
        header.PhotometricInterpretation = "MONOCHROME2"
    for tag, value in _PLACE.items():
        if header.get(tag) in (None, ""):
            setattr(header, tag, value)
    slice_ = dicom_slice(file)
    stored = read_intensities(replace(slice_, slope=1.0, intercept=0.0), np.dtype(np.int64)).T
    values = stored * slice_.slope + slice_.intercept
    if table:
        values = _looked_up(file, _MODALITY_LUT, table, stored)[0]
    if slice_.modality in NEVER_INVERTED:
        if window is None:
            raise SegpipeError(
                f"{path}: a {slice_.modality} slice holds values from {values.min():g} to {values.max():g}, which have "
                "no brightness of their own; give the window of values to use (--window, or window of LoadPictured in "
                "YAML)"
            )
        low, high = window
        shown, is_inverted = (values - low) / (high - low), False
    else:
        shown, is_inverted = _shown(file, values), photometric == "MONOCHROME1"
    pixels = np.clip(shown, 0.0, 1.0)
    turned = 1.0 - pixels if is_inverted else pixels
    return DicomPicture(path, turned.astype(np.float32), slice_.bits_stored, is_inverted, slice_.modality)


def _refuse_kind(file: DicomFile) -> None:
    """Refuse several frames and colour, with the remedy for a picture."""
    frames, samples = file.text("NumberOfFrames"), file.text("SamplesPerPixel")
    if frames not in ("", "0", "1"):
        raise SegpipeError(
            f"{file.path}: a multi-frame file ({frames} frames); an image to classify is one frame: export the frame "
            "as a single image"
        )
    if samples not in ("", "1"):
        raise SegpipeError(
            f"{file.path}: a DICOM file in colour ({samples} values a pixel, "
            f"{file.text('PhotometricInterpretation')}); segpipe reads DICOM files in grey: convert the image to PNG"
        )


def _looked_up(
    file: DicomFile, tag: str, sequence: pydicom.Sequence, values: NDArray[Any]
) -> tuple[NDArray[np.float64], int]:
    """Return the values after the first table of a sequence, and the table's bits.

    pydicom's `apply_voi` cuts indices off at 255 where a table holds 8 bits.
    """
    try:
        item = sequence[0]
        number, first, bits = (int(part) for part in item.LUTDescriptor)
        number, content = number or 1 << 16, item.LUTData
        if isinstance(content, bytes):
            order = "<" if file.pixels is None or file.pixels.is_little_endian else ">"
            entries = np.frombuffer(content, "u1" if len(content) < 2 * number else f"{order}u2")[:number]
        else:
            entries = np.array(content)
        table = entries.astype(np.float64)
    except _LUT_ERRORS as error:
        raise _unusable(file, tag, str(error)) from error
    if len(table) != number or not 1 <= bits <= _MOST_BITS or table.max() >= 1 << bits:
        raise _unusable(
            file,
            tag,
            f"it has {len(table)} entries up to {table.max():g}, {number} of {bits} bits are stated",
        )
    indices = np.clip(np.round(values).astype(np.int64) - first, 0, number - 1)
    return table[indices], bits


def _shown(file: DicomFile, values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return brightness by the first VOI lookup table or window; without one the pixels' range is 0 to 1."""
    if file.header.get(_VOI_LUT):
        looked_up, bits = _looked_up(file, _VOI_LUT, file.header[_VOI_LUT].value, values)
        return looked_up / ((1 << bits) - 1)
    centre, width = _first_number(file, "WindowCenter"), _first_number(file, "WindowWidth")
    if centre is None or width is None:
        low, high = float(values.min()), float(values.max())
        return (values - low) / (high - low if high > low else 1.0)
    function = file.text("VOILUTFunction") or "LINEAR"
    if function not in _FUNCTIONS or width < _LEAST_WIDTH[function]:
        raise SegpipeError(
            f"{file.path}: window of centre {centre:g}, width {width:g} and VOILUTFunction {function}: the function "
            f"must be one of {', '.join(_FUNCTIONS)} and the width at least {_LEAST_WIDTH.get(function, 1):g}; export "
            "the image again, or convert it to PNG"
        )
    return _FUNCTIONS[function](values, centre, width)


def _linear(values: NDArray[np.float64], centre: float, width: float) -> NDArray[np.float64]:
    if width == 1:  # a step
        return np.where(values > centre - 0.5, 1.0, 0.0)
    return (values - (centre - 0.5)) / (width - 1) + 0.5


def _linear_exact(values: NDArray[np.float64], centre: float, width: float) -> NDArray[np.float64]:
    return (values - centre) / width + 0.5


def _sigmoid(values: NDArray[np.float64], centre: float, width: float) -> NDArray[np.float64]:
    brightness: NDArray[np.float64] = 1.0 / (1.0 + np.exp(-4.0 * (values - centre) / width))
    return brightness


_FUNCTIONS = {"LINEAR": _linear, "LINEAR_EXACT": _linear_exact, "SIGMOID": _sigmoid}
_LEAST_WIDTH = {"LINEAR": 1.0, "LINEAR_EXACT": 1e-6, "SIGMOID": 1e-6}


def _first_number(file: DicomFile, tag: str) -> float | None:
    """Return a tag's first number; None where the file does not have the tag."""
    value = file.header.get(tag)
    if isinstance(value, pydicom.multival.MultiValue):
        value = value[0] if value else None
    if value in (None, ""):
        return None
    number = float(value)
    if not np.isfinite(number):
        raise SegpipeError(
            f"{file.path}: {tag} is {value}, a finite number is needed; export the image again"
        )
    return number


def _unusable(file: DicomFile, tag: str, fault: str) -> SegpipeError:
    return SegpipeError(
        f"{file.path}: its lookup table ({tag}) cannot be used ({fault}); export the image again, or convert it to PNG"
    )
