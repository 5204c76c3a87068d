"""Refusals and warnings on class folders: empty ones, two spellings, folders that are no part, folders in classes."""

from __future__ import annotations

from collections import defaultdict
from itertools import pairwise
from pathlib import Path, PurePosixPath

from segpipe.dataset.importing.category_names import spelling_of
from segpipe.dataset.importing.folder_classes import (
    FEWEST_CLASSES,
    ClassFolders,
    are_numbered,
    inner_folders,
    part_of_folder,
)
from segpipe.dataset.importing.image_files import RUBBISH_FOLDERS, ImageFiles
from segpipe.errors import SegpipeError, counted, shown


def require_classes(found: ClassFolders, folder: Path, files: ImageFiles) -> None:
    """Refuse a folder without class folders, with one class, an empty class folder, or a class that is not trained on.

    Args:
        found: its class folders.
        folder: of the data set.
        files: its image files.

    Raises:
        SegpipeError: with the folder and what to do.
    """
    if not found.images:
        why = "no image"
        if files.images:
            why = f"its {counted(len(files.images), 'image')} lie in no folder of their own"
        elif files.unread:
            raise SegpipeError(
                f"{folder}: segpipe reads none of its {counted(len(files.unread), 'image')}: {shown(files.unread)}; "
                "convert to PNG, which keeps every pixel"
            )
        raise SegpipeError(
            f"{folder}: has no class folder: {why}; put the images of each class into a folder with its name, or give "
            "a table with a column class (--csv)"
        )
    empty = _empty_folders(found, folder)
    if empty:
        unread = [path for path in files.unread if any(f"/{name}/" in f"/{path}" for name in empty)]
        also = f"; not read: {shown(unread)}" if unread else ""
        raise SegpipeError(
            f"{folder}: the class folder {shown(empty)} has no image that segpipe reads{also}; add images (PNG or "
            "JPEG), or remove the folder"
        )
    _refuse_two_spellings(found, folder)
    inside = sorted(
        {f"{name}/{below[0]}" for _, _, name, below in found.images if below and part_of_folder(below[0])}
    )
    if inside:
        raise SegpipeError(
            f"{folder}: {shown(inside)} lies in a folder that would be a class ({shown(found.names)}); give the folder "
            f"that holds {PurePosixPath(inside[0]).name}, or move the others away"
        )
    if len(found.names) < FEWEST_CLASSES:
        raise SegpipeError(
            f"{folder}: has the one class {found.names[0]}; a network needs two at least: give the folder that holds "
            "the folders of all classes"
        )
    parts = {part for _, part, _, _ in found.images}
    trained = {name.strip() for _, part, name, _ in found.images if part in ("", "train")}
    if trained or parts - {"validation", "test"}:
        untrained = sorted({name.strip() for name in found.names} - trained)
        if untrained:
            raise SegpipeError(
                f"{folder}: the class {shown(untrained)} has no image to train on, only in other parts; add images to "
                "the folder of training images, or remove the class"
            )


def refuse_other_parts(found: ClassFolders, folder: Path) -> None:
    """Refuse folders beside train that hold class folders, such as dev; and class folders beside and in train.

    Raises:
        SegpipeError: with the folders; also if a part is a link to another part.
    """
    spellings = set(map(spelling_of, found.names))
    others: dict[str, set[str]] = defaultdict(set)
    for path in found.loose:
        *above, _ = PurePosixPath(path).parts
        for outer, below in pairwise(above):
            if spelling_of(below) in spellings:
                others[outer].add(below)
    parts = shown(sorted({PurePosixPath(parent).name for parent in found.parents}))
    if others:
        held = sorted(set().union(*others.values()))
        raise SegpipeError(
            f"{folder}: {shown(sorted(others))} beside {parts} {'holds' if len(others) == 1 else 'hold'} class "
            f"folders, too ({shown(held)}), but no part has such a name; rename each to train, val or test, or move it "
            "away"
        )
    beside = sorted({PurePosixPath(path).parts[-2] for path in found.loose if "/" in path})
    twice = [name for name in beside if spelling_of(name) in spellings]
    if twice:
        raise SegpipeError(
            f"{folder}: class folders lie beside {parts} ({shown(twice)}) and in it; move those beside it into a part, "
            "or away"
        )
    inner = inner_folders(found)
    if inner and are_numbered(found.names):
        raise SegpipeError(
            f"{folder}: each of {shown(found.names)} holds the folders {shown(inner)}; folders of folds or sites are "
            "no classes: give a table with the columns image, class and fold or split (--csv)"
        )
    holders = {above for parent in found.parents for above in (parent, str(PurePosixPath(parent).parent))}
    for holder in holders:
        for path_there in sorted((folder / holder).iterdir()):
            real = path_there.resolve()
            if path_there.is_symlink() and real.is_dir() and real.is_relative_to(folder.resolve()):
                raise SegpipeError(
                    f"{path_there}: is a link to {real}, a folder of the same data set; remove the link"
                )


def warnings_on_inner_folders(found: ClassFolders, *, known: bool) -> list[str]:
    """Return warnings on folders below class folders that may be classes themselves.

    Args:
        found: the class folders.
        known: whether the patients are known, so that such folders may be the patients'.
    """
    inner = inner_folders(found)
    if inner:
        return [
            f"each of the folders {shown(found.names)} holds the folders {shown(inner)}; the outer ones count as "
            "classes. If the inner ones are the classes, give a table with a column class (--csv)"
        ]
    inside: dict[str, set[str]] = {name: set() for name in found.names}
    for *_, name, below in found.images:
        inside[name].update(below[:1])
    divided = {name: held for name, held in inside.items() if len(held) >= FEWEST_CLASSES}
    if known or not divided or len(divided) == len(inside):
        return []
    return [
        f"the class folder {name} has folders of its own, which are no classes here: {shown(sorted(held))}; if they "
        f"are, move them beside {name}"
        for name, held in divided.items()
    ]


def warnings_on_parts(found: ClassFolders) -> list[str]:
    """Return a warning for each part that lacks a class of another part."""
    of_part: dict[str, set[str]] = defaultdict(set)
    for _, part, name, _ in found.images:
        of_part[part].add(name.strip())
    every = set().union(*of_part.values())
    return [
        f"the part {part} has no image of {shown(sorted(every - names))}"
        for part, names in sorted(of_part.items())
        if names < every
    ]


def _refuse_two_spellings(found: ClassFolders, folder: Path) -> None:
    first: dict[str, tuple[str, str]] = {}
    for path, _, name, below in found.images:
        place = "/".join(PurePosixPath(path).parts[: -1 - len(below)])
        other, other_place = first.setdefault(spelling_of(name), (name.strip(), place))
        if other != name.strip():
            raise SegpipeError(
                f"{folder}: the folders {other_place} and {place} are two spellings of one class, {other!r} and "
                f"{name.strip()!r}; give them one name"
            )


def _empty_folders(found: ClassFolders, folder: Path) -> list[str]:
    """Return the folders beside class folders that hold no image in any part."""
    used = {name for _, _, name, _ in found.images} | {
        path.split("/")[0] for path in found.loose if "/" in path
    }
    parts = {PurePosixPath(parent).name for parent in found.parents}
    empty = set()
    for parent in found.parents:
        for below in sorted((folder / parent).iterdir()):
            name = below.name
            if (
                below.is_dir()
                and not name.startswith((".", "__"))
                and name not in used | parts | RUBBISH_FOLDERS
            ):
                empty.add(name)
    return sorted(name for name in empty if not part_of_folder(name))
