"""The loss, and class weights from the frequency of each class."""

from segpipe.losses.class_weights import (
    ClassCounts,
    effective_number_weights,
    inverse_frequency_weights,
    median_frequency_weights,
)
from segpipe.losses.dice_cross_entropy import DiceCrossEntropy
from segpipe.losses.regions import RegionDiceCrossEntropy

__all__ = [
    "ClassCounts",
    "DiceCrossEntropy",
    "RegionDiceCrossEntropy",
    "effective_number_weights",
    "inverse_frequency_weights",
    "median_frequency_weights",
]
