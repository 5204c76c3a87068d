"""Images with one class or findings, read from folders or a table, before they become a manifest; checks for both."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath

from segpipe.categories import NO_FINDING, ImageTarget
from segpipe.dataset.importing.found_cases import DatasetPart, name_of
from segpipe.errors import SegpipeError, counted, shown
from segpipe.files import file_sha256

_NUMBERED_SHARE = (
    0.5  # of a class's names in another class: then names are numbers of images, not of patients
)


@dataclass(frozen=True)
class LabelledImage:
    """One image read from a folder or a table.

    Attributes:
        case: id, usable as a file name.
        image: path below the data set's folder, with forward slashes.
        classes: the one class, or the findings that are present; None where the image has no label.
        unknown: the findings of which nobody knows whether they are present.
        patient: id of the patient; None where unknown.
        part: part of the data set's division; empty where unknown.
        fold: number of the fold that a table gives; None where it gives none.
        place: such as "line 7"; empty for an image that its folder labels.
    """

    case: str
    image: str
    classes: tuple[str, ...] | None
    unknown: tuple[str, ...] = ()
    patient: str | None = None
    part: DatasetPart = ""
    fold: int | None = None
    place: str = ""


@dataclass(frozen=True)
class ImageLayout:
    """The contents of a data set of labelled images.

    Attributes:
        what: name of the layout, for messages.
        target: "class" or "findings".
        names: classes or findings as the folder or the table writes them, in their order there.
        images: in the order of the folder or the table.
        notes: remarks for the user.
        warnings: what is probably wrong.
        patients_from: what tells the patients; empty where unknown.
    """

    what: str
    target: ImageTarget
    names: tuple[str, ...]
    images: Sequence[LabelledImage]
    notes: Sequence[str] = ()
    warnings: Sequence[str] = ()
    patients_from: str = ""


def with_case_ids(images: Sequence[LabelledImage], where: str) -> list[LabelledImage]:
    """Return the images with distinct ids: the file's name, with the folders above where names repeat.

    Images with an id keep it.

    Raises:
        SegpipeError: two images have one id, ignoring upper and lower case, since ids become file names.
    """
    stems = [one.case or name_of(one.image) for one in images]
    if len({stem.casefold() for stem in stems}) < len(stems):
        folders = [PurePosixPath(one.image).parent.parts for one in images]
        shared = 0
        while (
            all(len(parts) > shared for parts in folders) and len({parts[shared] for parts in folders}) == 1
        ):
            shared += 1
        stems = [
            one.case or "_".join((*parts[shared:], stem)).replace(" ", "_")
            for one, parts, stem in zip(images, folders, stems, strict=True)
        ]
    named = [replace(one, case=stem.lstrip(".")) for one, stem in zip(images, stems, strict=True)]
    of_id: dict[str, LabelledImage] = {}
    for one in named:
        other = of_id.setdefault(one.case.casefold(), one)
        if other is not one:
            raise SegpipeError(
                f"{where}: {_at(other)} and {_at(one)} would both be the case {one.case}; rename one, or give them ids "
                "in a table (--csv, column case)"
            )
    return named


def refuse_names_in_two_classes(images: Sequence[LabelledImage], where: str) -> None:
    """Refuse an image of one name in two classes; but not where classes number their images 1, 2, 3.

    Raises:
        SegpipeError: with the images.
    """
    of_class: dict[str, dict[str, str]] = defaultdict(dict)
    for one in images:
        for name in one.classes or ():
            of_class[name][PurePosixPath(one.image).name.casefold()] = one.image
    names = sorted(of_class)
    for position, first in enumerate(names):
        for second in names[position + 1 :]:
            both = sorted(of_class[first].keys() & of_class[second].keys())
            if not both or len(both) >= _NUMBERED_SHARE * min(len(of_class[first]), len(of_class[second])):
                continue
            pairs = [f"{of_class[first][name]} and {of_class[second][name]}" for name in both]
            raise SegpipeError(
                f"{where}: {counted(len(pairs), 'image')} of one name {'is' if len(pairs) == 1 else 'are'} in two "
                f"classes: {shown(pairs, '; ')}; an image has one class: remove one of each pair, or rename it"
            )


def copies(images: Sequence[LabelledImage], folder: Path) -> list[list[LabelledImage]]:
    """Return the groups of images whose files have equal bytes; only files of equal size are read."""
    of_size: dict[int, list[LabelledImage]] = defaultdict(list)
    for one in images:
        of_size[(folder / one.image).stat().st_size].append(one)
    of_content: dict[str, list[LabelledImage]] = defaultdict(list)
    for size, group in of_size.items():
        for one in group if len(group) > 1 else ():
            of_content[f"{size} {file_sha256(folder / one.image)}"].append(one)
    return [group for group in of_content.values() if len(group) > 1]


def refuse_copies_in_two_classes(groups: Iterable[Sequence[LabelledImage]], where: str) -> list[str]:
    """Refuse equal files with different labels, and return warnings on all other equal files.

    Args:
        groups: see `copies`.
        where: the folder, for messages.

    Raises:
        SegpipeError: with the files and their labels.
    """
    same: list[str] = []
    two_parts: list[str] = []
    for group in groups:
        labels = {one.classes for one in group if one.classes is not None}
        files = " and ".join(f"{one.image} ({_label_of(one)})" for one in group)
        if len(labels) > 1:
            raise SegpipeError(
                f"{where}: one image has two labels: {files} are the same bytes; keep the right one and remove the "
                "other"
            )
        (two_parts if len({one.part for one in group}) > 1 else same).append(
            " and ".join(one.image for one in group)
        )
    warnings = []
    if two_parts:
        warnings.append(
            f"{counted(len(two_parts), 'image')} in two parts of the data set, so that a training would be refused: "
            f"{shown(two_parts, '; ')}; remove one of each"
        )
    if same:
        warnings.append(
            f"{counted(len(same), 'image')} there twice, as the same bytes: {shown(same, '; ')}; remove one of each"
        )
    return warnings


def class_counts(images: Iterable[LabelledImage], names: Sequence[str]) -> Mapping[str, int]:
    """Return name -> number of images that have it, in the order of the names."""
    counts = Counter(name for one in images for name in one.classes or ())
    return {name: counts[name] for name in names}


def _label_of(image: LabelledImage) -> str:
    return "|".join(image.classes) or NO_FINDING if image.classes is not None else "no label"


def _at(image: LabelledImage) -> str:
    return f"{image.image} ({image.place})" if image.place else image.image
