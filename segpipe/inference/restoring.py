"""Brings bands of scores to the voxels of the scan, one plane at a time."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from segpipe.inference.decisions import ArgMax, Decision
from segpipe.inference.inverse_mapping import AxisMap, InverseMapping
from segpipe.inference.streaming import Band
from segpipe.labels import LabelTable

_WHOLE = 1 - 1e-5  # sum of weights below which a voxel lies partly outside the image
_DENSE_SHARE = 8  # if more than one in this many voxels of a plane needs interpolation, all are interpolated


@dataclass(frozen=True)
class RestoredPlane:
    """A plane of a scan with the class of each voxel.

    Attributes:
        axis: axis of the scan that the plane is perpendicular to.
        index: index of the plane along this axis.
        labels: class indices `(the two other axes in their order)`, uint8, or int16 for more than 255 classes.
        probabilities: float32 `(outputs, the same)`, 0 outside the image; of classes with sum 1. None if not asked for.
    """

    axis: int
    index: int
    labels: torch.Tensor
    probabilities: torch.Tensor | None


def restored_planes(
    bands: Iterable[Band],
    mapping: InverseMapping,
    decision: Decision | None = None,
    *,
    probabilities: bool = False,
) -> Iterator[RestoredPlane]:
    """Interpolate bands of scores at the scan's voxels, then decide on each voxel's class.

    If all voxels around a scan's voxel have one class, the scan's voxel has it too, whatever the weights. Scores are
    therefore interpolated at borders only, unless probabilities are asked for.

    Args:
        bands: of a `ScoreStream`; each is used before the next is requested.
        mapping: inverse mapping of the scored image.
        decision: how scores become probabilities and classes, as in the bundle's chain; None: `ArgMax()`.
        probabilities: also yield probabilities.

    Yields:
        every plane of the scan once, in the order in which the planes are finished.
    """
    restorer: _Restorer | None = None
    for band in bands:
        if restorer is None:
            restorer = _Restorer(band, mapping, decision or ArgMax(), probabilities=probabilities)
        yield from restorer.planes(band)


def certain_outside(planes: Iterable[RestoredPlane], labels: LabelTable) -> Iterator[RestoredPlane]:
    """Yield planes whose voxels outside the image are background with probability 1; regions have 0 there already.

    Args:
        planes: of a scan.
        labels: of the bundle.
    """
    for plane in planes:
        if plane.probabilities is not None and not labels.regions:
            plane.probabilities[0][plane.probabilities.sum(dim=0) == 0] = 1
        yield plane


class _Restorer:
    """Holds the state between two bands: unfinished planes of the scan, and the image planes that these need."""

    def __init__(
        self, band: Band, mapping: InverseMapping, decision: Decision, *, probabilities: bool
    ) -> None:
        self.decision = decision
        self.probabilities = probabilities
        self.outputs = band.scores.shape[1]
        self.along = next(i for i, axis in enumerate(mapping.axes) if axis.axis == band.axis)
        rows, columns = (axis for i, axis in enumerate(mapping.axes) if i != self.along)
        self.transposed = rows.axis > columns.axis
        device = band.scores.device
        self.rows, self.columns = _AxisTensors.of(rows, device), _AxisTensors.of(columns, device)
        self.stream = stream = mapping.axes[self.along]
        there = stream.lower_weight + stream.upper_weight > 0
        first = np.where(there, np.minimum(stream.lower, stream.upper), np.iinfo(np.int64).max)
        last = np.where(there, np.maximum(stream.lower, stream.upper), -1)
        self.order = np.argsort(last, kind="stable")
        self.last = last[self.order]
        self.needed_from = np.minimum.accumulate(first[self.order][::-1])[
            ::-1
        ]  # the first image plane that this plane or a later one needs
        self.done = 0
        self.held: dict[int, _Plane] = {}

    def planes(self, band: Band) -> Iterator[RestoredPlane]:
        """Yield the planes that a band, with the image planes held before, can finish."""
        stop = band.first + len(band.scores)
        labels = self.decision.classes(band.scores)
        for index in range(band.first, stop):
            place = index - band.first
            self.held[index] = _Plane(band.scores[place], labels[place], self.transposed, self.decision)
        while self.done < len(self.order) and self.last[self.done] < stop:
            yield self._restored(int(self.order[self.done]))
            self.done += 1
            self._forget()
        for plane in self.held.values():
            plane.keep()  # the next band overwrites the memory of this one

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
            labels = self.decision.classes_of_interpolated(interpolated)
            return RestoredPlane(self.along, index, labels, self.decision.probabilities(interpolated))
        return RestoredPlane(self.along, index, self._labels(ends), None)

    def _labels(self, ends: Sequence[tuple[_Plane, float]]) -> torch.Tensor:
        shape = (len(self.rows.lower), len(self.columns.lower))
        if not ends:
            return torch.zeros(shape, dtype=torch.uint8)
        labels = ends[0][0].labels
        if [weight for _, weight in ends] == [1.0] and not (self.rows.weighted or self.columns.weighted):
            return self.columns.moved(self.rows.moved(labels, 0), 1)  # no voxel lies between voxels
        mixed = torch.iinfo(labels.dtype).max
        for plane, _ in ends[1:]:
            labels = torch.where(labels == plane.labels, labels, mixed)
        for axis, taken in ((0, self.rows), (1, self.columns)):
            lower, upper = (labels.index_select(axis, at) for at in (taken.lower, taken.upper))
            labels = torch.where(lower == upper, lower, mixed)
        if self.decision.compares_with_threshold:
            if sum(weight for _, weight in ends) < _WHOLE:
                labels.fill_(mixed)
            labels[self.rows.partial] = mixed
            labels[:, self.columns.partial] = mixed
        labels[self.rows.absent] = 0
        labels[:, self.columns.absent] = 0
        rows, columns = torch.nonzero(labels == mixed, as_tuple=True)
        if len(rows) > labels.numel() // _DENSE_SHARE:
            return self.decision.classes_of_interpolated(self._interpolated(ends))
        if len(rows):
            at_borders = self._interpolated_at(ends, rows, columns)
            labels[rows, columns] = self.decision.classes_of_interpolated(at_borders)
        return labels

    def _interpolated(self, ends: Sequence[tuple[_Plane, float]]) -> torch.Tensor:
        """Return the values of a whole plane of the scan, `(outputs, rows, columns)`."""
        if not ends:
            return torch.zeros((self.outputs, len(self.rows.lower), len(self.columns.lower)))
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
        """Return the values at some places of a plane of the scan, `(outputs, places)`."""
        total: torch.Tensor | float = 0.0
        for plane, weight in ends:
            for row, row_weight in zip((self.rows.lower, self.rows.upper), self.rows.weights, strict=True):
                for column, column_weight in zip(
                    (self.columns.lower, self.columns.upper), self.columns.weights, strict=True
                ):
                    scores = self.decision.activated(plane.scores[:, row[rows], column[columns]])
                    total = total + scores * (weight * row_weight[rows] * column_weight[columns])
        return torch.as_tensor(total)


@dataclass(frozen=True)
class _AxisTensors:
    """An `AxisMap` as tensors, for an axis within a plane."""

    lower: torch.Tensor
    upper: torch.Tensor
    weights: tuple[torch.Tensor, torch.Tensor]
    absent: torch.Tensor
    partial: torch.Tensor
    weighted: bool
    in_place: bool  # every plane is the image's plane of the same index

    @classmethod
    def of(cls, axis: AxisMap, device: torch.device) -> _AxisTensors:
        lower, upper, lower_weight, upper_weight = (
            torch.as_tensor(part, device=device)
            for part in (axis.lower, axis.upper, axis.lower_weight, axis.upper_weight)
        )
        weighted = axis.interpolates or bool((axis.lower_weight != 1).any())
        whole = lower_weight + upper_weight
        in_place = not weighted and np.array_equal(axis.lower, np.arange(len(axis)))
        return cls(
            lower,
            upper,
            (lower_weight, upper_weight),
            whole == 0,
            (whole > 0) & (whole < _WHOLE),
            weighted,
            in_place,
        )

    def moved(self, labels: torch.Tensor, dim: int) -> torch.Tensor:
        """Return labels on the scan's voxels along one dimension, where none lies between two voxels."""
        stays = self.in_place and labels.shape[dim] == len(self.lower)
        return labels if stays else labels.index_select(dim, self.lower)


class _Plane:
    """One plane of the image: scores `(outputs, rows, columns)` and the class of each voxel, on the scan's axes."""

    def __init__(
        self, scores: torch.Tensor, labels: torch.Tensor, transposed: bool, decision: Decision
    ) -> None:
        self.scores = scores.transpose(1, 2) if transposed else scores
        self.labels = labels.T if transposed else labels
        self.decision = decision
        self._activated: torch.Tensor | None = None
        self._is_copy = False

    def activated(self) -> torch.Tensor:
        """Return the values to interpolate: probabilities, or the scores themselves."""
        if self._activated is None:
            self._activated = self.decision.activated(self.scores)
        return self._activated

    def keep(self) -> None:
        """Copy the scores out of the band."""
        if self._is_copy:
            return
        is_score = self._activated is self.scores  # scores that are interpolated as they are
        self.scores, self.labels, self._is_copy = self.scores.clone(), self.labels.clone(), True
        self._activated = self.scores if is_score else self._activated
