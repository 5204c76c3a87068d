"""Regions: unions of classes that may overlap, such as a whole tumour that holds the tumour's core.

A network scores each region by itself (a sigmoid a region). A label map stores one class a voxel, so regions are
written one after the other and a later one replaces an earlier one, as nnU-Net's `regions_class_order` does.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from segpipe.coded_terms import COLUMNS, SegmentCodes, codes_of_row
from segpipe.errors import SegpipeError
from segpipe.names import require_name


@dataclass(frozen=True)
class Region:
    """A union of classes.

    Attributes:
        name: display name; unique among the regions of a label table without regard to case.
        classes: indices of the classes in the region, ascending, none of them the background.
        written: index of the class that a voxel gets where this is its last region.
        color: red, green, blue, each 0..255, for pictures.
        codes: the region in coded terms, for DICOM SEG; None where they are not known.
    """

    name: str
    classes: tuple[int, ...]
    written: int
    color: tuple[int, int, int]
    codes: SegmentCodes | None = None


@dataclass(frozen=True)
class NamedRegion:
    """A union of classes, by the names of the classes, as a manifest or a bundle's metadata.json has it.

    Attributes:
        name: name of the region.
        classes: names of its classes.
        written_as: name of the class that a voxel gets where this is its last region; empty: follows from the order.
        color: for pictures; None: the color of the class that is written.
        codes: see `Region`.
    """

    name: str
    classes: tuple[str, ...]
    written_as: str = ""
    color: tuple[int, int, int] | None = None
    codes: SegmentCodes | None = None

    def to_json(self) -> dict[str, Any]:
        """Return the region in JSON's types, without empty entries."""
        row: dict[str, Any] = {"name": self.name, "classes": list(self.classes)}
        if self.written_as:
            row["written_as"] = self.written_as
        if self.color is not None:
            row["color"] = list(self.color)
        return {**row, **(self.codes.to_json() if self.codes else {})}

    @classmethod
    def from_json(cls, position: int, row: object) -> NamedRegion:
        """Read a region from a row of JSON.

        Args:
            position: of the row, for messages.
            row: `{"name": "tumour core", "classes": ["necrosis", "enhancing"]}`; optional: `written_as`,
                `color`, and the columns of `segpipe.coded_terms.COLUMNS`.

        Raises:
            SegpipeError: the row lacks an entry, or an entry has another type.
        """
        where = f"regions: row {position}"
        if not isinstance(row, Mapping) or not {"name", "classes"} <= set(row) <= {
            "name",
            "classes",
            "written_as",
            "color",
            *COLUMNS,
        }:
            raise SegpipeError(
                f"{where} is {row!r:.80}, must be {{...}} with name, classes and, if wanted, written_as, color, "
                f"{', '.join(COLUMNS)}"
            )
        name, classes, written, color = (row.get(key) for key in ("name", "classes", "written_as", "color"))
        if not isinstance(name, str) or not isinstance(written, str | None):
            raise SegpipeError(f"{where}: name and written_as must be texts, are {name!r} and {written!r}")
        if (
            not isinstance(classes, list | tuple)
            or not classes
            or not all(isinstance(one, str) for one in classes)
        ):
            raise SegpipeError(f"{where} ({name}): classes is {classes!r:.80}, must be a list of class names")
        return cls(
            name,
            tuple(classes),
            written or "",
            None if color is None else require_color(color, where),
            codes_of_row(row, f"{where} ({name})"),
        )


def require_color(color: object, where: str) -> tuple[int, int, int]:
    """Return a color as a tuple.

    Raises:
        SegpipeError: it is not three whole numbers from 0 to 255.
    """
    if (
        not isinstance(color, list | tuple)
        or len(color) != 3
        or not all(
            isinstance(part, int) and not isinstance(part, bool) and 0 <= part <= 255 for part in color
        )
    ):
        raise SegpipeError(
            f"{where}: color must be three whole numbers 0 to 255 (red, green, blue), is {color!r}"
        )
    return color[0], color[1], color[2]


def resolved_regions(
    named: Sequence[NamedRegion], names: Sequence[str], colors: Sequence[tuple[int, int, int]]
) -> tuple[Region, ...]:
    """Return regions with class indices, in the order in which they are written.

    Args:
        named: the regions.
        names: of all classes by index, the background first.
        colors: of all classes by index.

    Raises:
        SegpipeError: a region has an unknown class, the background or a class twice; `segpipe.names.name_problem`
            refuses its name; no order of writing can return every class; or two classes lie in the same regions.
    """
    index_of = {name.strip().casefold(): index for index, name in enumerate(names)}

    def index(name: str, region: NamedRegion) -> int:
        if name.strip().casefold() not in index_of:
            raise SegpipeError(
                f"regions: {region.name} has the class {name}, which is unknown; the classes are "
                f"{', '.join(names[1:])}"
            )
        return index_of[name.strip().casefold()]

    held = []
    for region in named:
        require_name(region.name, "regions")
        classes = [index(name, region) for name in region.classes]
        if 0 in classes or len(set(classes)) != len(classes):
            raise SegpipeError(
                f"regions: {region.name} joins {', '.join(region.classes)}; must be classes other than the "
                "background, each once"
            )
        held.append(tuple(sorted(classes)))
    stated = [index(region.written_as, region) if region.written_as else None for region in named]
    if not named:
        return ()
    pairs = [(region.name, frozenset(classes)) for region, classes in zip(named, held, strict=True)]
    return tuple(
        Region(region.name, classes, written, region.color or colors[written], region.codes)
        for region, classes, written in zip(named, held, _written_classes(pairs, stated, names), strict=True)
    )


def _written_classes(
    regions: Sequence[tuple[str, frozenset[int]]], stated: Sequence[int | None], names: Sequence[str]
) -> list[int]:
    """Return the class that a voxel gets where a region is its last one, another class for each region.

    A voxel of a class must get this class again, so the last region with a class writes it. Of several such classes the
    stated one is written, and the others never.

    Args:
        regions: name and class indices of each region, in the order in which they are written.
        stated: the class index that the data set states for each region; None: not stated.
        names: names of all classes by index, for messages.
    """
    last = {
        index: max((place for place, (_, held) in enumerate(regions) if index in held), default=None)
        for index in range(1, len(names))
    }
    alone = [names[index] for index, place in last.items() if place is None]
    if alone:
        raise SegpipeError(
            f"regions: no region holds {', '.join(alone)}, which would never be learned; add a region for each class, "
            "or take the class out"
        )
    written = []
    for place, (name, held) in enumerate(regions):
        own = sorted(index for index, of_class in last.items() if of_class == place)
        chosen = stated[place]
        if chosen is not None and chosen not in held:
            raise SegpipeError(
                f"regions: {name} is written as {names[chosen]}, which is not one of its classes "
                f"({', '.join(names[index] for index in sorted(held))}); correct written_as"
            )
        if not own or (chosen is not None and chosen not in own):
            later = [other for other, classes in regions[place + 1 :] if classes & held]
            raise SegpipeError(
                f"regions: {name} cannot be ordered: later regions ({', '.join(later)}) replace every voxel "
                f"{'of it' if chosen is None else f'that is written as {names[chosen]}'}; write larger regions before "
                "the regions inside them"
            )
        if len(own) > 1 and chosen is None:
            raise SegpipeError(
                f"regions: {name} cannot be ordered: a voxel of it could be "
                f"{' or '.join(names[index] for index in own)}, and no region tells them apart; add a region for one "
                "of them, or state one as written_as: the others are then never written"
            )
        written.append(own[0] if chosen is None else chosen)
    return written
