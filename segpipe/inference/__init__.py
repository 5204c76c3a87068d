"""From a batch to scores: inferers for reduced precision, mirror images and slices, and progress lines."""

from segpipe.inference.inferers import FlipInferer, PrecisionInferer, SliceInferer
from segpipe.inference.precision import choose_precision, needs_loss_scaling
from segpipe.inference.prediction_table import PredictionTable
from segpipe.inference.progress import LogProgress

__all__ = [
    "FlipInferer",
    "LogProgress",
    "PrecisionInferer",
    "PredictionTable",
    "SliceInferer",
    "choose_precision",
    "needs_loss_scaling",
]
