"""Features of a network's scores and input for each target of a label table, from which a Dice is predicted."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import torch

from segpipe.inference.decisions import Decision, decision_of
from segpipe.inference.streaming import Band
from segpipe.labels import LabelTable

RISING = ("expected_dice", "foreground_dice", "stability", "certainty", "compactness", "log_voxels")
"""Features whose larger value speaks for a larger Dice."""
FEATURES = (*RISING, "intensity", "intensity_spread")
"""The features that the Dice is predicted from; a larger value of the last two may speak for either."""

_SLICE_DIMS = 3  # outputs, x, y


@dataclass(frozen=True)
class ScoreFeatures:
    """Sums over the voxels of the network's grid, for one target: a foreground class, or a region.

    Attributes:
        voxels: number of voxels that are labelled as the target.
        probability: sum of the target's probability over all voxels.
        inside: sum of the target's probability over the labelled voxels.
        entropy: sum over the labelled voxels of the entropy between inside and outside, each from 0 (certain) to 1.
        faces: number of faces between a labelled voxel and another voxel; the image's border has none.
        foreground_dice: the soft Dice, 0 to 1, of the probability of any target with the voxels labelled as any; nan
            without a labelled voxel.
        intensity: mean of the network's input over the labelled voxels, and over the channels; nan without such voxels.
        intensity_spread: standard deviation of the input there, as the root of the channels' mean variance.
        stability: Dice of the labelled foreground with that of the smoothed image, 0 to 1; nan without a voxel in both.
    """

    voxels: int
    probability: float
    inside: float
    entropy: float
    faces: int
    foreground_dice: float
    intensity: float
    intensity_spread: float
    stability: float

    @property
    def expected_dice(self) -> float:
        """The soft Dice of the probabilities with their own labels, 0 to 1; nan without a labelled voxel."""
        return 2 * self.inside / (self.probability + self.voxels) if self.voxels else math.nan

    @property
    def certainty(self) -> float:
        """One minus the mean entropy of the labelled voxels, 0 to 1; nan without a labelled voxel."""
        return 1 - self.entropy / self.voxels if self.voxels else math.nan

    @property
    def compactness(self) -> float:
        """Minus the faces per labelled voxel: a shift of the border by one voxel costs a thin object more Dice."""
        return -self.faces / self.voxels if self.voxels else math.nan

    @property
    def log_voxels(self) -> float:
        """The natural logarithm of the number of labelled voxels; nan without a labelled voxel."""
        return math.log(self.voxels) if self.voxels else math.nan

    @property
    def log_expected_ratio(self) -> float:
        """The logarithm of expected over labelled volume; nan without a labelled voxel."""
        return math.log(self.probability / self.voxels) if self.voxels else math.nan

    @property
    def values(self) -> tuple[float, ...]:
        """The features in the order of `FEATURES`."""
        return tuple(getattr(self, name) for name in FEATURES)


class FeatureMeter:
    """The features of a network's scores, summed while the scores arrive plane by plane.

    Args:
        labels: label table of the bundle.
    """

    def __init__(self, labels: LabelTable) -> None:
        self._decision: Decision = decision_of(labels)
        self._of_output = torch.arange(len(labels.targets)) + (0 if labels.regions else 1)
        held = torch.zeros((len(labels.targets), labels.num_classes), dtype=torch.bool)
        for row, classes in enumerate(labels.target_classes):
            held[row, list(classes)] = True
        self._held, self._regions = held, bool(labels.regions)
        self._sums = torch.zeros((5, len(labels.targets)), dtype=torch.float64)
        self._foreground = torch.zeros(3, dtype=torch.float64)
        self._intensity = torch.zeros((2, 1, len(labels.targets)), dtype=torch.float64)
        self._last: torch.Tensor | None = None
        self._labelled: torch.Tensor | None = None
        self._compared = torch.zeros(3, dtype=torch.float64)

    def bands(self, bands: Iterable[Band], image: torch.Tensor) -> Iterator[Band]:
        """Pass on bands of logits, neighbouring planes in their order, and add the features of each plane.

        Args:
            bands: of the image.
            image: the network's input, `(channels, x, y, z)`.
        """
        for band in bands:
            for place, plane in enumerate(band.scores):
                at = band.first + place
                targets = self._summed(plane, image.select(band.axis + 1, at))
                self._keep(targets.unsqueeze(band.axis + 1), image.shape[1:], band.axis, at)
            yield band

    def add(self, scores: torch.Tensor, image: torch.Tensor) -> None:
        """Add the scores of a whole image.

        Args:
            scores: logits, `(outputs, x, y[, z])`.
            image: the network's input, `(channels, x, y[, z])`.
        """
        targets = self._summed(scores, image)
        targets = targets if scores.ndim > _SLICE_DIMS else targets[..., None]
        self._keep(targets, targets.shape[1:], 0, 0)

    def compare(self, bands: Iterable[Band]) -> None:
        """Compare the labelled foreground with that of another image's scores, in bands.

        Args:
            bands: of the smoothed image, see `segpipe.confidence.smoothing`; the image's own were added before.
        """
        for band in bands:
            for place, plane in enumerate(band.scores):
                other = self._decision.classes(plane[None])[0].cpu() > 0
                self._compare(self._mask().select(band.axis, band.first + place), other)

    def compare_whole(self, scores: torch.Tensor) -> None:
        """Compare the labelled foreground with that of another image's scores `(outputs, x, y[, z])`."""
        other = self._decision.classes(scores[None])[0].cpu() > 0
        self._compare(self._mask(), other if other.ndim == self._mask().ndim else other[..., None])

    def _compare(self, own: torch.Tensor, other: torch.Tensor) -> None:
        self._compared += torch.stack([_total(own), _total(other), _total(own & other)])

    def _mask(self) -> torch.Tensor:
        """Return the labelled foreground `(x, y, z)`."""
        if self._labelled is None:
            raise ValueError("no scores were added")
        return self._labelled

    def _keep(self, targets: torch.Tensor, size: Sequence[int], axis: int, first: int) -> None:
        """Keep the labelled foreground of neighbouring planes of an image, from targets `(targets, x, y, z)`."""
        if self._labelled is None:
            self._labelled = torch.zeros(tuple(size), dtype=torch.bool)
        part = targets.any(dim=0)
        self._labelled.narrow(axis, first, part.shape[axis]).copy_(part)

    def _summed(self, scores: torch.Tensor, image: torch.Tensor) -> torch.Tensor:
        """Add the sums over a plane or an image; return where its voxels belong to each target."""
        labels = self._decision.classes(scores[None])[0].cpu()
        probabilities = self._decision.probabilities(self._decision.activated(scores.float())).cpu()
        probabilities = probabilities[self._of_output]
        any_target = probabilities.amax(dim=0) if self._regions else probabilities.sum(dim=0)
        labelled = labels > 0
        self._foreground += torch.stack([_total(labelled), _total(any_target), _total(any_target * labelled)])
        targets = self._held[:, labels.long()]  # (targets, *spatial)
        self._intensity = self._intensity + _intensity_sums(image.float().cpu(), targets)
        entropy = (torch.special.entr(probabilities) + torch.special.entr(1 - probabilities)) / math.log(2)
        faces = _faces(targets)
        if self._last is not None:
            faces += _per_target(targets ^ self._last)
        self._last = targets
        self._sums += torch.stack(
            [
                _per_target(targets),
                _per_target(probabilities),
                _per_target(probabilities * targets),
                _per_target(entropy * targets),
                faces,
            ]
        )
        return targets

    @property
    def features(self) -> tuple[ScoreFeatures, ...]:
        """The features of each target, in the order of the label table's targets."""
        voxels = self._sums[0]
        mean, square = self._intensity / voxels  # (channels, targets)
        spread = (square - mean**2).clamp_min(0).mean(dim=0).sqrt()
        labelled, probability, inside = self._foreground.tolist()
        foreground = 2 * inside / (labelled + probability) if labelled else math.nan
        own, other, both = self._compared.tolist()
        stability = 2 * both / (own + other) if own + other else math.nan
        voxels_of, probabilities, insides, entropies, faces = self._sums.tolist()
        means, spreads = mean.mean(dim=0).tolist(), spread.tolist()
        return tuple(
            ScoreFeatures(
                voxels=int(voxels_of[place]),
                probability=probabilities[place],
                inside=insides[place],
                entropy=entropies[place],
                faces=int(faces[place]),
                foreground_dice=foreground,
                intensity=means[place],
                intensity_spread=spreads[place],
                stability=stability,
            )
            for place in range(len(voxels_of))
        )


def _per_target(values: torch.Tensor) -> torch.Tensor:
    return values.flatten(1).sum(dim=1, dtype=torch.float64)


def _total(values: torch.Tensor) -> torch.Tensor:
    return values.sum(dtype=torch.float64)


def _intensity_sums(image: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    """Return the sums of intensities and of their squares, `(2, channels, targets)`."""
    flat, inside = image.flatten(1), targets.flatten(1).float().T
    return torch.stack([flat @ inside, flat**2 @ inside]).double()


def _faces(targets: torch.Tensor) -> torch.Tensor:
    """Return the number of faces between voxels inside and outside, within one block of voxels."""
    total = torch.zeros(len(targets), dtype=torch.float64)
    for axis in range(1, targets.ndim):
        length = targets.shape[axis]
        if length > 1:
            total += _per_target(targets.narrow(axis, 1, length - 1) ^ targets.narrow(axis, 0, length - 1))
    return total
