"""What a classification tells apart: classes of which exactly one is true, or findings of which any number may be true.

A segmentation labels voxels and has a background, see `segpipe.labels`; a classification labels an image as a whole.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from segpipe.errors import SegpipeError
from segpipe.names import require_name

ImageTarget = Literal["class", "findings"]
"""Kind of label of an image: one class, or any number of findings."""

TARGETS: tuple[ImageTarget, ...] = ("class", "findings")
NO_FINDING = "No Finding"
"""Text for an image without any finding; no finding may have this name."""
_ROW_KEYS = {"index", "name", "value"}
_FEWEST_CLASSES = 2


@dataclass(frozen=True)
class Categories:
    """The classes, or the findings, of a bundle or a data set, in the order of the network's outputs.

    Attributes:
        names: the names; distinct without regard to case.
        target: "class" if exactly one is true of an image, "findings" if any number is.

    Raises:
        SegpipeError: on construction: there are fewer than two classes or no finding, a name stands twice, is
            refused by `segpipe.names.name_problem`, holds `|`, or a finding is called `No Finding`.
    """

    names: tuple[str, ...]
    target: ImageTarget

    def __post_init__(self) -> None:
        if self.target not in TARGETS:
            raise SegpipeError(f"target is {self.target!r:.80}, must be one of {', '.join(TARGETS)}")
        fewest = _FEWEST_CLASSES if self.exclusive else 1
        if len(self.names) < fewest:
            raise SegpipeError(
                f"target {self.target}: has {len(self.names)} name(s), needs at least {fewest}; name what the network "
                "tells apart"
            )
        seen: set[str] = set()
        for position, name in enumerate(self.names):
            require_name(name, f"{self.target}: name {position}")
            if "|" in name:
                raise SegpipeError(
                    f"{self.target}: {name!r} holds |, which separates names in tables; rename it"
                )
            if name.casefold() in seen:
                raise SegpipeError(f"{self.target}: {name!r} stands twice; every name must be distinct")
            seen.add(name.casefold())
        if not self.exclusive and NO_FINDING.casefold() in seen:
            raise SegpipeError(
                f"findings: {NO_FINDING!r} is no finding: an image without findings has none; remove the name"
            )

    @property
    def exclusive(self) -> bool:
        """Whether exactly one of the names is true of an image."""
        return self.target == "class"

    @property
    def num(self) -> int:
        """Number of names, and of the network's outputs."""
        return len(self.names)

    def index(self, name: str) -> int:
        """Return the place of a name, compared without regard to case.

        Raises:
            SegpipeError: there is no such name.
        """
        known = [own.casefold() for own in self.names]
        if name.casefold() not in known:
            raise SegpipeError(
                f"{name!r} is not among the {self.target} names {', '.join(self.names)}; correct it"
            )
        return known.index(name.casefold())

    def rows(self) -> list[dict[str, Any]]:
        """Return the rows of metadata's `label_table`, which weights remember too; plain JSON types."""
        return [{"index": index, "name": name, "value": index} for index, name in enumerate(self.names)]

    def to_metadata(self) -> dict[str, Any]:
        """Return the entries of a bundle's metadata that hold the names, see `from_metadata`."""
        return {"target": self.target, "label_table": self.rows()}

    @classmethod
    def from_metadata(cls, metadata: Mapping[str, Any]) -> Categories:
        """Build the names from a bundle's metadata: `target` and `label_table`.

        Raises:
            SegpipeError: one of the two is missing or of the wrong form, `Categories` refuses the names, or the
                `channel_def` of the output has other names or another order.
        """
        rows = metadata.get("label_table")
        if not isinstance(rows, list) or not all(isinstance(row, Mapping) for row in rows):
            raise SegpipeError(f"label_table: is {rows!r:.80}, must be a list of rows with index and name")
        names = []
        for position, row in enumerate(rows):
            unknown = sorted(set(row) - _ROW_KEYS)
            name = row.get("name")
            if unknown or row.get("index") != position or not isinstance(name, str):
                raise SegpipeError(
                    f"label_table: row {position} is {dict(row)!r:.120}; a classification's row has index {position}, "
                    "a name, and the index again as value"
                )
            names.append(name)
        categories = cls(tuple(names), metadata.get("target"))  # type: ignore[arg-type]  # checked on construction
        _require_same_channels(names, metadata)
        return categories


def _require_same_channels(names: Sequence[str], metadata: Mapping[str, Any]) -> None:
    """Refuse an output whose channels have other names than the label table: programs read one or the other."""
    try:
        (output,) = metadata["network_data_format"]["outputs"].values()
        channels = {int(index): str(name) for index, name in output["channel_def"].items()}
    except (KeyError, ValueError, AttributeError, TypeError):
        return  # MONAI does not ask for these entries
    for index in range(max(len(names), len(channels))):
        name = names[index] if index < len(names) else "missing"
        if channels.get(index, "missing") != name:
            raise SegpipeError(
                f"label_table: class {index} is {name}, in channel_def of the output {channels.get(index, 'missing')}; "
                "restore the one that was changed"
            )
