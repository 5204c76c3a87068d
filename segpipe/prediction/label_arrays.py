"""Images as volumes, and label maps as arrays on a scan's grid, with the checks of MONAI's own chain."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import torch
from monai.data import MetaTensor
from numpy.typing import NDArray

from segpipe.confidence.temperature import tempered
from segpipe.errors import SegpipeError
from segpipe.inference.decisions import Decision
from segpipe.inference.restoring import RestoredPlane
from segpipe.inference.score_checks import require_classes, require_numbers
from segpipe.label_values import whole_numbers
from segpipe.labels import LabelTable
from segpipe.volumes import Grid

SLICE_DIMS = 3  # channel, x, y
_LOW, _HIGH = 0.5, 99.5  # percentiles that span a scan's intensities
_MOST_SAMPLED = 10**6


def as_volume(image: MetaTensor) -> torch.Tensor:
    """Return an image as a plain float volume; a slice becomes a volume with one plane."""
    plain: torch.Tensor = image.as_tensor().float()
    return plain[..., None] if plain.ndim == SLICE_DIMS else plain


def tissue_mask(volume: torch.Tensor, share: float | None) -> torch.Tensor | None:
    """Return the voxels `(x, y, z)` above a share of the intensity range, from the 0.5th to the 99.5th percentile.

    Args:
        volume: from `as_volume`.
        share: 0 to below 1; None: there is no mask.
    """
    if share is None:
        return None
    step = max(volume.numel() // _MOST_SAMPLED, 1)
    low, high = np.percentile(volume.flatten()[::step].cpu().numpy(), (_LOW, _HIGH))
    tissue: torch.Tensor = (volume > low + share * (high - low)).any(dim=0)
    return tissue


def collected(
    planes: Iterable[RestoredPlane],
    size: Sequence[int],
    table: LabelTable,
    entropy_of: Decision | None,
    probabilities: NDArray[np.float16] | None,
    temperature: float = 1.0,
) -> tuple[NDArray[np.integer[Any]], NDArray[np.float32] | None]:
    """Collect planes into whole arrays; a slice is a volume with one plane until the end.

    The temperature is that of the probabilities, see `segpipe.confidence.temperature`; entropies are without it.
    """
    volume = (*size, *[1] * (3 - len(size)))
    labels = np.zeros(volume, np.uint8 if table.num_classes < 255 else np.int16)
    entropies = None if entropy_of is None else np.zeros(volume, np.float32)
    scores = None if probabilities is None else probabilities.reshape((len(table.output_names), *volume))
    for plane in planes:
        np.moveaxis(labels, plane.axis, 0)[plane.index] = plane.labels.cpu().numpy()
        if plane.probabilities is None:
            continue
        if entropies is not None and entropy_of is not None:
            shares = entropy_of.entropy(plane.probabilities).clamp(0, 1)
            np.moveaxis(entropies, plane.axis, 0)[plane.index] = shares.cpu().numpy()
        if scores is not None:
            likely = tempered(plane.probabilities, temperature, exclusive=not table.regions)
            np.moveaxis(scores, plane.axis + 1, 0)[plane.index] = likely.cpu().numpy()
    return labels.reshape(size), None if entropies is None else entropies.reshape(size)


def require_scores_of(images: torch.Tensor, scores: Any, classes: int) -> None:
    """Refuse scores from which MONAI's chain would make a wrong label map, or fail without a clear message."""
    if not isinstance(scores, torch.Tensor):
        raise SegpipeError(
            f"the bundle's inferer returns a {type(scores).__name__}, must be one tensor of scores; select one of "
            "the network's outputs in the bundle's inferer"
        )
    if scores.shape[2:] != images.shape[2:]:
        raise SegpipeError(
            f"the bundle's inferer returns scores of {tuple(scores.shape[2:])} voxels for an image of "
            f"{tuple(images.shape[2:])} voxels; must be equal: resize the scores in the network"
        )
    require_classes(scores, classes)
    require_numbers(scores)


def on_grid(pred: Any, grid: Grid, classes: int) -> NDArray[np.integer[Any]]:
    """Return the label map at the end of a chain, after checking that it is one and has the scan's grid."""
    if not isinstance(pred, MetaTensor) or tuple(pred.shape) != (1, *grid.size):
        raise SegpipeError(
            f"the bundle's chain ends with {tuple(getattr(pred, 'shape', ()))} for a scan of {grid.size} voxels, must "
            "be one label map on the scan's grid: it needs Invertd and AsDiscreted in its postprocessing"
        )
    differences = Grid.from_affine(grid.size, pred.affine.cpu().numpy()).differences(grid)
    if differences:
        raise SegpipeError(f"the bundle's chain leaves the scan's grid: {', '.join(differences)}")
    values = whole_numbers(pred.cpu().numpy()[0])
    if values.min() < 0 or values.max() >= classes:
        raise SegpipeError(
            f"the bundle's chain ends with classes {values.min():g} to {values.max():g}, its label table has 0 to "
            f"{classes - 1}"
        )
    return values.astype(np.uint8 if classes < 255 else np.int16)
