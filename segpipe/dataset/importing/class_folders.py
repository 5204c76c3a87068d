"""Images in a folder a class, with or without train, val and test above (the layout of OCT2017)."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from segpipe.dataset.folder_patients import folder_patients
from segpipe.dataset.importing.category_names import require_one_spelling
from segpipe.dataset.importing.found_cases import DatasetPart, name_of, part_named
from segpipe.dataset.importing.image_files import RUBBISH_FOLDERS, ImageFiles
from segpipe.dataset.importing.labelled_images import ImageLayout, LabelledImage, refuse_names_in_two_classes
from segpipe.dataset.importing.modality_names import is_modality
from segpipe.dataset.importing.name_words import is_role_word, name_words, says_label
from segpipe.errors import SegpipeError, counted, shown

_FEWEST_CLASSES = 2
_CASE_FILES = 10  # a folder of one case has at most so many files
_NAMED = re.compile(r"(.+)-([0-9]+)-[0-9]+")  # CLASS-PATIENT-N, as OCT2017 has
_MOST_LOOSE = 0.1  # share of images outside of class folders, beyond which they are warned of
_NUMBERED = re.compile(r"(.*?)[\W_]*[0-9]+")
_CLASS_STEMS = frozenset({"", "category", "class", "grade", "kl", "label", "level", "score", "stage", "type"})


@dataclass(frozen=True)
class ClassFolders:
    """The class of each image by its folders.

    Attributes:
        images: path, part, class, and the folders below the class's, of each image in a class.
        unlabelled: images directly in a folder of test images.
        loose: all other images.
        parents: folders that hold the class folders.
    """

    images: Sequence[tuple[str, DatasetPart, str, tuple[str, ...]]]
    unlabelled: Sequence[str]
    loose: Sequence[str]
    parents: Sequence[str]

    @property
    def names(self) -> tuple[str, ...]:
        """The classes, sorted."""
        return tuple(sorted({name for _, _, name, _ in self.images}))


def class_folders(paths: Sequence[str]) -> ClassFolders:
    """Read the classes from the folders of images.

    Folders that hold every image, such as `OCT2017 `, are no classes; nor are folders of parts, such as train.

    Args:
        paths: of all images below the data set's folder.
    """
    folders = {path: PurePosixPath(path).parts[:-1] for path in paths}
    inside = [parts for parts in folders.values() if parts]
    shared = 0
    while (
        inside
        and all(len(parts) > shared + 1 for parts in inside)
        and len({parts[shared] for parts in inside}) == 1
        and not part_named(inside[0][shared].strip())
    ):
        shared += 1
    has_parts = any(len(parts) > shared and part_named(parts[shared].strip()) for parts in inside)
    images, unlabelled, loose, parents = [], [], [], set()
    for path, parts in folders.items():
        part: DatasetPart = part_named(parts[shared].strip()) if has_parts and len(parts) > shared else ""
        level = shared + has_parts
        while has_parts and len(parts) > level + 1 and part_named(parts[level].strip()) == part:
            level += 1  # train/train
        if has_parts and part == "test" and len(parts) == level:
            unlabelled.append(path)
        elif len(parts) <= level or (has_parts and not part):
            loose.append(path)
        else:
            images.append((path, part, parts[level], parts[level + 1 :]))
            parents.add("/".join(parts[:level]))
    if images and not has_parts and all(below and part_named(below[0].strip()) for *_, below in images):
        images = [(path, part_named(below[0].strip()), name, below[1:]) for path, _, name, below in images]
    return ClassFolders(images, unlabelled, loose, sorted(parents))


def looks_like_classes(paths: Sequence[str]) -> bool:
    """Return whether folders look like classes: two or more, several images each, no roles, no folder a case."""
    found = class_folders(paths)
    names = found.names
    if len(names) < _FEWEST_CLASSES or len(found.images) < _FEWEST_CLASSES * len(names):
        return False
    words = [name_words(name) for name in names]
    if any(any(map(is_role_word, of_name)) or is_modality("_".join(of_name)) for of_name in words):
        return False
    files: dict[tuple[str, str], set[str]] = defaultdict(set)
    for path, part, name, _ in found.images:
        files[part, name].add(name_of(path))
    alike = len(files) > 1 and len(set(map(frozenset, files.values()))) == 1
    alike = alike and not all(name.isdigit() for name in next(iter(files.values())))
    if alike and len(next(iter(files.values()))) <= _CASE_FILES:
        return False
    return not _are_numbered(names)


def has_label_maps(paths: Sequence[str]) -> bool:
    """Return whether some images, but not all, are label maps by a word in their names or folders."""
    said = [says_label(str(PurePosixPath(path).with_name(name_of(path)))) for path in paths]
    return any(said) and not all(said)


def images_of_class_folders(folder: Path, files: ImageFiles) -> ImageLayout:
    """Read the images of a folder with one folder a class.

    Args:
        folder: of the data set.
        files: its image files.

    Raises:
        SegpipeError: no folder is a class, there is one class only, a class has no image, a class has no image to train
            on, or an image of one name is in two classes.
    """
    label_maps = _label_maps(files.images)
    found = class_folders([path for path in files.images if path not in label_maps])
    _require_classes(found, folder, files)
    images = [LabelledImage("", path, (name.strip(),), part=part) for path, part, name, _ in found.images] + [
        LabelledImage("", path, None, part="test") for path in found.unlabelled
    ]
    refuse_names_in_two_classes(images, str(folder))
    patients, source = _patients(found, str(folder))
    images = [
        LabelledImage(one.case, one.image, one.classes, patient=patients.get(one.image), part=one.part)
        for one in images
    ]
    notes = []
    many_loose = len(found.loose) > _MOST_LOOSE * len(files.images)
    if found.unlabelled:
        notes.append(
            f"{counted(len(found.unlabelled), 'test image')} without a class: {shown(found.unlabelled)}"
        )
    for what, paths in (
        ("label maps by their names", sorted(label_maps)),
        ("in no class folder", found.loose if not many_loose else ()),
        ("in a format that segpipe does not read (convert to PNG)", files.unread),
        ("of no image format", files.ignored),
    ):
        if paths:
            notes.append(f"{counted(len(paths), 'file')} ignored, {what}: {shown(paths)}")
    names = tuple(dict.fromkeys(name.strip() for name in found.names))
    what = "a folder a class" if not any(one.part for one in images) else "a folder a class, in parts"
    warnings = _missing_in_parts(found)
    if many_loose:
        warnings.append(
            f"{counted(len(found.loose), 'image')} ignored, in no class folder: {shown(found.loose)}; move them into "
            "one, or give the folder that holds the class folders"
        )
    return ImageLayout(what, "class", names, images, notes, warnings, source)


def _label_maps(paths: Sequence[str]) -> frozenset[str]:
    """Return the files with a word for a label map in their names; none where all files have one."""
    named = frozenset(path for path in paths if says_label(name_of(path)))
    return named if len(named) < len(paths) else frozenset()


def _require_classes(found: ClassFolders, folder: Path, files: ImageFiles) -> None:
    if not found.images:
        why = (
            f"its {counted(len(files.images), 'image')} lie in no folder of their own"
            if files.images
            else "no image"
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
    require_one_spelling(list(dict.fromkeys(name.strip() for name in found.names)), "class", str(folder))
    inside = sorted(
        {f"{name}/{below[0]}" for _, _, name, below in found.images if below and part_named(below[0].strip())}
    )
    if inside:
        raise SegpipeError(
            f"{folder}: {shown(inside)} lies in a folder that would be a class ({shown(found.names)}); give the folder "
            f"that holds {PurePosixPath(inside[0]).name}, or move the others away"
        )
    if len(found.names) < _FEWEST_CLASSES:
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
    return sorted(name for name in empty if not part_named(name.strip()))


def _missing_in_parts(found: ClassFolders) -> list[str]:
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


def _patients(found: ClassFolders, where: str) -> tuple[dict[str, str], str]:
    """Return path -> patient, and what tells the patients: names `CLASS-PATIENT-N`, or folders below the classes.

    Raises:
        SegpipeError: most names are `CLASS-PATIENT-N`, and some of them name another class than their folder.
    """
    spelled = {name.strip().casefold(): name.strip() for name in found.names}
    matches = {path: _NAMED.fullmatch(name_of(path)) for path, *_ in found.images}
    said = {
        path: (spelled[match[1].casefold()], match[2])
        for path, match in matches.items()
        if match is not None and match[1].casefold() in spelled
    }
    if len(said) > len(found.images) / 2:
        other = [
            f"{path} ({said[path][0]})"
            for path, _, name, _ in found.images
            if path in said and said[path][0].casefold() != name.strip().casefold()
        ]
        if other:
            raise SegpipeError(
                f"{where}: {counted(len(other), 'image')} named CLASS-PATIENT-N in the folder of another class: "
                f"{shown(other)}; move each to the right folder, or rename it"
            )
        return {path: patient for path, (_, patient) in said.items()}, "the names CLASS-PATIENT-N"
    if all(below for *_, below in found.images):
        below = {path: "/".join((*folders, name_of(path))) for path, _, _, folders in found.images}
        patients = folder_patients(below)
        if 1 < len(set(patients.values())) < len(patients):
            return patients, "the folder of the image"
    return {}, ""


def _are_numbered(names: Sequence[str]) -> bool:
    """Return whether most names are one word with different numbers, as of cases: patient1, patient2, ..."""
    matches = [_NUMBERED.fullmatch(name.strip()) for name in names]
    stems = Counter(match[1].casefold() for match in matches if match is not None)
    if not stems:
        return False
    stem, count = stems.most_common(1)[0]
    is_grade = stem in _CLASS_STEMS and all(len(name.strip()) <= len(stem) + 2 for name in names)
    return count > len(names) / 2 and not is_grade
