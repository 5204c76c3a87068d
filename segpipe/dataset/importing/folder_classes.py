"""Which folders are classes: the names of folders above images, with or without train, val and test."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath

from segpipe.dataset.importing.found_cases import DatasetPart, name_of, part_named
from segpipe.dataset.importing.modality_names import is_modality
from segpipe.dataset.importing.name_words import is_role_word, name_words, says_label

FEWEST_CLASSES = 2
_CASE_FILES = 10  # a folder of one case has at most so many files
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
        and not part_of_folder(inside[0][shared])
    ):
        shared += 1
    has_parts = any(len(parts) > shared and part_of_folder(parts[shared]) for parts in inside)
    images, unlabelled, loose, parents = [], [], [], set()
    for path, parts in folders.items():
        part: DatasetPart = part_of_folder(parts[shared]) if has_parts and len(parts) > shared else ""
        level = shared + has_parts
        while has_parts and len(parts) > level + 1 and part_of_folder(parts[level]) == part:
            level += 1  # train/train
        if has_parts and part == "test" and len(parts) == level:
            unlabelled.append(path)
        elif len(parts) <= level or (has_parts and not part):
            loose.append(path)
        else:
            images.append((path, part, parts[level], parts[level + 1 :]))
            parents.add("/".join(parts[:level]))
    if images and not has_parts and all(below and part_of_folder(below[0]) for *_, below in images):
        images = [(path, part_of_folder(below[0]), name, below[1:]) for path, _, name, below in images]
    return ClassFolders(images, unlabelled, loose, sorted(parents))


def looks_like_classes(paths: Sequence[str]) -> bool:
    """Return whether folders look like classes: two or more, several images each, no roles, no folder a case."""
    found = class_folders(paths)
    names = found.names
    fewest = (
        1 if any(part for _, part, _, _ in found.images) else FEWEST_CLASSES
    )  # one in train is refused later
    if len(names) < fewest or len(found.images) < FEWEST_CLASSES * len(names):
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
    return not are_numbered(names) or bool(inner_folders(found))


def has_label_maps(paths: Sequence[str]) -> bool:
    """Return whether some images, but not all, are label maps by a word in their names or folders."""
    said = [says_label(str(PurePosixPath(path).with_name(name_of(path)))) for path in paths]
    return any(said) and not all(said)


def part_of_folder(folder: str) -> DatasetPart:
    """Return the part that a folder's name says, such as "val" and "val_set"; empty for other names."""
    return part_named(re.sub(r"[\W_]+", "", folder))


def inner_folders(found: ClassFolders) -> tuple[str, ...]:
    """Return the names of two or more folders that lie in each class folder, such as left and right; else nothing."""
    inside: dict[str, Counter[str]] = defaultdict(Counter)
    for *_, name, below in found.images:
        inside[name][below[0] if below else ""] += 1
    names = {frozenset(held) for held in inside.values()}
    if len(names) != 1 or any(min(held.values()) < FEWEST_CLASSES for held in inside.values()):
        return ()
    inner = tuple(sorted(names.pop()))
    words = [name_words(name) for name in inner]
    roles = any(any(map(is_role_word, of_name)) or is_modality("_".join(of_name)) for of_name in words)
    return inner if len(inner) >= FEWEST_CLASSES and not roles and "" not in inner else ()


def are_numbered(names: Sequence[str]) -> bool:
    """Return whether most names are one word with different numbers, as of cases: patient1, patient2, ..."""
    matches = [_NUMBERED.fullmatch(name.strip()) for name in names]
    stems = Counter(match[1].casefold() for match in matches if match is not None)
    if not stems:
        return False
    stem, count = stems.most_common(1)[0]
    is_grade = stem in _CLASS_STEMS and all(len(name.strip()) <= len(stem) + 2 for name in names)
    return count > len(names) / 2 and not is_grade
