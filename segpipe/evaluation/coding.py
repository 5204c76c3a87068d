"""Which stored value stands for which class, in predictions and in references, and whether the two codings agree.

Files of one study may code one class differently: a network writes 1 for a tumour, a drawing program writes 255.
Without a label table, segpipe knows only the stored values, and two codings of one class look like two classes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from segpipe.errors import SegpipeError, counted, shown
from segpipe.label_values import whole_numbers
from segpipe.labels import LabelTable

PREDICTION_OPTION, REFERENCE_OPTION = "--prediction-value", "--reference-value"
_VALUES_SHOWN = 10


@dataclass(frozen=True)
class Coding:
    """How stored values become classes.

    Attributes:
        table: the classes and their values.
        reference_values: value that references store -> class name; None where references store the table's values.
        prediction_mapping: value that predictions store -> value of the table; other values stay.
        reference_mapping: value that references store -> value of the table; other values stay.
    """

    table: LabelTable
    reference_values: Mapping[int, str] | None = None
    prediction_mapping: Mapping[int, int] = field(default_factory=dict)
    reference_mapping: Mapping[int, int] = field(default_factory=dict)

    def prediction_indices(self, stored: NDArray[Any]) -> NDArray[np.unsignedinteger[Any]]:
        """Return the class of each voxel of a predicted label map, 0..C-1, of the same shape.

        Raises:
            SegpipeError: a value is no whole number, or belongs to no class.
        """
        classes = replace(self.table, ignore_value=None)  # nothing predicts that nobody looked
        return self._indices(classes, stored, None, self.prediction_mapping, PREDICTION_OPTION)

    def reference_indices(self, stored: NDArray[Any]) -> NDArray[np.unsignedinteger[Any]]:
        """Return the class of each voxel of a reference, as `prediction_indices`; C where nobody looked."""
        return self._indices(
            self.table, stored, self.reference_values, self.reference_mapping, REFERENCE_OPTION
        )

    def _indices(
        self,
        table: LabelTable,
        stored: NDArray[Any],
        file_values: Mapping[int, str] | None,
        mapping: Mapping[int, int],
        option: str,
    ) -> NDArray[np.unsignedinteger[Any]]:
        values = _mapped(whole_numbers(stored), mapping)
        try:
            return table.to_indices(values, file_values)
        except SegpipeError as error:
            if self.reference_values is not None:  # a manifest names the values, without an option
                raise
            raise SegpipeError(
                f"{error}, or give the class of each value with {option} STORED=VALUE"
            ) from error


@dataclass(frozen=True)
class OneSided:
    """A class that only predictions or only references contain.

    Attributes:
        name: name of the class.
        predictions: number of predictions that contain the class.
        references: number of references that contain the class. Either this or `predictions` is 0.
    """

    name: str
    predictions: int
    references: int


def one_sided_classes(confusions: Sequence[NDArray[np.int64]], names: Sequence[str]) -> list[OneSided]:
    """Return the classes, the background included, that only references or only predictions contain.

    Args:
        confusions: `confusion_matrix` of each case.
        names: names of the classes, by index.
    """
    references = np.sum([confusion.any(axis=1) for confusion in confusions], axis=0)
    predictions = np.sum([confusion.any(axis=0) for confusion in confusions], axis=0)
    return [
        OneSided(name, int(predicted), int(true))
        for name, predicted, true in zip(names, predictions, references, strict=True)
        if bool(predicted) != bool(true)
    ]


def one_sided_in_words(classes: Sequence[OneSided]) -> list[str]:
    """Return a sentence on classes that only references contain, and one on classes that only predictions contain."""
    missed = [(one_sided.name, one_sided.references) for one_sided in classes if one_sided.references]
    invented = [(one_sided.name, one_sided.predictions) for one_sided in classes if one_sided.predictions]
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
    """Refuse predictions and references that share no foreground value: the meaning of their values is unknown.

    Args:
        predicted: value -> number of predictions that store the value.
        referenced: value -> number of references that store the value.
        prediction_mapping: value that predictions store -> value that replaces it.
        reference_mapping: value that references store -> value that replaces it.

    Raises:
        SegpipeError: both sides store values other than 0, and none is on both sides; the message gives the options
            to type.
    """
    ours, theirs = (
        taken_values(predicted, prediction_mapping) - {0},
        taken_values(referenced, reference_mapping) - {0},
    )
    if not ours or not theirs or ours & theirs:
        return
    sides = " and ".join(
        f"{what} store {_counts(values, mapping)}"
        for what, values, mapping in (
            ("predictions", predicted, prediction_mapping),
            ("references", referenced, reference_mapping),
        )
    )
    raise SegpipeError(
        f"predictions and references have no class in common, so that every Dice would be 0: {sides}; if both mean the "
        f"same classes, {_remedy(predicted, referenced)}; if they mean other ones, give the classes with --labels"
    )


def shifted_in_words(predicted: Mapping[int, int], referenced: Mapping[int, int]) -> str:
    """Return what to do if each side stores values that the other side lacks; empty otherwise.

    Args:
        predicted: value -> number of predictions that store the value.
        referenced: value -> number of references that store the value.
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
    """Refuse a mapping that names a value which no file stores, or a class that the table lacks.

    Args:
        option: option that gave the mapping.
        mapping: value that files store -> value that replaces it.
        stored: value -> number of files that store the value.
        table: the classes; None where the stored values are the classes.

    Raises:
        SegpipeError: the mapping is such; the message names the option as typed, and the values that files store.
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
    """Return the stored values after the mapping; a value that the mapping does not name stays."""
    return {mapping.get(value, value) for value in stored}


def _mapped(stored: NDArray[Any], mapping: Mapping[int, int]) -> NDArray[Any]:
    """Return whole numbers with all values of the mapping replaced at once, so that two values may swap."""
    if not mapping:
        return stored
    mapped = stored.astype(np.result_type(stored.dtype, *map(np.min_scalar_type, mapping.values())))
    for old, new in mapping.items():
        mapped[stored == old] = new
    return mapped


def _sentence(classes: Sequence[tuple[str, int]], there: str, lacking: str) -> list[str]:
    """Return the sentence on classes that maps of one side contain and no map of the other side contains."""
    if not classes:
        return []
    if len(classes) == 1:
        ((name, count),) = classes
        return [f"Class {name} is in {counted(count, there)} and in no {lacking}."]
    named = shown((f"{name} (in {count})" for name, count in classes), most=_VALUES_SHOWN)
    return [f"{len(classes)} classes are in {there}s and in no {lacking}: {named}."]


def _counts(stored: Mapping[int, int], mapping: Mapping[int, int]) -> str:
    """Return the stored values in words, each with its number of files and its replacement."""
    texts = []
    for value, count in sorted(stored.items()):
        taken = mapping.get(value, value)
        replacement = f", counted as {taken}" if taken != value else ""
        texts.append(f"{value} (in {counted(count, 'file')}{replacement})")
    return shown(texts, most=_VALUES_SHOWN)


def _remedy(predicted: Mapping[int, int], referenced: Mapping[int, int]) -> str:
    """Return the options that map one side's values to the other side's, paired in ascending order where possible."""
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
