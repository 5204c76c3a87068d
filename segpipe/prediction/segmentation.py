"""The segmentation of one scan, on the scan's own voxels."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from segpipe.confidence import ScoreFeatures
from segpipe.inference.engines import Way


@dataclass(frozen=True)
class Segmentation:
    """The segmentation of a scan, on the scan's own voxels.

    Attributes:
        labels: class indices `(x, y[, z])`.
        entropy: of the class probabilities, divided by its largest value, float32, 0: certain, 1: uniform over classes;
            None if not asked for.
        windows: number of windows in the image; 0 for MONAI's own chain, which does not count them.
        skipped: number of these windows that were skipped because they hold no tissue.
        fallback: why MONAI's own chain segmented the scan; None if it was streamed.
        uncertainty: mean entropy over the voxels of the network's grid that it labels as foreground, 0 to 1; None if
            there is no such voxel, or if not asked for.
        way: engine and precision of the scores; None for MONAI's own chain.
        located: the part of the scan that the network saw, as `volumes.csv` has it; empty without a locator.
        features: of the scores and the input for each target of the label table; None if not asked for.
    """

    labels: NDArray[np.integer[Any]]
    entropy: NDArray[np.float32] | None
    windows: int
    skipped: int
    fallback: str | None = None
    uncertainty: float | None = None
    way: Way | None = None
    located: str = ""
    features: tuple[ScoreFeatures, ...] | None = None
