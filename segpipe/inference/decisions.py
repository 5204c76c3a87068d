"""How a network's scores become probabilities and classes: classes that exclude each other, or regions that overlap."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch

from segpipe.labels import LabelTable
from segpipe.transforms.class_maps import THRESHOLD, regions_to_classes


class Decision(Protocol):
    """Turns scores into probabilities and classes, in the order of a bundle's chain.

    Scores lie between voxels of the network's grid and those of the scan. If all scores around a voxel of the scan have
    one class, the voxel has it too, whatever the weights of the interpolation.

    Attributes:
        compares_with_threshold: the class depends on the size of a value, which is smaller where a voxel lies partly
            outside the image.
    """

    @property
    def compares_with_threshold(self) -> bool:
        """Whether the class depends on the size of a value."""

    def activated(self, scores: torch.Tensor) -> torch.Tensor:
        """Return the values that are interpolated, of scores `(outputs, ...)`."""

    def classes(self, scores: torch.Tensor) -> torch.Tensor:
        """Return class indices of scores `(planes, outputs, ...)`, uint8, or int16 for 255 classes or more."""

    def classes_of_interpolated(self, values: torch.Tensor) -> torch.Tensor:
        """Return class indices of interpolated values `(outputs, ...)`, of the same types."""

    def probabilities(self, values: torch.Tensor) -> torch.Tensor:
        """Return probabilities of interpolated values `(outputs, ...)`; 0 outside the image."""

    def entropy(self, probabilities: torch.Tensor) -> torch.Tensor:
        """Return the entropy of probabilities `(outputs, ...)`, 0: certain, 1: each answer is as probable."""


@dataclass(frozen=True)
class ArgMax:
    """Classes that exclude each other: the softmax, and the class with the highest score.

    Attributes:
        softmax: scores become probabilities before they are interpolated; else the scores are interpolated.
        compares_with_threshold: see `Decision`.
    """

    softmax: bool = True
    compares_with_threshold: bool = False

    def activated(self, scores: torch.Tensor) -> torch.Tensor:
        """Return probabilities, or the scores themselves."""
        return scores.softmax(0) if self.softmax else scores

    def classes(self, scores: torch.Tensor) -> torch.Tensor:
        """Return the classes with the highest scores."""
        return arg_max(scores, dim=1)

    def classes_of_interpolated(self, values: torch.Tensor) -> torch.Tensor:
        """Return the classes with the highest values."""
        return arg_max(values, dim=0)

    def probabilities(self, values: torch.Tensor) -> torch.Tensor:
        """Return the values, or the softmax of interpolated scores."""
        return values if self.softmax else values.softmax(0) * values.any(dim=0)

    def entropy(self, probabilities: torch.Tensor) -> torch.Tensor:
        """Return the entropy, divided by that of equal probabilities."""
        share: torch.Tensor = torch.special.entr(probabilities).sum(0) / np.log(len(probabilities))
        return share


@dataclass(frozen=True)
class Thresholds:
    """Regions that overlap: a sigmoid each, a region where it is above 0.5, written in the table's order.

    Attributes:
        labels: label table with the regions.
        sigmoid: scores become probabilities before they are interpolated; else the scores are interpolated.
        compares_with_threshold: see `Decision`.
    """

    labels: LabelTable
    sigmoid: bool = True
    compares_with_threshold: bool = True

    def activated(self, scores: torch.Tensor) -> torch.Tensor:
        """Return the probability of each region, or the scores themselves."""
        return scores.sigmoid() if self.sigmoid else scores

    def classes(self, scores: torch.Tensor) -> torch.Tensor:
        """Return the classes that the regions write."""
        return regions_to_classes(scores > 0, self.labels)

    def classes_of_interpolated(self, values: torch.Tensor) -> torch.Tensor:
        """Return the classes that the regions write."""
        return regions_to_classes(values[None] > (THRESHOLD if self.sigmoid else 0), self.labels)[0]

    def probabilities(self, values: torch.Tensor) -> torch.Tensor:
        """Return the values, or the sigmoid of interpolated scores."""
        return values if self.sigmoid else values.sigmoid() * values.any(dim=0)

    def entropy(self, probabilities: torch.Tensor) -> torch.Tensor:
        """Return the mean over the regions of the entropy between inside and outside."""
        both: torch.Tensor = torch.special.entr(probabilities) + torch.special.entr(1 - probabilities)
        share: torch.Tensor = both.mean(0) / np.log(2)
        return share


def decision_of(labels: LabelTable, *, activates_first: bool = True) -> Decision:
    """Return the decision of a label table: by region where it has regions.

    Args:
        labels: label table.
        activates_first: scores become probabilities before they are interpolated, see `ArgMax` and `Thresholds`.
    """
    return Thresholds(labels, activates_first) if labels.regions else ArgMax(activates_first)


def arg_max(scores: torch.Tensor, dim: int) -> torch.Tensor:
    """Return the class with the highest score, the first of equals: `torch.argmax`, faster along a strided axis.

    Args:
        scores: of any shape.
        dim: dimension of the classes.

    Returns:
        class indices without `dim`; uint8, or int16 for 255 classes or more, so that the largest value is never a
        class.
    """
    classes = scores.unbind(dim)
    best = classes[0].clone()
    labels = torch.zeros(
        best.shape, dtype=torch.uint8 if len(classes) < 255 else torch.int16, device=best.device
    )
    for index, others in enumerate(classes[1:], start=1):
        labels.masked_fill_(others > best, index)
        torch.maximum(best, others, out=best)
    return labels
