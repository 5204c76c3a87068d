"""One class of a segmentation: a row of a bundle's label table."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from segpipe.coded_terms import COLUMNS, SegmentCodes, codes_of_row
from segpipe.errors import SegpipeError
from segpipe.regions import require_color

_COLORS = (  # Okabe and Ito: distinguishable with colour blindness
    (230, 159, 0),
    (86, 180, 233),
    (0, 158, 115),
    (240, 228, 66),
    (0, 114, 178),
    (213, 94, 0),
    (204, 121, 167),
)
_ROW_KEYS = ("index", "name", "color", "value")
_LARGEST_VALUE = 2**63


def class_color(index: int) -> tuple[int, int, int]:
    """Return the default colour of a class: black for the background, else one of 21 colours in turn.

    These are seven colours, the seven mixed half with white, and the seven mixed half with black.
    """
    if not index:
        return (0, 0, 0)
    shade, color = divmod((index - 1) % (3 * len(_COLORS)), len(_COLORS))
    red, green, blue = (
        (channel + (0, 255, 0)[shade]) // (1 if shade == 0 else 2) for channel in _COLORS[color]
    )
    return red, green, blue


@dataclass(frozen=True)
class Label:
    """One class.

    Attributes:
        index: the class inside the program, 0 for the background.
        name: display name; unique in its table without regard to case.
        color: red, green, blue, each 0..255, for pictures.
        value: the integer that a written label map stores for this class.
        codes: the class in coded terms, for DICOM SEG; None where they are not known.
    """

    index: int
    name: str
    color: tuple[int, int, int]
    value: int
    codes: SegmentCodes | None = None

    def to_json(self) -> dict[str, Any]:
        """Return the row of a bundle's metadata.json: plain JSON types."""
        row = {"index": self.index, "name": self.name, "color": list(self.color), "value": self.value}
        return {**row, **(self.codes.to_json() if self.codes else {})}


def label_from_row(position: int, row: Mapping[str, Any]) -> Label:
    """Return the class of a row of a bundle's label table.

    Raises:
        SegpipeError: the row lacks a key, has an unknown one, or has a value of the wrong type or range.
    """
    where = f"label table: row {position}"
    if not isinstance(row, Mapping):
        raise SegpipeError(f"{where} is {row!r:.80}, must be {{...}} with {', '.join(_ROW_KEYS)}")
    if not set(_ROW_KEYS) <= set(row) <= {*_ROW_KEYS, *COLUMNS}:
        raise SegpipeError(
            f"{where} has the keys {', '.join(sorted(map(str, row)))}; needs {', '.join(_ROW_KEYS)}, and may have "
            f"{', '.join(COLUMNS)}"
        )
    index, name, color, value = (row[key] for key in _ROW_KEYS)
    if not isinstance(name, str) or not name.strip():
        raise SegpipeError(f"{where}: name must be a text, is {name!r}")
    if not is_int(index) or not is_int(value):
        raise SegpipeError(
            f"{where} ({name}): index and value must be whole numbers, are {index!r} and {value!r}"
        )
    if abs(value) >= _LARGEST_VALUE:
        raise SegpipeError(f"{where} ({name}): value is {value}, which no label map can store; use 0 to 255")
    codes = codes_of_row(row, f"{where} ({name})")
    return Label(index, name, require_color(color, f"{where} ({name})"), value, codes)


def is_int(value: object) -> bool:
    """Return whether a value is a whole number, which True is not."""
    return isinstance(value, int) and not isinstance(value, bool)
