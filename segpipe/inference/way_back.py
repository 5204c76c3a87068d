"""From a preprocessed image's voxels back to its scan's: the inverse of a transform chain, one plane at a time."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import nibabel
import numpy as np
import torch
from monai.data import MetaTensor
from monai.data.utils import to_affine_nd
from numpy.typing import NDArray

from segpipe.inference.streaming import Band, CannotStreamError

_SAME_AFFINE = 1e-3  # MONAI resamples nothing where two affines differ by less
_CLOSE = 1e-3  # voxels: what two ways to the same place may differ by
_DENSE_SHARE = 8  # where more than one in so many voxels of a plane needs its scores, all are interpolated


@dataclass(frozen=True)
class AxisMap:
    """Along one axis of a scan: which two planes of the preprocessed image each plane is interpolated from.

    Attributes:
        axis: of the image, 0 to 2.
        lower, upper: planes of the image, int64 `(n,)`; of weight 0 where the image does not reach.
        lower_weight, upper_weight: float32 `(n,)`, 0 to 1.
    """

    axis: int
    lower: NDArray[np.int64]
    upper: NDArray[np.int64]
    lower_weight: NDArray[np.float32]
    upper_weight: NDArray[np.float32]

    @classmethod
    def identity(cls, axis: int, length: int) -> AxisMap:
        """Map each of `length` planes to itself."""
        planes = np.arange(length)
        return cls(axis, planes, planes, np.ones(length, np.float32), np.zeros(length, np.float32))

    @property
    def interpolates(self) -> bool:
        """Whether a plane is taken from more than one."""
        return bool(self.upper_weight.any())

    def __len__(self) -> int:
        return len(self.lower)

    def taken(self, planes: NDArray[np.int64], present: NDArray[np.bool_]) -> AxisMap:
        """Return the map of these planes; those that are not `present` are of weight 0."""
        return AxisMap(
            self.axis,
            self.lower[planes],
            self.upper[planes],
            self.lower_weight[planes] * present,
            self.upper_weight[planes] * present,
        )

    def cropped(self, first: int, length: int) -> AxisMap:
        """Return the map of `length` planes from `first` on; those outside are of weight 0."""
        planes = np.arange(first, first + length)
        present = (planes >= 0) & (planes < len(self))
        return self.taken(np.where(present, planes, 0), present)

    def resampled(self, places: NDArray[np.float64], *, border: bool) -> AxisMap:
        """Return the map of planes that lie at `places` between these.

        Args:
            places: in planes, may lie outside.
            border: whether the outermost planes go on outside; else nothing is there.
        """
        last = len(self) - 1
        if border:
            places = places.clip(0, last)
        below = np.floor(places).astype(np.int64)
        share = (places - below).astype(np.float32)
        ends = []
        for planes, weight in ((below, 1 - share), (below + 1, share)):
            present = (planes >= 0) & (planes <= last)
            end = self.taken(planes.clip(0, last), present)
            ends.append((end.lower, end.lower_weight * weight))
        (lower, lower_weight), (upper, upper_weight) = ends
        # a plane of weight 0 must not be asked for: it may be long gone
        lower = np.where(lower_weight == 0, upper, lower)
        upper = np.where(upper_weight == 0, lower, upper)
        return AxisMap(self.axis, lower, upper, lower_weight, upper_weight)


@dataclass(frozen=True)
class WayBack:
    """How the voxels of a scan are interpolated from those of its preprocessed image, axis by axis.

    Attributes:
        axes: one map for each of the scan's three axes; a slice's third has one plane.
    """

    axes: tuple[AxisMap, AxisMap, AxisMap]

    @classmethod
    def of(cls, image: MetaTensor, scan_size: Sequence[int], scan_affine: NDArray[np.float64]) -> WayBack:
        """Work out the way back from what MONAI's transforms have noted in an image.

        The same arithmetic as their inverses' and `Invertd`'s with interpolated scores: what was padded is cropped,
        what was cropped has score 0, what was resampled is resampled linearly.

        Args:
            image: `(C, x, y[, z])`, preprocessed.
            scan_size: voxels along each axis of the scan.
            scan_affine: (4, 4), voxel to RAS mm.

        Raises:
            CannotStreamError: a transform other than orientation, spacing, padding and cropping, or one that cannot
                be undone axis by axis; or the way does not end on the scan's grid.
        """
        dims = image.ndim - 1
        lattice = _Lattice(
            [AxisMap.identity(axis, length) for axis, length in enumerate(image.shape[1:])],
            to_affine_nd(dims, np.asarray(image.affine.cpu(), np.float64)),
        )
        for operation in reversed(image.applied_operations):
            lattice.undo(operation)
        lattice.require_grid(scan_size, to_affine_nd(dims, scan_affine))
        slices = [AxisMap.identity(2, 1)] if dims == 2 else []
        first, second, third = [*lattice.axes, *slices]
        return cls((first, second, third))

    @property
    def interpolates(self) -> bool:
        """Whether scores are interpolated at all."""
        return any(axis.interpolates for axis in self.axes)


class _Lattice:
    """The voxels of an image on the way back to its scan's, one transform after the other undone."""

    def __init__(self, axes: list[AxisMap], affine: NDArray[np.float64]) -> None:
        self.axes = axes
        self.affine = affine

    def undo(self, operation: Mapping[str, Any]) -> None:
        """Undo what MONAI has noted as one operation."""
        info, size = operation["extra_info"], operation["orig_size"]
        if operation["lazy"]:
            raise CannotStreamError("a transform is lazy")
        if "padded" in info:
            self._crop([before for before, _ in info["padded"][1:]], size)
        elif "cropped" in info:
            padded = info.get("pad_info")  # CropForegroundd may pad after it has cropped
            if padded is not None:
                self._crop([before for before, _ in padded["extra_info"]["padded"][1:]], padded["orig_size"])
            self._crop([-before for before in info["cropped"][::2]], size)
        elif operation["class"] == "Orientation":
            self._turn(info["original_affine"])
        elif operation["class"] == "SpatialResample":
            self._resample(info, size)
        else:
            raise CannotStreamError(f"segpipe cannot invert {operation['class']} itself")

    def require_grid(self, size: Sequence[int], affine: NDArray[np.float64]) -> None:
        """Refuse where the transforms, undone, do not end at a scan: one changed its grid and noted nothing."""
        ours = tuple(len(axis) for axis in self.axes)
        corners = np.array(np.meshgrid(*([0, length] for length in size), [1.0])).reshape(len(size) + 1, -1)
        if (
            ours != tuple(size)
            or np.abs(np.linalg.solve(affine, self.affine @ corners) - corners).max() > _CLOSE
        ):
            raise CannotStreamError("its transforms, undone, do not lead back to the scan's grid")

    def _crop(self, first: Sequence[int], size: Sequence[int]) -> None:
        self.axes = [
            axis.cropped(int(begin), int(length))
            for axis, begin, length in zip(self.axes, first, size, strict=True)
        ]
        shift = np.eye(len(self.affine))
        shift[:-1, -1] = first
        self.affine = self.affine @ shift

    def _turn(self, original_affine: Any) -> None:
        original = to_affine_nd(len(self.axes), np.asarray(original_affine, np.float64))
        turn = nibabel.orientations.ornt_transform(
            nibabel.io_orientation(self.affine), nibabel.io_orientation(original)
        )
        axes = list(self.axes)
        for axis, (target, direction) in zip(self.axes, turn, strict=True):
            planes = np.arange(len(axis))[:: int(direction)]
            axes[int(target)] = axis.taken(planes, np.ones(len(axis), bool))
        self.affine = self.affine @ nibabel.orientations.inv_ornt_aff(turn, [len(axis) for axis in self.axes])
        self.axes = axes

    def _resample(self, info: Mapping[str, Any], size: Sequence[int]) -> None:
        target = to_affine_nd(len(self.axes), np.asarray(info["src_affine"], np.float64))
        there = np.linalg.solve(self.affine, target)  # from a voxel there to one here
        unchanged = [
            np.allclose(self.affine, target, atol=_SAME_AFFINE),
            np.allclose(there, np.eye(len(there)), atol=_SAME_AFFINE),
        ]
        if any(unchanged) and tuple(size) == tuple(len(axis) for axis in self.axes):
            return
        if any(axis.interpolates for axis in self.axes):
            raise CannotStreamError("it resamples twice")
        if (
            info["mode"] != "bilinear"
            or info["align_corners"] is True
            or info["padding_mode"] not in _PADDINGS
        ):
            raise CannotStreamError(
                f"it resamples with {info['mode']}, align_corners {info['align_corners']} and {info['padding_mode']}"
            )
        scales, shifts = np.diag(there)[:-1], there[:-1, -1]
        oblique = (there[:-1, :-1] - np.diag(scales)) * np.asarray(size)
        if np.abs(oblique).max() > _CLOSE:
            raise CannotStreamError("it resamples between axes that are not parallel")
        self.axes = [
            axis.resampled(scale * np.arange(length) + shift, border=info["padding_mode"] == "border")
            for axis, scale, shift, length in zip(self.axes, scales, shifts, size, strict=True)
        ]
        self.affine = target


_PADDINGS = ("border", "zeros")


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
    bands: Iterable[Band], way: WayBack, *, softmax: bool = True, probabilities: bool = False
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

    def __init__(self, band: Band, way: WayBack, *, softmax: bool, probabilities: bool) -> None:
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
