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
from segpipe.inference.engines.names import BFLOAT16, FLOAT32, OPENVINO
from segpipe.inference.engines.silence import silent_openvino

_HINTS = {FLOAT32: "f32", BFLOAT16: "bf16"}
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
    OpenVINO computes in bfloat16 by itself where the processor can.

    Raises:
        CannotComputeError: the precision is none of OpenVINO or of this processor, or the network cannot be converted.
    """
    if precision not in _HINTS:
        raise CannotComputeError(f"it computes in {' or '.join(_HINTS)}, not in {precision}")
    core = _core()
    if precision == BFLOAT16 and "BF16" not in core.get_property("CPU", "OPTIMIZATION_CAPABILITIES"):
        raise CannotComputeError(f"this processor does not compute in {BFLOAT16}")
    settings = {
        "INFERENCE_PRECISION_HINT": _HINTS[precision],
        "INFERENCE_NUM_THREADS": job.streams * job.threads_a_window,
        "NUM_STREAMS": job.streams,
        "ENABLE_CPU_PINNING": False,  # other programs use the cores too
        "ENABLE_HYPER_THREADING": True,  # the number of threads is given
    }

    def compiled(files: dict[str, bytes]) -> Any:
        model = core.read_model(model=files[_XML], weights=files[_WEIGHTS])
        return core.compile_model(model, "CPU", settings)

    program = kept_files(job, OPENVINO, lambda: _converted(job), compiled, _REFUSALS)
    return _Requests(program, job.streams + 1)  # one waits while its predecessor's scores are added up


@cache
def _core() -> Any:
    return silent_openvino().Core()


def _converted(job: EngineJob) -> dict[str, bytes]:
    openvino = silent_openvino()
    example = job.example.cpu()
    with warnings.catch_warnings(), torch.inference_mode(), tempfile.TemporaryDirectory() as folder:
        warnings.simplefilter("ignore")  # of the tracing: scores are compared with PyTorch's
        model = openvino.convert_model(job.network, example_input=example, input=[list(example.shape)])
        if len(model.outputs) != 1:
            raise CannotComputeError(f"the network has {len(model.outputs)} outputs, must be one")
        openvino.save_model(model, Path(folder, _XML), compress_to_fp16=False)
        return {name: Path(folder, name).read_bytes() for name in (_XML, _WEIGHTS)}


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
