"""From a batch to scores: precision, slices, progress."""

from segpipe.inference.inferers import PrecisionInferer, SliceInferer, choose_precision, needs_loss_scaling
from segpipe.inference.progress import LogProgress

__all__ = ["LogProgress", "PrecisionInferer", "SliceInferer", "choose_precision", "needs_loss_scaling"]
