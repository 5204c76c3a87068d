"""Checks of a network's scores, before a label map is made of them."""

from __future__ import annotations

import torch

from segpipe.errors import SegpipeError


def require_classes(scores: torch.Tensor, classes: int) -> None:
    """Refuse scores `(B, C, *spatial)` with another number of classes.

    Raises:
        SegpipeError: the message has both numbers.
    """
    if scores.shape[1] != classes:
        raise SegpipeError(
            f"the network scores {scores.shape[1]} classes, the bundle's label table has {classes}; correct the table "
            "in metadata.json"
        )


def require_numbers(scores: torch.Tensor) -> None:
    """Refuse scores that are NaN or infinite: the arg max would turn them into background.

    Raises:
        SegpipeError: the message has the number of such scores.
    """
    if not torch.isfinite(scores.sum()) and not torch.isfinite(scores).all():
        bad = int((~torch.isfinite(scores)).sum())
        raise SegpipeError(
            f"{bad} of {scores.numel()} scores of a window are no numbers (NaN or infinite): the network overflows on "
            "this scan; try --precision float32, or look at the scan's intensities"
        )
