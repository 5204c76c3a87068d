"""From a batch to scores: precision, sliding windows, mirroring."""

from segpipe.inference.inferers import MirrorInferer, PrecisionInferer, choose_precision, needs_loss_scaling
from segpipe.inference.progress import LogProgress

__all__ = ["LogProgress", "MirrorInferer", "PrecisionInferer", "choose_precision", "needs_loss_scaling"]
