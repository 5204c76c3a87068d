"""The losses, and class weights from the frequency of each class."""

from segpipe.losses.class_weights import (
    ClassCounts,
    effective_number_weights,
    inverse_frequency_weights,
    median_frequency_weights,
)
from segpipe.losses.deep_supervision import DeepSupervision
from segpipe.losses.dice_cross_entropy import DiceCrossEntropy
from segpipe.losses.findings import WeightedBinaryCrossEntropy, balanced_class_weights, finding_weights
from segpipe.losses.over_ranks import OverRanks
from segpipe.losses.regions import RegionDiceCrossEntropy

__all__ = [
    "ClassCounts",
    "DeepSupervision",
    "DiceCrossEntropy",
    "OverRanks",
    "RegionDiceCrossEntropy",
    "WeightedBinaryCrossEntropy",
    "balanced_class_weights",
    "effective_number_weights",
    "finding_weights",
    "inverse_frequency_weights",
    "median_frequency_weights",
]
