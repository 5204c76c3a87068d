"""OpenVINO: its own convolutions for processors, and several windows at a time."""

from __future__ import annotations

import tempfile
import warnings
from collections import deque
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch

from segpipe.inference.engines.engine import CannotComputeError, EngineJob, WindowQueue
from segpipe.inference.engines.kept import kept_files
from segpipe.inference.engines.names import BFLOAT16, FLOAT32, INT8, OPENVINO
from segpipe.inference.engines.quantised import BIN, XML
from segpipe.inference.engines.silence import silent_openvino
from segpipe.inference.engines.trial import EngineTrial

_HINTS = {FLOAT32: "f32", BFLOAT16: "bf16", INT8: "f32"}  # of int8: of what is not quantised
_XML, _WEIGHTS = "network.xml", "network.bin"
_REFUSALS = (
    RuntimeError,
    ValueError,
    TypeError,
    OSError,
    AttributeError,
)  # of the converter, and of traced networks


def openvino_queue(job: EngineJob, precision: str) -> WindowQueue:
    """Return a queue of a converted network.

    The network is converted for one window of the job's shape, in float32; `inference_precision` is always set, since
    OpenVINO computes in bfloat16 by itself where the processor can. The first time, a process of its own compiles the
    network: a crash of OpenVINO would end the run; see `trial`.

    Raises:
        CannotComputeError: the precision is none of OpenVINO or of this processor, the network cannot be converted, or
            OpenVINO crashes on the network.
    """
    if precision not in _HINTS:
        raise CannotComputeError(f"it computes in {' or '.join(_HINTS)}, not in {precision}")
    core = _core()
    if precision == BFLOAT16 and "BF16" not in capabilities():
        raise CannotComputeError(f"this processor does not compute in {BFLOAT16}")
    settings = {
        "INFERENCE_PRECISION_HINT": _HINTS[precision],
        "INFERENCE_NUM_THREADS": job.streams * job.threads_a_window,
        "NUM_STREAMS": job.streams,
        "ENABLE_CPU_PINNING": False,  # other programs use the cores too
        "ENABLE_HYPER_THREADING": True,  # the number of threads is given
    }

    trial = EngineTrial(job, precision, settings)

    def compiled(files: dict[str, bytes]) -> Any:
        safe = trial.settings_for(files[_XML], files[_WEIGHTS])
        model = core.read_model(model=files[_XML], weights=files[_WEIGHTS])
        return core.compile_model(model, "CPU", safe)

    if precision == INT8:
        program = _opened_quantised(job, compiled)
    else:
        program = kept_files(job, OPENVINO, trial.guarded(lambda: _converted(job)), compiled, _REFUSALS)
    return _Requests(program, job.streams + 1)  # one waits while its predecessor's scores are added up


def capabilities() -> list[str]:
    """Return the names of the number formats that the processor computes in, as OpenVINO has them."""
    return [str(name) for name in _core().get_property("CPU", "OPTIMIZATION_CAPABILITIES")]


@cache
def _core() -> Any:
    return silent_openvino().Core()


def _opened_quantised(job: EngineJob, opened: Callable[[dict[str, bytes]], Any]) -> Any:
    """Open the network in int8; its Dice was measured in windows of one shape."""
    quantised, window = job.quantised, list(job.example.shape)
    if quantised is None:
        raise CannotComputeError("the bundle has no network in int8")
    if list(quantised.record.window) != window:
        raise CannotComputeError(
            f"{quantised.path} was made for windows of {quantised.record.window[1:]}, these are of {window[1:]}; "
            "`segpipe quantize` with the same options makes it again"
        )
    try:
        return opened({_XML: quantised.files[XML], _WEIGHTS: quantised.files[BIN]})
    except _REFUSALS as error:
        text = " ".join(str(error).split())[:200]
        raise CannotComputeError(f"{quantised.path} cannot be opened ({text})") from error


def converted_model(network: torch.nn.Module, example: torch.Tensor) -> Any:
    """Return a network as OpenVINO's model for windows of one shape, in float32.

    Args:
        network: in evaluation mode.
        example: a window `(1, C, *spatial)`, float32.

    Raises:
        CannotComputeError: the network has several outputs.
    """
    openvino = silent_openvino()
    example = example.cpu()
    with warnings.catch_warnings(), torch.inference_mode():
        warnings.simplefilter("ignore")  # of the tracing: scores are compared with PyTorch's
        model = openvino.convert_model(network, example_input=example, input=[list(example.shape)])
    if len(model.outputs) != 1:
        raise CannotComputeError(f"the network has {len(model.outputs)} outputs, must be one")
    return model


def model_files(model: Any) -> tuple[bytes, bytes]:
    """Return the bytes of a model's two files: the graph and its numbers."""
    with tempfile.TemporaryDirectory() as folder:
        silent_openvino().save_model(model, Path(folder, _XML), compress_to_fp16=False)
        return Path(folder, _XML).read_bytes(), Path(folder, _WEIGHTS).read_bytes()


def _converted(job: EngineJob) -> dict[str, bytes]:
    graph, numbers = model_files(converted_model(job.network, job.example))
    return {_XML: graph, _WEIGHTS: numbers}


class _Requests(WindowQueue):
    """OpenVINO's own requests, which run in its threads."""

    def __init__(self, program: Any, at_once: int) -> None:
        self.at_once = at_once
        self._free = [program.create_infer_request() for _ in range(at_once)]
        self._started: deque[_Started] = deque()

    def start(self, window: torch.Tensor) -> Callable[[], torch.Tensor]:
        """Start a window; if no request is free, wait for the oldest one."""
        if not self._free:
            self._started[0].finish()
        started = _Started(self, self._free.pop(), window)
        self._started.append(started)
        return started.finish

    def give_back(self, started: _Started) -> None:
        """Make the request of a finished window free."""
        self._started.remove(started)
        self._free.append(started.request)


class _Started:
    """A window in a request."""

    def __init__(self, queue: _Requests, request: Any, window: torch.Tensor) -> None:
        self.queue, self.request = queue, request
        self._scores: torch.Tensor | None = None
        request.start_async([np.ascontiguousarray(window.numpy())])

    def finish(self) -> torch.Tensor:
        """Wait for the scores and return them; the request is free again."""
        if self._scores is None:
            try:
                self.request.wait()
                self._scores = torch.from_numpy(np.array(self.request.get_output_tensor().data, np.float32))
            finally:
                self.queue.give_back(self)
        return self._scores
