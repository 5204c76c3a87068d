"""The norm of the gradients that an optimiser uses."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch


class GradientNorm:
    """Mean Euclidean norm of all gradients together over an epoch's steps, kept on their device and read once.

    The gradients are those that the optimiser uses: after the mean over processes, accumulation, clipping, or the
    removal of a GradScaler's factor. A step that a GradScaler skips because a gradient overflowed is not counted.

    Args:
        optimizer: the optimiser whose steps are counted, from now on.
    """

    def __init__(self, optimizer: torch.optim.Optimizer) -> None:
        self._sum: torch.Tensor | None = None
        self._steps: torch.Tensor | None = None
        optimizer.register_step_pre_hook(self._count)

    def reset(self) -> None:
        """Set the count to zero."""
        self._sum = self._steps = None

    def mean(self) -> float:
        """Return the mean; NaN before the first step."""
        if self._sum is None or self._steps is None:
            return float("nan")
        return float(self._sum / self._steps)

    def state_dict(self) -> dict[str, torch.Tensor | None]:
        """Return the sum and the count so far."""
        return {"sum": self._sum, "steps": self._steps}

    def load_state_dict(self, state: Mapping[str, torch.Tensor | None]) -> None:
        """Continue the count of a saved state."""
        self._sum, self._steps = state["sum"], state["steps"]

    @torch.no_grad()
    def _count(self, optimizer: torch.optim.Optimizer, *_: Any) -> None:
        gradients = [
            parameter.grad
            for group in optimizer.param_groups
            for parameter in group["params"]
            if parameter.grad is not None
        ]
        if not gradients:
            return
        norm = torch.nn.utils.get_total_norm(gradients).double()
        # for a fused optimiser, a GradScaler leaves unscaling and skipping to the optimiser's kernel
        scale = getattr(optimizer, "grad_scale", None)
        overflow = getattr(optimizer, "found_inf", None)
        if scale is not None:
            norm = norm / scale.to(norm)
        steps = torch.ones_like(norm)
        if overflow is not None:
            taken = overflow.to(norm.device) == 0
            norm, steps = norm.where(taken, 0), steps.where(taken, 0)
        self._sum = norm if self._sum is None else self._sum + norm
        self._steps = steps if self._steps is None else self._steps + steps
