"""TensorRT on CUDA cards, through MONAI's `trt_compile`."""

from __future__ import annotations

import copy
import tempfile
from pathlib import Path

import torch
from monai.networks import trt_compile
from monai.utils import optional_import

from segpipe.inference.engines.engine import CannotComputeError, EngineJob, Scores
from segpipe.inference.engines.kept import kept_files
from segpipe.inference.engines.names import BFLOAT16, FLOAT32, TENSORRT
from segpipe.inference.engines.torch_engine import in_full_batches

_FORMATS = {FLOAT32: "fp32", "float16": "fp16", BFLOAT16: "bf16"}
_NAME = "network"
_PLAN = f"{_NAME}.plan"
_REFUSALS = (RuntimeError, ValueError, TypeError, OSError, AttributeError, AssertionError, KeyError)


def tensorrt_scores(job: EngineJob, precision: str) -> Scores:
    """Return the scores of a network that TensorRT made into a program for one batch on this card.

    Raises:
        CannotComputeError: TensorRT is missing or cannot compute the network, or the device is no card.
    """
    if job.example.device.type != "cuda":
        raise CannotComputeError("it computes on CUDA cards alone")
    size = max(job.at_once, 1)
    batch = job.example.repeat(size, *[1] * (job.example.ndim - 1))

    def program(folder: str) -> torch.nn.Module:
        """Return a network after its first batch, which reads the plan in the folder, or makes it."""
        own = copy.deepcopy(job.network)  # trt_compile changes the network
        compiled: torch.nn.Module = trt_compile(
            own, str(Path(folder, _NAME)), args={"precision": _FORMATS[precision]}
        )
        with torch.inference_mode():
            compiled(batch)
        return compiled

    def made() -> dict[str, bytes]:
        with tempfile.TemporaryDirectory() as folder:
            program(folder)
            return {_PLAN: Path(folder, _PLAN).read_bytes()}  # there is none where trt_compile has no effect

    def opened(files: dict[str, bytes]) -> torch.nn.Module:
        with tempfile.TemporaryDirectory() as folder:
            Path(folder, _PLAN).write_bytes(files[_PLAN])
            return program(folder)

    own, has_own = optional_import("polygraphy.exception", name="PolygraphyException")
    refusals = (*_REFUSALS, own) if has_own else _REFUSALS
    return in_full_batches(kept_files(job, TENSORRT, made, opened, refusals, precision), size)
