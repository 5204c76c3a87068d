"""How much memory a process has held."""

from __future__ import annotations

import resource
import sys

import torch

_BYTES = 1 if sys.platform == "darwin" else 1024  # of a unit of ru_maxrss


def peak_memory_gb() -> float:
    """Return the most main memory that this process has held since it began, in GB of 10^9 bytes."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * _BYTES / 1e9


def peak_cuda_memory_gb(device: torch.device) -> float:
    """Return the most memory of a card that tensors of this process have held since it began, in GB of 10^9 bytes."""
    return torch.cuda.max_memory_allocated(device) / 1e9
