"""Bring volumes to a spacing by splines, and scores back by lines, as nnU-Net does."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from monai.config import KeysCollection
from monai.data import MetaTensor
from monai.data.utils import affine_to_spacing
from monai.transforms import InvertibleTransform, MapTransform
from monai.utils import TraceKeys, convert_to_numpy
from numpy.typing import NDArray
from scipy import ndimage

from segpipe.errors import SegpipeError
from segpipe.transforms.each_volume import each_volume

SPACING = "SplineSpacing"
"""Class name in MONAI's record of the operation."""
_SAME = 1e-4  # relative difference below which two spacings are equal


@dataclass(frozen=True)
class Interpolation:
    """How voxels are interpolated.

    Attributes:
        order: order of the spline, 0 to 5; 1 is linear.
        across: order along the axis of the thick slices, where slices are interpolated one by one; 0 takes the nearest.
    """

    order: int
    across: int = 0


class SplineSpacingd(MapTransform, InvertibleTransform):  # type: ignore[misc]  # MONAI is untyped
    """Bring volumes to a spacing: a whole number of voxels over the same extent, interpolated by splines.

    MONAI's `Spacingd` keeps the spacing exact and changes the extent. Slices of volumes whose spacing is much larger
    along one axis are interpolated one by one, and then between slices. The inverse is for scores: it restores the
    number of voxels with an interpolation of its own.

    Args:
        keys: volumes `(C, x, y, z)`, MetaTensors.
        spacing_mm: of the result along each axis; None leaves an axis as it is.
        order, order_across: see `Interpolation`; of the volume.
        inverse_order, inverse_order_across: the same of the scores.
        by_slice: whether slices are interpolated one by one; None: where the spacing along one axis is larger than
            `thick` times the smallest.
        thick: ratio of two spacings.
        allow_missing_keys: of MONAI's MapTransform.

    Raises:
        SegpipeError: an order outside 0 to 5, or a spacing that is not above 0.

    Source: Isensee et al., Nature Methods 2021; `resample_data_or_seg_to_shape` of nnU-Net 2.
    """

    def __init__(
        self,
        keys: KeysCollection,
        spacing_mm: Sequence[float | None],
        order: int = 3,
        order_across: int = 0,
        inverse_order: int = 1,
        inverse_order_across: int = 0,
        by_slice: bool | None = None,
        thick: float = 3.0,
        allow_missing_keys: bool = False,
    ) -> None:
        super().__init__(keys, allow_missing_keys)
        self.resampling = SplineSpacing(
            spacing_mm,
            Interpolation(order, order_across),
            Interpolation(inverse_order, inverse_order_across),
            by_slice,
            thick,
        )

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Resample every volume of one record."""
        return each_volume(self, data, self.resampling)

    def inverse(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Restore the number of voxels of every volume."""
        return each_volume(self, data, self.resampling.inverse)


