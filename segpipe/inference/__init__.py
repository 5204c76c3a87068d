"""From a batch to scores: precision, mirror images, slices, progress."""

from segpipe.inference.inferers import FlipInferer, PrecisionInferer, SliceInferer
from segpipe.inference.precision import choose_precision, needs_loss_scaling
from segpipe.inference.progress import LogProgress

__all__ = [
    "FlipInferer",
    "LogProgress",
    "PrecisionInferer",
    "SliceInferer",
    "choose_precision",
    "needs_loss_scaling",
]
