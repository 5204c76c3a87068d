"""Read a file's role and case from its name: image or label map, folders, words.

A file whose name or folder contains a word such as mask, label or seg is a label map. The remaining words name the
case, and for an image also the channel.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import PurePosixPath

from segpipe.dataset.importing.found_cases import DatasetPart, part_named, part_of, words_of

_LABEL = (
    "annot|annotation|contour|dseg|groundtruth|gt|label|labelmap|lbl|manual|mask|msk|roi|seg|segm|segmentation|target|"
    "truth"
)
_LABEL_WORD = re.compile(f"({_LABEL})s?|labels(tr|va|ts|train|val|test)", re.IGNORECASE)
_IMAGE_WORD = re.compile("(image|img|input|scan|vol|volume)s?|images(tr|va|ts|train|val|test)", re.IGNORECASE)
_HELD_OUT_WORD = re.compile("(images|labels)(va|ts|val|test)", re.IGNORECASE)
_NUMBERED = re.compile("([^0-9]+)([0-9]+)")
_DERIVED_WORD = re.compile(
    ".*(annot|contour|entropy|heatmap|label|logit|mask|output|overlay|predict|preview|result|screenshot|seg|snapshot|"
    "softmax|superpixel|thumb|truth|uncertain).*|.*(pred|prob|probabilit(y|ies))s?[0-9]*|cam|debug|qc|vis|viz"
)


@dataclass(frozen=True)
class NameKey:
    """The part of a name that an image and its label map share, in lower case.

    Attributes:
        folders: words of each folder, joined by `_`, without role words.
        words: of the file's name, without role words, and without the folder's words at the start.
        part: part of the data set that imagesTs or labelsTs names; its cases may repeat names of imagesTr.
    """

    folders: tuple[str, ...]
    words: tuple[str, ...]
    part: DatasetPart


@dataclass(frozen=True)
class NamedFile:
    """A file and the words of its name.

    Attributes:
        path: relative to the data set's folder.
        key: for comparisons with other files.
        folders: words of each folder in the original spelling, without folders that the name repeats.
        words: of the file's name, in the original spelling, without role words.
        is_label: True if the name or a folder has a word for a label map.
        is_in_label_folder: True if a folder has a word for a label map.
        part: part of the data set that the folders name.
    """

    path: str
    key: NameKey
    folders: tuple[str, ...]
    words: tuple[str, ...]
    is_label: bool
    is_in_label_folder: bool
    part: DatasetPart


def read_names(scans: Sequence[tuple[str, str]]) -> list[NamedFile]:
    """Read roles, folders and words from the names of all files of a folder.

    Folders that contain every file do not distinguish cases and are left out. So are the folders of `CT/a` and
    `masks/a`, where one folder has all images and the other all label maps.

    Args:
        scans: name without suffix, and path, of each file; both relative to the folder, with forward slashes.
    """
    parts = [PurePosixPath(name).parts for name, _ in scans]
    shared = 0
    shortest = min(map(len, parts), default=1)
    while shared < shortest - 1 and len({part[shared] for part in parts}) == 1:
        shared += 1
    files = [_named_file(path, part, shared) for (_, path), part in zip(scans, parts, strict=True)]
    return _without_role_folders(files)


def says_label(path: str) -> bool:
    """Return whether a word of a path's folders or name stands for a label map."""
    return any(_LABEL_WORD.fullmatch(word) for part in PurePosixPath(path).parts for word in name_words(part))


def is_role_word(word: str) -> bool:
    """Return whether a word stands for an image or a label map, and so does not name a case."""
    return bool(_LABEL_WORD.fullmatch(word) or _IMAGE_WORD.fullmatch(word))


def is_derived_word(word: str) -> bool:
    """Return whether a lower-case word stands for a result of a program: a prediction, an overlay, a preview."""
    return bool(_DERIVED_WORD.fullmatch(word))


def name_words(text: str) -> list[str]:
    """Return the words of a name, with the number at the end of mask2 or img001 as a separate word."""
    words: list[str] = []
    for word in words_of(text):
        numbered = _NUMBERED.fullmatch(word)
        words += numbered.groups() if numbered and is_role_word(numbered.group(1)) else [word]
    return words


def _without_role_folders(files: Sequence[NamedFile]) -> list[NamedFile]:
    """Drop the folders where each part has one folder of images and one of label maps, as in CT/a and masks/a."""
    folders: dict[tuple[DatasetPart, bool], set[tuple[str, ...]]] = defaultdict(set)
    for file in files:
        folders[file.part, file.is_label].add(file.key.folders)
    words = {
        word for file in files if not file.is_label for name in file.key.folders for word in name.split("_")
    }
    if (
        max(map(len, folders.values())) > 1
        or all(names == {()} for names in folders.values())
        or not all(file.is_in_label_folder for file in files if file.is_label)
        or any(map(is_derived_word, words))
    ):
        return list(files)
    parts = {part for part, _ in folders}
    of_labels = {part for part, is_label in folders if is_label}
    # train/1 and val/2 share the folder label; a test image may have the name of a label map and no label map
    apart = {"test"} if of_labels == {""} else parts if len(parts) > 1 else set()
    return [
        replace(
            file,  # a name may begin with the words of the folder of images: CT/CT_1, masks/CT_1
            key=replace(
                file.key,
                folders=(file.part,) if file.part in apart else (),
                words=tuple(map(str.lower, file.words)),
            ),
            folders=(file.part,) if file.part and file.part in apart else (),
        )
        for file in files
    ]


def _named_file(path: str, parts: Sequence[str], shared: int) -> NamedFile:
    """Read one file's name. The first `shared` folders contain every file; a name may still repeat their words."""
    every = [name_words(part) for part in parts]
    *folders, stem = every[shared:]
    words_below = [word for words in (*folders, stem) for word in words]
    kept = [[word for word in words if not is_role_word(word)] for words in every]
    lower = [tuple(map(str.lower, words)) for words in kept]
    stem_words, above = lower[-1], next((words for words in reversed(lower[:-1]) if words), ())
    kept, lower = kept[shared:], lower[shared:]
    return NamedFile(
        path,
        NameKey(
            tuple("_".join(words) for words in lower[:-1] if words),
            stem_words[len(above) :] if stem_words[: len(above)] == above else stem_words,
            next((part_named(word) for word in words_below if _HELD_OUT_WORD.fullmatch(word)), ""),
        ),
        _distinct_folders(kept),
        tuple(kept[-1]),
        is_label=any(map(_LABEL_WORD.fullmatch, words_below)),
        is_in_label_folder=any(_LABEL_WORD.fullmatch(word) for words in folders for word in words),
        part=part_of(PurePosixPath(path).parts[:-1]),
    )


def _distinct_folders(parts: Sequence[Sequence[str]]) -> tuple[str, ...]:
    """Return the folders whose words no name below them repeats, as patient1/patient1_t1.nii.gz does."""
    lower = [tuple(map(str.lower, words)) for words in parts]
    return tuple(
        "_".join(words)
        for number, words in enumerate(parts[:-1])
        if words and not any(below[: len(words)] == lower[number] for below in lower[number + 1 :])
    )
