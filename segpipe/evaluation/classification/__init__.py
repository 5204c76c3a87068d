"""Scores of classified images: one class an image, or any number of findings."""

from segpipe.evaluation.classification.images import ClassifiedImages
from segpipe.evaluation.classification.score import Score
from segpipe.evaluation.classification.summary import (
    ClassificationSummary,
    NameSummary,
    summarise_images,
    write_classification,
)

__all__ = [
    "ClassificationSummary",
    "ClassifiedImages",
    "NameSummary",
    "Score",
    "summarise_images",
    "write_classification",
]
