"""The scores of many cases as one array, and as `metrics.csv`: one row per case and class, one column per metric."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from segpipe.csv_files import NoTableError, csv_text, read_csv
from segpipe.errors import SegpipeError
from segpipe.evaluation.metrics import METRICS
from segpipe.evaluation.scored_cases import ScoredCases
from segpipe.files import composed_name

METRICS_FILE = "metrics.csv"
MEAN_OF_CLASSES = "mean of classes"
_KEYS = ("case", "patient", "class")


@dataclass(frozen=True)
class CaseScores:
    """Scores of cases.

    Attributes:
        cases: names of the cases.
        patients: patient of each case; None where the patient is not known.
        class_names: names of the foreground classes.
        values: `(cases, metrics, classes)`, metrics in the order of `METRICS`; nan for a score that a case lacks.
    """

    cases: tuple[str, ...]
    patients: tuple[str, ...] | None
    class_names: tuple[str, ...]
    values: NDArray[np.float64]

    @classmethod
    def of(cls, scores: ScoredCases) -> CaseScores:
        """Return the scores of scored cases."""
        return cls(
            cases=tuple(row.case for row in scores.rows),
            patients=tuple(row.patient for row in scores.rows) if scores.knows_patients else None,
            class_names=scores.table.target_names,
            values=np.array([[getattr(row.metrics, name) for name in METRICS] for row in scores.rows]),
        )

    @classmethod
    def read(cls, path: Path) -> CaseScores:
        """Read scores from `metrics.csv`; accented letters in names become composed (NFC).

        Args:
            path: the file, or the folder that contains `metrics.csv`.

        Raises:
            SegpipeError: the file does not exist, or is no table of scores.
        """
        file = path / METRICS_FILE if path.is_dir() else path
        rows = [
            {**row, **{key: composed_name(row[key]) for key in ("case", "patient")}} for row in _rows(file)
        ]
        cases, classes = (_numbered(row[key] for row in rows) for key in ("case", "class"))
        patients = {row["case"]: row["patient"] for row in rows}
        values = np.full((len(cases), len(METRICS), len(classes)), np.nan)
        places = set()
        for row in rows:
            place = (cases[row["case"]], classes[row["class"]])
            places.add(place)
            values[place[0], :, place[1]] = [_value(row[name], file) for name in METRICS]
        if not rows or len(places) != len(rows) or len(places) != len(cases) * len(classes):
            raise SegpipeError(
                f"{file}: {len(rows)} rows for {len(cases)} cases and {len(classes)} classes; must be one a case and "
                "class: write it anew with `segpipe evaluate`"
            )
        known = all(patients.values())
        return cls(
            tuple(cases), tuple(patients[case] for case in cases) if known else None, tuple(classes), values
        )

    @property
    def drawn(self) -> tuple[str, ...]:
        """Units that the bootstrap draws: the patients, or the cases where patients are not known."""
        return self.patients or self.cases

    def has(self, metric: str) -> bool:
        """Return whether any case has a value of a metric, infinite values included."""
        return not np.isnan(self.values[:, METRICS.index(metric)]).all()

    @property
    def class_means(self) -> NDArray[np.float64]:
        """Mean over the classes for which a case has a value, `(cases, metrics)`; nan without a value."""
        present = ~np.isnan(self.values)
        totals, counts = np.where(present, self.values, 0).sum(axis=2), present.sum(axis=2)
        means: NDArray[np.float64] = np.full(totals.shape, np.nan)
        np.divide(totals, counts, out=means, where=counts > 0)
        return means

    def as_csv(self) -> str:
        """Return the table; an empty field is a missing score, inf a distance to a class that is missing."""
        whose = self.patients or ("",) * len(self.cases)
        rows = (
            [case, patient, name, *of_class]
            for case, patient, of_case in zip(self.cases, whose, self.values, strict=True)
            for name, of_class in zip(self.class_names, of_case.T.tolist(), strict=True)
        )
        return csv_text([*_KEYS, *METRICS], rows)


def _numbered(names: Iterable[str]) -> dict[str, int]:
    """Return distinct name -> index."""
    return {name: place for place, name in enumerate(dict.fromkeys(names))}


def _rows(file: Path) -> list[dict[str, str]]:
    try:
        return read_csv(file, (*_KEYS, *METRICS))
    except NoTableError as error:
        raise SegpipeError(f"{file}: {error}; give a folder that `segpipe evaluate` wrote") from error


def _value(text: str, file: Path) -> float:
    try:
        return float(text) if text else float("nan")
    except ValueError:
        raise SegpipeError(f"{file}: {text!r} is no number; write it anew with `segpipe evaluate`") from None
