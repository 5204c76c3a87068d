"""A sliding window that yields scores band by band; memory never holds the scores of the whole image."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import groupby
from types import EllipsisType

import numpy as np
import torch
from monai.data.utils import compute_importance_map, dense_patch_slices
from monai.utils import fall_back_tuple
from torch.nn import functional

from segpipe.inference.engines.engine import WindowQueue
from segpipe.inference.score_checks import require_classes, require_numbers

Predictor = Callable[[torch.Tensor], torch.Tensor]
Report = Callable[[str], None]
_BACKGROUND_LOGIT = 30.0  # of voxels that no window covered: background with probability 1 - 1e-13


class CannotStreamError(Exception):
    """Only MONAI's own chain can segment the scan; the message gives the reason, as the end of a sentence."""


@dataclass(frozen=True)
class SlidingWindow:
    """Positions and blending of windows; the settings of MONAI's `SlidingWindowInferer`.

    Attributes:
        roi_size: voxels of a window along three axes; 0 or less: the whole axis.
        batch_size: windows per batch.
        overlap: overlap of neighbouring windows along each axis, as a share of the window, 0 to below 1.
        mode: "gaussian" or "constant".
        sigma_scale: sigma of the Gaussian along each axis, as a share of the window.
        padding_mode: padding of images smaller than a window, a mode of `torch.nn.functional.pad`.
        cval: value of a constant padding.
    """

    roi_size: tuple[int, int, int]
    batch_size: int = 1
    overlap: tuple[float, float, float] = (0.25, 0.25, 0.25)
    mode: str = "constant"
    sigma_scale: tuple[float, float, float] = (0.125, 0.125, 0.125)
    padding_mode: str = "constant"
    cval: float = 0.0

    def fitted(self, size: Sequence[int]) -> SlidingWindow:
        """Return the same window with the sizes that depend on the image filled in."""
        return replace(self, roi_size=fall_back_tuple(self.roi_size, size))

    def padded_size(self, size: Sequence[int]) -> tuple[int, ...]:
        """Return the size of an image after padding it to at least one window."""
        return tuple(max(pair) for pair in zip(size, self.roi_size, strict=True))

    def central(self, image: torch.Tensor) -> torch.Tensor:
        """Return the window `(1, C, *roi_size)` in the middle of an image `(C, x, y, z)`, padded as the image is."""
        window = self.fitted(image.shape[1:])
        padded, _ = _pad(image, None, window)
        start = [(length - roi) // 2 for length, roi in zip(padded.shape[1:], window.roi_size, strict=True)]
        return _crop(padded, start, window)[None].contiguous()

    def drawn(self, image: torch.Tensor, count: int, draw: np.random.Generator) -> list[torch.Tensor]:
        """Return windows `(1, C, *roi_size)` of an image `(C, x, y, z)`, at positions drawn from those of inference.

        Args:
            image: is padded as in inference.
            count: most windows; an image may have fewer positions.
            draw: draws without replacement.
        """
        window = self.fitted(image.shape[1:])
        padded, _ = _pad(image, None, window)
        starts = window.starts(padded.shape[1:])
        chosen = draw.permutation(len(starts))[:count]
        return [_crop(padded, starts[place], window)[None].contiguous() for place in chosen]

    def starts(self, size: Sequence[int]) -> list[tuple[int, ...]]:
        """Return the first voxel of each window in a padded image, at MONAI's positions and in MONAI's order."""
        intervals = [
            roi if roi == length else max(int(roi * (1 - overlap)), 1)
            for roi, length, overlap in zip(self.roi_size, size, self.overlap, strict=True)
        ]
        windows = dense_patch_slices(size, self.roi_size, intervals, return_slice=False)
        return [tuple(int(begin) for begin, _ in window) for window in windows]

    def weights(self) -> torch.Tensor:
        """Return the weight of each voxel of a window, of shape `roi_size`."""
        weights: torch.Tensor = compute_importance_map(
            self.roi_size, mode=self.mode, sigma_scale=self.sigma_scale
        )
        return weights


@dataclass
class StreamStatistics:
    """Counts of a stream's windows for one image.

    Attributes:
        windows: number of windows of the image.
        skipped: number of these windows that were skipped because they hold no tissue.
    """

    windows: int = 0
    skipped: int = 0


class ScoreStream:
    """Runs a network over the windows of an image, and yields blended scores as soon as they are final.

    Windows are visited along one axis. Memory holds only the planes that pending windows still cover, so it does not
    grow with the image's length along that axis. Positions, blending and padding equal those of MONAI's
    `sliding_window_inference`. So do the scores, except for the order in which floating-point numbers are added.

    If a CUDA card runs out of memory, the batch is halved first; then the scores move to the CPU. Both settings stay
    for the next images.

    Args:
        window: positions, size and blending of the windows.
        predictor: scores `(B, classes, *roi_size)` of windows `(B, C, *roi_size)`, both float32. A `WindowQueue` gets
            windows ahead, so that it computes while scores are added up and the caller uses a band.
        classes: number of classes that the predictor scores.
        device: the device of the predictor.
        report: called with a message when memory forces a change.

    Attributes:
        statistics: of the last image; complete after its last band.
    """

    def __init__(
        self,
        window: SlidingWindow,
        predictor: Predictor,
        classes: int,
        device: torch.device | str = "cpu",
        report: Report = lambda _: None,
    ) -> None:
        self.window = window
        self.predictor = predictor
        self.classes = classes
        self.device = torch.device(device)
        self.report = report
        self.statistics = StreamStatistics()
        self._scores_device = self.device
        self._batch_size = window.batch_size

    def axis(self, size: Sequence[int]) -> int:
        """Return the axis of an image `(x, y, z)` along which memory holds the fewest scores."""
        window = self.window.fitted(size)
        padded = window.padded_size(size)
        held = [roi / length for roi, length in zip(window.roi_size, padded, strict=True)]
        return min(range(3), key=lambda axis: (held[axis], -axis))

    def held_bytes(self, size: Sequence[int]) -> int:
        """Return how many bytes of scores memory holds at a time for an image `(x, y, z)`."""
        window, axis = self.window.fitted(size), self.axis(size)
        padded = window.padded_size(size)
        starts = sorted(window.starts(padded), key=lambda start: start[axis])
        planes = self._planes_held(starts, axis, window)
        plane: int = math.prod(length for i, length in enumerate(padded) if i != axis)
        return 4 * planes * (self.classes + 1) * plane

    def bands(self, image: torch.Tensor, tissue: torch.Tensor | None = None) -> Iterator[Band]:
        """Yield the scores of an image, band by band along `axis(size)`.

        Args:
            image: float `(C, x, y, z)`, on any device.
            tissue: bool `(x, y, z)`; a window without a tissue voxel is skipped, and a voxel that no computed window
                covers becomes background. None: compute every window.

        Yields:
            bands without gaps between them; the next band overwrites the scores of this one.

        Raises:
            CannotStreamError: the network's answer is not a tensor of the window's size.
            SegpipeError: the network scores another number of classes.
        """
        size = tuple(image.shape[1:])
        axis = self.axis(size)
        window = self.window.fitted(size)
        image, tissue = _pad(image, tissue, window)
        starts = sorted(window.starts(image.shape[1:]), key=lambda start: start[axis])
        self.statistics = StreamStatistics()
        before = max(window.roi_size[axis] - size[axis], 0) // 2  # padding
        sums = self._sums(tuple(image.shape[1:]), axis, window, starts)
        groups = [
            ([start for start in group if tissue is None or _crop(tissue, start, window).any()], following)
            for group, following in _groups(starts, axis, self._batch_size)
        ]
        self.statistics.windows = len(starts)
        self.statistics.skipped = len(starts) - sum(len(kept) for kept, _ in groups)
        ahead = self._ahead(image, [start for kept, _ in groups for start in kept], window)
        for kept, following in groups:
            if isinstance(self.predictor, WindowQueue):
                for start in kept:
                    sums.add(start, next(ahead))
            else:
                self._add(image, kept, window, sums)
            stop = sums.length if following is None else following
            first, scores = sums.first - before, sums.finished(stop)
            lost = max(-first, 0)  # a padded image has one band
            others = [_unpadding(window.roi_size[i], size[i]) for i in range(3) if i != axis]
            planes = slice(lost, min(len(scores), size[axis] - first))
            yield Band(axis, first + lost, scores[planes, :, others[0], others[1]])
            sums.drop(stop)

    def _planes_held(self, starts: Sequence[tuple[int, ...]], axis: int, window: SlidingWindow) -> int:
        groups = _groups(starts, axis, self._batch_size)
        return max(group[-1][axis] - group[0][axis] for group, _ in groups) + window.roi_size[axis]

    def _sums(
        self, size: tuple[int, ...], axis: int, window: SlidingWindow, starts: Sequence[tuple[int, ...]]
    ) -> _Sums:
        held = self._planes_held(starts, axis, window)
        try:
            return _Sums(size, axis, window, held, self.classes, self._scores_device)
        except torch.OutOfMemoryError:
            if self._scores_device.type == "cpu":
                raise
            self._scores_to_cpu()
            return _Sums(size, axis, window, held, self.classes, self._scores_device)

    def _ahead(
        self, image: torch.Tensor, starts: Sequence[tuple[int, ...]], window: SlidingWindow
    ) -> Iterator[torch.Tensor]:
        """Yield the scores of each window in their order, while the queue computes the next windows."""
        if not isinstance(self.predictor, WindowQueue):
            return
        waiting, started = iter(starts), deque[tuple[torch.Tensor, Callable[[], torch.Tensor]]]()
        for _ in starts:
            while len(started) < self.predictor.at_once and (start := next(waiting, None)) is not None:
                one = _crop(image, start, window)[None].contiguous()
                started.append((one, self.predictor.start(one)))
            one, finish = started.popleft()
            scores = finish()
            _require_scores(scores, one, self.classes)
            yield scores[0]

    def _add(
        self, image: torch.Tensor, starts: Sequence[tuple[int, ...]], window: SlidingWindow, sums: _Sums
    ) -> None:
        done = 0
        while done < len(starts):
            batch = starts[done : done + self._batch_size]
            try:
                windows = torch.stack([_crop(image, start, window) for start in batch]).to(self.device)
                scores = self.predictor(windows)
            except torch.OutOfMemoryError:
                if self._batch_size > 1:
                    self._batch_size //= 2
                    self.report(
                        f"{self.device} is out of memory: going on with {self._batch_size} windows in one batch"
                    )
                elif self._scores_device.type != "cpu":
                    self._scores_to_cpu()
                    sums.move(self._scores_device)
                else:
                    raise
                torch.cuda.empty_cache()
                continue
            _require_scores(scores, windows, self.classes)
            for start, window_scores in zip(batch, scores, strict=True):
                sums.add(start, window_scores)
            done += len(batch)

    def _scores_to_cpu(self) -> None:
        self._scores_device = torch.device("cpu")
        self.report(f"{self.device} is out of memory: going on with the scores on the CPU")


@dataclass(frozen=True)
class Band:
    """Final scores of neighbouring planes of an image `(x, y, z)`.

    Attributes:
        axis: axis along which the planes are stacked, 0 to 2.
        first: index of the first plane.
        scores: float32 `(planes, classes, *the two other axes in their order)`.
    """

    axis: int
    first: int
    scores: torch.Tensor


class _Sums:
    """Weighted sums of scores, and sums of the weights, over the planes that are not final yet."""

    def __init__(
        self,
        size: tuple[int, ...],
        axis: int,
        window: SlidingWindow,
        held: int,
        classes: int,
        device: torch.device,
    ) -> None:
        self.axis = axis
        self.length = size[axis]
        self.first = 0
        self.roi_size = window.roi_size
        self.weights = window.weights().movedim(axis, 0).contiguous().to(device)
        plane = [length for i, length in enumerate(size) if i != axis]
        self.scores = torch.zeros((held, classes, *plane), device=device)
        self.counts = torch.zeros((held, *plane), device=device)

    def move(self, device: torch.device) -> None:
        self.weights, self.scores, self.counts = (
            tensor.to(device) for tensor in (self.weights, self.scores, self.counts)
        )

    def add(self, start: tuple[int, ...], scores: torch.Tensor) -> None:
        """Add the scores `(classes, *roi_size)` of the window at `start`."""
        begin = start[self.axis] - self.first
        planes = slice(begin, begin + self.roi_size[self.axis])
        rows, columns = (slice(start[i], start[i] + self.roi_size[i]) for i in range(3) if i != self.axis)
        turned = scores.to(self.scores.device).movedim(self.axis + 1, 0)
        self.scores[planes, :, rows, columns].addcmul_(turned, self.weights[:, None])
        self.counts[planes, rows, columns].add_(self.weights)

    def finished(self, stop: int) -> torch.Tensor:
        """Return the blended scores of the planes before `stop`, valid until `drop`."""
        scores, counts = self.scores[: stop - self.first], self.counts[: stop - self.first]
        uncovered = counts == 0
        if uncovered.any():
            counts[uncovered] = 1.0
            scores[:, 0][uncovered] = _BACKGROUND_LOGIT
        scores /= counts[:, None]
        return scores

    def drop(self, stop: int) -> None:
        """Drop the planes before `stop`; the other planes move to the front."""
        count = stop - self.first
        for held in (self.scores, self.counts):
            for begin in range(count, len(held), count):  # in steps whose source and target do not overlap
                moving = held[begin : begin + count]
                held[begin - count : begin - count + len(moving)] = moving
            held[max(len(held) - count, 0) :] = 0
        self.first = stop


def _groups(
    starts: Sequence[tuple[int, ...]], axis: int, batch_size: int
) -> Iterator[tuple[list[tuple[int, ...]], int | None]]:
    """Yield enough windows at neighbouring places for a batch, and the place where the next windows begin."""
    by_place = [list(windows) for _, windows in groupby(starts, key=lambda start: start[axis])]
    group: list[tuple[int, ...]] = []
    for position, windows in enumerate(by_place):
        group += windows
        if position + 1 == len(by_place):
            yield group, None
        elif len(group) >= batch_size:
            yield group, by_place[position + 1][0][axis]
            group = []


def _crop(tensor: torch.Tensor, start: Sequence[int], window: SlidingWindow) -> torch.Tensor:
    """Return the window at `start` of a tensor whose last three axes are the image's."""
    places = tuple(slice(begin, begin + roi) for begin, roi in zip(start, window.roi_size, strict=True))
    index: tuple[slice | EllipsisType, ...] = (..., *places)
    return tensor[index]


def _pad(
    image: torch.Tensor, tissue: torch.Tensor | None, window: SlidingWindow
) -> tuple[torch.Tensor, torch.Tensor | None]:
    """Pad an image that is smaller than a window, as MONAI does."""
    padding: list[int] = []
    for length, roi in zip(image.shape[:0:-1], window.roi_size[::-1], strict=True):
        missing = max(roi - length, 0)
        padding += [missing // 2, missing - missing // 2]
    if not any(padding):
        return image, tissue
    value = window.cval if window.padding_mode == "constant" else None
    padded = functional.pad(image[None], padding, mode=window.padding_mode, value=value)[0]
    return padded, None if tissue is None else functional.pad(tissue, padding)


def _unpadding(roi: int, length: int) -> slice:
    before = max(roi - length, 0) // 2
    return slice(before, before + length)


def _require_scores(scores: object, windows: torch.Tensor, classes: int) -> None:
    if not isinstance(scores, torch.Tensor) or scores.shape[2:] != windows.shape[2:]:
        answer = tuple(scores.shape[2:]) if isinstance(scores, torch.Tensor) else f"a {type(scores).__name__}"
        raise CannotStreamError(
            f"its network answers a window of {tuple(windows.shape[2:])} voxels with {answer}"
        )
    require_classes(scores, classes)
    require_numbers(scores)
