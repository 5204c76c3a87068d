"""Put the axes of an image into another order, without turning any of them round."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from typing import Any

from monai.config import KeysCollection
from monai.data import MetaTensor
from monai.transforms import InvertibleTransform, MapTransform, Orientation
from nibabel.orientations import aff2axcodes

from segpipe.errors import SegpipeError
from segpipe.transforms.each_volume import each_volume


class ReorderAxesd(MapTransform, InvertibleTransform):  # type: ignore[misc]  # MONAI is untyped
    """Put the axes of volumes into another order; each axis keeps its direction.

    MONAI's `Transposed` leaves the affine as it was, and its `Orientationd` brings all volumes to one orientation.

    Args:
        keys: volumes `(C, *spatial)`, MetaTensors.
        order: for each axis of the result, the axis of the volume.
        allow_missing_keys: of MONAI's MapTransform.

    Raises:
        SegpipeError: the order does not name each axis once; when called, a volume with another number of axes.
    """

    def __init__(self, keys: KeysCollection, order: Sequence[int], allow_missing_keys: bool = False) -> None:
        super().__init__(keys, allow_missing_keys)
        if sorted(order) != list(range(len(order))):
            raise SegpipeError(f"order is {list(order)}, must name each axis once, such as [2, 1, 0]")
        self.order = tuple(order)
        self.turn = Orientation(axcodes="RAS", labels=None)  # the codes are those of each volume

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Reorder every volume of one record."""
        return each_volume(self, data, self._reordered)

    def inverse(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Restore every volume's order."""
        return each_volume(self, data, self.turn.inverse)

    def _reordered(self, image: MetaTensor) -> MetaTensor:
        if image.ndim - 1 != len(self.order):
            raise SegpipeError(
                f"{image.meta.get('filename_or_obj', 'image')}: has {image.ndim - 1} axes, the order of axes is of "
                f"{len(self.order)}; give a scan of {len(self.order)} axes"
            )
        codes = aff2axcodes(image.affine.numpy())
        self.turn.axcodes = "".join(codes[axis] for axis in self.order)
        return self.turn(image)
