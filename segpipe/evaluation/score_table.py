"""The scores of an evaluation run, a row a case, as a file and as a summary on the console."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from ignite.engine import Engine, Events
from monai.engines import Evaluator

from segpipe.files import write_json, write_text
from segpipe.labels import LabelTable


class ScoreTable:
    """Write `scores.csv` with each case's Dice per class when an evaluator has run; attach to the evaluator.

    A class that a case has neither in its reference nor in its prediction leaves its field empty and counts in
    no mean.

    Args:
        folder: where the files go.
        about: what is scored, in plain types; written beside the scores as `about.json`.
        labels: names of the classes.
        metric: the name of a metric over foreground classes that keeps its details, as `PresentDice` does
            under MONAI's IgniteMetricHandler.
    """

    def __init__(
        self, folder: Path, labels: LabelTable, about: Mapping[str, Any], metric: str = "val_mean_dice"
    ) -> None:
        self.folder = folder
        self.labels = labels
        self.about = about
        self.metric = metric
        self._cases: list[str] = []

    def attach(self, engine: Evaluator) -> None:
        """Attach to the evaluator."""
        engine.add_event_handler(Events.EPOCH_STARTED, self._begin)
        engine.add_event_handler(Events.ITERATION_COMPLETED, self._collect)
        engine.add_event_handler(Events.EPOCH_COMPLETED, self._write)

    def _begin(self, _: Engine) -> None:
        self._cases = []

    def _collect(self, engine: Evaluator) -> None:
        self._cases += [str(record["case"]) for record in engine.state.batch]

    def _write(self, engine: Evaluator) -> None:
        dice = engine.state.metric_details[self.metric].double()
        text = io.StringIO()
        table = csv.writer(text, lineterminator="\n")
        table.writerow(["case", *(f"dice_{name}" for name in self.labels.foreground_names)])
        for case, row in zip(self._cases, dice.tolist(), strict=True):
            table.writerow([case, *("" if value != value else f"{value:.6f}" for value in row)])
        path = self.folder / "scores.csv"
        write_text(path, text.getvalue())
        write_json(self.folder / "about.json", self.about)
        means = torch.nanmean(dice, dim=0).tolist()
        figures = ", ".join(
            f"{name} {mean:.4f}" for name, mean in zip(self.labels.foreground_names, means, strict=True)
        )
        engine.logger.info(f"Dice over {len(self._cases)} cases: {figures}; each case: {path}")
