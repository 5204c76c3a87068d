"""What an engine is: it computes a network's scores for windows of one shape."""

from __future__ import annotations

import importlib.metadata
import importlib.util
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import NamedTuple

import torch

from segpipe.errors import SegpipeError
from segpipe.inference.engines.cache import EngineCache

TORCH, TORCH_COMPILE, OPENVINO, ONNXRUNTIME = ENGINES = ("torch", "torch-compile", "openvino", "onnxruntime")
"""Names of the engines. `torch` is PyTorch, whose float32 scores the others must give."""

AUTO = "auto"
_PACKAGES = {  # as they are imported; what installs them
    OPENVINO: (("openvino",), "openvino"),
    ONNXRUNTIME: (("onnx", "onnxscript", "onnxruntime"), "'segpipe[onnx]'"),
}
FLOAT32, BFLOAT16 = "float32", "bfloat16"

Scores = Callable[[torch.Tensor], torch.Tensor]
"""Returns float32 scores `(B, classes, *spatial)` of windows `(B, C, *spatial)`."""


class CannotComputeError(Exception):
    """An engine cannot compute a network; the message gives the reason, as the end of a sentence."""


class Way(NamedTuple):
    """An engine, and the number format that it computes in."""

    engine: str
    precision: str

    def __str__(self) -> str:
        """Return the words of a message."""
        return f"{self.engine} in {self.precision}"


@dataclass(frozen=True)
class EngineJob:
    """A network and the windows that an engine computes.

    Attributes:
        network: on its device, in evaluation mode.
        example: a window `(1, C, *spatial)` of a scan, float32, on that device; other windows have its shape.
        identity: hash of everything that the network's scores depend on, its weights too.
        at_once: number of windows that memory may hold activations of.
        threads: number of processor threads.
        cache: keeps converted networks.
    """

    network: torch.nn.Module
    example: torch.Tensor
    identity: str
    at_once: int
    threads: int
    cache: EngineCache

    @property
    def streams(self) -> int:
        """The number of windows that a processor computes side by side, each by a share of the threads."""
        if self.example.device.type != "cpu":
            return 1
        return max(min(self.at_once, self.threads), 1)

    @cached_property
    def answer(self) -> object:
        """The answer of PyTorch in float32 to `example`: scores, unless the network returns something else."""
        with torch.inference_mode():
            answer: object = self.network(self.example)
        return answer


class WindowQueue:
    """Computes windows beside the program, several at a time.

    Attributes:
        at_once: number of windows that may be started before the first one is finished.
    """

    at_once: int

    def start(self, window: torch.Tensor) -> Callable[[], torch.Tensor]:
        """Start a window.

        Args:
            window: `(1, C, *spatial)`, float32, on the CPU.

        Returns:
            a function that waits for the scores `(1, classes, *spatial)` and returns them.
        """
        raise NotImplementedError

    def __call__(self, windows: torch.Tensor) -> torch.Tensor:
        """Return the scores `(B, classes, *spatial)` of windows `(B, C, *spatial)`."""
        started: deque[Callable[[], torch.Tensor]] = deque()
        done: list[torch.Tensor] = []
        for window in torch.split(windows, 1):
            if len(started) == self.at_once:
                done.append(started.popleft()())
            started.append(self.start(window))
        return torch.cat([*done, *(finish() for finish in started)])


def is_installed(engine: str) -> bool:
    """Return whether the packages of an engine are installed."""
    packages, _ = _PACKAGES.get(engine, ((), ""))
    return all(importlib.util.find_spec(name) is not None for name in packages)


def engine_versions(engine: str) -> dict[str, str]:
    """Return the versions of PyTorch and of the packages of an engine that is installed."""
    packages, _ = _PACKAGES.get(engine, ((), ""))
    return {name: importlib.metadata.version(name) for name in ("torch", *packages)}


def require_engine(engine: str) -> None:
    """Refuse an engine that is unknown, or not installed.

    Raises:
        SegpipeError: the message has the names of the engines, or the command that installs this one.
    """
    if engine != AUTO and engine not in ENGINES:
        raise SegpipeError(f"--engine is {engine!r}; must be {AUTO} or one of {', '.join(ENGINES)}")
    packages, extra = _PACKAGES.get(engine, ((), ""))
    missing = [name for name in packages if importlib.util.find_spec(name) is None]
    if missing:
        raise SegpipeError(
            f"--engine {engine}: {', '.join(missing)} is not installed; run: pip install {extra}, or give "
            f"--engine {TORCH}"
        )


def require_processor(engine: str, device: object) -> None:
    """Refuse an engine that computes on processors alone where the device is another one.

    Args:
        engine: its name.
        device: of the network, or its name; None: the bundle's, which is not known yet.

    Raises:
        SegpipeError: the message has engine and device.
    """
    name = "cpu" if device is None else str(device)
    if engine in _PACKAGES and not name.startswith("cpu"):
        raise SegpipeError(
            f"--engine {engine} computes on the processor, and the device is {name}; give --device cpu, or "
            f"--engine {TORCH}"
        )


def require_same_engine(folder: Path, engine: str) -> None:
    """Refuse to go on with a cohort whose engine is not installed here.

    Raises:
        SegpipeError: the message has the engine, and the command that installs it.
    """
    try:
        require_engine(engine)
    except SegpipeError as error:
        raise SegpipeError(
            f"{folder}: its scans were computed with {engine}, and a cohort keeps its engine: {error}, which computes "
            "all scans again"
        ) from error
