"""Which files of a folder are one case, told by the words in their names.

A file whose name or folder says mask, label, seg and the like is a label map; what is left of its name, without such
words, names its case, and the images of the case have the same name, or the same with a word more, their channel.
"""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import combinations
from pathlib import PurePosixPath

from segpipe.dataset.importing.found_cases import (
    DatasetPart,
    FoundCase,
    name_of,
    part_named,
    part_of,
    words_of,
)
from segpipe.errors import SegpipeError, shown

_LABEL = (
    "annot|annotation|contour|dseg|groundtruth|gt|label|labelmap|lbl|manual|mask|msk|roi|seg|segm|segmentation|target|"
    "truth"
)
_LABEL_WORD = re.compile(f"({_LABEL})s?|labels(tr|va|ts|train|val|test)", re.IGNORECASE)
_IMAGE_WORD = re.compile("(image|img|input|scan|vol|volume)s?|images(tr|va|ts|train|val|test)", re.IGNORECASE)
_HELD_OUT_WORD = re.compile("(images|labels)(va|ts|val|test)", re.IGNORECASE)
_NUMBERED = re.compile("([^0-9]+)([0-9]+)")
_MOST_CHANNEL_WORDS = 2  # by which an image's name may be longer than its label map's
_DERIVED_WORD = re.compile(
    ".*(annot|contour|entropy|heatmap|label|logit|mask|output|overlay|predict|preview|result|screenshot|seg|snapshot|"
    "softmax|superpixel|thumb|truth|uncertain).*|.*(pred|prob|probabilit(y|ies))s?[0-9]*|cam|debug|qc|vis|viz"
)
_VISIT_WORD = re.compile(
    "(baseline|day|followup|frame|fu|month|run|ses|session|slice|timepoint|tp|visit|week|year)[0-9]*|v[0-9]+"
)


@dataclass(frozen=True)
class _Key:
    """What a name says but its role, in lower case: folders, and words without those of the folder at their start."""

    folders: tuple[str, ...]
    words: tuple[str, ...]
    part: DatasetPart  # as imagesTs and labelsTs say, whose cases may be named as those of imagesTr


@dataclass(frozen=True)
class _File:
    path: str
    key: _Key
    folders: tuple[str, ...]  # as they are written, without those that the name repeats
    words: tuple[str, ...]  # of the file's name, as they are written
    is_label: bool
    is_in_label_folder: bool
    part: DatasetPart


_Grouped = dict[str, list[tuple[_File, tuple[str, ...]]]]
"""Label map's path -> its images, each with the words of its channel."""


def pairs_by_words(scans: Iterable[tuple[str, str]], where: str) -> list[FoundCase]:
    """Pair images and label maps by their names.

    Args:
        scans: name without suffix, and path, of each; both below the folder and with forward slashes.
        where: the folder, for messages.

    Returns:
        cases in the order of their ids; those without a label map lie in a folder of a test set (`imagesTs`, `test`).

    Raises:
        SegpipeError: no name says label map, or every one does; images without a label map or label maps without an
            image; two label maps of one case; channels that are not the same in every case, or whose names say
            something else.
    """
    files = _without_telling_folders(_files(sorted(scans)))
    labels = [file for file in files if file.is_label]
    images = [file for file in files if not file.is_label]
    if not labels or not images:
        what = "none is a label map" if not labels else "every one is a label map"
        if not labels and all(says_label(str(PurePosixPath(file.path).parent)) for file in files):
            raise SegpipeError(
                f"{where}: all {len(files)} scans lie in a folder of label maps, and no image beside it "
                f"({shown(file.path for file in files)}); give the folder that has both, or say which are which with "
                "--image and --label"
            )
        raise SegpipeError(
            f"{where}: of {len(files)} scans {what} by its name or folder (words such as mask, label, seg): "
            f"{shown(file.path for file in files)}; say which are which with --image and --label"
        )
    of_label = _by_key(labels, where)
    found = [(image, *_label_of(image, of_label, where)) for image in images]
    grouped: _Grouped = defaultdict(list)
    alone = []
    for image, label, channel in found:
        if label is None:
            alone.append(image)
        else:
            grouped[label.path].append((image, channel))
    _require_partners(
        [image for image in alone if image.part != "test"],
        [label for label in labels if label.path not in grouped],
        where,
    )
    grouped = _with_agreeing_channels(grouped)
    channels = _channels(
        {label: [channel for _, channel in group] for label, group in grouped.items()}, where
    )
    _require_channel_names(channels, [image.path for image, _ in next(iter(grouped.values()))], where)
    names = _case_names(labels)
    cases = []
    for label in labels:
        of_channel = {channel: image.path for image, channel in grouped[label.path]}
        images_of = tuple(of_channel[channel] for channel in channels)
        cases.append(FoundCase(names[label.path], images_of, tuple(map("_".join, channels)), label.path))
    return sorted(
        [*cases, *_unlabelled(alone, channels, _silent_folders(labels), where)], key=lambda case: case.case
    )


