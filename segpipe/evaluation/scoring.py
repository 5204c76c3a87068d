"""A folder of label maps against a folder of references: who belongs to whom, Dice, metrics.csv."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from segpipe.dataset.progress import with_progress
from segpipe.errors import SegpipeError
from segpipe.evaluation.metrics import dice_per_class
from segpipe.files import write_text
from segpipe.labels import Label, LabelTable, whole_numbers
from segpipe.volumes import Volume, find_scans, read_volume

METRICS_FILE = "metrics.csv"
_MOST_VALUES = 256  # more distinct values than this are intensities, not classes


@dataclass(frozen=True)
class CaseScore:
    """Scores of one case.

    Attributes:
        case: the label map's path below its folder, without suffix.
        dice: one a foreground class, 0..1; nan for a class that neither map contains.
    """

    case: str
    dice: tuple[float, ...]

    @property
    def mean(self) -> float:
        """Mean Dice over the classes that one of the two maps contains; nan if there is none."""
        return _mean(self.dice)


@dataclass(frozen=True)
class FolderScores:
    """Scores of a folder.

    Attributes:
        class_names: the foreground classes, in the order of each row's `dice`.
        rows: one a case that has both maps, sorted by case.
        without_prediction: references that nothing was predicted for. They are in no mean.
        without_reference: predictions that nothing can be said about.
    """

    class_names: tuple[str, ...]
    rows: tuple[CaseScore, ...]
    without_prediction: tuple[str, ...]
    without_reference: tuple[str, ...]

    def class_means(self) -> list[tuple[str, float, int]]:
        """Return each class's name, mean Dice over the cases that contain it, and their number."""
        columns = zip(*(row.dice for row in self.rows), strict=True)
        return [
            (name, _mean(column), sum(not np.isnan(value) for value in column))
            for name, column in zip(self.class_names, columns, strict=True)
        ]

    @property
    def mean(self) -> float:
        """Mean of the cases' means; nan if no case has a foreground."""
        return _mean([row.mean for row in self.rows])


def score_folder(
    predictions: Path, references: Path, table: LabelTable | None = None, output_dir: Path | None = None
) -> FolderScores:
    """Score label maps against their references and write `metrics.csv`.

    A prediction and a reference belong together when their paths below the two folders are equal but for the
    suffix; formats may differ. Both store the values of the same table.

    Args:
        predictions: folder of label maps, at any depth.
        references: folder of label maps, at any depth.
        table: the classes; None makes a class of every value but 0 that occurs, named after it.
        output_dir: where `metrics.csv` goes (columns case, dice_<class name>..., mean; an empty field is a
            class that neither map contains); None writes nothing.

    Returns:
        Scores of the cases with both maps, and the names of those without a partner.

    Raises:
        SegpipeError: no case has both maps, two files of a folder have one name, a file cannot be read or is
            no label map, a value is no class, or the grids of a pair differ: Dice between other places of the
                body
            would be a number without meaning.
    """
    predicted, referenced = _by_name(predictions), _by_name(references)
    pairs = [
        (name, predicted[name], referenced[name]) for name in sorted(predicted.keys() & referenced.keys())
    ]
    if not pairs:
        raise SegpipeError(
            f"no label map in {predictions} has a reference of the same name in {references}: "
            f"{_examples(predicted)} against {_examples(referenced)}; names are paths below the folders "
            "without suffix"
        )
    if table is None:
        table = _table_of_values([path for _, *paths in pairs for path in paths])
    rows = tuple(
        CaseScore(case, tuple(_pair_dice(case, prediction, reference, table).tolist()))
        for case, prediction, reference in with_progress(pairs, "Scoring cases")
    )
    scores = FolderScores(
        class_names=table.foreground_names,
        rows=rows,
        without_prediction=tuple(sorted(referenced.keys() - predicted.keys())),
        without_reference=tuple(sorted(predicted.keys() - referenced.keys())),
    )
    if output_dir is not None:
        write_text(output_dir / METRICS_FILE, _metrics_csv(scores))
    return scores


def _by_name(folder: Path) -> dict[str, Path]:
    if not folder.is_dir():
        raise SegpipeError(f"{folder}: no such folder; give a folder of label maps")
    found: dict[str, Path] = {}
    for scan in find_scans(folder):
        if scan.name in found:
            raise SegpipeError(
                f"{scan.path} and {found[scan.name]} have one name without suffix, {scan.name}; "
                "which of them counts? Remove or rename one"
            )
        found[scan.name] = scan.path
    return found


def _pair_dice(case: str, prediction: Path, reference: Path, table: LabelTable) -> NDArray[np.float64]:
    predicted, referenced = _read_labels(prediction), _read_labels(reference)
    differences = predicted.grid.differences(referenced.grid)
    if differences:
        raise SegpipeError(
            f"{case}: prediction and reference grids differ: {', '.join(differences)}; "
            f"resample {prediction.name} onto {reference.name} with nearest neighbour, or find its own "
            "reference"
        )
    with _naming(prediction):
        predicted_indices = table.to_indices(predicted.array)
    with _naming(reference):
        reference_indices = table.to_indices(referenced.array)
    return dice_per_class(predicted_indices, reference_indices, table.num_classes)


def _read_labels(path: Path) -> Volume:
    volume = read_volume(path)
    if volume.num_channels != 1:
        raise SegpipeError(
            f"{path}: has {volume.num_channels} channels; a label map has 1, a class value a voxel"
        )
    return volume


@contextmanager
def _naming(path: Path) -> Iterator[None]:
    """Put the file's name before what a label table has to say about its values."""
    try:
        yield
    except SegpipeError as error:
        raise SegpipeError(f"{path}: {error}") from error


def _table_of_values(paths: Sequence[Path]) -> LabelTable:
    """Make a table of the values that occur; 0 is the background."""
    values = {0}
    for path in paths:
        labels = _read_labels(path).array
        with _naming(path):
            values.update(map(int, np.unique(whole_numbers(labels)).tolist()))
        if len(values) > _MOST_VALUES:
            raise SegpipeError(
                f"{path}: with it there are {len(values)} different values; label maps of at most "
                f"{_MOST_VALUES} classes are wanted, these look like images"
            )
    if len(values) < 2:
        raise SegpipeError("all label maps hold background (0) only; give the label table to score them")
    ordered = [0, *sorted(values - {0})]
    return LabelTable(
        tuple(
            Label(index, str(value) if index else "background", (0, 0, 0), value)
            for index, value in enumerate(ordered)
        )
    )


def _metrics_csv(scores: FolderScores) -> str:
    text = io.StringIO()
    table = csv.writer(text, lineterminator="\n")
    table.writerow(["case", *(f"dice_{name}" for name in scores.class_names), "mean"])
    for row in scores.rows:
        table.writerow([row.case, *map(_field, (*row.dice, row.mean))])
    return text.getvalue()


def _field(value: float) -> str:
    return "" if np.isnan(value) else f"{value:.6f}"


def _mean(values: Sequence[float]) -> float:
    present = [value for value in values if not np.isnan(value)]
    return float(np.mean(present)) if present else float("nan")


def _examples(names: dict[str, Path]) -> str:
    return ", ".join(sorted(names)[:3]) + (", ..." if len(names) > 3 else "")
