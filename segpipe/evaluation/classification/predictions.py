"""`predictions.csv` against the cases of a manifest: which row belongs to which case, and what it says."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import numpy as np
from numpy.typing import NDArray

from segpipe.categories import Categories
from segpipe.csv_files import NoTableError, read_csv
from segpipe.dataset.manifest import Case, Manifest
from segpipe.dataset.targets import target_of
from segpipe.errors import SegpipeError, shown
from segpipe.evaluation.classification.image_table import PROBABILITY, marked
from segpipe.evaluation.classification.images import ClassifiedImages, present_of
from segpipe.files import composed_name

_SUM_TOLERANCE = 0.01  # tables round probabilities
_Row = Mapping[str, str]


@dataclass(frozen=True)
class PairedPredictions:
    """Predictions and the cases that they belong to.

    Attributes:
        images: the cases with a prediction.
        reasons: case -> why it has no prediction, for the other cases.
        without_reference: images of the table that are of no case.
    """

    images: ClassifiedImages
    reasons: Mapping[str, str]
    without_reference: tuple[str, ...]


def paired_predictions(
    table: Path, manifest: Manifest, cases: Sequence[Case], dataset_dir: Path | None = None
) -> PairedPredictions:
    """Read `predictions.csv` and pair its rows with cases.

    A row belongs to the case of that id, or to the case whose image path ends with the row's path or is its end.

    Args:
        table: with the columns `image`, `p_<name>` of each name in the manifest's order, and `decision`.
        manifest: of target class or findings.
        cases: cases of the manifest that are scored.
        dataset_dir: folder in which the paths of the images begin; None leaves the paths as the manifest has them.

    Raises:
        SegpipeError: the file is no such table, its names differ from the manifest's or are in another order, an image
            stands twice or fits several cases, a probability is not within 0 to 1, the probabilities of classes do not
            sum to 1, a decision is no name, no case has a prediction, or no finding is known.
    """
    categories = manifest.categories()
    rows = _rows(table, categories)
    labelled = [case for case in cases if case.classes or not categories.exclusive]
    if not labelled:
        raise SegpipeError(
            f"{manifest.name}: none of {len(cases)} cases has a class to score against; give another manifest or split"
        )
    row_of, strangers = _matched(rows, labelled, table)
    empty = {case for case, row in row_of.items() if not any(_cells(row))}
    scored = [case for case in labelled if case.case in row_of and case.case not in empty]
    if not scored:
        raise SegpipeError(
            f"{table}: no row is of a case of {manifest.name}: {shown([row['image'] for row in rows], most=3)} against "
            f"{shown([case.images[0] for case in labelled], most=3)}; correct the column image or the manifest"
        )
    chosen_rows = [row_of[case.case] for case in scored]
    targets = np.array([target_of(case, categories) for case in scored])
    if not categories.exclusive and np.isnan(targets).all():
        raise SegpipeError(
            f"{manifest.name}: every finding is unknown in every case: nothing can be scored; give a manifest with "
            "known findings"
        )
    reasons = {
        case.case: "its row has no probabilities" if case.case in empty else "no row of the table is of it"
        for case in labelled
        if case.case not in row_of or case.case in empty
    }
    return PairedPredictions(
        _images(chosen_rows, scored, targets, categories, table, dataset_dir), reasons, strangers
    )


def _rows(table: Path, categories: Categories) -> list[dict[str, str]]:
    try:
        rows = read_csv(table, ("image", "decision"))
    except NoTableError as error:
        raise SegpipeError(f"{table}: {error}; give the predictions.csv of `segpipe predict`") from error
    if not rows:
        raise SegpipeError(f"{table}: has no row; give the predictions.csv of `segpipe predict`")
    names = [
        composed_name(name.removeprefix(PROBABILITY)) for name in rows[0] if name.startswith(PROBABILITY)
    ]
    if [name.casefold() for name in names] != [name.casefold() for name in categories.names]:
        same = {name.casefold() for name in names} == {name.casefold() for name in categories.names}
        rule = "in another order than" if same else "others than"
        raise SegpipeError(
            f"{table}: its columns p_... are {', '.join(names) or 'missing'}, {rule} the manifest's "
            f"{', '.join(categories.names)}; predict with the bundle of these {categories.target} names, or correct "
            "the manifest's labels"
        )
    return rows


def _matched(
    rows: Sequence[_Row], cases: Sequence[Case], table: Path
) -> tuple[dict[str, _Row], tuple[str, ...]]:
    """Return case -> its row, and the images that are of no case."""
    ids = {composed_name(case.case): case.case for case in cases}
    ends: dict[tuple[str, ...], set[str]] = {}
    whole = {_parts(case.images[0]): case.case for case in cases}
    for parts, case in whole.items():
        for start in range(len(parts)):
            ends.setdefault(parts[start:], set()).add(case)
    row_of: dict[str, _Row] = {}
    strangers = []
    for row in rows:
        image = row["image"]
        parts = _parts(image)
        fitting = {ids[composed_name(image)]} if composed_name(image) in ids else ends.get(parts, set())
        if not fitting:
            tails = (whole.get(parts[start:]) for start in range(1, len(parts)))
            fitting = {case for case in tails if case is not None}
        if len(fitting) > 1:
            raise SegpipeError(
                f"{table}: the image {image} can be {shown(sorted(fitting), ' or ', most=3)}; give longer paths"
            )
        if not fitting:
            strangers.append(image)
            continue
        (case,) = fitting
        if case in row_of:
            raise SegpipeError(
                f"{table}: {case} stands twice, as {row_of[case]['image']} and {image}; remove one of the rows"
            )
        row_of[case] = row
    return row_of, tuple(strangers)


def _parts(path: str) -> tuple[str, ...]:
    return tuple(
        part for part in PurePosixPath(composed_name(path).replace("\\", "/")).parts if part not in ("/", ".")
    )


def _cells(row: _Row) -> list[str]:
    return [text for name, text in row.items() if name.startswith(PROBABILITY)]


def _images(
    rows: Sequence[_Row],
    cases: Sequence[Case],
    targets: NDArray[np.generic],
    categories: Categories,
    table: Path,
    dataset_dir: Path | None,
) -> ClassifiedImages:
    probabilities = np.array([_probabilities(row, categories, table) for row in rows])
    decisions = [_decision(row, categories, table) for row in rows]
    decided = marked(decisions, categories) > 0
    return ClassifiedImages(
        tuple(case.case for case in cases),
        units_of(cases),
        categories,
        probabilities,
        present_of(targets, categories),
        decided,
        decided.argmax(axis=1) if categories.exclusive else None,
        files=tuple(_file(case, dataset_dir) for case in cases),
        warnings=tuple(row.get("warnings", "") for row in rows),
    )


def units_of(cases: Sequence[Case]) -> tuple[str, ...] | None:
    """Return the patient of each case, or its id where the patient is not known; None where no patient is known."""
    if not any(case.patient for case in cases):
        return None
    return tuple(case.patient or case.case for case in cases)


def _file(case: Case, dataset_dir: Path | None) -> str:
    return case.images[0] if dataset_dir is None else str(dataset_dir / case.images[0])


def _probabilities(row: _Row, categories: Categories, table: Path) -> list[float]:
    values = []
    for name, text in zip(categories.names, _cells(row), strict=True):
        value = _number(text)
        if not 0 <= value <= 1:
            raise SegpipeError(
                f"{table}: the probability of {name} for {row['image']} is {text or 'empty'}, must be a number from 0 "
                "to 1; give probabilities, not logits or percent"
            )
        values.append(value)
    if categories.exclusive and abs(sum(values) - 1) > _SUM_TOLERANCE:
        raise SegpipeError(
            f"{table}: the probabilities for {row['image']} sum to {sum(values):.4g}, must sum to 1 over the classes; "
            "give the softmax of the network's outputs"
        )
    return values


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return float("nan")


def _decision(row: _Row, categories: Categories, table: Path) -> str:
    decision = row["decision"]
    names = _known(decision.split("|"), categories)
    if names is None or (categories.exclusive and len(names) != 1):
        rule = (
            f"must be one of {', '.join(categories.names)}"
            if categories.exclusive
            else f"must be names of {', '.join(categories.names)} between |, or No Finding"
        )
        raise SegpipeError(
            f"{table}: the decision for {row['image']} is {decision or 'empty'}, {rule}; correct the row"
        )
    return decision


def _known(texts: Iterable[str], categories: Categories) -> list[str] | None:
    """Return the names among texts; None if a text is no name."""
    named = [text.strip() for text in texts]
    try:
        marked(named, categories)
    except SegpipeError:
        return None
    return [name for name in named if name]
