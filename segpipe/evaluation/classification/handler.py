"""The scores of a running evaluation of a classifier: the files of `segpipe evaluate`, and a summary in the log."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from ignite.engine import Engine, Events
from monai.engines import Evaluator
from numpy.typing import NDArray

from segpipe.calibration import Calibration
from segpipe.categories import Categories
from segpipe.dataset.manifest import Case
from segpipe.errors import SegpipeError
from segpipe.evaluation.case_scores import METRICS_FILE
from segpipe.evaluation.classification.images import ClassifiedImages
from segpipe.evaluation.classification.predictions import units_of
from segpipe.evaluation.classification.summary import summarise_images, write_classification
from segpipe.evaluation.scored_cases import patient_warnings
from segpipe.monai_run import refusal_ends_run


class ClassificationScores:
    """A handler that writes the scores of an evaluator's logits at the end of the run.

    The files are `metrics.csv` and `summary.json`, as of `segpipe evaluate`; equal logits get equal scores. In the
    evaluator's output, `pred` has the logits `(C,)`, and `label` the target of `segpipe.dataset.targets.target_of`.

    Args:
        folder: folder of the two files.
        about: what is scored and by what, in plain types; `about` of `summary.json`.
        cases: held-out cases, in the manifest's form; each record of a batch has the name of such a case as `case`.
        labels: the classes or findings.
        calibration: of the weights.

    Raises:
        SegpipeError: there are no cases, or the calibration is of other names. At the end of the run: the evaluator has
            not scored all cases, or a logit is not finite.
    """

    @refusal_ends_run()
    def __init__(
        self,
        folder: Path,
        about: Mapping[str, Any],
        cases: Iterable[Case],
        labels: Categories,
        calibration: Calibration,
    ) -> None:
        self.folder = folder
        self.about = about
        self.cases = {case.case: case for case in cases}
        self.calibration = calibration
        if not self.cases:
            raise SegpipeError('ClassificationScores: has no cases; write cases: "$@scored_weights.cases"')
        if (calibration.names, calibration.target) != (labels.names, labels.target):
            raise SegpipeError(
                f"ClassificationScores: labels are {', '.join(labels.names)}, the calibration is of "
                f"{', '.join(calibration.names)}; give both of one bundle"
            )
        self._rows: list[tuple[str, NDArray[np.float64], NDArray[np.float64]]] = []

    def attach(self, engine: Evaluator) -> None:
        """Register the handler's events at the evaluator."""
        engine.add_event_handler(Events.EPOCH_STARTED, self._begin)
        engine.add_event_handler(Events.ITERATION_COMPLETED, self._collect)
        engine.add_event_handler(Events.EPOCH_COMPLETED, self._write)

    def _begin(self, _: Engine) -> None:
        self._rows = []

    @refusal_ends_run()
    def _collect(self, engine: Engine) -> None:
        for record, output in zip(engine.state.batch, engine.state.output, strict=True):
            # MONAI's decollation turns a class index into a number
            logits, target = (
                torch.as_tensor(output[key]).detach().double().cpu().numpy() for key in ("pred", "label")
            )
            self._rows.append((str(record["case"]), logits, target))

    @refusal_ends_run()
    def _write(self, engine: Engine) -> None:
        rows = sorted(self._rows, key=lambda row: row[0])
        names = [name for name, _, _ in rows]
        if sorted(self.cases) != names:
            raise SegpipeError(
                f"{self.folder}: {len(rows)} images were scored for {len(self.cases)} cases; an evaluation runs in one "
                "process and scores every case once"
            )
        cases = [self.cases[name] for name in names]
        images = ClassifiedImages.of_logits(
            names,
            units_of(cases),
            np.stack([logits for _, logits, _ in rows]),
            np.stack([target for _, _, target in rows]),
            self.calibration,
            [case.images[0] for case in cases],
        )
        summary = summarise_images(images)
        patients = [case.patient for case in self.cases.values()]
        warnings = [*self.about.get("warnings", ()), *patient_warnings(patients), *summary.cautions]
        write_classification(images, summary, self.folder, {**self.about, "warnings": warnings})
        scores = summary.overall
        engine.logger.info(
            f"{len(rows)} images: accuracy {scores['accuracy'].value:.4f}, balanced accuracy "
            f"{scores['balanced_accuracy'].value:.4f}, mean AUROC {scores['macro_auroc'].value:.4f}, calibration error "
            f"{scores['ece'].value:.4f}; each image: {self.folder / METRICS_FILE}"
        )
