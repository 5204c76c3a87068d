"""The scores of an evaluation run, a row a case and pooled, as files and as a summary on the console."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from ignite.engine import Engine, Events
from monai.engines import Evaluator
from numpy.typing import NDArray

from segpipe.confusion import confusion_matrix
from segpipe.csv_files import Cell, csv_text
from segpipe.evaluation.metrics import PooledScores
from segpipe.files import write_json, write_text
from segpipe.labels import LabelTable


class ScoreTable:
    """Write what an evaluator's label maps are worth when it has run; attach to the evaluator.

    - `scores.csv`: each case's Dice per class. A class that a case has neither in its reference nor in its prediction
      leaves its field empty and counts in no mean.
    - `confusion.csv`: each case's voxels by true and predicted class, of the pairs that occur.
    - `pooled.json`: scores over the voxels of all cases together, see `segpipe.evaluation.PooledScores`.
    - `about.json`: what is scored.

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
        self._confusions: dict[str, NDArray[np.int64]] = {}

    def attach(self, engine: Evaluator) -> None:
        """Attach to the evaluator."""
        engine.add_event_handler(Events.EPOCH_STARTED, self._begin)
        engine.add_event_handler(Events.ITERATION_COMPLETED, self._collect)
        engine.add_event_handler(Events.EPOCH_COMPLETED, self._write)

    def _begin(self, _: Engine) -> None:
        self._confusions = {}

    def _collect(self, engine: Evaluator) -> None:
        for record, output in zip(engine.state.batch, engine.state.output, strict=True):
            pred, label = (output[key].argmax(dim=0).cpu().numpy() for key in ("pred", "label"))
            self._confusions[str(record["case"])] = confusion_matrix(pred, label, self.labels.num_classes)

    def _write(self, engine: Evaluator) -> None:
        dice = engine.state.metric_details[self.metric].double()
        names = self.labels.foreground_names
        rows = [[case, *row] for case, row in zip(self._confusions, dice.tolist(), strict=True)]
        path = self.folder / "scores.csv"
        write_text(path, csv_text(["case", *(f"dice_{name}" for name in names)], rows, ".6f"))
        pairs = csv_text(["case", "reference", "prediction", "voxels"], self._pairs())
        write_text(self.folder / "confusion.csv", pairs)
        pooled = PooledScores.of(np.sum(list(self._confusions.values()), axis=0))
        write_json(self.folder / "pooled.json", pooled.as_plain(names))
        write_json(self.folder / "about.json", self.about)
        engine.logger.info(
            f"Dice over {len(rows)} cases, mean: {_listed(names, torch.nanmean(dice, dim=0).tolist())}; voxels "
            f"pooled: {_listed(names, pooled.dice.tolist())}; each case: {path}"
        )

    def _pairs(self) -> Iterator[list[Cell]]:
        for case, confusion in self._confusions.items():
            for true, predicted in np.argwhere(confusion):
                pair = (self.labels.names[true], self.labels.names[predicted])
                yield [case, *pair, int(confusion[true, predicted])]


def _listed(names: Sequence[str], figures: Sequence[float]) -> str:
    return ", ".join(f"{name} {figure:.4f}" for name, figure in zip(names, figures, strict=True))
