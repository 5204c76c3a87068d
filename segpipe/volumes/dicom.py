"""Read one DICOM series of a folder: choose it by UID, sort its slices by position, refuse inconsistent slices.

The position of a slice is its ImagePositionPatient along the slice normal, never its file name.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from segpipe.errors import SegpipeError, shown
from segpipe.volumes.dicom_headers import series_files
from segpipe.volumes.dicom_pixels import read_intensities
from segpipe.volumes.dicom_slice import DicomSlice, dicom_slice
from segpipe.volumes.dicom_stack import fit_line
from segpipe.volumes.formats import VolumeFormat
from segpipe.volumes.geometry import FloatArray, Grid
from segpipe.volumes.needed_memory import require_free_memory
from segpipe.volumes.volume import Volume, VolumeHeader

SLICE_TOLERANCE = 0.05
"""Slices of one series may differ in pixel spacing and orientation if no voxel moves by this share of a pixel."""

_ORTHONORMAL_TOLERANCE = 1e-3  # headers hold rounded cosines
_MOVE_APART = "move the others (often a localiser) to another folder"
_EXPORT_AGAIN = "export the series again"


@dataclass(frozen=True)
class _Shared:
    """A quantity that must be equal in all slices of a series.

    Args:
        quantity: name of the quantity.
        tags: names of the quantity's tags.
        unit: text after the value in a message.
        text_of: returns the value of a slice, as text.
        remedy: advice for slices that differ.
    """

    quantity: str
    tags: str
    unit: str = ""
    text_of: Callable[[DicomSlice], str] = str
    remedy: str = _MOVE_APART


_SHARED = (
    _Shared("modality", "Modality", "", lambda s: s.modality),
    _Shared("kind", "SOPClassUID", "", lambda s: s.sop_class.name),
    _Shared("size", "Columns and Rows", " voxels (x, y)", lambda s: f"({s.columns}, {s.rows})"),
    _Shared("frame of reference", "FrameOfReferenceUID", "", lambda s: s.frame_of_reference or "none"),
    _Shared("bits a pixel", "BitsAllocated", "", lambda s: str(s.bits_allocated), _EXPORT_AGAIN),
    _Shared("bits in use", "BitsStored", "", lambda s: str(s.bits_stored), _EXPORT_AGAIN),
    _Shared("sign", "PixelRepresentation", "", lambda s: str(int(s.is_signed)), _EXPORT_AGAIN),
    _Shared(
        "brightness", "PhotometricInterpretation", "", lambda s: s.photometric_interpretation, _EXPORT_AGAIN
    ),
    _Shared("meaning", "RescaleType", "", lambda s: s.rescale_type or "none", _EXPORT_AGAIN),
    _Shared("units", "Units", "", lambda s: s.units or "none", _EXPORT_AGAIN),
    _Shared(
        "scaling", "RescaleSlope and RescaleIntercept", "", lambda s: s.rescale_tags or "none", _EXPORT_AGAIN
    ),
)
_SHARED_BY_CT = _Shared(
    "scaling in a CT",
    "RescaleSlope and RescaleIntercept",
    " (slope, intercept)",
    lambda s: f"({s.slope:g}, {s.intercept:g})",
    _EXPORT_AGAIN,
)


@dataclass(frozen=True)
class _Series:
    """The sorted slices of one series, with the header of their volume."""

    slices: list[DicomSlice]
    header: VolumeHeader


def read_series(folder: str | Path, series_uid: str | None = None) -> Volume:
    """Read the only image series of a folder, or the series `series_uid`.

    Slices are sorted along the slice normal (row direction x column direction), which is the z axis of the grid. Each
    slice is scaled by its RescaleSlope and RescaleIntercept: integers stay integers where every slope and intercept is
    whole, and become float32 otherwise. Intensities are measured values: MONOCHROME1 inverts projection images (CR,
    DX, MG), never CT, MR or PT.

    Args:
        folder: contains the files of the series, under any names; folders below it are ignored.
        series_uid: SeriesInstanceUID, needed only where the folder has several image series.

    Returns:
        array (x, y, z), int16, uint16, int32 or float32; the grid is a least-squares fit to the slice positions.

    Raises:
        SegpipeError: no image series or several, gaps, two slices at one place, slices of different size,
            spacing, orientation or encoding, gantry tilt above 0.1 degrees, missing tags, multi-frame or colour
            files, a truncated file.
    """
    series = _sorted_series(Path(folder), series_uid)
    require_free_memory(series.header)
    dtype = series.header.dtype
    array = np.empty(series.header.grid.size, dtype, order="F")
    for index, slice_ in enumerate(series.slices):
        array[:, :, index] = read_intensities(slice_, dtype)
    return Volume(
        array,
        series.header.grid,
        Path(folder),
        VolumeFormat.DICOM,
        modality=series.slices[0].modality,
        is_hounsfield=all(slice_.is_hounsfield for slice_ in series.slices),
    )


def read_series_header(folder: str | Path, series_uid: str | None = None) -> VolumeHeader:
    """Read and check the headers of a series without its pixels; arguments and errors as `read_series`."""
    return _sorted_series(Path(folder), series_uid).header


def sorted_slices(folder: str | Path, series_uid: str | None = None) -> list[DicomSlice]:
    """Return the slices of a series in the order of z; arguments and errors as `read_series`."""
    return _sorted_series(Path(folder), series_uid).slices


def _sorted_series(folder: Path, series_uid: str | None) -> _Series:
    chosen = series_files(folder, series_uid)
    where = f"{folder} (series {chosen.uid})"
    slices = [dicom_slice(file) for file in chosen.files]
    _refuse_unequal(where, slices)
    spacing, axes = _common_spacing(where, slices), _common_axes(where, slices)
    row, column = axes[:, 0], axes[:, 1]
    normal = np.cross(row, column)
    slices = sorted(slices, key=lambda slice_: float(slice_.position_lps @ normal))
    line = fit_line(where, slices, normal, min(spacing))
    distance = float(np.linalg.norm(line.step_lps))
    size = (slices[0].columns, slices[0].rows, len(slices))
    origin = [float(value) for value in line.origin_lps]
    directions = np.stack([row, column, line.step_lps / distance], axis=1)
    try:
        grid = Grid.from_lps(size, (*spacing, distance), origin, directions)
    except SegpipeError as error:
        raise SegpipeError(f"{where}: {error}") from None
    return _Series(slices, VolumeHeader(folder, VolumeFormat.DICOM, grid, 1, _series_dtype(slices)))


def _refuse_unequal(where: str, slices: Sequence[DicomSlice]) -> None:
    """Refuse slices that differ from the first one in a quantity of `_SHARED`."""
    for rule in (*_SHARED, *([_SHARED_BY_CT] if slices[0].modality == "CT" else [])):
        texts = [rule.text_of(slice_) for slice_ in slices]
        _refuse_odd(where, slices, rule, texts, [text != texts[0] for text in texts])


def _refuse_odd(
    where: str, slices: Sequence[DicomSlice], rule: _Shared, texts: Sequence[str], is_odd: Sequence[bool]
) -> None:
    odd = [i for i, differs in enumerate(is_odd) if differs]
    if odd:
        raise SegpipeError(
            f"{where}: slices of different {rule.quantity}: {texts[0]}{rule.unit} in {slices[0].path.name} vs "
            f"{texts[odd[0]]} in {shown(slices[i].path.name for i in odd)}; {rule.tags} must be one: {rule.remedy}"
        )


def _common_spacing(where: str, slices: Sequence[DicomSlice]) -> tuple[float, float]:
    """Refuse slices of different pixel spacing; return the common spacing in mm (x, y)."""
    first = slices[0]
    spacings = np.array([slice_.spacing_xy_mm for slice_ in slices])
    smallest = float(spacings.min())
    if smallest <= 0:
        raise SegpipeError(f"{where}: PixelSpacing {smallest:g} mm: must be above 0; {_EXPORT_AGAIN}")
    moved = (np.abs(spacings - spacings[0]) * (first.columns - 1, first.rows - 1)).max(axis=1)
    is_odd = list(moved > SLICE_TOLERANCE * smallest)
    rule = _Shared("pixel spacing", f"PixelSpacing moves a voxel by {moved.max():.2g} mm and", " mm (x, y)")
    _refuse_odd(where, slices, rule, [_text(spacing) for spacing in spacings], is_odd)
    usual = spacings[_middle(spacings)]
    return float(usual[0]), float(usual[1])


def _common_axes(where: str, slices: Sequence[DicomSlice]) -> FloatArray:
    """Refuse slices of different orientation; return the common unit vectors along x and y in LPS, (3, 2)."""
    orientations = np.array([slice_.orientation_lps for slice_ in slices])
    rows, columns = orientations[:, :3], orientations[:, 3:]
    for slice_, row, column in zip(slices, rows, columns, strict=True):
        lengths = np.array([np.linalg.norm(row), np.linalg.norm(column)])
        cosine = float(row @ column)
        if np.abs(lengths - 1).max() > _ORTHONORMAL_TOLERANCE or abs(cosine) > _ORTHONORMAL_TOLERANCE:
            raise SegpipeError(
                f"{where}: ImageOrientationPatient {_text(slice_.orientation_lps)} in {slice_.path.name}: must "
                f"be two perpendicular unit vectors, has lengths {_text(lengths)} and cosine {cosine:.4g}; "
                f"{_EXPORT_AGAIN}"
            )
    first = slices[0]
    moved = np.linalg.norm(rows - rows[0], axis=1) * first.spacing_xy_mm[0] * (first.columns - 1)
    moved += np.linalg.norm(columns - columns[0], axis=1) * first.spacing_xy_mm[1] * (first.rows - 1)
    is_odd = list(moved > SLICE_TOLERANCE * min(first.spacing_xy_mm))
    tags = f"ImageOrientationPatient moves a voxel by {moved.max():.2g} mm and"
    _refuse_odd(
        where, slices, _Shared("orientation", tags, " (LPS)"), [_text(o) for o in orientations], is_odd
    )
    usual = _middle(orientations)
    # headers hold rounded cosines: the perpendicular unit vectors nearest to them
    left, _, right = np.linalg.svd(np.stack([rows[usual], columns[usual]], axis=1), full_matrices=False)
    axes: FloatArray = left @ right
    return axes


def _middle(values: FloatArray) -> int:
    """Return the index of the row of (n, k) values with the smallest sum of distances to the other rows."""
    different, inverse = np.unique(values, axis=0, return_inverse=True)
    counts = np.bincount(inverse.reshape(-1))
    sums = [float(counts @ np.abs(different - value).sum(axis=1)) for value in different]
    return int(np.flatnonzero(inverse.reshape(-1) == int(np.argmin(sums)))[0])


def _series_dtype(slices: Sequence[DicomSlice]) -> np.dtype[Any]:
    if not all(slice_.slope.is_integer() and slice_.intercept.is_integer() for slice_ in slices):
        return np.dtype(np.float32)
    bounds = [slice_.slope * end + slice_.intercept for slice_ in slices for end in slice_.stored_range]
    for dtype in (np.int16, np.uint16, np.int32):
        if np.iinfo(dtype).min <= min(bounds) and max(bounds) <= np.iinfo(dtype).max:
            return np.dtype(dtype)
    return np.dtype(np.float64)


def _text(values: FloatArray) -> str:
    return "(" + ", ".join(f"{value:.7g}" for value in values) + ")"
