"""The table `predictions.csv`: its columns, and a row for each image."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np

from segpipe.csv_files import Cell, csv_text
from segpipe.files import write_text

PREDICTIONS_FILE = "predictions.csv"
NOT_COMPARED = "not compared with the training cases"
"""Text of the column `warnings` where the weights have no reference ranges, and in MONAI's run."""
_DIGITS = ".6g"
TOP = 3
"""Number of columns with the most probable names."""


def prediction_columns(names: Sequence[str], top: int = TOP) -> tuple[str, ...]:
    """Return the columns of the table.

    Args:
        names: the classes or findings.
        top: number of columns with the most probable names; fewer if there are fewer names.
    """
    ranks = range(1, min(top, len(names)) + 1)
    return (
        "image",
        *(f"p_{name}" for name in names),
        *(f"top{rank}" for rank in ranks),
        "decision",
        "warnings",
    )


def prediction_row(
    image: str,
    names: Sequence[str],
    probabilities: Sequence[float],
    decision: str,
    top: int = TOP,
    warnings: Sequence[str] | None = None,
) -> list[Cell]:
    """Return the row of an image.

    Args:
        image: name of the image.
        names: the classes or findings.
        probabilities: one a name, 0 to 1.
        decision: the class, or the findings at their thresholds.
        top: as in `prediction_columns`.
        warnings: differences of the image from the training cases; None: it was not compared with them.
    """
    told = NOT_COMPARED if warnings is None else "; ".join(warnings)
    return [image, *probabilities, *most_probable(names, probabilities, top), decision, told]


def most_probable(names: Sequence[str], probabilities: Sequence[float], top: int = TOP) -> list[str]:
    """Return the most probable names, the most probable first; of equal ones the first in the order of the names."""
    order = np.argsort(-np.asarray(probabilities), kind="stable")
    return [names[int(place)] for place in order[:top]]


def write_predictions(
    folder: Path, names: Sequence[str], rows: Iterable[Sequence[Cell]], top: int = TOP
) -> None:
    """Write `predictions.csv` atomically; probabilities have six significant digits.

    Args:
        folder: output folder.
        names: the classes or findings.
        rows: see `prediction_row`; they are sorted by the image's name.
        top: as in `prediction_columns`.
    """
    ordered = sorted(rows, key=lambda row: str(row[0]))
    write_text(folder / PREDICTIONS_FILE, csv_text(prediction_columns(names, top), ordered, _DIGITS))
