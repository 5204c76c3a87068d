"""The classes of a segmentation: name, colour, and the integer that files store for each class.

Inside the program classes are 0..C-1 and exclude each other. Files may store any integers; only a `LabelTable`
converts between the two. Names identify classes: they are kept as written, and compared without regard to case, since
copies of one data set differ in case ("Anterior", "anterior").

A table may have regions, unions of classes that overlap (`segpipe.regions`), and a value that means that nobody looked
at a voxel: such a voxel counts in no loss, no score and no class weight, and no network predicts the value.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from segpipe.documents import DocumentError, parse_json, read_document
from segpipe.errors import SegpipeError
from segpipe.label_rows import Label as Label
from segpipe.label_rows import class_color as class_color
from segpipe.label_rows import is_int, label_from_row
from segpipe.label_values import looked_up, smallest_unsigned, unknown_values_message, whole_numbers
from segpipe.names import require_name
from segpipe.regions import NamedRegion, Region, resolved_regions

IGNORE = "ignore"
"""Name, as nnU-Net's, that a data set gives a stored value where nobody looked; it is no class."""


@dataclass(frozen=True)
class LabelTable:
    """The classes of one bundle, in the order of their index; `labels[0]` is the background.

    Attributes:
        labels: the classes.
        regions: unions of classes that the network scores instead of the classes, in the order in which they are
            written; empty: it scores the classes.
        ignore_value: stored value of voxels that nobody looked at; None: there is none.

    Raises:
        SegpipeError: on construction: there are fewer than two rows, indices are not 0, 1, 2, ..., a name or a stored
            value is repeated, `segpipe.names.name_problem` refuses a name, or the value to ignore is a class's.
    """

    labels: tuple[Label, ...]
    regions: tuple[Region, ...] = ()
    ignore_value: int | None = None

    def __post_init__(self) -> None:
        if len(self.labels) < 2:
            raise SegpipeError(
                f"label table: needs the background and at least one class, has {len(self.labels)} row(s)"
            )
        indices = [label.index for label in self.labels]
        if indices != list(range(len(indices))):
            raise SegpipeError(
                f"label table: indices must be 0 to {len(indices) - 1} in this order, are {indices}; "
                "reorder or renumber the rows"
            )
        for label in self.labels:
            require_name(label.name, f"label table: row {label.index}")
        _refuse_repeats("name", [same_name(label.name) for label in self.labels])
        _refuse_repeats("value", [label.value for label in self.labels])
        if IGNORE in (same_name(label.name) for label in self.labels):
            raise SegpipeError(
                f"label table: {IGNORE} is no class: it names the value of voxels that nobody looked at; give it as "
                "ignore_value, or rename the class"
            )
        if self.ignore_value in self.values:
            raise SegpipeError(
                f"label table: ignore_value is {self.ignore_value}, the value of "
                f"{self.names[self.values.index(self.ignore_value)]}; give voxels that nobody looked at another value"
            )
        _refuse_repeats("name", [same_name(region.name) for region in self.regions])

    @classmethod
    def from_rows(cls, rows: Iterable[Mapping[str, Any]]) -> LabelTable:
        """Build the table from the rows of a bundle's metadata.json.

        Args:
            rows: `{"index": 0, "name": "background", "color": [0, 0, 0], "value": 0}` and so on.

        Raises:
            SegpipeError: a row lacks a key, has an unknown one, or has a value of the wrong type or range.
        """
        if not isinstance(rows, Iterable) or isinstance(rows, str | Mapping):
            raise SegpipeError(f"label table: is {rows!r:.80}, must be a list of rows")
        return cls(tuple(label_from_row(position, row) for position, row in enumerate(rows)))

    @classmethod
    def from_metadata(cls, metadata: Mapping[str, Any]) -> LabelTable:
        """Build the table from a bundle's metadata: `label_table`, and where it has them `regions` and `ignore_value`.

        Raises:
            KeyError: the metadata has no `label_table`.
            SegpipeError: see `from_rows` and `with_regions`; or the value to ignore is no whole number.
        """
        table = cls.from_rows(metadata["label_table"])
        ignored = metadata.get("ignore_value")
        if ignored is not None and not is_int(ignored):
            raise SegpipeError(f"ignore_value is {ignored!r:.80}, must be a whole number")
        rows = metadata.get("regions") or []
        if not isinstance(rows, list):
            raise SegpipeError(f"regions: is {rows!r:.80}, must be a list of rows")
        regions = [NamedRegion.from_json(position, row) for position, row in enumerate(rows)]
        return replace(table, ignore_value=ignored).with_regions(regions)

    def to_metadata(self) -> dict[str, Any]:
        """Return the entries of a bundle's metadata that hold the table, see `from_metadata`."""
        entries: dict[str, Any] = {"label_table": self.rows()}
        if self.regions:
            entries["regions"] = [
                NamedRegion(
                    region.name,
                    tuple(self.names[index] for index in region.classes),
                    self.names[region.written],
                    region.color,
                    region.codes,
                ).to_json()
                for region in self.regions
            ]
        if self.ignore_value is not None:
            entries["ignore_value"] = self.ignore_value
        return entries

    def with_regions(self, named: Sequence[NamedRegion]) -> LabelTable:
        """Return the table with regions, in the order in which they are written.

        Raises:
            SegpipeError: a region has a class that the table lacks, the background or a class twice, a name that
                `segpipe.names.name_problem` refuses, or an order in which classes are lost, see `resolved_regions`.
        """
        return replace(self, regions=resolved_regions(named, self.names, self.colors))

    def rows(self) -> list[dict[str, Any]]:
        """Return the table in the form of `from_rows`: plain JSON types."""
        return [label.to_json() for label in self.labels]

    @property
    def num_classes(self) -> int:
        """Number of classes C, the background included."""
        return len(self.labels)

    @property
    def names(self) -> tuple[str, ...]:
        """The C class names, by index."""
        return tuple(label.name for label in self.labels)

    @property
    def foreground_names(self) -> tuple[str, ...]:
        """The C-1 names without the background."""
        return self.names[1:]

    @property
    def targets(self) -> tuple[Region, ...]:
        """What is segmented, scored and measured: the regions, or each foreground class by itself."""
        return self.regions or tuple(
            Region(label.name, (label.index,), label.index, label.color, label.codes)
            for label in self.labels[1:]
        )

    @property
    def target_names(self) -> tuple[str, ...]:
        """The names of the targets."""
        return tuple(target.name for target in self.targets)

    @property
    def target_classes(self) -> tuple[tuple[int, ...], ...]:
        """The class indices of each target."""
        return tuple(target.classes for target in self.targets)

    @property
    def output_names(self) -> tuple[str, ...]:
        """The names of the network's output channels: the regions, or the C classes with the background."""
        return tuple(region.name for region in self.regions) or self.names

    @property
    def ignored_index(self) -> int:
        """Index C, one past the last class, of voxels that nobody looked at."""
        return self.num_classes

    @property
    def needs_index_maps(self) -> bool:
        """Whether one-hot maps cannot hold the table: regions overlap, or nobody looked at some voxels."""
        return bool(self.regions) or self.ignore_value is not None

    @property
    def drawn_colors(self) -> tuple[tuple[int, int, int], ...]:
        """The C colours, and a grey for voxels that nobody looked at."""
        return (*self.colors, (128, 128, 128))

    @property
    def colors(self) -> tuple[tuple[int, int, int], ...]:
        """The C colours (red, green, blue, each 0..255), by index."""
        return tuple(label.color for label in self.labels)

    @property
    def values(self) -> tuple[int, ...]:
        """The C integers that written label maps store, by index."""
        return tuple(label.value for label in self.labels)

    def to_indices(
        self, stored: NDArray[Any], file_values: Mapping[int, str] | None = None
    ) -> NDArray[np.unsignedinteger[Any]]:
        """Convert stored values into class indices.

        Args:
            stored: label map of any shape; integers, or floats that hold integers.
            file_values: value in this file -> class name, with exactly this table's names, for a data set with other
                values than the table's, or with several values for one class; None: the table's values.

        Returns:
            Array of the same shape with values 0..C-1, of the smallest unsigned type that holds C-1; and C where nobody
            looked, if the table or `file_values` has a value for that.

        Raises:
            SegpipeError: the map holds a value of no class, or a value that is not whole, or `file_values` does not
                name exactly this table's classes.
        """
        index_of = self._index_of_value(file_values)
        values = sorted(index_of)
        whole = whole_numbers(stored)
        if whole.size and not (values[0] <= whole.min() and whole.max() <= values[-1]):
            raise SegpipeError(unknown_values_message(whole[~np.isin(whole, values)], values))
        unknown = self.ignored_index + 1
        classes = np.array([index_of[value] for value in values], smallest_unsigned(unknown))
        indices = np.empty(whole.shape, classes.dtype)
        for plane, into in zip(np.atleast_2d(whole), np.atleast_2d(indices), strict=True):
            # plane by plane: NumPy needs eight bytes per voxel to index with
            into[...] = looked_up(plane, values, classes, otherwise=unknown)
        known = indices < unknown
        if not known.all():
            raise SegpipeError(unknown_values_message(whole[~known], values))
        return indices.astype(smallest_unsigned(max(self.num_classes - 1, *index_of.values())), copy=False)

    def to_values(self, indices: NDArray[Any]) -> NDArray[np.integer[Any]]:
        """Convert class indices into the integers that a file stores.

        Args:
            indices: array of any shape and integer type with values 0..C-1.

        Returns:
            Array of the same shape, with one integer type that holds all values of the table: uint8 if they fit, at
                least int16 if one is negative.

        Raises:
            SegpipeError: an index is not a class of this table.
        """
        if indices.size and not (indices.min() >= 0 and indices.max() < self.num_classes):
            raise SegpipeError(
                f"label table: class indices {indices.min()} to {indices.max()} do not fit "
                f"{self.num_classes} classes (0 to {self.num_classes - 1}); "
                "the network and the label table are of different bundles"
            )
        smallest = np.promote_types(
            np.min_scalar_type(min(self.values)), np.min_scalar_type(max(self.values))
        )
        table = np.asarray(self.values, dtype=smallest)
        values = np.empty(indices.shape, smallest)
        # plane by plane: indexing needs eight bytes per voxel
        for place, plane in zip(np.atleast_2d(values), np.atleast_2d(indices), strict=True):
            place[...] = table[plane]
        return values

    def _index_of_value(self, file_values: Mapping[int, str] | None) -> dict[int, int]:
        if file_values is None:
            values = (*self.values, *([] if self.ignore_value is None else [self.ignore_value]))
            return {value: index for index, value in enumerate(values)}
        _require_same_names(self.names, tuple(file_values.values()))
        indices = {same_name(name): index for index, name in enumerate((*self.names, IGNORE))}
        return {value: indices[same_name(name)] for value, name in file_values.items()}


