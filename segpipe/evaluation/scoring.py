"""Scores of a folder of label maps against a folder of references: pairs of files, and the scores of each pair."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from segpipe.dataset.importing.templates import patients_by_template
from segpipe.dataset.progress import with_progress
from segpipe.errors import SegpipeError, shown
from segpipe.evaluation.coding import (
    PREDICTION_OPTION,
    REFERENCE_OPTION,
    Coding,
    require_common_values,
    require_mapping,
    shifted_in_words,
    taken_values,
)
from segpipe.evaluation.scored_cases import CaseScore, Pair, ScoredCases, case_score, require_tolerance
from segpipe.files import composed_name
from segpipe.label_values import whole_numbers
from segpipe.labels import Label, LabelTable, class_color
from segpipe.volumes import Volume, VolumeFormat, look_for_scans, read_header, read_volume
from segpipe.volumes.formats import KNOWN_FORMATS

_MOST_VALUES = 256  # more distinct values than this are intensities, not classes
_MOST_THREADS = 4  # each thread holds two label maps in memory


def score_folder(
    predictions: Path,
    references: Path,
    table: LabelTable | None = None,
    *,
    tolerance_mm: float = 1.0,
    patient: str | None = None,
    prediction_mapping: Mapping[int, int] | None = None,
    reference_mapping: Mapping[int, int] | None = None,
) -> ScoredCases:
    """Score label maps against their references.

    A prediction and a reference belong together if their paths below the two folders are equal without the suffix;
    formats may differ. Both store the values of the same table, except for values that a mapping replaces.

    Args:
        predictions: folder of label maps, at any depth.
        references: folder of label maps, at any depth.
        table: the classes; None makes each stored value except 0 a class, named after the value.
        tolerance_mm: largest distance at which two surfaces count as agreeing, 0 or more.
        patient: template for the names of cases, such as `{patient}_*`; None makes each case a separate patient.
        prediction_mapping: value that predictions store -> value that replaces it; other values stay.
        reference_mapping: value that references store -> value that replaces it; other values stay.

    Returns:
        Scores of the cases with both label maps, and the names of cases with only one of the two.

    Raises:
        SegpipeError: no case has both maps, two files of a folder have one name, a file cannot be read or is
            no label map, a value is no class, the template does not fit, a mapping names a value that no file stores,
            predictions and references have no value in common and no table says that these are the same classes, or the
            grids of a pair differ: Dice between other places of the body would be a number without meaning.
    """
    require_tolerance(tolerance_mm)
    (predicted, strangers), (referenced, more) = _named_files(predictions), _named_files(references)
    cases = sorted(predicted.keys() & referenced.keys())
    if not cases:
        raise SegpipeError(
            f"no label map in {predictions} has a reference of the same name in {references}: "
            f"{shown(sorted(predicted), most=3)} against {shown(sorted(referenced), most=3)}; names are paths below "
            "the folders without suffix"
        )
    patients = patients_by_template(cases, composed_name(patient)) if patient is not None else {}
    pairs = [Pair(case, patients.get(case, case), predicted[case], referenced[case]) for case in cases]
    _check_grids(pairs)
    coding, doubt = _coding(pairs, table, prediction_mapping or {}, reference_mapping or {})
    return ScoredCases(
        coding=coding,
        rows=_scored(pairs, coding, tolerance_mm),
        without_prediction=tuple(sorted(referenced.keys() - predicted.keys())),
        without_reference=tuple(sorted(predicted.keys() - referenced.keys())),
        tolerance_mm=tolerance_mm,
        knows_patients=patient is not None,
        doubt=doubt,
        ignored_files=(*strangers, *more),
        pairs={pair.case: pair for pair in pairs},
    )


def score_pairs(
    pairs: Sequence[Pair],
    table: LabelTable,
    reference_values: Mapping[int, str],
    *,
    knows_patients: bool,
    reasons: Mapping[str, str],
    tolerance_mm: float = 1.0,
) -> ScoredCases:
    """Score label maps whose references are known.

    Args:
        pairs: at least one.
        table: the classes, with the values that predictions store.
        reference_values: value that references store -> class name.
        knows_patients: whether the patient of any case is known.
        reasons: case -> why it has no prediction, for cases without a pair.
        tolerance_mm: see `score_folder`.

    Raises:
        SegpipeError: a file cannot be read, a value is no class, or the grids of a pair differ.
    """
    require_tolerance(tolerance_mm)
    ordered = sorted(pairs, key=lambda pair: pair.case)
    _check_grids(ordered)
    coding = Coding(table, reference_values)
    return ScoredCases(
        coding=coding,
        rows=_scored(ordered, coding, tolerance_mm),
        without_prediction=tuple(sorted(reasons)),
        without_reference=(),
        tolerance_mm=tolerance_mm,
        knows_patients=knows_patients,
        reasons=reasons,
        pairs={pair.case: pair for pair in ordered},
    )


def _scored(pairs: Sequence[Pair], coding: Coding, tolerance_mm: float) -> tuple[CaseScore, ...]:
    def scored(pair: Pair) -> CaseScore:
        return _pair_score(pair, coding, tolerance_mm)

    with ThreadPoolExecutor(min(_MOST_THREADS, os.cpu_count() or 1)) as pool:
        return tuple(with_progress(pool.map(scored, pairs), "Scoring cases", total=len(pairs)))


def files_by_name(folder: Path, *, are_scans: bool = False) -> dict[str, Path]:
    """Return the scans or label maps of a folder, at any depth, by relative path without suffix.

    Accented letters compare equal in composed and decomposed Unicode, since macOS and other systems store them
    differently.

    Args:
        folder: folder to search; the search skips files that are no images.
        are_scans: True skips 3D Slicer's segmentations (.seg.nrrd) beside the scans.

    Raises:
        SegpipeError: there is no such folder, no scan in it, or two files have one name.
    """
    return _named_files(folder, are_scans=are_scans)[0]


def _named_files(folder: Path, *, are_scans: bool = False) -> tuple[dict[str, Path], list[str]]:
    """Return the files as `files_by_name`, and the paths of the files that the search skipped."""
    if not folder.is_dir():
        raise SegpipeError(f"{folder}: no such folder; give a folder of scans or label maps")
    looked = look_for_scans(folder)
    closed = [refused.reason for refused in looked.refused if not refused.is_unread_format]
    if closed:
        raise SegpipeError(shown(closed, "; "))
    ignored_files = [str(folder / name) for name in looked.ignored_files]
    ignored_files += [refused.reason for refused in looked.refused]
    if not looked.scans:
        ignored = f"; ignored: {shown(ignored_files, '; ')}" if ignored_files else ""
        raise SegpipeError(
            f"{folder}: no scan there{looked.why_none}; segpipe reads {KNOWN_FORMATS}{ignored}"
        )
    files: dict[str, Path] = {}
    for scan in looked.scans:
        name = composed_name(scan.name)
        if are_scans and scan.format is VolumeFormat.SEG_NRRD:
            continue
        if name in files:
            raise SegpipeError(
                f"{scan.path} and {files[name]} have one name without suffix, {name}; "
                "which of them counts? Remove or rename one"
            )
        files[name] = scan.path
    return files, ignored_files


def _check_grids(pairs: Sequence[Pair]) -> None:
    """Compare the grids in the headers of all pairs, and refuse all pairs with different grids in one message."""
    messages = []
    for pair in pairs:
        reference = read_header(pair.reference, frame=pair.frame)
        differences = read_header(pair.prediction).grid.differences(reference.grid)
        if differences:
            messages.append(f"{pair.case}: prediction and reference grids differ: {', '.join(differences)}")
    if messages:
        what = "it" if len(messages) == 1 else f"the {len(messages)} of {len(pairs)} cases"
        raise SegpipeError(
            f"{shown(messages, '; ')}; resample {what} onto the reference with nearest neighbour, or find the "
            "references that belong to the predictions"
        )


def _pair_score(pair: Pair, coding: Coding, tolerance_mm: float) -> CaseScore:
    predicted, referenced = _read_labels(pair.prediction), _read_labels(pair.reference, pair.frame)
    with _naming(pair.prediction):
        prediction = coding.prediction_indices(predicted.array)
    with _naming(pair.reference):
        reference = coding.reference_indices(referenced.array)
    files = (pair.prediction, pair.reference)
    grid = referenced.grid
    return case_score(pair.case, pair.patient, prediction, reference, coding.table, grid, files, tolerance_mm)


def _read_labels(path: Path, frame: int | None = None) -> Volume:
    volume = read_volume(path, frame=frame)
    if volume.num_channels != 1:
        raise SegpipeError(
            f"{path}: has {volume.num_channels} channels; a label map has 1, a class value a voxel"
        )
    return volume


@contextmanager
def _naming(path: Path) -> Iterator[None]:
    """Put the file's name before the message of an error in its values."""
    try:
        yield
    except SegpipeError as error:
        raise SegpipeError(f"{path}: {error}") from error