def _files(scans: Sequence[tuple[str, str]]) -> list[_File]:
    """Read the names; folders that all have say nothing."""
    parts = [PurePosixPath(name).parts for name, _ in scans]
    shared = 0
    shortest = min(map(len, parts), default=1)
    while shared < shortest - 1 and len({part[shared] for part in parts}) == 1:
        shared += 1
    return [_file(path, part, shared) for (_, path), part in zip(scans, parts, strict=True)]


def _without_telling_folders(files: Sequence[_File]) -> list[_File]:
    """Drop the folders where each part has one of images and one of label maps, whose name says so: CT/a, masks/a."""
    folders: dict[tuple[DatasetPart, bool], set[tuple[str, ...]]] = defaultdict(set)
    for file in files:
        folders[file.part, file.is_label].add(file.key.folders)
    words = {
        word for file in files if not file.is_label for name in file.key.folders for word in name.split("_")
    }
    if (
        max(map(len, folders.values())) > 1
        or all(found == {()} for found in folders.values())
        or not all(file.is_in_label_folder for file in files if file.is_label)
        or any(map(_DERIVED_WORD.fullmatch, words))
    ):
        return list(files)
    several = len({part for part, _ in folders}) > 1
    return [
        replace(
            file,  # whose name may begin as the folder of images does: CT/CT_1, masks/CT_1
            key=replace(
                file.key, folders=(file.part,) if several else (), words=tuple(map(str.lower, file.words))
            ),
            folders=(file.part,) if several and file.part else (),
        )
        for file in files
    ]


def _file(path: str, parts: Sequence[str], shared: int) -> _File:
    """Read a name; of the first folders, which all files share, only what names repeat counts."""
    every = [_words(part) for part in parts]
    *folders, stem = every[shared:]
    said = [word for words in (*folders, stem) for word in words]
    kept = [[word for word in words if not _is_role(word)] for words in every]
    lower = [tuple(map(str.lower, words)) for words in kept]
    own, above = lower[-1], next((words for words in reversed(lower[:-1]) if words), ())
    kept, lower = kept[shared:], lower[shared:]
    return _File(
        path,
        _Key(
            tuple("_".join(words) for words in lower[:-1] if words),
            own[len(above) :] if own[: len(above)] == above else own,
            next((part_named(word) for word in said if _HELD_OUT_WORD.fullmatch(word)), ""),
        ),
        _telling_folders(kept),
        tuple(kept[-1]),
        is_label=any(map(_LABEL_WORD.fullmatch, said)),
        is_in_label_folder=any(_LABEL_WORD.fullmatch(word) for words in folders for word in words),
        part=part_of(PurePosixPath(path).parts[:-1]),
    )


def _telling_folders(parts: Sequence[Sequence[str]]) -> tuple[str, ...]:
    """Return the folders whose words no name below them repeats, as patient1/patient1_t1.nii.gz does."""
    lower = [tuple(map(str.lower, words)) for words in parts]
    return tuple(
        "_".join(words)
        for number, words in enumerate(parts[:-1])
        if words and not any(below[: len(words)] == lower[number] for below in lower[number + 1 :])
    )


def says_label(path: str) -> bool:
    """Return whether a path's folders or name say label map."""
    return any(_LABEL_WORD.fullmatch(word) for part in PurePosixPath(path).parts for word in _words(part))


