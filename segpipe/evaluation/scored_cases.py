"""Scores of cases; label maps in files and label maps of a running evaluation get the same scores."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from segpipe.errors import SegpipeError, counted, shown
from segpipe.evaluation.coding import Coding, OneSided, one_sided_classes, one_sided_in_words
from segpipe.evaluation.metrics import CaseMetrics
from segpipe.labels import LabelTable
from segpipe.pictures import in_ras_order
from segpipe.volumes import Grid, volume_format


@dataclass(frozen=True)
class CaseScore:
    """Scores of one case.

    Attributes:
        case: name of the case.
        patient: patient of the case; the case's name where the patient is not known.
        metrics: scores of the case.
        reference_sha256: hash of the classes and the size of the reference.
        prediction_sha256: the same hash of the prediction.
    """

    case: str
    patient: str
    metrics: CaseMetrics
    reference_sha256: str
    prediction_sha256: str


@dataclass(frozen=True)
class Pair:
    """The predicted and the reference label map of one case.

    Attributes:
        case: name of the case.
        patient: patient of the case; the case's name where the patient is not known.
        prediction: file of the predicted label map.
        reference: file or folder of the reference label map.
        frame: number of the time frame of the case in a 4D reference, from 1; None for other references.
    """

    case: str
    patient: str
    prediction: Path
    reference: Path
    frame: int | None = None


@dataclass(frozen=True)
class ScoredCases:
    """Scores of the cases of a folder, of a manifest or of a run.

    Attributes:
        coding: the classes, and their values in predictions and in references.
        rows: scores of each case that has both label maps, sorted by case.
        without_prediction: references without a prediction. No mean includes them.
        without_reference: predictions without a reference.
        tolerance_mm: tolerance of the surface Dice.
        knows_patients: False where each case counts as a separate patient.
        reasons: case -> why it has no prediction, where the reason is known.
        doubt: why predictions and references may store different values for the same class; empty without such a sign.
        ignored_files: files beside the label maps that segpipe does not read, in words.
        pairs: case -> the two files; empty where the label maps are in no files.
    """

    coding: Coding
    rows: tuple[CaseScore, ...]
    without_prediction: tuple[str, ...]
    without_reference: tuple[str, ...]
    tolerance_mm: float
    knows_patients: bool
    reasons: Mapping[str, str] = field(default_factory=dict)
    doubt: str = ""
    ignored_files: tuple[str, ...] = ()
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
        """Sentences about the classes that a reader needs before the scores."""
        return [
            *flattering_in_words(self.rows, self.table.names),
            *one_sided_in_words(self.one_sided),
            *([self.doubt] if self.doubt else []),
        ]


def flattering_in_words(rows: Sequence[CaseScore], names: Sequence[str]) -> list[str]:
    """Return sentences on predictions whose scores say nothing of the scans: one class everywhere, or all maps equal.

    A prediction that is one class everywhere is not named where its reference is the same.

    Args:
        rows: scores of the cases.
        names: names of the classes, by index.
    """
    constant: dict[str, list[str]] = {}
    for row in rows:
        predicted, true = (np.flatnonzero(row.metrics.confusion.any(axis=axis)) for axis in (0, 1))
        if len(predicted) == 1 and not np.array_equal(predicted, true):
            constant.setdefault(names[predicted[0]], []).append(row.case)
    sentences = [
        f"{len(cases)} of {counted(len(rows), 'prediction')} {'is' if len(cases) == 1 else 'are'} {name} everywhere: "
        f"{shown(cases, most=3)}. The scores of such a label map show how common the class is, not what a network "
        "finds."
        for name, cases in constant.items()
    ]
    predictions, references = (
        {getattr(row, side) for row in rows} for side in ("prediction_sha256", "reference_sha256")
    )
    if len(predictions) == 1 and len(references) > 1:
        sentences.append(
            f"The predictions of all {len(rows)} cases are equal, and their references are not: the predictions do not "
            "follow the scans. Check that every file is the prediction of its own scan."
        )
    return sentences


def require_tolerance(tolerance_mm: float) -> None:
    """Refuse a distance that is negative, infinite or no number.

    Raises:
        SegpipeError: the tolerance is such a number.
    """
    if not (0 <= tolerance_mm < np.inf):
        raise SegpipeError(f"tolerance {tolerance_mm:g} mm: must be 0 or more, in millimetres")


def patient_warnings(patients: Sequence[str | None]) -> list[str]:
    """Return a sentence if the patient is known for some cases and unknown for other cases.

    Args:
        patients: patient of each case; None where the patient is not known.
    """
    unknown = sum(patient is None for patient in patients)
    if 0 < unknown < len(patients):
        return [
            f"The patient of {unknown} of {len(patients)} cases is not known: each of these cases counts as one "
            "patient."
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
        case: name of the case.
        patient: patient of the case; None where the patient is not known.
        prediction: class of each voxel, 0..C-1, `(x, y)` or `(x, y, z)`.
        reference: class of each voxel, 0..C-1, or C where nobody looked, of the same shape.
        table: the classes.
        grid: grid of the reference file.
        files: the case's scan or prediction, and its reference. 2D image files (PNG, JPEG) have no spacing: a case with
            such a file has no distances and no volumes.
        tolerance_mm: largest distance at which two surfaces count as agreeing.

    Raises:
        SegpipeError: shapes differ, or an index is no class.
    """
    is_2d_format = any(volume_format(path).is_2d_format for path in files)
    axes_mm = None if is_2d_format else grid.affine[:3, : len(grid.size)]
    metrics = CaseMetrics.of(
        prediction, reference, table.num_classes, axes_mm, tolerance_mm, table.target_classes
    )
    hashes = [_labels_sha256(indices, table, grid) for indices in (reference, prediction)]
    return CaseScore(case, patient or case, metrics, *hashes)


def _labels_sha256(indices: NDArray[np.integer[Any]], table: LabelTable, grid: Grid) -> str:
    """Return a SHA-256 over a label map's size and classes, in hex.

    The order of the file's axes and the order of the table's foreground classes do not change the hash.
    """
    (turned,), _ = in_ras_order(grid.affine, indices)
    alphabetical = sorted(table.foreground_names)
    places = np.array(
        [0, *(1 + alphabetical.index(name) for name in table.foreground_names), table.ignored_index],
        np.min_scalar_type(int(indices.max(initial=table.num_classes - 1))),
    )
    hashed = hashlib.sha256(str(turned.shape).encode())
    for plane in turned:  # NumPy's indexing takes eight bytes a voxel
        hashed.update(places[plane].tobytes())
    return hashed.hexdigest()
