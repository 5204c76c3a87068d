"""From a batch to scores: precision, progress."""

from segpipe.inference.inferers import PrecisionInferer, choose_precision, needs_loss_scaling
from segpipe.inference.progress import LogProgress

__all__ = ["LogProgress", "PrecisionInferer", "choose_precision", "needs_loss_scaling"]