def _is_role(word: str) -> bool:
    return bool(_LABEL_WORD.fullmatch(word) or _IMAGE_WORD.fullmatch(word))


def _words(text: str) -> list[str]:
    """Return the words of a name, a number at the end of mask2 or img001 as a word of its own."""
    found: list[str] = []
    for word in words_of(text):
        numbered = _NUMBERED.fullmatch(word)
        found += numbered.groups() if numbered and _is_role(numbered.group(1)) else [word]
    return found


def _by_key(labels: Sequence[_File], where: str) -> dict[_Key, _File]:
    of_key: dict[_Key, _File] = {}
    for label in labels:
        other = of_key.setdefault(label.key, label)
        if other is not label:
            raise SegpipeError(
                f"{where}: {other.path} and {label.path} are both the label map of one case by their names; one map "
                "with all classes is needed: merge them, or choose with --label"
            )
    return of_key


def _label_of(
    image: _File, of_label: Mapping[_Key, _File], where: str
) -> tuple[_File | None, tuple[str, ...]]:
    """Return the label map of an image, and the words that its name has more: its channel."""
    words = image.key.words
    for more in range(min(_MOST_CHANNEL_WORDS, len(words)) + 1):
        found = {}
        for left_out in combinations(range(len(words)), more):
            rest = tuple(word for position, word in enumerate(words) if position not in left_out)
            label = of_label.get(replace(image.key, words=rest))
            if label is not None:
                found[label.path] = (label, tuple(words[position] for position in left_out))
        if len(found) > 1:
            raise SegpipeError(
                f"{where}: {image.path} could belong to {' or '.join(sorted(found))}; say which with --image and "
                "--label"
            )
        if found:
            return next(iter(found.values()))
    return None, ()


def _require_partners(images: Sequence[_File], labels: Sequence[_File], where: str) -> None:
    said = []
    if images:
        said.append(f"{len(images)} images have no label map: {shown(image.path for image in images)}")
    if labels:
        said.append(f"{len(labels)} label maps have no image: {shown(label.path for label in labels)}")
    if said:
        many = (
            "merge several label maps of one image into one with all classes, "
            if len(labels) > len(images)
            else ""
        )
        raise SegpipeError(
            f"{where}: {'; '.join(said)}; {many}name partners alike (case_image, case_mask), move what has none away "
            "(images without label maps into a folder imagesTs), or say which are which with --image and --label"
        )


def _with_agreeing_channels(grouped: _Grouped) -> _Grouped:
    """Take a word that folder and image share for the channel where other cases have it: CT/ct beside anna/ct."""

    def restored(image: _File, channel: tuple[str, ...]) -> tuple[str, ...]:
        repeated = image.words[: len(image.words) - len(image.key.words)]
        return (*map(str.lower, repeated), *channel)

    own = {label: sorted(channel for _, channel in group) for label, group in grouped.items()}
    whole = {
        label: [(image, restored(image, channel)) for image, channel in group]
        for label, group in grouped.items()
    }
    other = {label: sorted(channel for _, channel in group) for label, group in whole.items()}
    for wanted in own.values():
        if all(wanted in (own[label], other[label]) for label in own):
            return {
                label: group if own[label] == wanted else whole[label] for label, group in grouped.items()
            }
    return grouped


def _channels(found: Mapping[str, Sequence[tuple[str, ...]]], where: str) -> list[tuple[str, ...]]:
    """Return the channels that every case has, in order."""
    sets = {label: tuple(sorted(channels)) for label, channels in found.items()}
    for label, channels in sets.items():
        twice = [channel for channel, count in Counter(channels).items() if count > 1]
        if twice:
            raise SegpipeError(
                f"{where}: {label} has two images of one channel ({'_'.join(twice[0]) or 'no name'}); say which with "
                "--image"
            )
    common = Counter(sets.values()).most_common(1)[0][0]
    odd = [label for label, channels in sets.items() if channels != common]
    if odd:
        raise SegpipeError(
            f"{where}: most cases have the channels {_listed(common)}, but that of {odd[0]} has "
            f"{_listed(sets[odd[0]])} ({len(odd)} of {len(sets)} differ); every case needs the same channels: add "
            "what is missing, or choose with --image"
        )
    return list(common)


