"""One DICOM series from a folder: chosen by its UID, sorted by position, refused where slices do not add up.

Neither file names nor InstanceNumber say where a slice lies; ImagePositionPatient along the slice normal
does.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import SimpleITK as sitk  # noqa: N813 - the name all its users know

from segpipe.errors import SegpipeError
from segpipe.volumes.dicom_headers import DicomImage, DicomSlice, dicom_images
from segpipe.volumes.formats import VolumeFormat
from segpipe.volumes.geometry import FloatArray, Grid
from segpipe.volumes.volume import Volume, VolumeHeader, VoxelArray

SLICE_GAP_TOLERANCE = 0.01
"""Distances between neighbouring slices may differ from their median by this share of it, or by 0.01 mm."""

MAX_TILT_DEGREES = 0.1
"""Largest angle between the line through the slice positions and the slice normal."""

_GAP_TOLERANCE_MM = 0.01
_SAME_PLACE_MM = 1e-3
_LINE_TOLERANCE = 0.05  # of a slice distance, between a slice and its place in the regular stack
_ORIENTATION_TOLERANCE = 1e-4  # between slices, direction cosines
_ORTHONORMAL_TOLERANCE = 1e-3  # headers hold rounded cosines
_NAMES_SHOWN = 5


@dataclass(frozen=True)
class _Series:
    """The slices of one series, sorted, with what they share."""

    slices: list[DicomSlice]
    header: VolumeHeader


def read_series(folder: str | Path, series_uid: str | None = None) -> Volume:
    """Read the one image series of a folder, or the one that `series_uid` names.

    Slices are sorted along the slice normal (row direction x column direction), so the z axis of the grid
    points along it. Each slice's own RescaleSlope and RescaleIntercept are applied: integers stay integers
    where every slope and intercept is whole, and become float32 otherwise.

    Args:
        folder: holds the files of the series, under any names; folders below it are not looked into.
        series_uid: SeriesInstanceUID, needed only where the folder has several image series.

    Returns:
        array (x, y, z), int16, uint16, int32 or float32; the grid comes from the slice positions.

    Raises:
        SegpipeError: no image series or several, gaps, two slices at one place, slices of different size,
            spacing or orientation, gantry tilt above 0.1 degrees, missing tags, multi-frame or colour
            files, truncated pixels.
    """
    series = _sorted_series(Path(folder), series_uid)
    dtype = series.header.dtype
    array = np.empty(series.header.grid.size, dtype, order="F")
    for index, slice_ in enumerate(series.slices):
        array[:, :, index] = _read_slice(slice_, dtype)
    return Volume(
        array,
        series.header.grid,
        Path(folder),
        VolumeFormat.DICOM,
        modality=series.slices[0].modality,
        is_hounsfield=all(slice_.is_hounsfield for slice_ in series.slices),
    )


def read_series_header(folder: str | Path, series_uid: str | None = None) -> VolumeHeader:
    """Do everything that `read_series` does short of reading pixels; same arguments and errors."""
    return _sorted_series(Path(folder), series_uid).header


def _sorted_series(folder: Path, series_uid: str | None) -> _Series:
    where, slices = _choose(folder, dicom_images(folder), series_uid)
    _refuse_mixed(where, slices)
    row, column = _axes(where, slices[0])
    normal = np.cross(row, column)
    slices = sorted(slices, key=lambda slice_: float(slice_.position_lps @ normal))
    step = _step(where, slices, normal)
    first = slices[0]
    axes = np.stack([row, column, step / np.linalg.norm(step)], axis=1)
    size = (first.columns, first.rows, len(slices))
    spacing = (first.spacing_xy_mm[0], first.spacing_xy_mm[1], float(np.linalg.norm(step)))
    try:
        grid = Grid.from_lps(size, spacing, [float(value) for value in first.position_lps], axes)
    except SegpipeError as error:
        raise SegpipeError(f"{where}: {error}") from None
    return _Series(slices, VolumeHeader(folder, VolumeFormat.DICOM, grid, 1, _series_dtype(slices)))


def _choose(
    folder: Path, by_uid: dict[str, list[DicomImage]], series_uid: str | None
) -> tuple[str, list[DicomSlice]]:
    listing = "; ".join(_describe(uid, images) for uid, images in sorted(by_uid.items()))
    if series_uid is None and len(by_uid) > 1:
        raise SegpipeError(
            f"{folder}: {len(by_uid)} image series in one folder, must be one; choose with series_uid or "
            f"move them apart: {listing}"
        )
    if series_uid is not None and series_uid not in by_uid:
        raise SegpipeError(f"{folder}: no image series {series_uid} there; choose one of: {listing}")
    uid = series_uid if series_uid is not None else next(iter(by_uid))
    return f"{folder} (series {uid})", [image.slice() for image in by_uid[uid]]


def _describe(uid: str, images: list[DicomImage]) -> str:
    header = images[0].header
    description = header.get("SeriesDescription") or "no description"
    return f"{uid} ({len(images)} files, {header.get('Modality', 'unknown modality')}, {description})"


def _refuse_mixed(where: str, slices: list[DicomSlice]) -> None:
    first = slices[0]
    mixes = (
        ("size", "voxels (x, y)", [np.array([s.columns, s.rows], np.float64) for s in slices], 0.0),
        ("pixel spacing", "mm (x, y)", [np.array(s.spacing_xy_mm) for s in slices], _ORIENTATION_TOLERANCE),
        ("orientation", "(LPS)", [s.orientation_lps for s in slices], _ORIENTATION_TOLERANCE),
    )
    for quantity, unit, values, tolerance in mixes:
        odd = [i for i, value in enumerate(values) if np.abs(value - values[0]).max() > tolerance]
        if odd:
            raise SegpipeError(
                f"{where}: slices of different {quantity}: {_text(values[0])} {unit} in {first.path.name} "
                f"vs {_text(values[odd[0]])} in {_names([slices[i] for i in odd])}; must be one: move the "
                "others (often a localiser) to another folder"
            )


def _axes(where: str, slice_: DicomSlice) -> tuple[FloatArray, FloatArray]:
    row, column = slice_.orientation_lps[:3], slice_.orientation_lps[3:]
    lengths = np.array([np.linalg.norm(row), np.linalg.norm(column)])
    cosine = float(row @ column)
    if np.abs(lengths - 1).max() > _ORTHONORMAL_TOLERANCE or abs(cosine) > _ORTHONORMAL_TOLERANCE:
        raise SegpipeError(
            f"{where}: ImageOrientationPatient {_text(slice_.orientation_lps)} in {slice_.path.name}: must "
            f"be two perpendicular unit vectors, has lengths {_text(lengths)} and cosine {cosine:.4g}; "
            "export the series again"
        )
    return row / lengths[0], column / lengths[1]


def _step(where: str, slices: list[DicomSlice], normal: FloatArray) -> FloatArray:
    """Return the vector in LPS mm from one slice to the next, after refusing what is no regular stack."""
    if len(slices) == 1:
        thickness = slices[0].thickness_mm
        if thickness is None:
            raise SegpipeError(
                f"{where}: a single slice without SpacingBetweenSlices or SliceThickness: its z spacing in "
                "mm is unknown; export the series again with either tag"
            )
        return normal * thickness
    positions = np.array([slice_.position_lps for slice_ in slices])
    heights = positions @ normal
    distances = np.diff(heights)
    typical = float(np.median(distances))
    tolerance = max(SLICE_GAP_TOLERANCE * typical, _GAP_TOLERANCE_MM)
    same = np.flatnonzero(distances <= _SAME_PLACE_MM)
    if same.size:
        pairs = [slice_ for i in same for slice_ in (slices[i], slices[i + 1])]
        raise SegpipeError(
            f"{where}: {same.size} slices at the position of another (0 mm apart, must be above "
            f"{_SAME_PLACE_MM} mm): {_names(pairs)}; keep one of each: a repeated export, or several "
            "echoes or time points to move apart"
        )
    odd = np.flatnonzero(np.abs(distances - typical) > tolerance)
    if odd.size:
        i = int(odd[0])
        raise SegpipeError(
            f"{where}: gap in the series: {distances[i]:.4g} mm between {slices[i].path.name} and "
            f"{slices[i + 1].path.name}, {typical:.4g} mm is usual (tolerance {tolerance:.2g} mm; "
            f"{odd.size} such places); slices are missing or unevenly spaced: export the whole series again"
        )
    travel = positions[-1] - positions[0]
    tilt = float(np.degrees(np.arctan2(np.linalg.norm(np.cross(normal, travel)), travel @ normal)))
    if tilt > MAX_TILT_DEGREES:
        raise SegpipeError(
            f"{where}: gantry tilt of {tilt:.2f} degrees between the slice normal and the line of slices "
            f"from {slices[0].path.name} to {slices[-1].path.name} (limit {MAX_TILT_DEGREES} degrees): the "
            "slices make no right-angled grid; correct the tilt first"
        )
    step: FloatArray = travel / (len(slices) - 1)
    line = positions[0] + np.arange(len(slices))[:, None] * step
    off = np.linalg.norm(positions - line, axis=1)
    limit = max(_LINE_TOLERANCE * typical, _GAP_TOLERANCE_MM)
    if off.max() > limit:
        worst = int(np.argmax(off))
        raise SegpipeError(
            f"{where}: {slices[worst].path.name} lies {off[worst]:.4g} mm off the line of the other slices "
            f"(limit {limit:.2g} mm); export the series again"
        )
    return step


def _series_dtype(slices: list[DicomSlice]) -> np.dtype[Any]:
    if not all(slice_.slope.is_integer() and slice_.intercept.is_integer() for slice_ in slices):
        return np.dtype(np.float32)
    bounds = [slice_.slope * end + slice_.intercept for slice_ in slices for end in slice_.stored_range]
    for dtype in (np.int16, np.uint16, np.int32):
        if np.iinfo(dtype).min <= min(bounds) and max(bounds) <= np.iinfo(dtype).max:
            return np.dtype(dtype)
    return np.dtype(np.float64)


_SITK_FLOATS = {
    np.dtype(np.float32): sitk.sitkFloat32,
    np.dtype(np.float64): sitk.sitkFloat64,
}


def _read_slice(slice_: DicomSlice, dtype: np.dtype[Any]) -> VoxelArray:
    """Read one slice's pixels as (x, y), rescaled by GDCM with that slice's own slope and intercept."""
    slice_.check_pixel_bytes()
    reader = sitk.ImageFileReader()
    reader.SetImageIO("GDCMImageIO")
    reader.SetFileName(str(slice_.path))
    whole = np.issubdtype(dtype, np.integer)
    # int32 first: ITK would wrap what a narrower type cannot hold
    reader.SetOutputPixelType(sitk.sitkInt32 if whole else _SITK_FLOATS[dtype])
    try:
        image = reader.Execute()
    except RuntimeError as error:
        raise SegpipeError(
            f"{slice_.path}: pixels truncated, corrupt or in an encoding that cannot be read "
            f"({str(error).strip().splitlines()[-1]}); export the series again, uncompressed"
        ) from error
    array: VoxelArray = sitk.GetArrayFromImage(image)
    if array.size != slice_.rows * slice_.columns:
        raise SegpipeError(
            f"{slice_.path}: {array.size} pixels read, {slice_.rows} x {slice_.columns} announced; export "
            "it again"
        )
    if whole:
        low, high = int(array.min()), int(array.max())
        if low < np.iinfo(dtype).min or high > np.iinfo(dtype).max:
            raise SegpipeError(
                f"{slice_.path}: intensities {low} to {high} lie outside {dtype}, which BitsStored, slope "
                "and intercept allow; export the series again"
            )
    return array.reshape(slice_.rows, slice_.columns).T


def _names(slices: list[DicomSlice]) -> str:
    shown = ", ".join(slice_.path.name for slice_ in slices[:_NAMES_SHOWN])
    more = len(slices) - _NAMES_SHOWN
    return f"{shown} and {more} more" if more > 0 else shown


def _text(values: FloatArray) -> str:
    return "(" + ", ".join(f"{value:.7g}" for value in values) + ")"
