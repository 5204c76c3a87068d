"""ONNX Runtime: a converted network, computed by its own threads."""

from __future__ import annotations

import logging
import tempfile
import warnings
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch

from segpipe.inference.engines.engine import CannotComputeError, EngineJob, WindowQueue
from segpipe.inference.engines.kept import kept_files
from segpipe.inference.engines.names import FLOAT32, ONNXRUNTIME
from segpipe.inference.engines.silence import silent_onnxruntime

_FILE, _INPUT, _OUTPUT = "network.onnx", "image", "pred"


def onnxruntime_queue(job: EngineJob, precision: str) -> WindowQueue:
    """Return a queue of a converted network.

    Raises:
        CannotComputeError: the precision is not float32, or the network cannot be converted.
    """
    if precision != FLOAT32:
        raise CannotComputeError(f"it computes in {FLOAT32}, not in {precision}")
    runtime = silent_onnxruntime()
    from onnxruntime.capi import onnxruntime_pybind11_state as states

    options = runtime.SessionOptions()
    options.intra_op_num_threads = job.threads_a_window
    options.inter_op_num_threads = 1
    options.log_severity_level = 3  # errors: warnings are of graph optimisations
    options.add_session_config_entry(
        "session.intra_op.allow_spinning", "0"
    )  # other programs use the cores too

    def opened(files: dict[str, bytes]) -> Any:
        return runtime.InferenceSession(files[_FILE], options, providers=["CPUExecutionProvider"])

    refusals = (RuntimeError, ValueError, TypeError, OSError, AttributeError)
    own = tuple(
        getattr(states, name) for name in ("Fail", "InvalidArgument", "InvalidGraph", "InvalidProtobuf")
    )
    own += (states.NotImplemented, states.RuntimeException)
    session = kept_files(job, ONNXRUNTIME, lambda: _converted(job), opened, (*refusals, *own))
    return _Sessions(session, job.streams)


def _converted(job: EngineJob) -> dict[str, bytes]:
    with tempfile.TemporaryDirectory() as folder, quiet_exporter(), torch.inference_mode():
        path = Path(folder, _FILE)
        torch.onnx.export(
            job.network,
            (job.example.cpu(),),
            path,
            dynamo=True,
            external_data=False,
            verbose=False,
            input_names=[_INPUT],
            output_names=[_OUTPUT],
        )
        return {_FILE: path.read_bytes()}


@contextmanager
def quiet_exporter() -> Iterator[None]:
    """Silence PyTorch's exporter, which names packages that are not needed and warns of its own future."""
    logger = logging.getLogger("torch.onnx")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)


class _Sessions(WindowQueue):
    """Runs of a session in threads of the program: ONNX Runtime computes outside Python's lock."""

    def __init__(self, session: Any, streams: int) -> None:
        self.at_once = streams + 1
        self._session = session
        self._threads = ThreadPoolExecutor(streams, "onnxruntime")

    def start(self, window: torch.Tensor) -> Callable[[], torch.Tensor]:
        """Start a window; more windows than threads wait."""
        return self._threads.submit(self._run, np.ascontiguousarray(window.numpy())).result

    def _run(self, window: Any) -> torch.Tensor:
        return torch.from_numpy(np.asarray(self._session.run([_OUTPUT], {_INPUT: window})[0]))
