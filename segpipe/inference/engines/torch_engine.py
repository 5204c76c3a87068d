"""PyTorch itself, and PyTorch with a compiled network."""

from __future__ import annotations

from collections.abc import Callable

import torch

from segpipe.inference.engines.engine import CannotComputeError, EngineJob, Scores
from segpipe.inference.precision import in_precision


def torch_scores(job: EngineJob, precision: str) -> Scores:
    """Return the scores of PyTorch in a precision."""
    return in_precision(job.network, precision)


def compiled_scores(job: EngineJob, precision: str) -> Scores:
    """Return the scores of a network that `torch.compile` made into a program for one batch.

    Raises:
        CannotComputeError: the network cannot be compiled, or there is no compiler.
    """
    size = max(job.at_once, 1)
    program = torch.compile(in_precision(job.network, precision), dynamic=False)
    try:
        program(job.example.repeat(size, *[1] * (job.example.ndim - 1)))
    except (RuntimeError, OSError) as error:
        text = " ".join(str(error).split())[:200]
        raise CannotComputeError(
            f"the network cannot be compiled ({type(error).__name__}: {text})"
        ) from error
    return in_full_batches(program, size)


def in_full_batches(program: Callable[[torch.Tensor], torch.Tensor], size: int) -> Scores:
    """Return the scores of a program that computes batches of one size alone.

    Smaller batches are filled up with copies of their last window.
    """

    def scores(windows: torch.Tensor) -> torch.Tensor:
        parts = []
        for batch in torch.split(windows, size):
            filled = torch.cat([batch, *[batch[-1:]] * (size - len(batch))])
            parts.append(program(filled)[: len(batch)])
        return torch.cat(parts)

    return scores
