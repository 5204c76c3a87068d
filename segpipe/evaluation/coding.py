"""Which value stands for which class in predictions and in references, and whether the two agree on that.

Files of one study may code one class differently: a tumour is 1 for a network and 255 for a program that draws masks.
Without a label table, only the stored values say what a voxel is, so that two codings look like two classes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from segpipe.errors import SegpipeError, counted, shown
from segpipe.labels import LabelTable, whole_numbers

PREDICTION_OPTION, REFERENCE_OPTION = "--prediction-value", "--reference-value"
_VALUES_SHOWN = 10


@dataclass(frozen=True)
class Coding:
    """How stored values become classes.

    Attributes:
        table: the classes and their values.
        reference_values: value that references store -> class name; None where they store the table's values.
        prediction_mapping: value that predictions store -> value of the table; others are the table's already.
        reference_mapping: likewise of references.
    """

    table: LabelTable
    reference_values: Mapping[int, str] | None = None
    prediction_mapping: Mapping[int, int] = field(default_factory=dict)
    reference_mapping: Mapping[int, int] = field(default_factory=dict)

    def prediction_indices(self, stored: NDArray[Any]) -> NDArray[np.unsignedinteger[Any]]:
        """Return the class of each voxel of a predicted label map, 0..C-1, of the same shape.

        Raises:
            SegpipeError: a value is no whole number, or of no class.
        """
        return self._indices(stored, None, self.prediction_mapping, PREDICTION_OPTION)

    def reference_indices(self, stored: NDArray[Any]) -> NDArray[np.unsignedinteger[Any]]:
        """Return the class of each voxel of a reference, as `prediction_indices`."""
        return self._indices(stored, self.reference_values, self.reference_mapping, REFERENCE_OPTION)

    def _indices(
        self,
        stored: NDArray[Any],
        file_values: Mapping[int, str] | None,
        mapping: Mapping[int, int],
        option: str,
    ) -> NDArray[np.unsignedinteger[Any]]:
        values = _mapped(whole_numbers(stored), mapping)
        try:
            return self.table.to_indices(values, file_values)
        except SegpipeError as error:
            if self.reference_values is not None:  # a manifest names the values, and no option does
                raise
            raise SegpipeError(
                f"{error}, or give the class of each value with {option} STORED=VALUE"
            ) from error


@dataclass(frozen=True)
class OneSided:
    """A class that only one of the two sides has.

    Attributes:
        name: of the class.
        predictions: how many predictions have the class.
        references: how many references have the class; 0 if `predictions` is not.
    """

    name: str
    predictions: int
    references: int


def one_sided_classes(confusions: Sequence[NDArray[np.int64]], names: Sequence[str]) -> list[OneSided]:
    """Return the classes, the background included, that are in references alone or in predictions alone.

    Args:
        confusions: one a case, as `confusion_matrix` gives it.
        names: of the classes, by index.
    """
    references = np.sum([confusion.any(axis=1) for confusion in confusions], axis=0)
    predictions = np.sum([confusion.any(axis=0) for confusion in confusions], axis=0)
    return [
        OneSided(name, int(predicted), int(true))
        for name, predicted, true in zip(names, predictions, references, strict=True)
        if bool(predicted) != bool(true)
    ]


def one_sided_in_words(found: Sequence[OneSided]) -> list[str]:
    """Return a sentence on the classes of references alone, and one on those of predictions alone."""
    missed = [(own.name, own.references) for own in found if own.references]
    invented = [(own.name, own.predictions) for own in found if own.predictions]
    return [
        *_sentence(missed, "reference", "prediction"),
        *_sentence(invented, "prediction", "reference"),
    ]


def require_common_values(
    predicted: Mapping[int, int],
    referenced: Mapping[int, int],
    prediction_mapping: Mapping[int, int],
    reference_mapping: Mapping[int, int],
) -> None:
    """Refuse two sides that both have classes and share none: nothing says which values mean the same.

    Args:
        predicted: value -> how many predictions store it.
        referenced: value -> how many references store it.
        prediction_mapping: value that predictions store -> the value that it is taken for.
        reference_mapping: likewise of references.

    Raises:
        SegpipeError: no value but 0 is on both sides, though each side has one; the message gives the options to type.
    """
    ours, theirs = (
        taken_values(predicted, prediction_mapping) - {0},
        taken_values(referenced, reference_mapping) - {0},
    )
    if not ours or not theirs or ours & theirs:
        return
    said = " and ".join(
        f"{what} store {_counts(values, mapping)}"
        for what, values, mapping in (
            ("predictions", predicted, prediction_mapping),
            ("references", referenced, reference_mapping),
        )
    )
    raise SegpipeError(
        f"predictions and references have no class in common, so that every Dice would be 0: {said}; if both mean the "
        f"same classes, {_remedy(predicted, referenced)}; if they mean other ones, give the classes with --labels"
    )


def shifted_in_words(predicted: Mapping[int, int], referenced: Mapping[int, int]) -> str:
    """Return what to do where each side has values that the other lacks; empty where one side has none.

    Args:
        predicted: value -> how many predictions store it.
        referenced: value -> how many references store it.
    """
    if not (set(predicted) - set(referenced) and set(referenced) - set(predicted)):
        return ""
    return (
        "Predictions and references may code the same classes with different values: predictions store "
        f"{_counts(predicted, {})}, references store {_counts(referenced, {})}. If so, evaluate again and "
        f"{_remedy(predicted, referenced)}."
    )


def require_mapping(
    option: str, mapping: Mapping[int, int], stored: Mapping[int, int], table: LabelTable | None
) -> None:
    """Refuse a mapping that names a value which no file stores, or a class that the table has not.

    Args:
        option: that gave the mapping.
        mapping: value that files store -> the value that it is taken for.
        stored: value -> how many files store it.
        table: the classes; None where values alone make them.

    Raises:
        SegpipeError: naming the option as it was typed, and the values that there are.
    """
    for old, new in mapping.items():
        if old not in stored:
            raise SegpipeError(
                f"{option} {old}={new}: no label map of that folder stores {old}, they store {_counts(stored, {})}; "
                "write the stored value first, then the value of its class"
            )
        if table is not None and new not in table.values:
            raise SegpipeError(
                f"{option} {old}={new}: no class of --labels has the value {new}; give one of "
                f"{', '.join(map(str, table.values))}"
            )


def taken_values(stored: Mapping[int, int], mapping: Mapping[int, int]) -> set[int]:
    """Return the values of files as a mapping takes them; a value that the mapping does not name stays."""
    return {mapping.get(value, value) for value in stored}


def _mapped(stored: NDArray[Any], mapping: Mapping[int, int]) -> NDArray[Any]:
    """Return whole numbers with some values replaced by others, all at once, so that two may change places."""
    if not mapping:
        return stored
    found = stored.astype(np.result_type(stored.dtype, *map(np.min_scalar_type, mapping.values())))
    for old, new in mapping.items():
        found[stored == old] = new
    return found


def _sentence(found: Sequence[tuple[str, int]], there: str, lacking: str) -> list[str]:
    """Return the sentence on classes that are in some maps of one side and in none of the other."""
    if not found:
        return []
    if len(found) == 1:
        ((name, count),) = found
        return [f"Class {name} is in {counted(count, there)} and in no {lacking}."]
    named = shown((f"{name} (in {count})" for name, count in found), most=_VALUES_SHOWN)
    return [f"{len(found)} classes are in {there}s and in no {lacking}: {named}."]


def _counts(stored: Mapping[int, int], mapping: Mapping[int, int]) -> str:
    """Return the values with the number of their files, and what each is taken for."""
    texts = []
    for value, count in sorted(stored.items()):
        taken = mapping.get(value, value)
        said = f", taken for {taken}" if taken != value else ""
        texts.append(f"{value} (in {counted(count, 'file')}{said})")
    return shown(texts, most=_VALUES_SHOWN)


def _remedy(predicted: Mapping[int, int], referenced: Mapping[int, int]) -> str:
    """Return the options that give the values of one side those of the other, in ascending order where they pair."""
    shared = {0} & set(predicted) & set(referenced)
    ours, theirs = (sorted(set(values) - shared) for values in (predicted, referenced))
    option, old, new, other = REFERENCE_OPTION, theirs, ours, "predictions"
    if max(map(abs, ours)) > max(map(abs, theirs)):
        option, old, new, other = PREDICTION_OPTION, ours, theirs, "references"
    if len(old) != len(new):
        options = shown((f"{option} {value}=VALUE" for value in old), " ", _VALUES_SHOWN)
        return f"add {options}, where VALUE is what {other} store for the same class"
    pairs = [(value, target) for value, target in zip(old, new, strict=True) if value != target]
    options = shown((f"{option} {value}={target}" for value, target in pairs), " ", _VALUES_SHOWN)
    return f"add {options}{' (paired in ascending order: check the pairs)' if len(pairs) > 1 else ''}"
