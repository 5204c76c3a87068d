"""Balanced sampling: an epoch draws rare classes or findings as often as common ones, or cases by given weights."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence

import numpy as np
import torch
from numpy.typing import NDArray

from segpipe.dataset.loading import CaseDataset, EpochSampler
from segpipe.errors import SegpipeError

_MOST_DRAWS = 100_000  # of one case in an epoch; each draw gets random transforms of its own


class BalancedSampler(EpochSampler):
    """A sampler that draws cases with replacement by their weights; the draws depend on seed and epoch alone.

    A case that is drawn twice in an epoch gets other random transforms each time. Number of workers, rank and a resume
    change nothing, as with `EpochSampler`.

    Args:
        dataset: of the cases.
        weights: `(N,)` one a case, proportional to the probability of a draw, see `class_draws` and `finding_draws`.
            None: no case is drawn; each comes once, or `repeats` times, exactly as from `EpochSampler`.
        seed: of the experiment.
        repeats: draws for each case of the data set in an epoch.

    Raises:
        SegpipeError: the weights are not one a case, or are not finite, or all are 0.
    """

    def __init__(
        self,
        dataset: CaseDataset,
        weights: Sequence[float] | None = None,  # MONAI leaves out arguments that are None
        seed: int = 0,
        repeats: int = 1,
    ) -> None:
        super().__init__(dataset, seed, repeats)
        self.weights: torch.Tensor | None = None
        if weights is None:
            return
        drawn = np.asarray(weights, np.float64)
        if (
            drawn.shape != (len(dataset),)
            or not np.isfinite(drawn).all()
            or drawn.min() < 0
            or not drawn.any()
        ):
            raise SegpipeError(
                f"BalancedSampler: needs {len(dataset)} finite weights of at least 0, has shape {drawn.shape}"
            )
        self.weights = torch.from_numpy(drawn)

    def _indices(self) -> Iterator[int]:
        if self.weights is None:
            yield from super()._indices()
            return
        size = len(self.dataset)  # type: ignore[arg-type]
        generator = torch.Generator().manual_seed(self.seed * 1_000_003 + self.epoch)
        draws = torch.multinomial(
            self.weights, len(self) * self.num_replicas, replacement=True, generator=generator
        ).tolist()
        before: Counter[int] = Counter()
        for place, case in enumerate(draws):
            if place % self.num_replicas == self.rank:
                yield (self.epoch * _MOST_DRAWS + before[case]) * size + case
            before[case] += 1


def class_draws(targets: NDArray[np.int64]) -> NDArray[np.float64]:
    """Return a weight for each image with which every class is drawn alike.

    Args:
        targets: `(N,)` class indices.

    Returns:
        `(N,)` float64: one over the images of the class.
    """
    return 1.0 / np.bincount(targets)[targets]


def finding_draws(targets: NDArray[np.float32]) -> NDArray[np.float64]:
    """Return a weight for each image with which rare findings, or classes of label maps, are drawn more often.

    The weight of an image is that of its rarest finding: one over the number of images with the finding. Images without
    any finding share the weight of one finding.

    Args:
        targets: `(N, F)`: 1 present, 0 absent, NaN unknown.

    Returns:
        `(N,)` float64.
    """
    present = targets == 1
    without = ~present.any(axis=1)
    rarity = 1.0 / np.maximum(present.sum(axis=0), 1)
    weights = np.where(present, rarity, 0.0).max(axis=1)
    weights[without] = 1.0 / max(int(without.sum()), 1)
    return np.asarray(weights)
