"""The table of a classification: one row an image with its probabilities, the most probable names and the decision."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
from ignite.engine import Engine, Events
from monai.engines import Evaluator
from numpy.typing import ArrayLike

from segpipe.calibration import Calibration
from segpipe.categories import Categories
from segpipe.csv_files import Cell, csv_text
from segpipe.errors import SegpipeError
from segpipe.files import write_text
from segpipe.monai_run import refusal_ends_run

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


class PredictionTable:
    """Writes `predictions.csv` at the end of MONAI's run of a classification bundle; attach to an evaluator.

    Args:
        output_dir: folder of the table.
        labels: the classes or findings.
        calibration: of the weights; its thresholds decide.
        top: number of columns with the most probable names.
        key: key of the calibrated probabilities `(C,)` in the evaluator's output.
    """

    def __init__(
        self,
        output_dir: str | Path,
        labels: Categories,
        calibration: Calibration,
        top: int = TOP,
        key: str = "pred",
    ) -> None:
        self.output_dir = Path(output_dir)
        self.labels = labels
        self.calibration = calibration
        self.top = top
        self.key = key
        self._rows: list[list[Cell]] = []

    def attach(self, engine: Evaluator) -> None:
        """Attach to the evaluator."""
        engine.add_event_handler(Events.EPOCH_STARTED, self._begin)
        engine.add_event_handler(Events.ITERATION_COMPLETED, self._collect)
        engine.add_event_handler(Events.EPOCH_COMPLETED, self._write)

    def _begin(self, _: Engine) -> None:
        self._rows.clear()

    def _collect(self, engine: Engine) -> None:
        with refusal_ends_run():
            for record, output in zip(engine.state.batch, engine.state.output, strict=True):
                case = str(record["case"])
                values = checked_probabilities(case, output[self.key], self.labels.num)
                self._rows.append(
                    prediction_row(
                        case, self.labels.names, values.tolist(), self.calibration.decision(values), self.top
                    )
                )

    def _write(self, _: Engine) -> None:
        write_predictions(self.output_dir, self.labels.names, self._rows, self.top)


def checked_probabilities(case: str, values: ArrayLike, count: int) -> np.ndarray:
    """Return the probabilities of one image, float64 `(count,)`.

    Raises:
        SegpipeError: they are of another number, NaN or infinite.
    """
    numbers = np.asarray(values, np.float64)
    if numbers.shape != (count,):
        raise SegpipeError(
            f"{case}: the network gives values of shape {numbers.shape}, must be {(count,)}: one a class; correct the "
            "bundle's network or its label_table"
        )
    if not np.isfinite(numbers).all():
        raise SegpipeError(
            f"{case}: {int((~np.isfinite(numbers)).sum())} of {count} values of the network are NaN or infinite; "
            "check the image, or compute with --precision float32"
        )
    return numbers
