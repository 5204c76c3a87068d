"""Scores of cases, computed alike from label maps in files and from label maps of a running evaluation."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from segpipe.errors import SegpipeError
from segpipe.evaluation.coding import Coding, OneSided, one_sided_classes, one_sided_in_words
from segpipe.evaluation.metrics import CaseMetrics
from segpipe.labels import LabelTable
from segpipe.pictures import in_ras_order
from segpipe.volumes import Grid, volume_format


@dataclass(frozen=True)
class CaseScore:
    """Scores of one case.

    Attributes:
        case: its name.
        patient: whose scan it is; the case itself where that is not known.
        metrics: its scores.
        reference_sha256: of the classes and the size of the reference.
    """

    case: str
    patient: str
    metrics: CaseMetrics
    reference_sha256: str


@dataclass(frozen=True)
class Pair:
    """The files of two label maps of one case.

    Attributes:
        case: its name.
        patient: whose scan it is; the case itself where that is not known.
        prediction: a label map's file.
        reference: the reference, a file or a folder.
    """

    case: str
    patient: str
    prediction: Path
    reference: Path


@dataclass(frozen=True)
class ScoredCases:
    """Scores of the cases of a folder, of a manifest or of a run.

    Attributes:
        coding: the classes, and the values that they have in predictions and in references.
        rows: one a case that has both maps, sorted by case.
        without_prediction: references without a prediction. They are in no mean.
        without_reference: predictions without a reference.
        tolerance_mm: of the surface Dice.
        knows_patients: False where each case counts as a patient of its own.
        reasons: why there is no prediction, as far as that is known, by case.
        doubt: why the two sides may code the same classes with different values; empty where nothing says so.
        passed_over: files beside the label maps that segpipe does not read, for people.
        pairs: case -> its files; empty where the label maps are in no files.
    """

    coding: Coding
    rows: tuple[CaseScore, ...]
    without_prediction: tuple[str, ...]
    without_reference: tuple[str, ...]
    tolerance_mm: float
    knows_patients: bool
    reasons: Mapping[str, str] = field(default_factory=dict)
    doubt: str = ""
    passed_over: tuple[str, ...] = ()
    pairs: Mapping[str, Pair] = field(default_factory=dict)

    @property
    def table(self) -> LabelTable:
        """The classes."""
        return self.coding.table

    @property
    def one_sided(self) -> list[OneSided]:
        """The classes that are in references alone or in predictions alone."""
        return one_sided_classes([row.metrics.confusion for row in self.rows], self.table.names)

    @property
    def warnings(self) -> list[str]:
        """What a reader has to know of the classes before the figures."""
        return [*one_sided_in_words(self.one_sided), *([self.doubt] if self.doubt else [])]


def require_tolerance(tolerance_mm: float) -> None:
    """Refuse a distance that is negative, infinite or no number.

    Raises:
        SegpipeError: see above.
    """
    if not (0 <= tolerance_mm < np.inf):
        raise SegpipeError(f"tolerance {tolerance_mm:g} mm: must be 0 or more, in millimetres")


def patient_warnings(patients: Sequence[str | None]) -> list[str]:
    """Return a sentence where the patients of some cases are known and those of others are not.

    Args:
        patients: of each case; None where that is not known.
    """
    unknown = sum(patient is None for patient in patients)
    if 0 < unknown < len(patients):
        return [
            f"Of {unknown} of {len(patients)} cases the patient is not known: each of them counts as a patient of its "
            "own."
        ]
    return []


def case_score(
    case: str,
    patient: str | None,
    prediction: NDArray[np.integer[Any]],
    reference: NDArray[np.integer[Any]],
    table: LabelTable,
    grid: Grid,
    files: Sequence[Path],
    tolerance_mm: float,
) -> CaseScore:
    """Score a case.

    Args:
        case: its name.
        patient: whose scan it is; None where that is not known.
        prediction: class of each voxel, 0..C-1, `(x, y)` or `(x, y, z)`.
        reference: likewise, of the same shape.
        table: the classes.
        grid: of the reference, as its file has it.
        files: the case's scan or prediction, and its reference. Formats of 2D images (PNG, JPEG) have no spacing, so
            that a case with such a file has no distances and no volumes.
        tolerance_mm: how far surfaces may lie apart and count as agreeing.

    Raises:
        SegpipeError: shapes differ, or an index is no class.
    """
    is_2d_format = any(volume_format(path).is_2d_format for path in files)
    axes_mm = None if is_2d_format else grid.affine[:3, : len(grid.size)]
    metrics = CaseMetrics.of(prediction, reference, table.num_classes, axes_mm, tolerance_mm)
    return CaseScore(case, patient or case, metrics, _labels_sha256(reference, table, grid))


def _labels_sha256(indices: NDArray[np.integer[Any]], table: LabelTable, grid: Grid) -> str:
    """Return a SHA-256 over a label map's size and classes, in hex.

    It is the same in whatever order a file has its axes, or a table its foreground classes.
    """
    (turned,), _ = in_ras_order(grid.affine, indices)
    alphabetical = sorted(table.foreground_names)
    places = np.array(
        [0, *(1 + alphabetical.index(name) for name in table.foreground_names)],
        np.min_scalar_type(table.num_classes - 1),
    )
    hashed = hashlib.sha256(str(turned.shape).encode())
    for plane in turned:  # since NumPy takes eight bytes a voxel to index with
        hashed.update(places[plane].tobytes())
    return hashed.hexdigest()
