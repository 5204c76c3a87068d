"""One change of every volume of a record, as MONAI's dictionary transforms make it."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping
from typing import Any

from monai.data import MetaTensor
from monai.transforms import MapTransform


def each_volume(
    transform: MapTransform, data: Mapping[Hashable, Any], change: Callable[[MetaTensor], MetaTensor]
) -> dict[Hashable, Any]:
    """Return a record in which the volumes of a transform's keys are changed.

    Args:
        transform: whose keys are changed.
        data: the record; stays as it is.
        change: of a volume `(C, *spatial)`.
    """
    return {**data, **{key: change(data[key]) for key in transform.key_iterator(data)}}
