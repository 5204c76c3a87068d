"""From a batch to scores: precision, sliding windows, mirroring."""

from segpipe.inference.inferers import MirrorInferer, PrecisionInferer, choose_precision

__all__ = ["MirrorInferer", "PrecisionInferer", "choose_precision"]
