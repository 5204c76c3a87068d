"""Chooses the engine and the precision of a cohort: by name, or by times measured on a window of its first scan."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, cast

import torch

from segpipe.errors import SegpipeError
from segpipe.inference.agreement import disagreement, other_labels
from segpipe.inference.engines.cache import EngineCache
from segpipe.inference.engines.engine import CannotComputeError, EngineJob, Scores
from segpipe.inference.engines.kept import cache_key
from segpipe.inference.engines.names import (
    AUTO,
    BFLOAT16,
    FLOAT32,
    INT8,
    ONNXRUNTIME,
    OPENVINO,
    TENSORRT,
    TORCH,
    TORCH_COMPILE,
    Way,
    engine_versions,
    is_installed,
)
from segpipe.inference.engines.quantised import INT8_FASTER_BY, Quantised
from segpipe.inference.engines.threads import processor_name, usable_threads
from segpipe.inference.engines.torch_engine import compiled_scores, torch_scores
from segpipe.inference.precision import DTYPES, FASTER_BY, choose_precision, synchronize

_WORTH_CONVERTING_S = 8.0  # of PyTorch's work: below, converting and measuring takes longer than it saves
_MEASURED_WINDOWS = 16  # about as many are computed to measure converted networks
_START_S = {  # opening a converted network
    TORCH: 0.0,
    TORCH_COMPILE: 30.0,
    OPENVINO: 1.5,
    ONNXRUNTIME: 1.5,
    TENSORRT: 5.0,
}
_PRECISIONS = {
    **dict.fromkeys((TORCH, TORCH_COMPILE), tuple(DTYPES)),
    OPENVINO: (FLOAT32, BFLOAT16, INT8),
    ONNXRUNTIME: (FLOAT32,),
}
_FEW_WINDOWS = 8  # fewer are not worth a measurement
_ROUNDS, _ENOUGH_S = 3, 2.0


class _NotOneTensorError(Exception):
    """The network answers with something else than one tensor."""


class EngineChoice:
    """Opens a network in the engine and the precision of a cohort; the first scan settles both.

    Args:
        network: on its device, in evaluation mode.
        identity: hash of everything that the network's scores depend on, its weights too.
        engine: a name of `ENGINES`, or auto: the faster one of PyTorch and OpenVINO.
        precision: see `choose_precision`; auto: the faster one of float32 and the device's reduced precision.
        report: called with a message when segpipe deviates from the request, or has chosen.
        cache: keeps converted networks and measured times; None: in the user's cache folder.
        threads_a_window: of an earlier run of the cohort; 0: not settled.
        quantised: the network in int8; None: none is used.

    Attributes:
        way: the chosen engine and precision; None until the first window.
        threads_a_window: number of processor threads that compute one window; 0 for PyTorch, and until the first
            window.
    """

    def __init__(
        self,
        network: torch.nn.Module,
        identity: str,
        engine: str = AUTO,
        precision: str = AUTO,
        report: Callable[[str], None] = lambda _: None,
        cache: EngineCache | None = None,
        threads_a_window: int = 0,
        quantised: Quantised | None = None,
    ) -> None:
        self.network, self.identity = network, identity
        self.engine = OPENVINO if engine == AUTO and precision == INT8 else engine
        self.precision, self.quantised = precision, quantised
        self.report = report
        self.cache = cache or EngineCache(report=report)
        self.threads_a_window = threads_a_window
        self._threads = usable_threads()  # before the cohort sets PyTorch's number
        self._refused: set[Way] = set()
        self._other_labels: dict[Way, str] = {}  # in how many: ways that `auto` leaves out
        self.way: Way | None = None
        if AUTO not in (self.engine, precision):
            self.way = Way(self.engine, precision)

    def opened(
        self, window: torch.Tensor, at_once: int, windows: int, *, same_shape: bool = True
    ) -> tuple[Scores, Way]:
        """Return what computes windows of one shape, and its engine and precision.

        An engine that cannot compute the network, or whose scores of the window differ from PyTorch's, is replaced by
        PyTorch, and reported; int8 that was asked for is refused.

        Args:
            window: `(1, C, *spatial)` of a scan, float32, on the network's device.
            at_once: number of windows that memory may hold activations of.
            windows: number of windows of the whole cohort, about.
            same_shape: whether all windows have this shape; only PyTorch computes windows of any shape.

        Raises:
            SegpipeError: int8 was asked for, and cannot be computed, or gives other scores.
        """
        fixed, quantised = self.threads_a_window, self.quantised
        job = EngineJob(
            self.network, window, self.identity, at_once, self._threads, self.cache, fixed, quantised
        )
        if self.way is None:
            self.way = self._settled(job, windows, same_shape=same_shape)
        if self.way.engine == TORCH:
            return self._by_torch(job, self.way), self.way
        try:
            if not same_shape:
                raise CannotComputeError(
                    "its windows span whole axes, whose lengths differ from scan to scan"
                )
            scores = _checked(job, self.way)
        except CannotComputeError as reason:
            if self.precision == INT8:
                raise SegpipeError(f"--precision {INT8}: {reason}; give --precision {FLOAT32}") from reason
            instead = self._instead(job, self.way.precision)
            self.report(f"computing with {instead} instead of {self.way.engine}: {reason}")
            return self._by_torch(job, instead), instead
        if self.way.engine in (OPENVINO, ONNXRUNTIME):
            self.threads_a_window = job.threads_a_window
        return scores, self.way

    def _instead(self, job: EngineJob, precision: str) -> Way:
        """Return PyTorch, in float32 where `auto` took a precision that PyTorch cannot compute on processors."""
        way = Way(TORCH, FLOAT32 if precision == INT8 else precision)
        is_sure = self.precision != AUTO or way.precision == FLOAT32 or job.example.device.type != "cpu"
        if is_sure or not isinstance(job.answer, torch.Tensor):
            return way
        try:
            _compare(job, way, torch_scores(job, way.precision))
        except CannotComputeError:
            return Way(TORCH, FLOAT32)
        return way

    def _by_torch(self, job: EngineJob, way: Way) -> Scores:
        """Return the scores of PyTorch; report a reduced precision on a processor that was asked for and is wrong."""
        scores = torch_scores(job, way.precision)
        is_measured = self.precision == AUTO or way.precision == FLOAT32
        if is_measured or job.example.device.type != "cpu" or not isinstance(job.answer, torch.Tensor):
            return scores
        try:
            _compare(job, way, scores)
        except CannotComputeError as reason:
            if isinstance(reason.__cause__, NotImplementedError):
                raise SegpipeError(
                    f"--precision {way.precision}: {reason}; give --precision {FLOAT32}"
                ) from reason
            self.report(f"computing with {way}, as asked for, but {reason}; --precision {FLOAT32} is right")
        return scores

    def _settled(self, job: EngineJob, windows: int, *, same_shape: bool) -> Way:
        """Return the fastest way for a number of windows, measured now or by an earlier run."""
        precisions = [self.precision] if self.precision != AUTO else _precisions(job)
        engine = TORCH if self.engine == AUTO else self.engine
        by_default = _ways(engine, precisions)
        converted: list[Way] = []
        if self.engine == AUTO and same_shape and windows >= _FEW_WINDOWS and _may_convert(job):
            converted = [Way(OPENVINO, name) for name in precisions if name in _PRECISIONS[OPENVINO]]
        if len([*by_default, *converted]) == 1:
            return by_default[0]
        key = _times_key(job)
        known, other_labels_of = _times(self.cache.noted(key))
        self._other_labels |= other_labels_of
        before = dict(known), dict(self._other_labels)
        try:
            if len(by_default) > 1:
                self._measure(job, by_default, known)
            left = windows - _MEASURED_WINDOWS
            if converted and left * _seconds(job, by_default, known) > _WORTH_CONVERTING_S:
                self._measure(job, [*by_default, *converted], known)
        except _NotOneTensorError:
            return by_default[0]  # the stream refuses the network's answer
        for way, reason in self._other_labels.items():
            self.report(f"{way} is not used: {reason}")
        if (known, self._other_labels) != before:
            self.cache.note(key, [[*way, noted] for way, noted in (known | self._other_labels).items()])
        seconds = {way: known[way] for way in [*by_default, *converted] if way in known}
        chosen = fastest(seconds, windows) if seconds else by_default[0]
        if len({way.engine for way in seconds}) > 1 or chosen.precision == INT8:
            self.report(_reason(chosen, seconds))
        return chosen

    def _measure(self, job: EngineJob, ways: list[Way], known: dict[Way, float]) -> None:
        """Add the seconds of ways that are not known.

        Left out are ways whose scores are not those of PyTorch in float32, or whose labels differ too often.
        """
        left_out = {*known, *self._refused, *self._other_labels}
        missing = [way for way in ways if way not in left_out]
        if missing and not isinstance(job.answer, torch.Tensor):
            raise _NotOneTensorError
        opened: dict[Way, Scores] = {}
        for way in missing:
            try:
                scores = _checked(job, way)
            except CannotComputeError as reason:
                self._refused.add(way)
                self.report(f"{way} is not used: {reason}")
                continue
            difference = _label_difference(job, way, scores) if self.precision == AUTO else None
            if difference is None:
                opened[way] = scores
            else:
                self._other_labels[way] = difference
        known |= seconds_a_window(opened, job)


def fastest(seconds: Mapping[Way, float], windows: int) -> Way:
    """Return the way that computes a number of windows first, with its start.

    A reduced precision must be 1.1 times faster, and int8 1.2 times faster than the best other way.

    Args:
        seconds: of a window.
        windows: their number.
    """
    total = {way: _START_S[way.engine] + windows * one for way, one in seconds.items()}
    exact = [way for way in total if way.precision == FLOAT32]
    reduced = [way for way in total if way.precision not in (FLOAT32, INT8)]
    quantised = [way for way in total if way.precision == INT8]
    best = min(exact or reduced or quantised, key=total.__getitem__)
    first = min(reduced, key=total.__getitem__, default=best)
    best = first if exact and total[best] > FASTER_BY * total[first] else best
    first = min(quantised, key=total.__getitem__, default=best)
    return first if total[best] > INT8_FASTER_BY * total[first] else best


def seconds_a_window(ways: Mapping[Way, Scores], job: EngineJob) -> dict[Way, float]:
    """Return the shortest of several times a window, taken in turn, after a call to warm up."""
    windows = job.example.repeat(job.streams, *[1] * (job.example.ndim - 1))
    times: dict[Way, list[float]] = {way: [] for way in ways}
    with torch.inference_mode():
        for scores in ways.values():
            scores(windows)
        for _ in range(_ROUNDS):
            for way, scores in ways.items():
                if sum(times[way]) > _ENOUGH_S:
                    continue
                synchronize(windows.device)
                since = time.perf_counter()
                scores(windows)
                synchronize(windows.device)
                times[way].append(time.perf_counter() - since)
    return {way: min(taken) / len(windows) for way, taken in times.items()}


def _checked(job: EngineJob, way: Way) -> Scores:
    """Return what computes windows in a way, after comparing its scores of the example with PyTorch's.

    A cached network with other scores was damaged: it is converted anew.

    Raises:
        CannotComputeError: the engine cannot compute the network, or its scores differ.
    """
    scores = _open(job, way)
    if way == Way(TORCH, FLOAT32):
        return scores
    try:
        _compare(job, way, scores)
    except CannotComputeError:
        key = cache_key(job, way.engine, way.precision)
        if way.precision == INT8 or job.cache.files(key) is None:
            raise
        job.cache.forget(key)
        scores = _open(job, way)
        try:
            _compare(job, way, scores)
        except CannotComputeError:
            job.cache.forget(key)
            raise
    return scores


def _compare(job: EngineJob, way: Way, scores: Scores) -> None:
    if not isinstance(job.answer, torch.Tensor):
        raise CannotComputeError(
            f"the network returns a {type(job.answer).__name__}, not one tensor of scores"
        )
    with torch.inference_mode():
        try:
            answer = scores(job.example)
        except NotImplementedError as error:  # PyTorch lacks layers in reduced precisions on processors
            raise CannotComputeError(
                f"{way.engine} does not compute a layer of the network ({error})"
            ) from error
        difference = disagreement(answer, job.answer.float(), way.precision)
    if difference is not None:
        raise CannotComputeError(difference)


def _label_difference(job: EngineJob, way: Way, scores: Scores) -> str | None:
    """Return how many labels a reduced precision changes, if too many; int8 was held against Dice when it was made."""
    if way.precision in (FLOAT32, INT8) or job.example.device.type != "cpu":
        return None
    with torch.inference_mode():
        return other_labels(scores(job.example), cast(torch.Tensor, job.answer))


def _open(job: EngineJob, way: Way) -> Scores:
    if way.engine == OPENVINO:
        from segpipe.inference.engines.openvino_engine import openvino_queue

        return openvino_queue(job, way.precision)
    if way.engine == ONNXRUNTIME:
        from segpipe.inference.engines.onnxruntime_engine import onnxruntime_queue

        return onnxruntime_queue(job, way.precision)
    if way.engine == TENSORRT:
        from segpipe.inference.engines.tensorrt_engine import tensorrt_scores

        return tensorrt_scores(job, way.precision)
    return {TORCH: torch_scores, TORCH_COMPILE: compiled_scores}[way.engine](job, way.precision)


def _precisions(job: EngineJob) -> list[str]:
    reduced = choose_precision(AUTO, job.example.device)
    names = [FLOAT32, *(name for name, dtype in DTYPES.items() if dtype is reduced and name != FLOAT32)]
    return names if job.quantised is None else [*names, INT8]


def _ways(engine: str, precisions: Sequence[str]) -> list[Way]:
    """Return the ways of an engine; a single precision is kept, so that the engine refuses it by a message."""
    able = [name for name in precisions if name in _PRECISIONS.get(engine, precisions)]
    return [Way(engine, name) for name in able or precisions]


def _may_convert(job: EngineJob) -> bool:
    return job.example.device.type == "cpu" and is_installed(OPENVINO)


def _seconds(job: EngineJob, ways: list[Way], known: Mapping[Way, float]) -> float:
    """Return the seconds of a window in the fastest known way; if none is known, PyTorch's in float32.

    That is processor time of this thread, which takes its share of the work: other programs do not lengthen it. The
    first call also prepares the network, so that a second call is timed.
    """
    seconds = [known[way] for way in ways if way in known]
    if seconds:
        return min(seconds)
    if not isinstance(job.answer, torch.Tensor):
        raise _NotOneTensorError
    since = time.thread_time()
    with torch.inference_mode():
        job.network(job.example)
    return time.thread_time() - since


def _times_key(job: EngineJob) -> dict[str, Any]:
    quantised = {} if job.quantised is None else {INT8: job.quantised.sha256}
    return {
        **quantised,
        "compared": ["scores", "labels"],
        "network": job.identity,
        "window": list(job.example.shape),
        "at_once": job.at_once,
        "device": job.example.device.type
        if job.example.device.type == "cpu"
        else torch.cuda.get_device_name(job.example.device),
        "processor": processor_name(),
        "threads": [job.streams, job.threads_a_window],
        "versions": engine_versions(OPENVINO if is_installed(OPENVINO) else TORCH),
    }


def _times(noted: Any) -> tuple[dict[Way, float], dict[Way, str]]:
    """Return what an earlier run noted: seconds of a window in each way, and why ways are left out.

    Nothing of a damaged note is used.
    """
    try:
        rows = {Way(str(engine), str(precision)): found for engine, precision, found in noted or ()}
    except (TypeError, ValueError):
        return {}, {}
    left_out = {way: found for way, found in rows.items() if isinstance(found, str)}
    seconds = {way: found for way, found in rows.items() if isinstance(found, float) and 0 < found < 1e6}
    are_known = all(way.precision in _PRECISIONS.get(way.engine, ()) for way in rows)
    return (seconds, left_out) if are_known and len(left_out) + len(seconds) == len(rows) else ({}, {})


def _reason(chosen: Way, seconds: Mapping[Way, float]) -> str:
    others = ", ".join(f"{way} {1000 * one:.0f}" for way, one in seconds.items() if way != chosen)
    return f"computing with {chosen}: {1000 * seconds[chosen]:.0f} ms a window ({others})"
