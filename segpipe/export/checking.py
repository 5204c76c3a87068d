"""The sizes of images that a network takes, and the comparison of an exported network with it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from segpipe.errors import SegpipeError
from segpipe.export.form import Scores

TOLERANCE = 1e-3
"""Largest difference of scores, as a share of the largest absolute score of the network."""
_STEPS = (1, 2, 4, 8, 16, 32, 64, 128)


@dataclass(frozen=True)
class Compared:
    """Scores of an exported network beside those of the network itself.

    Attributes:
        shape: `(B, C, *spatial)` of the images.
        difference: largest absolute difference of scores.
        largest: largest absolute score of the network.
    """

    shape: tuple[int, ...]
    difference: float
    largest: float


def size_step(network: torch.nn.Module, channels: int, size: Sequence[int]) -> int | None:
    """Return the smallest power of two by which every axis of an image may be longer; None if none is taken.

    Args:
        network: on the CPU, in evaluation mode.
        channels: of the images.
        size: of an image that the network takes.
    """
    with torch.inference_mode():
        for step in _STEPS:
            try:
                network(torch.zeros(1, channels, *(length + step for length in size)))
            except (RuntimeError, ValueError, IndexError, TypeError, SegpipeError):
                continue  # networks refuse a size in many ways; an export is compared at the size that they take
            return step
    return None


def compared(network: torch.nn.Module, exported: Scores, shape: Sequence[int]) -> Compared:
    """Return the differences of scores on random images, which are the same in every call.

    Args:
        network: on the CPU, in evaluation mode.
        exported: scores of the exported network.
        shape: `(B, C, *spatial)`.

    Raises:
        SegpipeError: the exported network returns another shape, or scores that are not finite.
    """
    images = np.random.default_rng(0).standard_normal(tuple(shape), np.float32)
    with torch.inference_mode():
        expected: NDArray[np.float32] = network(torch.from_numpy(images)).numpy()
    got = exported(images)
    if got.shape != expected.shape or not np.isfinite(got).all():
        raise SegpipeError(
            f"scores of shape {got.shape} for images of shape {tuple(shape)}, must be finite, of shape "
            f"{expected.shape}"
        )
    return Compared(tuple(shape), float(np.abs(got - expected).max()), float(np.abs(expected).max()))


def require_equal(result: Compared) -> None:
    """Refuse an exported network whose scores differ.

    Raises:
        SegpipeError: the message has the difference and the limit.
    """
    limit = TOLERANCE * result.largest
    if result.difference > limit:
        raise SegpipeError(
            f"scores for images of shape {result.shape} differ by up to {result.difference:.3g}, the limit is "
            f"{limit:.3g}"
        )