def _coding(
    pairs: Sequence[Pair],
    table: LabelTable | None,
    prediction_mapping: Mapping[int, int],
    reference_mapping: Mapping[int, int],
) -> tuple[Coding, str]:
    """Return how stored values become classes, and the doubt of `ScoredCases`."""
    if table is not None and not prediction_mapping and not reference_mapping:
        return Coding(table), ""
    predicted = _stored_values([pair.prediction for pair in pairs])
    referenced = _stored_values([pair.reference for pair in pairs])
    require_mapping(PREDICTION_OPTION, prediction_mapping, predicted, table)
    require_mapping(REFERENCE_OPTION, reference_mapping, referenced, table)
    doubt = ""
    if table is None:
        require_common_values(predicted, referenced, prediction_mapping, reference_mapping)
        taken = taken_values(predicted, prediction_mapping) | taken_values(referenced, reference_mapping)
        table = _table_of_values(taken)
        if not prediction_mapping and not reference_mapping:
            doubt = shifted_in_words(predicted, referenced)
    return Coding(table, None, prediction_mapping, reference_mapping), doubt


def _stored_values(paths: Sequence[Path]) -> Counter[int]:
    """Return stored value -> number of label maps that store the value."""
    counts: Counter[int] = Counter()
    for path in paths:
        labels = _read_labels(path).array
        with _naming(path):
            counts.update(map(int, np.unique(whole_numbers(labels)).tolist()))
        if len(counts) > _MOST_VALUES:
            raise SegpipeError(
                f"{path}: with it there are {len(counts)} different values; label maps of at most "
                f"{_MOST_VALUES} classes are wanted, these look like images"
            )
    return counts


def _table_of_values(values: set[int]) -> LabelTable:
    """Return a label table of the stored values; 0 is the background."""
    ordered = [0, *sorted(values - {0})]
    if len(ordered) < 2:
        raise SegpipeError("all label maps hold background (0) only; give the label table to score them")
    return LabelTable(
        tuple(
            Label(index, str(value) if index else "background", class_color(index), value)
            for index, value in enumerate(ordered)
        )
    )
