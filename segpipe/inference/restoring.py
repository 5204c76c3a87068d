"""Bands of scores brought back to their scan's own voxels, one plane at a time."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from segpipe.inference.inverse_mapping import AxisMap, InverseMapping
from segpipe.inference.streaming import Band

_DENSE_SHARE = 8  # where more than one in so many voxels of a plane needs its scores, all are interpolated


@dataclass(frozen=True)
class RestoredPlane:
    """A plane of a scan with its classes.

    Attributes:
        axis: of the scan that the plane is perpendicular to.
        index: of the plane along it.
        labels: class indices `(the two other axes in their order)`, uint8, or int16 for more than 255 classes.
        probabilities: float32 `(classes, the same)`, adding up to 1, or to 0 outside the image; None where not wanted.
    """

    axis: int
    index: int
    labels: torch.Tensor
    probabilities: torch.Tensor | None


def restored_planes(
    bands: Iterable[Band], way: InverseMapping, *, softmax: bool = True, probabilities: bool = False
) -> Iterator[RestoredPlane]:
    """Bring bands of scores to their scan's own voxels: scores interpolated, then arg max.

    Where the classes round a voxel agree it is of their class whatever the weights are, so that only the scores at
    borders are interpolated, unless probabilities are wanted.

    Args:
        bands: of a `ScoreStream`, each used up before the next is asked for.
        way: of the image that was scored.
        softmax: whether scores become probabilities before they are interpolated, as the bundle's chain does it.
        probabilities: whether they are wanted too.

    Yields:
        every plane of the scan once, in the order in which they are finished.
    """
    restorer: _Restorer | None = None
    for band in bands:
        if restorer is None:
            restorer = _Restorer(band, way, softmax=softmax, probabilities=probabilities)
        yield from restorer.planes(band)


class _Restorer:
    """What is known between two bands: which planes of the scan wait, and the planes of the image they wait for."""

    def __init__(self, band: Band, way: InverseMapping, *, softmax: bool, probabilities: bool) -> None:
        self.softmax = softmax
        self.probabilities = probabilities
        self.classes = band.scores.shape[1]
        self.along = next(i for i, axis in enumerate(way.axes) if axis.axis == band.axis)
        rows, columns = (axis for i, axis in enumerate(way.axes) if i != self.along)
        self.transposed = rows.axis > columns.axis
        device = band.scores.device
        self.rows, self.columns = _Taken.of(rows, device), _Taken.of(columns, device)
        self.stream = stream = way.axes[self.along]
        there = stream.lower_weight + stream.upper_weight > 0
        first = np.where(there, np.minimum(stream.lower, stream.upper), np.iinfo(np.int64).max)
        last = np.where(there, np.maximum(stream.lower, stream.upper), -1)
        self.order = np.argsort(last, kind="stable")
        self.last = last[self.order]
        self.needed_from = np.minimum.accumulate(first[self.order][::-1])[
            ::-1
        ]  # by this plane and those after it
        self.done = 0
        self.held: dict[int, _Plane] = {}

    def planes(self, band: Band) -> Iterator[RestoredPlane]:
        """Yield what can be finished with a band's planes and those held before."""
        stop = band.first + len(band.scores)
        labels = arg_max(band.scores, dim=1)
        for index in range(band.first, stop):
            place = index - band.first
            self.held[index] = _Plane(band.scores[place], labels[place], self.transposed, self.softmax)
        while self.done < len(self.order) and self.last[self.done] < stop:
            yield self._restored(int(self.order[self.done]))
            self.done += 1
            self._forget()
        for plane in self.held.values():
            plane.keep()  # the next band takes the room of this one

    def _forget(self) -> None:
        needed = self.needed_from[self.done] if self.done < len(self.order) else np.inf
        for index in [index for index in self.held if index < needed]:
            del self.held[index]

    def _restored(self, index: int) -> RestoredPlane:
        ends = [
            (self.held[int(plane)], float(weight))
            for plane, weight in (
                (self.stream.lower[index], self.stream.lower_weight[index]),
                (self.stream.upper[index], self.stream.upper_weight[index]),
            )
            if weight > 0
        ]
        if self.probabilities:
            interpolated = self._interpolated(ends)
            return RestoredPlane(self.along, index, arg_max(interpolated, dim=0), interpolated)
        return RestoredPlane(self.along, index, self._labels(ends), None)

    def _labels(self, ends: Sequence[tuple[_Plane, float]]) -> torch.Tensor:
        shape = (len(self.rows.lower), len(self.columns.lower))
        if not ends:
            return torch.zeros(shape, dtype=torch.uint8)
        labels = ends[0][0].labels
        mixed = torch.iinfo(labels.dtype).max
        for plane, _ in ends[1:]:
            labels = torch.where(labels == plane.labels, labels, mixed)
        for axis, taken in ((0, self.rows), (1, self.columns)):
            lower, upper = (labels.index_select(axis, at) for at in (taken.lower, taken.upper))
            labels = torch.where(lower == upper, lower, mixed)
        labels[self.rows.absent] = 0
        labels[:, self.columns.absent] = 0
        rows, columns = torch.nonzero(labels == mixed, as_tuple=True)
        if len(rows) > labels.numel() // _DENSE_SHARE:
            return arg_max(self._interpolated(ends), dim=0)
        if len(rows):
            labels[rows, columns] = arg_max(self._interpolated_at(ends, rows, columns), dim=0)
        return labels

    def _interpolated(self, ends: Sequence[tuple[_Plane, float]]) -> torch.Tensor:
        """Return the scores of a whole plane of the scan, `(classes, rows, columns)`."""
        if not ends:
            return torch.zeros((self.classes, len(self.rows.lower), len(self.columns.lower)))
        scores = ends[0][0].activated() * ends[0][1]
        for plane, weight in ends[1:]:
            scores.add_(plane.activated(), alpha=weight)
        for axis, taken in ((1, self.rows), (2, self.columns)):
            weights = [weight[:, None] if axis == 1 else weight for weight in taken.weights]
            lower, upper = (scores.index_select(axis, at) for at in (taken.lower, taken.upper))
            scores = lower.mul_(weights[0]).addcmul_(upper, weights[1]) if taken.weighted else lower
        return scores

    def _interpolated_at(
        self, ends: Sequence[tuple[_Plane, float]], rows: torch.Tensor, columns: torch.Tensor
    ) -> torch.Tensor:
        """Return the scores at some places of a plane of the scan, `(classes, places)`."""
        total: torch.Tensor | float = 0.0
        for plane, weight in ends:
            for row, row_weight in zip((self.rows.lower, self.rows.upper), self.rows.weights, strict=True):
                for column, column_weight in zip(
                    (self.columns.lower, self.columns.upper), self.columns.weights, strict=True
                ):
                    scores = plane.scores[:, row[rows], column[columns]]
                    if self.softmax:
                        scores = scores.softmax(0)
                    total = total + scores * (weight * row_weight[rows] * column_weight[columns])
        return torch.as_tensor(total)


