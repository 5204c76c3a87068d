"""Pair images and label maps of a folder by the words in their names, see `segpipe.dataset.importing.name_words`.

An image belongs to the label map whose name has the same words. The image's name may have one or two more words: the
name of its channel.
"""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from itertools import combinations
from pathlib import PurePosixPath

from segpipe.dataset.importing.found_cases import FoundCase, name_of, part_of
from segpipe.dataset.importing.name_words import (
    NamedFile,
    NameKey,
    is_derived_word,
    is_role_word,
    name_words,
    read_names,
    says_label,
)
from segpipe.errors import SegpipeError, shown

_MOST_CHANNEL_WORDS = 2  # words of a channel's name
_VISIT_WORD = re.compile(
    "(baseline|day|followup|frame|fu|month|run|ses|session|slice|timepoint|tp|visit|week|year)[0-9]*|v[0-9]+"
)

_Grouped = dict[str, list[tuple[NamedFile, tuple[str, ...]]]]
"""Label map's path -> its images, each with the words of its channel."""


def pairs_by_words(scans: Iterable[tuple[str, str]], where: str) -> list[FoundCase]:
    """Pair images and label maps by their names.

    Args:
        scans: name without suffix, and path, of each scan; both relative to the folder, with forward slashes.
        where: the folder, for messages.

    Returns:
        cases in the order of their ids; a case without a label map is in the folder of a test set (`imagesTs`, `test`).

    Raises:
        SegpipeError: no scan or every scan is a label map by its name; images without a label map or label maps without
            an image; two label maps of one case; different channels in different cases; words that name no channel.
    """
    files = read_names(sorted(scans))
    labels = [file for file in files if file.is_label]
    images = [file for file in files if not file.is_label]
    if not labels or not images:
        what = "none is a label map" if not labels else "every one is a label map"
        if not labels and all(says_label(str(PurePosixPath(file.path).parent)) for file in files):
            raise SegpipeError(
                f"{where}: all {len(files)} scans lie in a folder of label maps, and there is no image beside it "
                f"({shown(file.path for file in files)}); give the folder that has both, or say which are which "
                "with --image and --label"
            )
        raise SegpipeError(
            f"{where}: of {len(files)} scans {what} by its name or folder (words such as mask, label, seg): "
            f"{shown(file.path for file in files)}; say which are which with --image and --label, or give "
            "--target class or findings where images have classes instead of label maps"
        )
    of_label = _by_key(labels, where)
    matches = [(image, *_label_of(image, of_label, where)) for image in images]
    grouped: _Grouped = defaultdict(list)
    alone = []
    for image, label, channel in matches:
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


def _by_key(labels: Sequence[NamedFile], where: str) -> dict[NameKey, NamedFile]:
    of_key: dict[NameKey, NamedFile] = {}
    for label in labels:
        other = of_key.setdefault(label.key, label)
        if other is not label:
            raise SegpipeError(
                f"{where}: {other.path} and {label.path} are both the label map of one case by their names; one map "
                "with all classes is needed: merge them, or choose with --label"
            )
    return of_key


def _label_of(
    image: NamedFile, of_label: Mapping[NameKey, NamedFile], where: str
) -> tuple[NamedFile | None, tuple[str, ...]]:
    """Return the label map of an image, and the additional words of the image's name: its channel."""
    words = image.key.words
    for more in range(min(_MOST_CHANNEL_WORDS, len(words)) + 1):
        matches = {}
        for left_out in combinations(range(len(words)), more):
            rest = tuple(word for position, word in enumerate(words) if position not in left_out)
            label = of_label.get(replace(image.key, words=rest))
            if label is not None:
                matches[label.path] = (label, tuple(words[position] for position in left_out))
        if len(matches) > 1:
            raise SegpipeError(
                f"{where}: {image.path} could belong to {' or '.join(sorted(matches))}; say which with --image and "
                "--label"
            )
        if matches:
            return next(iter(matches.values()))
    return None, ()


def _require_partners(images: Sequence[NamedFile], labels: Sequence[NamedFile], where: str) -> None:
    parts = []
    if images:
        parts.append(f"{len(images)} images have no label map: {shown(image.path for image in images)}")
    if labels:
        parts.append(f"{len(labels)} label maps have no image: {shown(label.path for label in labels)}")
    if parts:
        many = (
            "merge several label maps of one image into one with all classes, "
            if len(labels) > len(images)
            else ""
        )
        raise SegpipeError(
            f"{where}: {'; '.join(parts)}; {many}name partners alike (case_image, case_mask), move away the files "
            "without a partner (images without label maps into a folder imagesTs), or say which are which with "
            "--image and --label"
        )


def _with_agreeing_channels(grouped: _Grouped) -> _Grouped:
    """Add a word that folder and image share to the channel where other cases have that channel: CT/ct, anna/ct."""

    def restored(image: NamedFile, channel: tuple[str, ...]) -> tuple[str, ...]:
        repeated = image.words[: len(image.words) - len(image.key.words)]
        return (*map(str.lower, repeated), *channel)

    bare = {label: sorted(channel for _, channel in group) for label, group in grouped.items()}
    whole = {
        label: [(image, restored(image, channel)) for image, channel in group]
        for label, group in grouped.items()
    }
    other = {label: sorted(channel for _, channel in group) for label, group in whole.items()}
    for wanted in bare.values():
        if all(wanted in (bare[label], other[label]) for label in bare):
            return {
                label: group if bare[label] == wanted else whole[label] for label, group in grouped.items()
            }
    return grouped


