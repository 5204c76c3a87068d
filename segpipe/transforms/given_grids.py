"""The grid of an image that an embedding program has read itself, from the metadata that came with it."""

from __future__ import annotations

import logging
from collections.abc import Hashable, Mapping, Sequence
from typing import Any

import numpy as np

from segpipe.errors import SegpipeError
from segpipe.printable import printable
from segpipe.volumes import lps_to_ras
from segpipe.volumes.dicom_stack import LARGEST_DEVIATION_SHARE, MAX_TILT_DEGREES
from segpipe.volumes.geometry import FloatArray

_logger = logging.getLogger(__name__)

_SPACING_TOLERANCE = 1e-4
_UNEVEN = 0.02  # positions that a scanner rounds to 0.1 mm differ by less
_DEEP = 3


def given_affine(
    affine: FloatArray, meta: Mapping[Hashable, Any], name: str, size: Sequence[int]
) -> FloatArray:
    """Return the affine of an image that a program has read, where needed corrected by its DICOM metadata.

    MONAI Deploy 4.0.0 gives a DICOM series an affine whose spacings along rows and columns are interchanged. The
    series' own `row_pixel_spacing` and `col_pixel_spacing`, which come with it, are right.

    Args:
        affine: (4, 4), voxel to mm, as the image has it.
        meta: metadata of the image. `space` "LPS" counts, unless the affine is Deploy's `nifti_affine_transform`.
        name: of the image, for messages.
        size: voxels along (x, y) or (x, y, z).

    Returns:
        (4, 4), voxel (column, row, slice) to RAS mm. An image of three axes whose metadata have no grid gets voxels of
        1 mm, and a warning.

    Raises:
        SegpipeError: the slices of a DICOM series are tilted against the line of slices.
    """
    ras = lps_to_ras(affine) if _is_lps(affine, meta) else np.array(affine, np.float64)
    if "row_pixel_spacing" in meta and "col_pixel_spacing" in meta:
        ras = _without_tilt(_with_spacing_of_pixels(ras, meta, name), size[-1], name)
        _warn_of_gaps(ras, meta, name)
    elif len(size) == _DEEP and "original_affine" not in meta and np.array_equal(ras, np.eye(4)):
        _warn(
            f"{name}: the image came without its grid: voxels of 1 mm are assumed, with axes towards right, anterior "
            "and superior; with another grid the labels are wrong: hand over its affine or the DICOM series"
        )
    return ras


def _is_lps(affine: FloatArray, meta: Mapping[Hashable, Any]) -> bool:
    if str(meta.get("space") or "RAS") != "LPS":
        return False
    of_deploy = meta.get("nifti_affine_transform")  # always RAS, also where Deploy names the space LPS
    return of_deploy is None or not np.allclose(affine, np.asarray(of_deploy, np.float64))


def _with_spacing_of_pixels(affine: FloatArray, meta: Mapping[Hashable, Any], name: str) -> FloatArray:
    """Return the affine with the series' own spacing, if its spacings along rows and columns are interchanged."""
    stated = np.array([float(meta["col_pixel_spacing"]), float(meta["row_pixel_spacing"])])
    spacing = np.linalg.norm(affine[:3, :2], axis=0)
    if np.allclose(spacing, stated, rtol=_SPACING_TOLERANCE) or not np.allclose(
        spacing, stated[::-1], rtol=_SPACING_TOLERANCE
    ):
        return affine
    _warn(
        f"{name}: the program gives pixels of {spacing[0]:g} x {spacing[1]:g} mm (x, y), the DICOM series has "
        f"{stated[0]:g} x {stated[1]:g} mm, which is used"
    )
    mended = affine.copy()
    mended[:3, :2] *= stated / spacing
    return mended


def _without_tilt(affine: FloatArray, slices: int, name: str) -> FloatArray:
    """Return the affine without a tilt that rounded positions explain; refuse a true tilt.

    Args:
        affine: (4, 4), voxel to mm.
        slices: their number.
        name: of the image, for messages.
    """
    pixel_mm = float(np.linalg.norm(affine[:3, :2], axis=0).min())
    normal = np.cross(affine[:3, 0], affine[:3, 1])
    normal /= np.linalg.norm(normal)
    step = affine[:3, 2]
    straight = (step @ normal) * normal
    sideways = float(np.linalg.norm(step - straight))
    if sideways * (slices - 1) / 2 <= LARGEST_DEVIATION_SHARE * pixel_mm:
        upright = affine.copy()
        upright[:3, 2] = straight
        return upright
    tilt = float(np.degrees(np.arctan2(sideways, np.linalg.norm(straight))))
    if tilt > MAX_TILT_DEGREES:
        raise SegpipeError(
            f"{name}: gantry tilt of {tilt:.2f} degrees between the slice normal and the line of slices (limit "
            f"{MAX_TILT_DEGREES:g} degrees): the slices make no right-angled grid; correct the tilt first"
        )
    return affine


def _warn_of_gaps(affine: FloatArray, meta: Mapping[Hashable, Any], name: str) -> None:
    """Warn where the first two slices lie at another distance than the slices on average.

    Deploy's `depth_pixel_spacing` of oblique slices is no distance: each component of the step is multiplied by the
    same component of the slice normal.
    """
    if "depth_pixel_spacing" not in meta:
        return
    normal = np.cross(affine[:3, 0], affine[:3, 1])
    usual = float(np.linalg.norm(normal / np.linalg.norm(normal) * affine[:3, 2]))
    first = float(meta["depth_pixel_spacing"])
    if abs(first - usual) > _UNEVEN * usual:
        step = float(np.linalg.norm(affine[:3, 2]))
        _warn(
            f"{name}: {first / usual * step:.4g} mm between the first two slices, {step:.4g} mm on average: slices are "
            "missing, doubled or unevenly spaced; export the whole series again"
        )


def _warn(text: str) -> None:
    _logger.warning("%s", printable(text))
