"""The grid of a volume: position of its voxels in the patient, as size and one affine, in pure NumPy.

NIfTI and MONAI use world axes in RAS (to the Right, Anterior, Superior); DICOM and ITK use LPS (Left, Posterior,
Superior). segpipe's affine is RAS; the files of ITK and DICOM store LPS.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product

import numpy as np
import numpy.typing as npt

from segpipe.errors import SegpipeError

FloatArray = npt.NDArray[np.float64]

GRID_TOLERANCE = 0.01
"""Two grids are equal if their sizes are, and if no voxel's two positions differ by more than this share of a spacing.

The spacing is the smallest one of both grids. Headers hold rounded numbers, so the displacement of a voxel counts, not
the digits.
"""

LARGEST_NUMBER = 1e12
"""Largest number allowed in the geometry of a header; squares and products of such numbers do not overflow."""

_RAS_TO_LPS = np.diag([-1.0, -1.0, 1.0, 1.0])
_PLANE_TOLERANCE = 1e-4  # mm and direction cosines out of the plane of a 2D file
_SHEAR_TOLERANCE = 1e-4  # cosine between two axes
_ORTHONORMAL_TOLERANCE = 1e-3  # headers hold cosines of four digits
_UNIT_TOLERANCE = 1e-4  # of axes that are not perpendicular: rounding error of a length, with four digits
_TILT = 0.02  # a cosine: about one degree
_EXACT = 1e-12
_SINGULAR_TOLERANCE = 1e-6  # volume of the parallelepiped of the unit axes
_SPACING_FLOOR_MM = 1e-9


def ras_to_lps(affine_ras: npt.ArrayLike) -> FloatArray:
    """Turn a (4, 4) voxel-to-world affine from RAS into LPS millimetres."""
    return _RAS_TO_LPS @ np.asarray(affine_ras, np.float64)


def lps_to_ras(affine_lps: npt.ArrayLike) -> FloatArray:
    """Turn a (4, 4) voxel-to-world affine from LPS into RAS millimetres."""
    return _RAS_TO_LPS @ np.asarray(affine_lps, np.float64)  # its own inverse


def checked_axes(axes: npt.ArrayLike) -> FloatArray:
    """Check the axes of a MetaImage or NRRD file and return the axes of its grid.

    Axes that are perpendicular up to rounding are made perpendicular (the nearest rotation, by polar decomposition).
    Axes at another angle stay unchanged if every row and column of their matrix is a unit vector, and if no change of a
    single sign makes them perpendicular.

    Args:
        axes: (2, 2) or (3, 3), direction cosines as columns, right- or left-handed.

    Raises:
        SegpipeError: a row or a column is no unit vector, two axes deviate by more than rounding and less than a
            degree, or one sign is wrong; these are signs of a damaged number.
    """
    axes = np.asarray(axes, np.float64)
    lengths = np.linalg.norm(axes, axis=0)
    off = float(np.abs([*(lengths - 1), *(np.linalg.norm(axes, axis=1) - 1)]).max())
    cosine = _largest_cosine(axes)
    if cosine > _TILT and off <= _UNIT_TOLERANCE and not _one_sign_is_wrong(axes):
        return axes
    if not max(off, cosine) <= _ORTHONORMAL_TOLERANCE:
        raise SegpipeError(
            f"axes {_numbers(axes.T)}: must be perpendicular unit vectors (to {_ORTHONORMAL_TOLERANCE:g}), have "
            f"lengths {_numbers(lengths)} and a cosine of {cosine:.2g} between two; export the scan again"
        )
    left, _, right = np.linalg.svd(axes)
    nearest: FloatArray = left @ right
    # axes without rounding errors keep their digits
    return axes if np.abs(nearest - axes).max() < _EXACT else nearest


def _largest_cosine(axes: FloatArray) -> float:
    """Return the largest scalar product of two columns, which is the cosine of unit vectors."""
    products = axes.T @ axes
    return float(np.abs(products - np.diag(np.diag(products))).max())


def _one_sign_is_wrong(axes: FloatArray) -> bool:
    """Return whether changing the sign of one number makes the axes perpendicular."""
    for place in np.ndindex(axes.shape):
        mended = axes.copy()
        mended[place] *= -1
        if _largest_cosine(mended) <= _ORTHONORMAL_TOLERANCE:
            return True
    return False


@dataclass(frozen=True)
class Grid:
    """The voxel lattice of a volume: number and positions of the voxels.

    A 2D grid has a position in the patient too: its affine is 4 x 4. No voxel uses the third column, so it is never
    compared. `==` compares exact values; `matches` compares with a tolerance.

    Args:
        size: voxels along (x, y) or (x, y, z), each >= 1.
        affine_rows: the (4, 4) affine from voxel index to RAS millimetres as nested tuples; use
            `from_affine`.

    Raises:
        SegpipeError: the affine has a value that is not finite, a zero spacing, or axes that lie in one
            plane.
    """

    size: tuple[int, ...]
    affine_rows: tuple[tuple[float, ...], ...]

    def __post_init__(self) -> None:
        if len(self.size) not in (2, 3) or min(self.size) < 1:
            raise SegpipeError(
                f"size {self.size}: a volume has 2 or 3 axes of at least 1 voxel each; write it as 2D or 3D"
            )
        affine = self.affine
        if affine.shape != (4, 4) or not np.array_equal(affine[3], [0, 0, 0, 1]):
            raise SegpipeError(f"affine {_numbers(affine)}: must be 4 x 4 with last row (0, 0, 0, 1)")
        if not (np.abs(affine) <= LARGEST_NUMBER).all():
            raise SegpipeError(
                f"affine {_numbers(affine[:3])}: every value must be finite and at most {LARGEST_NUMBER:g}; mend the "
                "header"
            )
        norms = np.linalg.norm(affine[:3, :3], axis=0)
        if norms.min() < _SPACING_FLOOR_MM:
            raise SegpipeError(f"spacing {_numbers(norms)} mm (x, y, z): must be above 0; mend the header")
        volume = abs(np.linalg.det(affine[:3, :3] / norms))
        if volume < _SINGULAR_TOLERANCE:
            raise SegpipeError(
                f"affine {_numbers(affine[:3])}: singular, its axes lie in one plane (their unit vectors "
                f"span {volume:.2g}, must be above {_SINGULAR_TOLERANCE:.0e}); mend the header"
            )

    @classmethod
    def from_affine(cls, size: Sequence[int], affine_ras: npt.ArrayLike) -> Grid:
        """Make a grid from its (4, 4) affine, voxel index to RAS millimetres.

        Args:
            size: voxels along (x, y) or (x, y, z).
            affine_ras: shape (4, 4); for a 2D grid the third column must only be independent of the first
                two.

        Raises:
            SegpipeError: see the class.
        """
        rows = tuple(tuple(float(value) for value in row) for row in np.asarray(affine_ras, np.float64))
        return cls(tuple(int(length) for length in size), rows)

    @classmethod
    def from_lps(
        cls,
        size: Sequence[int],
        spacing: Sequence[float],
        origin: Sequence[float],
        direction: npt.ArrayLike,
    ) -> Grid:
        """Make a grid from the geometry that ITK and DICOM store.

        Args:
            size: voxels along (x, y) or (x, y, z).
            spacing: mm along each axis, of the size's length.
            origin: LPS mm of the first voxel's centre, of the size's length or 3; two values mean z = 0.
            direction: unit axes as columns, (2, 2) or (3, 3), or the same values row by row in one sequence. A 2 x 2
                matrix gets a third axis of 1 mm that makes it right-handed.

        Raises:
            SegpipeError: see the class.
        """
        if min(spacing) <= 0:
            raise SegpipeError(f"spacing {tuple(spacing)} mm (x, y, z): must be above 0; mend the header")
        dims = len(size)
        flat = np.asarray(direction, np.float64).reshape(-1)
        axes = np.zeros((3, 3))
        if flat.size == 4:
            axes[:2, :2] = flat.reshape(2, 2)
            axes[2, 2] = -1.0 if np.linalg.det(axes[:2, :2]) < 0 else 1.0
        else:
            axes[:] = flat.reshape(3, 3)
        affine = np.eye(4)
        affine[:3, :3] = axes * np.array([*spacing[:dims], *[1.0] * (3 - dims)])
        affine[: len(origin), 3] = origin
        return cls.from_affine(size, lps_to_ras(affine))

    @property
    def affine(self) -> FloatArray:
        """A fresh (4, 4) float64 affine, voxel index to RAS millimetres."""
        return np.array(self.affine_rows, np.float64)

    @property
    def spatial_dims(self) -> int:
        """2 or 3."""
        return len(self.size)

    @property
    def spacing_mm(self) -> tuple[float, ...]:
        """Distance in mm between voxel centres along each axis of `size`."""
        norms = np.linalg.norm(self.affine[:3, : self.spatial_dims], axis=0)
        return tuple(float(norm) for norm in norms)

    @property
    def origin_lps(self) -> FloatArray:
        """LPS mm of the first voxel's centre, shape (3,) for 2D grids too."""
        return ras_to_lps(self.affine)[:3, 3]

    @property
    def direction_lps(self) -> FloatArray:
        """Unit axes in LPS as columns, shape (3, 3) for 2D grids too."""
        axes = ras_to_lps(self.affine)[:3, :3]
        unit: FloatArray = axes / np.linalg.norm(axes, axis=0)
        return unit

    @property
    def is_sheared(self) -> bool:
        """True when two axes of the volume are not perpendicular (cosine above 1e-4)."""
        axes = self.direction_lps[:, : self.spatial_dims]
        cosines = axes.T @ axes - np.eye(self.spatial_dims)
        return bool(np.abs(cosines).max() > _SHEAR_TOLERANCE)

    @property
    def is_axial_plane(self) -> bool:
        """True for a 2D grid that a 2D file can store: axes in the xy plane, origin at z = 0."""
        out_of_plane = [*self.direction_lps[2, :2], self.origin_lps[2]]
        return self.spatial_dims == 2 and bool(np.abs(out_of_plane).max() <= _PLANE_TOLERANCE)

    def farthest_mm(self, other: Grid) -> float:
        """Return the largest distance in mm between a voxel's position on this grid and on the other grid.

        Args:
            other: a grid of the same size. The third axis of a 2D grid does not count.
        """
        return _farthest_mm(self.size, self.affine - other.affine)

    def differences(self, other: Grid, tolerance: float = GRID_TOLERANCE) -> list[str]:
        """List the differences between two grids, each with both values and units.

        Args:
            other: the grid whose values come second.
            tolerance: largest distance allowed between a voxel's two positions, as a share of the smallest spacing.

        Returns:
            One text a difference, and last the largest distance between a voxel's two positions; empty for equal grids.
        """
        dims = self.spatial_dims
        sizes = f"size {self.size} vs {other.size} voxels (x, y, z)"
        if dims != other.spatial_dims:
            return [sizes]
        differing = [sizes] if self.size != other.size else []
        limit_mm = tolerance * min(*self.spacing_mm, *other.spacing_mm)
        apart_mm = self.farthest_mm(other)
        if apart_mm <= limit_mm:
            return differing
        mine, theirs = np.array(self.spacing_mm), np.array(other.spacing_mm)
        directions = self.direction_lps[:, :dims], other.direction_lps[:, :dims]
        lengths_mm = np.array(self.size) * mine
        quantities = (
            ("spacing {} vs {} mm (x, y, z)", (mine, theirs), np.array(self.size) * (mine - theirs)),
            (
                "origin {} vs {} mm (LPS)",
                (self.origin_lps, other.origin_lps),
                self.origin_lps - other.origin_lps,
            ),
            ("direction {} vs {} (LPS, rows)", directions, (directions[0] - directions[1]) * lengths_mm),
        )
        for text, values, moved_mm in quantities:
            if np.abs(moved_mm).max() > limit_mm / len(quantities):
                differing.append(text.format(*map(_numbers, values)))
        differing.append(
            f"the farthest voxel lies {apart_mm:.3g} mm apart (limit {limit_mm:.3g} mm, {tolerance:.0%} of the "
            "smallest spacing)"
        )
        return differing

    def matches(self, other: Grid, tolerance: float = GRID_TOLERANCE) -> bool:
        """Return whether the grids are equal within `tolerance`, see `differences`."""
        return not self.differences(other, tolerance)

    def __str__(self) -> str:
        """One line: size, spacing, origin and direction with units."""
        return (
            f"size {self.size} voxels, spacing {_numbers(np.array(self.spacing_mm))} mm, origin "
            f"{_numbers(self.origin_lps)} mm (LPS), direction {_numbers(self.direction_lps)}"
        )


def _farthest_mm(size: Sequence[int], difference: FloatArray) -> float:
    """Return the largest displacement between two affines, which is at a corner since the displacement is linear.

    An axis of one voxel counts as two voxels, since its spacing is the thickness of the voxel.
    """
    corners = np.array(list(product(*((0, max(length - 1, 1)) for length in size))), np.float64)
    moved = corners @ difference[:3, : len(size)].T + difference[:3, 3]
    return float(np.linalg.norm(moved, axis=1).max())


def _numbers(values: FloatArray) -> str:
    """Write an array as plain numbers to 7 digits: (1, 0.5, 2) or ((1, 0), (0, 1))."""
    if values.ndim == 0:
        return f"{float(values) + 0.0:.7g}"
    return "(" + ", ".join(_numbers(value) for value in values) + ")"