class SplineSpacing(InvertibleTransform):  # type: ignore[misc]  # MONAI is untyped
    """The same for one volume; for the arguments see `SplineSpacingd`."""

    def __init__(
        self,
        spacing_mm: Sequence[float | None],
        forward: Interpolation,
        backward: Interpolation,
        by_slice: bool | None = None,
        thick: float = 3.0,
    ) -> None:
        orders = (forward.order, forward.across, backward.order, backward.across)
        if not all(isinstance(order, int) and 0 <= order <= 5 for order in orders):
            raise SegpipeError(f"orders of splines are {orders}, must be whole numbers from 0 to 5")
        if not all(length is None or length > 0 for length in spacing_mm):
            raise SegpipeError(f"spacing_mm is {list(spacing_mm)}, must be above 0 along each axis, or null")
        self.spacing_mm = tuple(spacing_mm)
        self.forward, self.backward = forward, backward
        self.by_slice, self.thick = by_slice, thick

    def __call__(self, image: MetaTensor) -> MetaTensor:
        """Return the volume on the new grid, float32."""
        size = tuple(int(length) for length in image.shape[1:])
        own = [float(length) for length in affine_to_spacing(image.affine, r=len(size))]
        wanted = [o if w is None else w for o, w in zip(own, self.spacing_mm, strict=True)]
        new = tuple(round(o / w * length) for o, w, length in zip(own, wanted, size, strict=True))
        if min(new) < 1:
            raise SegpipeError(
                f"{image.meta.get('filename_or_obj', 'image')}: {size} voxels of {own} mm leave {new} voxels of "
                f"{wanted} mm; give a larger scan"
            )
        voxels = resampled(
            convert_to_numpy(image), new, self.forward, slice_axis(own, wanted, self.by_slice, self.thick)
        )
        back = slice_axis(wanted, own, self.by_slice, self.thick)
        result = MetaTensor(torch.from_numpy(voxels)).copy_meta_from(image)
        scale = [length / after for length, after in zip(size, new, strict=True)]
        to_old = np.diag([*scale, 1.0])
        to_old[:-1, -1] = [(ratio - 1) / 2 for ratio in scale]  # the corners of both grids are the same
        info = {
            "original_affine": image.affine.numpy().copy(),
            "slice_axis": -1 if back is None else back,
            "order": self.backward.order,
            "order_across": self.backward.across,
        }
        self.push_transform(result, orig_size=size, extra_info=info)
        result.affine = image.affine @ torch.as_tensor(to_old)
        return result

    def inverse(self, scores: MetaTensor) -> MetaTensor:
        """Return scores on the volume's former grid, float32."""
        noted = self.pop_transform(scores)
        info, size = noted[TraceKeys.EXTRA_INFO], tuple(noted[TraceKeys.ORIG_SIZE])
        how = Interpolation(int(info["order"]), int(info["order_across"]))
        axis = int(info["slice_axis"])
        voxels = resampled(convert_to_numpy(scores), size, how, None if axis < 0 else axis)
        result = MetaTensor(torch.from_numpy(voxels)).copy_meta_from(scores)
        result.affine = torch.as_tensor(np.asarray(info["original_affine"]))
        return result


def slice_axis(
    own: Sequence[float], wanted: Sequence[float], by_slice: bool | None = None, thick: float = 3.0
) -> int | None:
    """Return the axis along which slices are interpolated one by one; None: the volume is interpolated as a whole.

    Args:
        own: spacing of the volume, mm.
        wanted: spacing of the result, mm.
        by_slice: see `SplineSpacingd`.
        thick: see `SplineSpacingd`.
    """
    if by_slice is False:
        return None
    spacing = own
    if by_slice is None:
        anisotropic = [one for one in (own, wanted) if max(one) / min(one) > thick]
        if not anisotropic:
            return None
        spacing = anisotropic[0]
    thickest = [
        axis for axis, length in enumerate(spacing) if np.isclose(length, max(spacing), rtol=_SAME, atol=0)
    ]
    return thickest[0] if len(thickest) == 1 else None


def resampled(
    voxels: NDArray[Any], size: tuple[int, ...], how: Interpolation, axis: int | None
) -> NDArray[np.float32]:
    """Return a volume with another number of voxels over the same extent.

    Args:
        voxels: `(C, x, y, z)`.
        size: voxels along each axis.
        how: interpolation.
        axis: axis along which slices are interpolated one by one; None: the volume as a whole.

    Returns:
        float32 `(C, *size)`; values of a slice, or of a volume, stay in its own range.
    """
    if voxels.shape[1:] == size:
        return np.array(voxels, np.float32)
    from skimage.transform import resize  # takes a while

    result = np.empty((len(voxels), *size), np.float32)
    for channel, new in zip(voxels, result, strict=True):
        whole = channel.astype(np.float64)
        if axis is None:
            new[...] = resize(whole, size, how.order, mode="edge", anti_aliasing=False)
            continue
        slices = np.moveaxis(whole, axis, 0)
        in_slice = tuple(length for place, length in enumerate(size) if place != axis)
        planes = np.stack(
            [resize(one, in_slice, how.order, mode="edge", anti_aliasing=False) for one in slices]
        )
        new[...] = np.moveaxis(_between(planes, size[axis], how.across), 0, axis)
    return result


def _between(planes: NDArray[np.float64], count: int, order: int) -> NDArray[np.float64]:
    """Return `count` planes over the extent of some planes along the first axis."""
    if len(planes) == count:
        return planes
    places = (np.arange(count) + 0.5) * (len(planes) / count) - 0.5
    if order == 0:
        nearest: NDArray[np.float64] = planes[np.floor(places + 0.5).astype(int).clip(0, len(planes) - 1)]
        return nearest
    grid = np.meshgrid(places, *map(np.arange, planes.shape[1:]), indexing="ij")
    between: NDArray[np.float64] = ndimage.map_coordinates(planes, grid, order=order, mode="nearest")
    return between