def _channels(channels_of: Mapping[str, Sequence[tuple[str, ...]]], where: str) -> list[tuple[str, ...]]:
    """Return the channels of every case, sorted; refuse cases with different channels."""
    sets = {label: tuple(sorted(channels)) for label, channels in channels_of.items()}
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
            f"{where}: most cases have the channels {_listed(common)}, but the case of {odd[0]} has "
            f"{_listed(sets[odd[0]])} ({len(odd)} of {len(sets)} differ); every case needs the same channels: add "
            "the missing files, or choose with --image"
        )
    return list(common)


def _require_channel_names(channels: Sequence[tuple[str, ...]], images: Sequence[str], where: str) -> None:
    """Refuse words that name no channel of a scan but, for example, a visit, a slice or a prediction."""
    numbers = [(f"{number:04d}",) for number in range(len(channels))]
    words = [word for channel in channels for word in channel]
    odd = [word for word in words if word.isdigit() or _VISIT_WORD.fullmatch(word) or is_derived_word(word)]
    if list(channels) == numbers or not (odd or (() in channels and len(channels) > 1)):
        return
    what = (
        f"have {shown(odd)} in addition to their label map's name, which is no channel's name (nnU-Net's are 0000, "
        "0001, ...)"
        if odd
        else f"would be the channels {_listed(channels)}, and one has no name"
    )
    raise SegpipeError(
        f"{where}: the names of images {what}: {shown(images)}; move away files that are no training images, or say "
        "which are the channels with one --image each, and the label maps with --label"
    )


def _listed(channels: Iterable[tuple[str, ...]]) -> str:
    return ", ".join("_".join(channel) or "(one without a name)" for channel in channels)


def _case_names(files: Sequence[NamedFile]) -> dict[str, str]:
    """Return path -> case id: the words of folders and name, without common folders, common last words and parts."""
    silent = _silent_folders(files)
    words_of_path = {
        file.path: (*(name for name in file.folders if name not in silent), *file.words) for file in files
    }
    bare = {file.path: (*_folders_but_parts(file, silent), *file.words) for file in files}
    if all(bare.values()) and len(set(bare.values())) == len(files):
        words_of_path = bare
    while len(words_of_path) > 1 and all(len(words) > 1 for words in words_of_path.values()):
        shorter = {path: words[:-1] for path, words in words_of_path.items()}
        differ = len({words[-1] for words in words_of_path.values()}) > 1
        if (
            differ
            or len(set(shorter.values())) < len(shorter)
            or any(part_of(words[-1:]) for words in shorter.values())
        ):
            break
        words_of_path = shorter
    return {
        path: "_".join(words) or _folder_name(path) or name_of(path) for path, words in words_of_path.items()
    }


def _folder_name(path: str) -> str:
    """Return the words of a file's folder, which is the only name of a single case such as patient1/gt.nii.gz."""
    return "_".join(word for word in name_words(PurePosixPath(path).parent.name) if not is_role_word(word))


def _silent_folders(files: Sequence[NamedFile]) -> frozenset[str]:
    """Return the folder names that all files have in common; none for a single file."""
    return (
        frozenset.intersection(*(frozenset(file.folders) for file in files))
        if len(files) > 1
        else frozenset()
    )


def _folders_but_parts(file: NamedFile, silent: frozenset[str]) -> list[str]:
    return [name for name in file.folders if name not in silent and not part_of([name])]


def _unlabelled(
    images: Sequence[NamedFile], channels: Sequence[tuple[str, ...]], silent: frozenset[str], where: str
) -> list[FoundCase]:
    """Return the cases without a label map; their channels are those of the labelled cases."""
    cases: dict[str, dict[tuple[str, ...], str]] = defaultdict(dict)
    for image in images:
        words = [*_folders_but_parts(image, silent), *image.words]
        fitting = [channel for channel in channels if set(channel) <= set(map(str.lower, words))]
        channel = max(fitting, key=len, default=())
        name = "_".join(word for word in words if word.lower() not in channel) or name_of(image.path)
        if channel in cases[name]:
            raise SegpipeError(
                f"{where}: {cases[name][channel]} and {image.path} are both case {name} by their names; rename one"
            )
        cases[name][channel] = image.path
    odd = [name for name, of_channel in cases.items() if set(of_channel) != set(channels)]
    if odd:
        raise SegpipeError(
            f"{where}: {len(odd)} cases without label maps have other channels than {_listed(channels)}: "
            f"{shown(odd)}; add the missing files, or choose with --image"
        )
    names = tuple(map("_".join, channels))
    return [
        FoundCase(name, tuple(of_channel[channel] for channel in channels), names)
        for name, of_channel in cases.items()
    ]
