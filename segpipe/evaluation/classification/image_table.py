"""`metrics.csv` of a classification: one row per image, with its probabilities, truth and decision."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from segpipe.categories import NO_FINDING, Categories, ImageTarget
from segpipe.csv_files import NoTableError, csv_text, read_csv
from segpipe.errors import SegpipeError
from segpipe.evaluation.case_scores import METRICS_FILE
from segpipe.evaluation.classification.images import Array, ClassifiedImages
from segpipe.files import composed_name

PROBABILITY = "p_"
_BEFORE = "before_p_"
_COLUMNS = ("case", "image", "patient", "target", "decision", "correct", "warnings")
_REMEDY = "give a folder that `segpipe evaluate` wrote"


def metrics_csv(images: ClassifiedImages) -> str:
    """Return the table of the images.

    The columns are `case`, `image`, `patient`, `target`, `unknown` (findings only), `p_<name>` of each name,
    `before_p_<name>` (before the temperature, where known), `decision`, `at_threshold` (classes only: the classes whose
    probability reaches their threshold), `correct` (1 or 0) and `warnings`.
    """
    names = images.categories.names
    has_before = images.before is not None
    head = ["case", "image", "patient", "target"]
    head += [] if images.categories.exclusive else ["unknown"]
    head += [f"{PROBABILITY}{name}" for name in names]
    head += [f"{_BEFORE}{name}" for name in names] if has_before else []
    head += ["decision", *(["at_threshold"] if images.categories.exclusive else []), "correct", "warnings"]
    return csv_text(head, (_row(images, row) for row in range(len(images.cases))))


def _row(images: ClassifiedImages, row: int) -> list[str | float]:
    exclusive = images.categories.exclusive
    cells: list[str | float] = [
        images.cases[row],
        images.files[row] if images.files else "",
        images.patients[row] if images.patients else "",
        images.truth_in_words(row),
        *([] if exclusive else [images.unknown_in_words(row)]),
        *images.probabilities[row].tolist(),
        *([] if images.before is None else images.before[row].tolist()),
        images.decision_in_words(row),
    ]
    if exclusive:
        reached = zip(images.categories.names, images.decided[row], strict=True)
        cells.append("|".join(name for name, is_reached in reached if is_reached))
    return [*cells, int(images.correct[row]), images.warnings[row] if images.warnings else ""]


def is_classification(path: Path) -> bool:
    """Return whether a table of scores is of classified images; False where it cannot be read.

    Args:
        path: the table, or the folder that contains `metrics.csv`.
    """
    try:
        rows = read_csv(_file(path), _COLUMNS)
    except NoTableError:
        return False
    return bool(rows) and any(column.startswith(PROBABILITY) for column in rows[0])


def read_images(path: Path) -> ClassifiedImages:
    """Read `metrics.csv`; accented letters in names become composed (NFC).

    Args:
        path: the table, or the folder that contains `metrics.csv`.

    Raises:
        SegpipeError: the file does not exist, or is no such table.
    """
    file = _file(path)
    try:
        rows = read_csv(file, _COLUMNS)
    except NoTableError as error:
        raise SegpipeError(f"{file}: {error}; {_REMEDY}") from error
    if not rows:
        raise SegpipeError(f"{file}: has no row; {_REMEDY}")
    target: ImageTarget = "findings" if "unknown" in rows[0] else "class"
    categories = Categories(_names(rows[0], PROBABILITY), target)
    try:
        return _images_of(rows, categories)
    except (ValueError, SegpipeError) as error:
        raise SegpipeError(f"{file}: {error}; {_REMEDY}") from error


def _file(path: Path) -> Path:
    return path / METRICS_FILE if path.is_dir() else path


def _names(columns: Mapping[str, str], prefix: str) -> tuple[str, ...]:
    return tuple(
        composed_name(column.removeprefix(prefix)) for column in columns if column.startswith(prefix)
    )


def _images_of(rows: Sequence[Mapping[str, str]], categories: Categories) -> ClassifiedImages:
    patients = tuple(composed_name(row["patient"]) for row in rows)
    present = marked([row["target"] for row in rows], categories)
    decided = marked([row.get("at_threshold") or row["decision"] for row in rows], categories) > 0
    chosen = None
    if categories.exclusive:
        chosen = np.array([categories.index(row["decision"]) for row in rows])
        decided = marked([row.get("at_threshold", "") for row in rows], categories) > 0
    else:
        present[marked([row["unknown"] for row in rows], categories) > 0] = np.nan
    images = ClassifiedImages(
        tuple(composed_name(row["case"]) for row in rows),
        patients if all(patients) else None,
        categories,
        _numbers(rows, PROBABILITY, categories),
        present,
        decided,
        chosen,
        files=tuple(row["image"] for row in rows),
        warnings=tuple(row["warnings"] for row in rows),
    )
    if not _names(rows[0], _BEFORE):
        return images
    return replace(images, before=_numbers(rows, _BEFORE, categories))


def marked(texts: Sequence[str], categories: Categories) -> Array:
    """Return 1 for each name in a text of names between `|`, else 0, `(N, C)`.

    Args:
        texts: a text for each image; `No Finding` and an empty text name nothing.
        categories: the names.

    Raises:
        SegpipeError: a text holds another name.
    """
    marks = np.zeros((len(texts), categories.num))
    for row, text in enumerate(texts):
        for name in filter(None, (part.strip() for part in text.split("|"))):
            if categories.exclusive or name.casefold() != NO_FINDING.casefold():
                marks[row, categories.index(composed_name(name))] = 1
    return marks


def _numbers(rows: Sequence[Mapping[str, str]], prefix: str, categories: Categories) -> Array:
    columns = [column for column in rows[0] if column.startswith(prefix)]
    values = np.array([[float(row[column]) for column in columns] for row in rows])
    if values.shape[1] != categories.num:
        raise SegpipeError(f"has {values.shape[1]} columns {prefix}... for {categories.num} names")
    return values
