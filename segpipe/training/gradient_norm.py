"""How large the gradients are that an optimiser steps by."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch


class GradientNorm:
    """Mean Euclidean norm of all gradients together over an epoch's steps, kept on their device and read once.

    Of the gradients as the optimiser uses them: after all that is done to them before its step, be it the mean over
    processes, accumulation, clipping, or the removal of a GradScaler's factor. A step that a GradScaler leaves out
    since a gradient overflowed is not counted.

    Args:
        optimizer: whose steps are looked at, from now on.
    """

    def __init__(self, optimizer: torch.optim.Optimizer) -> None:
        self._sum: torch.Tensor | None = None
        self._steps: torch.Tensor | None = None
        optimizer.register_step_pre_hook(self._count)

    def reset(self) -> None:
        """Forget what was counted."""
        self._sum = self._steps = None

    def mean(self) -> float:
        """Return the mean; NaN before the first step."""
        if self._sum is None or self._steps is None:
            return float("nan")
        return float(self._sum / self._steps)

    def state_dict(self) -> dict[str, torch.Tensor | None]:
        """Return what the mean is of so far."""
        return {"sum": self._sum, "steps": self._steps}

    def load_state_dict(self, state: Mapping[str, torch.Tensor | None]) -> None:
        """Go on counting from there."""
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
        # of a fused optimiser, a GradScaler leaves both to the optimiser's own kernel
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