@dataclass(frozen=True)
class _Taken:
    """An `AxisMap` as tensors, for the axes within a plane."""

    lower: torch.Tensor
    upper: torch.Tensor
    weights: tuple[torch.Tensor, torch.Tensor]
    absent: torch.Tensor
    weighted: bool

    @classmethod
    def of(cls, axis: AxisMap, device: torch.device) -> _Taken:
        lower, upper, lower_weight, upper_weight = (
            torch.as_tensor(part, device=device)
            for part in (axis.lower, axis.upper, axis.lower_weight, axis.upper_weight)
        )
        weighted = axis.interpolates or bool((axis.lower_weight != 1).any())
        return cls(lower, upper, (lower_weight, upper_weight), lower_weight + upper_weight == 0, weighted)


class _Plane:
    """One plane of the image: scores `(classes, rows, columns)` and the class of each voxel, turned as the scan is."""

    def __init__(self, scores: torch.Tensor, labels: torch.Tensor, transposed: bool, softmax: bool) -> None:
        self.scores = scores.transpose(1, 2) if transposed else scores
        self.labels = labels.T if transposed else labels
        self.softmax = softmax
        self._activated: torch.Tensor | None = None
        self._own = False

    def activated(self) -> torch.Tensor:
        """Return what is interpolated: probabilities, or the scores themselves."""
        if self._activated is None:
            self._activated = self.scores.softmax(0) if self.softmax else self.scores
        return self._activated

    def keep(self) -> None:
        """Copy the scores, which lie in a band."""
        if not self._own:
            self.scores, self.labels, self._own = self.scores.clone(), self.labels.clone(), True


def arg_max(scores: torch.Tensor, dim: int) -> torch.Tensor:
    """Return the class of the highest score, the first of several: `torch.argmax`, faster along a strided axis.

    Args:
        scores: of any shape.
        dim: of the classes.

    Returns:
        without `dim`; uint8, or int16 for 255 classes or more, whose largest value is never a class.
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
