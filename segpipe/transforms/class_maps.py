"""Maps of class indices, from the scores of regions or from one-hot maps."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from typing import Any

import numpy as np
import torch
from monai.config import KeysCollection
from monai.transforms import MapTransform
from monai.utils import convert_to_dst_type, convert_to_tensor
from numpy.typing import NDArray

from segpipe.labels import LabelTable

THRESHOLD = 0.5  # a voxel is in a region if its score, after the sigmoid, is above


def regions_to_classes(inside: torch.Tensor, labels: LabelTable) -> torch.Tensor:
    """Return the class of each voxel from its regions; a later region replaces an earlier one.

    Args:
        inside: `(B, R, *spatial)`, True where a voxel is in a region, in the order of `labels.regions`.
        labels: label table with the regions.

    Returns:
        class indices `(B, *spatial)`, uint8, or int16 for 255 classes or more.
    """
    classes = torch.zeros(
        (len(inside), *inside.shape[2:]),
        dtype=torch.uint8 if labels.num_classes < 255 else torch.int16,
        device=inside.device,
    )
    for place, region in enumerate(labels.regions):
        classes.masked_fill_(inside[:, place], region.written)
    return classes


class RegionsToClassesd(MapTransform):  # type: ignore[misc]  # MONAI is untyped
    """Turn the scores of regions into class indices: each region above 0.5 is written, a later one over an earlier one.

    Args:
        keys: scores `(R, *spatial)` after the sigmoid, 0..1.
        labels: label table with the regions.
        allow_missing_keys: of MONAI's MapTransform.
    """

    def __init__(self, keys: KeysCollection, labels: LabelTable, allow_missing_keys: bool = False) -> None:
        super().__init__(keys, allow_missing_keys)
        self.labels = labels

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Turn every key of one record into class indices `(1, *spatial)`."""
        written = dict(data)
        for key in self.key_iterator(written):
            scores = convert_to_tensor(written[key], track_meta=False)
            classes = regions_to_classes(scores[None] > THRESHOLD, self.labels)
            written[key] = convert_to_dst_type(classes, written[key], dtype=classes.dtype)[0]
        return written


def class_map(scores: torch.Tensor) -> NDArray[Any]:
    """Return class indices `(*spatial)` of a one-hot or index map `(C, *spatial)`; a byte each, two from 255 on."""
    scores = convert_to_tensor(scores, track_meta=False)
    if len(scores) == 1:
        indices = scores[0]
        return np.asarray(indices.to(torch.uint8 if indices.max() < 255 else torch.int16).cpu())
    classes = torch.empty(
        scores.shape[1:], dtype=torch.uint8 if len(scores) <= 255 else torch.int16, device=scores.device
    )
    for place, plane in zip(classes, scores.unbind(1), strict=True):
        # plane by plane: indices need eight bytes per voxel; torch's argmax takes eight times as long as max
        place.copy_(plane.max(dim=0).indices)
    return np.asarray(classes.cpu())
