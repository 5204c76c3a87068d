"""The margin of a locator: how far its box must grow to hold the foreground of cases that its training held out."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from segpipe.configuration.metadata import read_metadata
from segpipe.errors import SegpipeError
from segpipe.files import read_json, write_json

LOCATOR_FOLDER = "locator"
"""Folder of a bundle's locator, a bundle of its own, below the bundle's folder."""
LOCATES = "locates"
"""Entry of a locator's metadata.json: the names of the classes of the bundle that the locator serves."""
_SUFFIX, _VERSION, _AXES = "_margin.json", 1, 3


def margin_path(weights: Path) -> Path:
    """Return the path of the margin beside a locator's weights."""
    return weights.with_name(f"{weights.stem}{_SUFFIX}")


def is_locator(bundle: Path) -> bool:
    """Return whether a bundle's folder holds a locator; a folder without metadata is none."""
    metadata = bundle / "configs" / "metadata.json"
    return metadata.is_file() and LOCATES in read_metadata(metadata)


@dataclass(frozen=True)
class LocatorMargin:
    """The margin of a locator's weights, with the figures that it comes from.

    Attributes:
        margin_mm: margin on both sides along each axis of the locator's image, mm.
        weights_sha256: hash of the weights.
        missed_mm: the largest distance of foreground outside the locator's box along each axis, mm.
        worst_case: the case with the largest distance.
        cases: number of cases that were measured, all with foreground.
        whole_scans: number of these cases in which the locator found nothing, or a region at the scan's border.
        about: manifest and folds of the cases.
    """

    margin_mm: tuple[float, ...]
    weights_sha256: str
    missed_mm: tuple[float, ...]
    worst_case: str
    cases: int
    whole_scans: int
    about: Mapping[str, Any] = field(default_factory=dict)

    def write(self, path: Path) -> None:
        """Write the margin as JSON."""
        write_json(path, {"version": _VERSION, **asdict(self)})

    @classmethod
    def read(cls, path: Path) -> LocatorMargin:
        """Read a margin.

        Raises:
            SegpipeError: the file is unreadable, or was not written by `write`.
        """
        content = read_json(path, "the margin of a locator")
        try:
            if content.pop("version") != _VERSION:
                raise ValueError("another version")
            found = cls(
                margin_mm=_millimetres(content.pop("margin_mm")),
                missed_mm=_millimetres(content.pop("missed_mm")),
                **content,
            )
            if not isinstance(found.weights_sha256, str) or not isinstance(found.cases, int):
                raise TypeError("weights_sha256 or cases has another type")
        except (KeyError, TypeError, ValueError) as error:
            raise SegpipeError(
                f"{path}: is not a margin that segpipe wrote ({error}); promote the locator's weights again, with "
                "--replace"
            ) from error
        return found


def _millimetres(values: Sequence[Any]) -> tuple[float, ...]:
    numbers = tuple(map(float, values))
    if len(numbers) != _AXES or not all(math.isfinite(number) and number >= 0 for number in numbers):
        raise ValueError(f"margins are {values}, must be {_AXES} distances in mm")
    return numbers
