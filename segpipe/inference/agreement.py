"""Compares a window's scores with those of PyTorch in float32."""

from __future__ import annotations

import torch

_SHARE_OF_RANGE = 1e-3  # float32: largest difference
_SHARES_OF_SPREAD = {"int8": 0.15}  # root mean square; the hippocampus bundle has 0.025
_SHARE_OF_SPREAD = 0.03  # of other reduced precisions; shipped bundles in bfloat16 have 0.003
_OTHER_LABELS = 1e-4  # share of a window's voxels that `auto` accepts


def disagreement(scores: object, reference: torch.Tensor, precision: str) -> str | None:
    """Return how scores differ from PyTorch's in float32; None if they agree.

    In float32, the largest difference may be 0.001 of the reference's range. In a reduced precision, the root mean
    square of the differences may be 0.03 of the reference's standard deviation, in int8 0.15.

    Args:
        scores: of an engine.
        reference: of PyTorch in float32, for the same windows.
        precision: of the engine.

    Returns:
        a clause with both numbers.
    """
    if not isinstance(scores, torch.Tensor) or scores.shape != reference.shape:
        answer = f"shape {tuple(scores.shape)}" if isinstance(scores, torch.Tensor) else type(scores).__name__
        return f"its scores of a window have {answer}, those of PyTorch shape {tuple(reference.shape)}"
    if not torch.isfinite(reference).all():
        return None  # the scan is refused, whatever computes it
    difference = scores.double() - reference.double()
    if not torch.isfinite(difference).all():
        return f"its scores of a window in {precision} are NaN or infinite"
    if precision == "float32":
        found, limit = difference.abs().max(), _SHARE_OF_RANGE * (reference.max() - reference.min()).double()
        what = "up to"
    else:
        found, limit = (
            difference.square().mean().sqrt(),
            _SHARES_OF_SPREAD.get(precision, _SHARE_OF_SPREAD) * reference.double().std(correction=0),
        )
        what = "a root mean square of"
    if found <= limit:
        return None
    return (
        f"its scores of a window in {precision} differ from those of PyTorch in float32 by {what} {found:.3g}, the "
        f"limit is {limit:.3g}"
    )


def other_labels(scores: torch.Tensor, reference: torch.Tensor) -> str | None:
    """Return how many labels of windows differ from those of PyTorch in float32; None for at most 1 in 10,000.

    A voxel's label is the channel of the largest score; with one channel, whether the score is positive.

    Args:
        scores: `(B, C, *spatial)` of an engine.
        reference: of PyTorch in float32, for the same windows.

    Returns:
        a clause with both numbers.
    """
    ours, theirs = (
        one.argmax(1) if one.shape[1] > 1 else one[:, 0] > 0 for one in (scores.float(), reference.float())
    )
    share = (ours != theirs).double().mean().item()
    if share <= _OTHER_LABELS:
        return None
    return f"{share:.3%} of a window's labels differ from those of float32, the limit is {_OTHER_LABELS:.2%}"
