"""Scores of label maps and of classified images against references."""

from __future__ import annotations

from typing import Any

from segpipe.confusion import confusion_matrix
from segpipe.evaluation.metrics import PooledScores, dice_per_class
from segpipe.evaluation.scored_cases import CaseScore, ScoredCases
from segpipe.evaluation.scoring import score_folder

__all__ = [
    "CaseScore",
    "ClassificationScores",
    "PooledScores",
    "ScoreTable",
    "ScoredCases",
    "confusion_matrix",
    "dice_per_class",
    "score_folder",
]


def __getattr__(name: str) -> Any:
    """Import a handler at its first use: only the handlers need MONAI, whose import takes seconds."""
    if name == "ScoreTable":
        from segpipe.evaluation.score_table import ScoreTable

        return ScoreTable
    if name == "ClassificationScores":
        from segpipe.evaluation.classification.handler import ClassificationScores

        return ClassificationScores
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
