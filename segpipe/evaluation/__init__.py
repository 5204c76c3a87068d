"""Scores of label maps against references."""

from __future__ import annotations

from typing import Any

from segpipe.confusion import confusion_matrix
from segpipe.evaluation.metrics import PooledScores, dice_per_class
from segpipe.evaluation.scored_cases import CaseScore, ScoredCases
from segpipe.evaluation.scoring import score_folder

__all__ = [
    "CaseScore",
    "PooledScores",
    "ScoreTable",
    "ScoredCases",
    "confusion_matrix",
    "dice_per_class",
    "score_folder",
]


def __getattr__(name: str) -> Any:
    """Import `ScoreTable` at its first use: only this class needs MONAI, whose import takes seconds."""
    if name == "ScoreTable":
        from segpipe.evaluation.score_table import ScoreTable

        return ScoreTable
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