def load_label_table(path: Path) -> LabelTable:
    """Read the label table of a bundle.

    Args:
        path: the bundle's `metadata.json`; its `label_table` holds the rows.

    Raises:
        SegpipeError: the file is missing or is not JSON, has no label table, or has one that `LabelTable` refuses.
    """
    try:
        return LabelTable.from_metadata(parse_json(read_document(path)))
    except DocumentError as error:
        raise SegpipeError(f"{path}: {error.reason}") from error
    except (KeyError, TypeError) as error:
        raise SegpipeError(
            f"{path}: has no label_table; give the metadata.json of a segpipe bundle"
        ) from error
    except SegpipeError as error:
        raise SegpipeError(f"{path}: {error}") from error


def same_name(name: str) -> str:
    """Return a class name for comparison: without case and surrounding space."""
    return name.strip().casefold()


def check_same_labels(table: LabelTable, manifest_labels: Mapping[int, str]) -> None:
    """Refuse a data set whose classes differ from the bundle's.

    Only names are compared: a data set may store other values, which `LabelTable.to_indices` maps by name.

    Args:
        table: the bundle's classes.
        manifest_labels: stored value -> class name, as in `Manifest.labels`.

    Raises:
        SegpipeError: the classes differ; the message lists both.
    """
    _require_same_names(table.names, tuple(manifest_labels.values()))


def _require_same_names(table_names: tuple[str, ...], file_names: tuple[str, ...]) -> None:
    in_files = ", ".join(dict.fromkeys(file_names))
    if set(map(same_name, table_names)) != set(map(same_name, file_names)) - {IGNORE}:
        raise SegpipeError(
            f"labels differ: the bundle's label table has {', '.join(table_names)}; the data set's manifest "
            f"has {in_files}; correct the names in the manifest, or label_table in the bundle's "
            "metadata.json"
        )


def _refuse_repeats(what: str, entries: list[Any]) -> None:
    repeated = sorted({entry for entry in entries if entries.count(entry) > 1})
    if repeated:
        raise SegpipeError(
            f"label table: the {what} {', '.join(map(str, repeated))} stands in more than one row; "
            f"every class needs a {what} of its own"
        )
