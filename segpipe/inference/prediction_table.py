"""The table of a classification: one row an image with its probabilities, the most probable names and the decision."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from ignite.engine import Engine, Events
from monai.engines import Evaluator
from numpy.typing import ArrayLike

from segpipe.calibration import Calibration
from segpipe.categories import Categories
from segpipe.csv_files import Cell
from segpipe.errors import SegpipeError
from segpipe.inference.prediction_rows import TOP, prediction_row, write_predictions
from segpipe.monai_run import refusal_ends_run


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