def _require_channel_names(channels: Sequence[tuple[str, ...]], images: Sequence[str], where: str) -> None:
    """Refuse words that name a visit, a slice, a prediction, or whatever else is no channel of a scan."""
    numbers = [(f"{number:04d}",) for number in range(len(channels))]
    words = [word for channel in channels for word in channel]
    odd = [
        word
        for word in words
        if word.isdigit() or _VISIT_WORD.fullmatch(word) or _DERIVED_WORD.fullmatch(word)
    ]
    if list(channels) == numbers or not (odd or (() in channels and len(channels) > 1)):
        return
    what = (
        f"say {shown(odd)} beyond their label map's, which is no channel's name (nnU-Net's are 0000, 0001, ...)"
        if odd
        else f"would be the channels {_listed(channels)}, and one has no name"
    )
    raise SegpipeError(
        f"{where}: the names of images {what}: {shown(images)}; move away what is no image to train on, or say which "
        "are the channels with one --image each, and the label maps with --label"
    )


def _listed(channels: Iterable[tuple[str, ...]]) -> str:
    return ", ".join("_".join(channel) or "(one without a name)" for channel in channels)


def _case_names(files: Sequence[_File]) -> dict[str, str]:
    """Return path -> case id: what a name says, without folders and words at its end that all have, or their part."""
    silent = _silent_folders(files)
    said = {
        file.path: (*(name for name in file.folders if name not in silent), *file.words) for file in files
    }
    bare = {file.path: (*_folders_but_parts(file, silent), *file.words) for file in files}
    if all(bare.values()) and len(set(bare.values())) == len(files):
        said = bare
    while len(said) > 1 and all(len(words) > 1 for words in said.values()):
        shorter = {path: words[:-1] for path, words in said.items()}
        differ = len({words[-1] for words in said.values()}) > 1
        if (
            differ
            or len(set(shorter.values())) < len(shorter)
            or any(part_of(words[-1:]) for words in shorter.values())
        ):
            break
        said = shorter
    return {path: "_".join(words) or _folder_name(path) or name_of(path) for path, words in said.items()}


def _folder_name(path: str) -> str:
    """Return what the folder of a file says: all that names a lone case of patient1/gt.nii.gz."""
    return "_".join(word for word in _words(PurePosixPath(path).parent.name) if not _is_role(word))


def _silent_folders(files: Sequence[_File]) -> frozenset[str]:
    """Return the folders that all files have."""
    return (
        frozenset.intersection(*(frozenset(file.folders) for file in files))
        if len(files) > 1
        else frozenset()
    )


def _folders_but_parts(file: _File, silent: frozenset[str]) -> list[str]:
    return [name for name in file.folders if name not in silent and not part_of([name])]


def _unlabelled(
    images: Sequence[_File], channels: Sequence[tuple[str, ...]], silent: frozenset[str], where: str
) -> list[FoundCase]:
    """Return the cases without a label map, whose channels the labelled ones tell."""
    cases: dict[str, dict[tuple[str, ...], str]] = defaultdict(dict)
    for image in images:
        said = [*_folders_but_parts(image, silent), *image.words]
        fitting = [channel for channel in channels if set(channel) <= set(map(str.lower, said))]
        channel = max(fitting, key=len, default=())
        name = "_".join(word for word in said if word.lower() not in channel) or name_of(image.path)
        if channel in cases[name]:
            raise SegpipeError(
                f"{where}: {cases[name][channel]} and {image.path} are both case {name} by their names; rename one"
            )
        cases[name][channel] = image.path
    odd = [name for name, of_channel in cases.items() if set(of_channel) != set(channels)]
    if odd:
        raise SegpipeError(
            f"{where}: {len(odd)} cases without label maps have other channels than {_listed(channels)}: "
            f"{shown(odd)}; add what is missing, or choose with --image"
        )
    names = tuple(map("_".join, channels))
    return [
        FoundCase(name, tuple(of_channel[channel] for channel in channels), names)
        for name, of_channel in cases.items()
    ]
