"""Lists the bundles that have a name, with what their metadata say."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from segpipe.bundle_names import named_bundles
from segpipe.errors import SegpipeError
from segpipe.information.facts import Information
from segpipe.information.reading import bundle_information

_MAIN_SCORES = ("mean_dice", "macro_auroc", "accuracy")


@dataclass(frozen=True)
class ListedBundle:
    """A bundle of a list.

    Attributes:
        name: name of its folder.
        folder: of the bundle.
        shipped: whether it came with segpipe.
        about: what it is; None if its files cannot be read.
        problem: why they cannot be read; else empty.
    """

    name: str
    folder: Path
    shipped: bool
    about: Information | None
    problem: str

    @property
    def score(self) -> tuple[str, float] | None:
        """Name and value of the first of mean Dice, macro AUROC and accuracy that the metadata have."""
        values = {} if self.about is None or not self.about.scores else self.about.scores[0].values
        return next(((name, values[name]) for name in _MAIN_SCORES if name in values), None)

    def as_plain(self) -> dict[str, Any]:
        """Return the row in the types of JSON."""
        about = None if self.about is None else self.about.as_plain()
        return {"name": self.name, "folder": str(self.folder), "shipped": self.shipped, "about": about} | (
            {"problem": self.problem} if self.problem else {}
        )


def listed_bundles() -> list[ListedBundle]:
    """Return the bundles that have a name, see `segpipe.bundle_names.named_bundles`; a damaged one has a problem."""
    rows = []
    for bundle in named_bundles():
        try:
            about, problem = bundle_information(bundle.folder), ""
        except SegpipeError as error:
            about, problem = None, str(error)
        rows.append(ListedBundle(bundle.name, bundle.folder, bundle.shipped, about, problem))
    return rows
