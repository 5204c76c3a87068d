"""What an engine is: it computes a network's scores for windows of one shape."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import torch

from segpipe.inference.engines.cache import EngineCache
from segpipe.inference.engines.quantised import Quantised

Scores = Callable[[torch.Tensor], torch.Tensor]
"""Returns float32 scores `(B, classes, *spatial)` of windows `(B, C, *spatial)`."""


class CannotComputeError(Exception):
    """An engine cannot compute a network; the message gives the reason, as the end of a sentence."""


@dataclass(frozen=True)
class EngineJob:
    """A network and the windows that an engine computes.

    Attributes:
        network: on its device, in evaluation mode.
        example: a window `(1, C, *spatial)` of a scan, float32, on that device; other windows have its shape.
        identity: hash of everything that the network's scores depend on, its weights too.
        at_once: number of windows that memory may hold activations of.
        threads: number of processor threads.
        fixed: number of processor threads that compute one window, as earlier runs of the cohort had it; 0: shared out
            among `at_once` windows. Scores depend on it in their last digits.
        cache: keeps converted networks.
        quantised: the same network in int8; None: there is none.
    """

    network: torch.nn.Module
    example: torch.Tensor
    identity: str
    at_once: int
    threads: int
    cache: EngineCache
    fixed: int = 0
    quantised: Quantised | None = None

    @property
    def streams(self) -> int:
        """The number of windows that a processor computes side by side, each by a share of the threads."""
        if self.example.device.type != "cpu":
            return 1
        return max(min(self.at_once, self.threads // max(self.fixed, 1)), 1)

    @property
    def threads_a_window(self) -> int:
        """The number of processor threads that compute one window."""
        return self.fixed or max(self.threads // self.streams, 1)

    @cached_property
    def answer(self) -> object:
        """The answer of PyTorch in float32 to `example`: scores, unless the network returns something else."""
        with torch.inference_mode():
            answer: object = self.network(self.example)
        return answer


class WindowQueue(ABC):
    """Computes windows beside the program, several at a time.

    Attributes:
        at_once: number of windows that may be started before the first one is finished.
    """

    at_once: int

    @abstractmethod
    def start(self, window: torch.Tensor) -> Callable[[], torch.Tensor]:
        """Start a window.

        Args:
            window: `(1, C, *spatial)`, float32, on the CPU.

        Returns:
            a function that waits for the scores `(1, classes, *spatial)` and returns them.
        """

    def __call__(self, windows: torch.Tensor) -> torch.Tensor:
        """Return the scores `(B, classes, *spatial)` of windows `(B, C, *spatial)`."""
        started: deque[Callable[[], torch.Tensor]] = deque()
        done: list[torch.Tensor] = []
        for window in torch.split(windows, 1):
            if len(started) == self.at_once:
                done.append(started.popleft()())
            started.append(self.start(window))
        return torch.cat([*done, *(finish() for finish in started)])
