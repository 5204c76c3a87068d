"""Maps the voxels of a scan to its preprocessed image: the inverse of a transform chain, axis by axis."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import nibabel
import numpy as np
from monai.data import MetaTensor
from monai.data.utils import to_affine_nd
from numpy.typing import NDArray

from segpipe.inference.streaming import CannotStreamError
from segpipe.monai_internals import AppliedOperation, applied_operations
from segpipe.transforms.spline_spacing import SPACING

_SAME_AFFINE = 1e-3  # MONAI resamples nothing where two affines differ by less
_CLOSE = 1e-3  # voxels that two computations of one place may differ by


@dataclass(frozen=True)
class AxisMap:
    """A map along one axis of a scan: each plane is interpolated from two planes of the preprocessed image.

    Attributes:
        axis: of the image, 0 to 2.
        lower, upper: planes of the image, int64 `(n,)`; weight 0 outside the image.
        lower_weight, upper_weight: float32 `(n,)`, 0 to 1.
    """

    axis: int
    lower: NDArray[np.int64]
    upper: NDArray[np.int64]
    lower_weight: NDArray[np.float32]
    upper_weight: NDArray[np.float32]

    @classmethod
    def identity(cls, axis: int, length: int) -> AxisMap:
        """Map each of `length` planes to itself."""
        planes = np.arange(length)
        return cls(axis, planes, planes, np.ones(length, np.float32), np.zeros(length, np.float32))

    @property
    def interpolates(self) -> bool:
        """Whether any plane has two source planes with weight."""
        return bool(self.upper_weight.any())

    def __len__(self) -> int:
        return len(self.lower)

    def taken(self, planes: NDArray[np.int64], present: NDArray[np.bool_]) -> AxisMap:
        """Return the map of these planes; those that are not `present` get weight 0."""
        return AxisMap(
            self.axis,
            self.lower[planes],
            self.upper[planes],
            self.lower_weight[planes] * present,
            self.upper_weight[planes] * present,
        )

    def cropped(self, first: int, length: int) -> AxisMap:
        """Return the map of `length` planes from `first` on; planes outside get weight 0."""
        planes = np.arange(first, first + length)
        present = (planes >= 0) & (planes < len(self))
        return self.taken(np.where(present, planes, 0), present)

    def within(self, first: int, length: int) -> AxisMap:
        """Return the map to `length` planes of the image from `first` on.

        Between a plane inside and a plane outside, the inner plane counts alone; outside, weights are 0.
        """
        ends = [(self.lower - first, self.lower_weight), (self.upper - first, self.upper_weight)]
        inside = [(planes >= 0) & (planes < length) for planes, _ in ends]
        weights = [np.where(is_in, weight, 0) for is_in, (_, weight) in zip(inside, ends, strict=True)]
        kept, whole = weights[0] + weights[1], self.lower_weight + self.upper_weight
        share = np.divide(whole, kept, out=np.zeros_like(whole), where=kept > 0)
        lower, upper = (planes.clip(0, length - 1) for planes, _ in ends)
        lower_weight, upper_weight = ((weight * share).astype(np.float32) for weight in weights)
        # as in `resampled`: a plane of weight 0 must not be requested
        lower = np.where(lower_weight == 0, upper, lower)
        upper = np.where(upper_weight == 0, lower, upper)
        return AxisMap(self.axis, lower, upper, lower_weight, upper_weight)

    def resampled(self, places: NDArray[np.float64], *, border: bool) -> AxisMap:
        """Return the map of new planes at `places` between the present planes.

        Args:
            places: in planes, also outside the present planes.
            border: outside, the outermost planes continue; else weights are 0 there.
        """
        last = len(self) - 1
        if border:
            places = places.clip(0, last)
        below = np.floor(places).astype(np.int64)
        share = (places - below).astype(np.float32)
        ends = []
        for planes, weight in ((below, 1 - share), (below + 1, share)):
            present = (planes >= 0) & (planes <= last)
            end = self.taken(planes.clip(0, last), present)
            ends.append((end.lower, end.lower_weight * weight))
        (lower, lower_weight), (upper, upper_weight) = ends
        # a plane of weight 0 must not be requested: memory may no longer hold it
        lower = np.where(lower_weight == 0, upper, lower)
        upper = np.where(upper_weight == 0, lower, upper)
        return AxisMap(self.axis, lower, upper, lower_weight, upper_weight)


@dataclass(frozen=True)
class InverseMapping:
    """Maps the voxels of a scan to its preprocessed image, axis by axis, for interpolation.

    Attributes:
        axes: one map for each of the scan's three axes; the third axis of a slice has one plane.
    """

    axes: tuple[AxisMap, AxisMap, AxisMap]

    @classmethod
    def of(
        cls, image: MetaTensor, scan_size: Sequence[int], scan_affine: NDArray[np.float64]
    ) -> InverseMapping:
        """Compute the inverse mapping from the operations that MONAI's transforms recorded in an image.

        The arithmetic equals that of MONAI's inverse transforms and of `Invertd` on interpolated scores: padding is
        cropped, cropped voxels get score 0, and resampling is undone by linear interpolation.

        Args:
            image: `(C, x, y[, z])`, preprocessed.
            scan_size: voxels along each axis of the scan.
            scan_affine: (4, 4), voxel to RAS mm.

        Raises:
            CannotStreamError: a transform other than orientation, spacing, padding and cropping; one that cannot be
                undone axis by axis; or the inverse does not end on the scan's grid.
        """
        dims = image.ndim - 1
        lattice = _Lattice(
            [AxisMap.identity(axis, length) for axis, length in enumerate(image.shape[1:])],
            to_affine_nd(dims, np.asarray(image.affine.cpu(), np.float64)),
        )
        for operation in applied_operations(image):
            lattice.undo(operation)
        lattice.require_grid(scan_size, to_affine_nd(dims, scan_affine))
        slices = [AxisMap.identity(2, 1)] if dims == 2 else []
        first, second, third = [*lattice.axes, *slices]
        return cls((first, second, third))

    def within(self, box: Sequence[slice]) -> InverseMapping:
        """Return the mapping to a box of the image, one slice for each of its three axes; see `AxisMap.within`."""
        first, second, third = (
            axis.within(box[axis.axis].start, box[axis.axis].stop - box[axis.axis].start)
            for axis in self.axes
        )
        return InverseMapping((first, second, third))

    @property
    def interpolates(self) -> bool:
        """Whether scores are interpolated along any axis."""
        return any(axis.interpolates for axis in self.axes)


class _Lattice:
    """The voxel grid of an image while its transforms are undone one after the other."""

    def __init__(self, axes: list[AxisMap], affine: NDArray[np.float64]) -> None:
        self.axes = axes
        self.affine = affine

    def undo(self, operation: AppliedOperation) -> None:
        """Undo one operation of MONAI's transforms."""
        if operation.lazy:
            raise CannotStreamError("a transform is lazy")
        if operation.padded is not None:
            self._crop(operation.padded, operation.size)
        elif operation.cropped is not None:
            padding = operation.padding_after_crop
            if padding is not None and padding.padded is not None:
                self._crop(padding.padded, padding.size)
            self._crop([-before for before in operation.cropped], operation.size)
        elif operation.name == "Orientation":
            self._turn(operation.info["original_affine"])
        elif operation.name == "SpatialResample":
            self._resample(operation.info, operation.size)
        elif operation.name == SPACING:
            self._rescale(operation.info, operation.size)
        else:
            raise CannotStreamError(f"segpipe cannot invert {operation.name} itself")

    def require_grid(self, size: Sequence[int], affine: NDArray[np.float64]) -> None:
        """Refuse a chain whose inverse misses the scan's grid: some transform changed the grid without a record."""
        ours = tuple(len(axis) for axis in self.axes)
        corners = np.array(np.meshgrid(*([0, length] for length in size), [1.0])).reshape(len(size) + 1, -1)
        if (
            ours != tuple(size)
            or np.abs(np.linalg.solve(affine, self.affine @ corners) - corners).max() > _CLOSE
        ):
            raise CannotStreamError("the inverse of its transforms does not give the scan's grid")

    def _crop(self, first: Sequence[int], size: Sequence[int]) -> None:
        self.axes = [
            axis.cropped(int(begin), int(length))
            for axis, begin, length in zip(self.axes, first, size, strict=True)
        ]
        shift = np.eye(len(self.affine))
        shift[:-1, -1] = first
        self.affine = self.affine @ shift

    def _turn(self, original_affine: Any) -> None:
        original = to_affine_nd(len(self.axes), np.asarray(original_affine, np.float64))
        turn = nibabel.orientations.ornt_transform(
            nibabel.io_orientation(self.affine), nibabel.io_orientation(original)
        )
        axes = list(self.axes)
        for axis, (target, direction) in zip(self.axes, turn, strict=True):
            planes = np.arange(len(axis))[:: int(direction)]
            axes[int(target)] = axis.taken(planes, np.ones(len(axis), bool))
        self.affine = self.affine @ nibabel.orientations.inv_ornt_aff(turn, [len(axis) for axis in self.axes])
        self.axes = axes

    def _rescale(self, info: Mapping[str, Any], size: Sequence[int]) -> None:
        """Undo `SplineSpacingd`: the same extent in another number of voxels."""
        if any(axis.interpolates for axis in self.axes):
            raise CannotStreamError("it resamples twice")
        if info["order"] != 1 or info["order_across"] not in (0, 1):
            raise CannotStreamError(
                f"its scores come back with splines of order {info['order']} and {info['order_across']}"
            )
        axes = []
        for place, (axis, length) in enumerate(zip(self.axes, size, strict=True)):
            places = np.asarray((np.arange(length) + 0.5) * (len(axis) / length) - 0.5, np.float64)
            if place == info["slice_axis"] and info["order_across"] == 0:
                places = np.floor(places + 0.5)
            axes.append(axis if len(axis) == length else axis.resampled(places, border=True))
        self.axes = axes
        self.affine = to_affine_nd(len(axes), np.asarray(info["original_affine"], np.float64))

    def _resample(self, info: Mapping[str, Any], size: Sequence[int]) -> None:
        target = to_affine_nd(len(self.axes), np.asarray(info["src_affine"], np.float64))
        there = np.linalg.solve(self.affine, target)  # from a voxel of the target to one of this grid
        unchanged = [
            np.allclose(self.affine, target, atol=_SAME_AFFINE),
            np.allclose(there, np.eye(len(there)), atol=_SAME_AFFINE),
        ]
        if any(unchanged) and tuple(size) == tuple(len(axis) for axis in self.axes):
            return
        if any(axis.interpolates for axis in self.axes):
            raise CannotStreamError("it resamples twice")
        if (
            info["mode"] != "bilinear"
            or info["align_corners"] is True
            or info["padding_mode"] not in _PADDINGS
        ):
            raise CannotStreamError(
                f"it resamples with {info['mode']}, align_corners {info['align_corners']} and {info['padding_mode']}"
            )
        scales, shifts = np.diag(there)[:-1], there[:-1, -1]
        oblique = (there[:-1, :-1] - np.diag(scales)) * np.asarray(size)
        if np.abs(oblique).max() > _CLOSE:
            raise CannotStreamError("it resamples between axes that are not parallel")
        self.axes = [
            axis.resampled(scale * np.arange(length) + shift, border=info["padding_mode"] == "border")
            for axis, scale, shift, length in zip(self.axes, scales, shifts, size, strict=True)
        ]
        self.affine = target


_PADDINGS = ("border", "zeros")
