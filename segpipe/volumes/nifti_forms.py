"""The two affines of a NIfTI header, sform and qform, and the checks that they agree."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from nibabel.orientations import aff2axcodes
from nibabel.quaternions import quat2mat

from segpipe.errors import SegpipeError
from segpipe.volumes.geometry import GRID_TOLERANCE, LARGEST_NUMBER, FloatArray, Grid
from segpipe.volumes.volume import NiftiForms

_CODES = range(6)
_SCANNER, _ALIGNED = 1, 2  # an sform to a template (3 to 5) may scale, so that pixdim differs
_UNIT_ROUNDING = 3.6e-7  # of a quaternion in float32: three times its epsilon, as in nibabel
_LONGEST_SQUARED = 1 + 1e-5  # of b, c, d rounded to six digits
_FLOAT32_ROUNDING = 1.2e-7
_SHEARED_SPACING_ROUNDING = 3e-6  # a sheared sform is accepted if pixdim confirms it to float32


def grid_of_forms(size: Sequence[int], fields: Any) -> tuple[Grid, NiftiForms]:
    """Return the grid of a NIfTI header, and both of its affines.

    The sform decides if its code is above 0, else the qform. If both are set they must agree: with equal codes in the
    position of every voxel to `GRID_TOLERANCE`, with different codes in the orientation. Voxel sizes in `pixdim` must
    agree with the sform, since ITK uses `pixdim`.

    Args:
        size: voxels along two or three axes.
        fields: the raw header, a record of nibabel's NIfTI-1 or NIfTI-2 dtype.

    Raises:
        SegpipeError: neither form is set, a set form is unusable, or the two contradict each other.
    """
    sform_code, qform_code = int(fields["sform_code"]), int(fields["qform_code"])
    for name, code in (("sform_code", sform_code), ("qform_code", qform_code)):
        if code not in _CODES:
            raise SegpipeError(f"{name} {code}: must be 0 to {_CODES[-1]}; export the scan again")
    if not sform_code and not qform_code:
        raise SegpipeError(
            "sform_code 0 and qform_code 0: neither affine is set, so which side is left is unknown and programs guess "
            "differently; set one of them from the scan's source, for instance by converting its DICOM series again"
        )
    spacing = _spacing(fields, len(size), needed=qform_code > 0)
    qform = _qform(fields, spacing) if qform_code else None
    sform = _sform(fields) if sform_code else None
    decides = [form for form in (sform, qform) if form is not None]
    grid = Grid.from_affine(size, decides[0])
    if sform is not None and qform is not None:
        _require_agreement(grid, Grid.from_affine(size, qform), sform_code, qform_code, fields)
    if sform is not None and sform_code in (_SCANNER, _ALIGNED):
        _require_spacing(grid, spacing)
    stored = {name: fields[name].copy() for name in _GEOMETRY_FIELDS}
    unit = int(fields["xyzt_units"]) & _TIME_BITS
    time_unit = _TIME_UNITS.get(unit, "unknown")
    return grid, NiftiForms(
        sform_code, qform_code, grid.affine if qform is None else qform, stored, time_unit
    )


_TIME_BITS = 0b111000  # of xyzt_units
_TIME_UNITS = {8: "sec", 16: "msec", 24: "usec"}
_GEOMETRY_FIELDS = (
    *("quatern_b", "quatern_c", "quatern_d", "qoffset_x", "qoffset_y", "qoffset_z"),
    *("srow_x", "srow_y", "srow_z", "pixdim"),
)


def is_unit_quaternion(fields: Mapping[str, Any]) -> bool:
    """Return whether quatern_b, c and d describe a rotation to float32, which nibabel requires in writing."""
    return sum(float(fields[f"quatern_{letter}"]) ** 2 for letter in "bcd") <= 1 + _UNIT_ROUNDING


def _spacing(fields: Any, dims: int, *, needed: bool) -> FloatArray:
    """Return pixdim 1 to 3 in mm; 0 where unset, 1 for the third axis of a 2D image."""
    spacing = np.array(fields["pixdim"][1:4], np.float64)
    if dims == 2 and not spacing[2] > 0:
        spacing[2] = 1.0
    if not (np.abs(spacing) <= LARGEST_NUMBER).all() or spacing.min() < 0:
        raise SegpipeError(
            f"pixdim {_text(spacing)} mm (x, y, z): must be finite and not negative: some programs take a negative one "
            "for a mirrored axis and others not; set the voxel sizes above 0, and the axes in sform or qform"
        )
    if needed and spacing.min() == 0:
        raise SegpipeError(
            f"pixdim {_text(spacing)} mm (x, y, z): spacing must be above 0 where qform_code is set; mend the header"
        )
    return spacing


def _qform(fields: Any, spacing: FloatArray) -> FloatArray:
    factor = float(fields["pixdim"][0])
    if factor not in (-1.0, 0.0, 1.0):
        raise SegpipeError(
            f"pixdim[0] {factor:g}: says which way the third axis runs, must be 1 or -1 (0 counts as 1); "
            "export the scan again"
        )
    imaginary = np.array([fields[f"quatern_{letter}"] for letter in "bcd"], np.float64)
    squared = float(np.square(np.nan_to_num(imaginary, nan=2).clip(-2, 2)).sum())
    if not squared <= _LONGEST_SQUARED:
        raise SegpipeError(
            f"quatern_b, c, d {_text(imaginary)}: no rotation: their squares must add up to at most 1; "
            "export the scan again, or set qform_code to 0 if the sform is right"
        )
    real = np.sqrt(1 - squared) if 1 - squared > _UNIT_ROUNDING else 0.0
    affine = np.eye(4)
    affine[:3, :3] = quat2mat([real, *imaginary]) * spacing
    if factor < 0:
        affine[:3, 2] *= -1
    affine[:3, 3] = [fields[f"qoffset_{letter}"] for letter in "xyz"]
    return affine


def _sform(fields: Any) -> FloatArray:
    return np.array([*(fields[f"srow_{letter}"] for letter in "xyz"), [0, 0, 0, 1]], np.float64)


def _require_agreement(sform: Grid, qform: Grid, sform_code: int, qform_code: int, fields: Any) -> None:
    """Refuse two affines that give the voxels of one file different positions."""
    codes = f"sform (code {sform_code}) and qform (code {qform_code})"
    remedy = "programs follow one or the other; copy the right one over the other, or set the wrong one's code to 0"
    if sform_code == qform_code:
        apart_mm = sform.farthest_mm(qform)
        limit_mm = GRID_TOLERANCE * min(*sform.spacing_mm, *qform.spacing_mm) + _rounding_mm(qform, fields)
        if apart_mm > limit_mm:
            raise SegpipeError(
                f"{codes} disagree: the farthest voxel lies {apart_mm:.3g} mm apart (limit {limit_mm:.3g} mm); {remedy}"
            )
        return
    axes, others = (
        "".join(aff2axcodes(grid.affine)[: grid.spatial_dims]) for grid in (sform, qform)
    )  # an alignment may turn the head a little, never mirror it
    if axes != others:
        raise SegpipeError(f"{codes} disagree: the axes run to {axes} and to {others}; {remedy}")


def _rounding_mm(qform: Grid, fields: Any) -> float:
    """Return the largest displacement of a voxel by float32 rounding, in mm.

    The real part of a quaternion is computed from the other three, so its rounding error is larger.
    """
    squared = float(sum(float(fields[f"quatern_{letter}"]) ** 2 for letter in "bcd"))
    real = np.sqrt(max(1 - squared, 0.0))
    error = float(min(2 * _FLOAT32_ROUNDING / max(real, 1e-9), np.sqrt(2 * _UNIT_ROUNDING)))
    extent_mm = float(np.linalg.norm(np.array(qform.size) * np.array(qform.spacing_mm)))
    return 2 * error * extent_mm + 4 * _FLOAT32_ROUNDING * float(np.abs(qform.affine[:3, 3]).max())


def _require_spacing(grid: Grid, spacing: FloatArray) -> None:
    """Refuse voxel sizes in pixdim that contradict the sform, if both are set."""
    stated = spacing[: grid.spatial_dims]
    if not (stated > 0).all():
        return
    spacing_mm = np.array(grid.spacing_mm)
    moved_mm = np.abs(spacing_mm - stated) * np.maximum(np.array(grid.size) - 1, 1)
    sheared = grid.is_sheared and (np.abs(spacing_mm / stated - 1) > _SHEARED_SPACING_ROUNDING).any()
    if moved_mm.max() > GRID_TOLERANCE * min(spacing_mm.min(), stated.min()) or sheared:
        raise SegpipeError(
            f"sform and pixdim disagree: voxels of {_text(spacing_mm)} vs {_text(stated)} mm (x, y, z); programs "
            "follow one or the other; set pixdim to the sform's voxel sizes if these are right"
        )


def _text(values: FloatArray) -> str:
    return "(" + ", ".join(f"{value:.9g}" for value in values) + ")"
