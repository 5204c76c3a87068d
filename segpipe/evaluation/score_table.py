"""The scores of a running evaluation: the same files as `segpipe evaluate` writes, and a summary in the log."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ignite.engine import Engine, Events
from monai.engines import Evaluator

from segpipe.errors import SegpipeError
from segpipe.evaluation.case_scores import METRICS_FILE
from segpipe.evaluation.coding import Coding
from segpipe.evaluation.scored_cases import (
    CaseScore,
    ScoredCases,
    case_score,
    patient_warnings,
    require_tolerance,
)
from segpipe.evaluation.summary import summarise, write_scores
from segpipe.labels import LabelTable
from segpipe.monai_run import refusal_ends_run
from segpipe.transforms.class_maps import class_map
from segpipe.volumes import read_header

FORMER_ARGUMENTS = (
    "takes the cases and no metric, since every score is computed from the label maps: in evaluate.yaml write cases: "
    '"$@scored_weights.cases" below ScoreTable, and delete metric'
)


@dataclass(frozen=True)
class ReferencedCase:
    """A case that an evaluation scores.

    Attributes:
        case: name of the case.
        patient: patient of the case; None where the patient is not known.
        scan: file of the scan, or of its first channel.
        reference: file of the reference label map.
    """

    case: str
    patient: str | None
    scan: Path
    reference: Path


class ScoreTable:
    """A handler that writes the scores of an evaluator's label maps at the end of the run.

    The files are `metrics.csv` and `summary.json`, as of `segpipe evaluate`; equal label maps get equal scores. There
    is no page: a page draws label maps from files, and an evaluator writes no label maps.

    Args:
        folder: folder of the two files.
        labels: the classes.
        about: what is scored and by what, in plain types; `about` of `summary.json`.
        cases: cases of the evaluator; each record of a batch has the name of such a case as `case`.
        tolerance_mm: largest distance at which two surfaces count as agreeing.
        metric: must not be given; configurations of an earlier segpipe give it, and the refusal says what to change.

    Raises:
        SegpipeError: a metric or no cases are given; or the tolerance is negative. At the end of the run: the evaluator
            has not scored all cases, or a reference cannot be read.
    """

    @refusal_ends_run()
    def __init__(
        self,
        folder: Path,
        labels: LabelTable,
        about: Mapping[str, Any],
        cases: Iterable[ReferencedCase] = (),
        tolerance_mm: float = 1.0,
        metric: object = None,
    ) -> None:
        require_tolerance(tolerance_mm)
        self.folder = folder
        self.labels = labels
        self.about = about
        self.cases = {case.case: case for case in cases}
        self.tolerance_mm = tolerance_mm
        if metric is not None or not self.cases:
            raise SegpipeError(f"ScoreTable {FORMER_ARGUMENTS}")
        self._rows: list[CaseScore] = []

    def attach(self, engine: Evaluator) -> None:
        """Register the handler's events at the evaluator."""
        engine.add_event_handler(Events.EPOCH_STARTED, self._begin)
        engine.add_event_handler(Events.ITERATION_COMPLETED, self._collect)
        engine.add_event_handler(Events.EPOCH_COMPLETED, self._write)

    def _begin(self, _: Engine) -> None:
        self._rows = []

    @refusal_ends_run()
    def _collect(self, engine: Evaluator) -> None:
        for record, output in zip(engine.state.batch, engine.state.output, strict=True):
            case = self.cases[str(record["case"])]
            prediction, reference = (class_map(output[key]) for key in ("pred", "label"))
            grid = read_header(case.reference).grid  # the loaded label map can have the scan's affine
            files = (case.scan, case.reference)
            self._rows.append(
                case_score(
                    case.case,
                    case.patient,
                    prediction,
                    reference,
                    self.labels,
                    grid,
                    files,
                    self.tolerance_mm,
                )
            )

    @refusal_ends_run()
    def _write(self, engine: Evaluator) -> None:
        rows = tuple(sorted(self._rows, key=lambda row: row.case))
        missing = sorted(self.cases.keys() - {row.case for row in rows})
        if missing or len(rows) != len(self.cases):
            raise SegpipeError(
                f"{self.folder}: {len(rows)} label maps were scored for {len(self.cases)} cases; an evaluation runs "
                "in one process and scores every case once"
            )
        patients = [case.patient for case in self.cases.values()]
        scores = ScoredCases(
            coding=Coding(self.labels),
            rows=rows,
            without_prediction=(),
            without_reference=(),
            tolerance_mm=self.tolerance_mm,
            knows_patients=any(patients),
        )
        summary = summarise(scores)
        warnings = [*self.about.get("warnings", ()), *patient_warnings(patients), *scores.warnings]
        write_scores(scores, summary, self.folder, {**self.about, "warnings": warnings})
        names = self.labels.target_names
        means = [summary.by_class[name]["dice"].interval.mean for name in names]
        engine.logger.info(
            f"Dice over {len(rows)} cases, mean: {_listed(names, means)}; voxels pooled: "
            f"{_listed(names, summary.pooled.dice.tolist())}; each case: {self.folder / METRICS_FILE}"
        )


def _listed(names: Sequence[str], figures: Sequence[float]) -> str:
    return ", ".join(f"{name} {figure:.4f}" for name, figure in zip(names, figures, strict=True))
