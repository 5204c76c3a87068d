"""Which files of a folder are one case: images and label maps that belong together, told by their names.

Two ways. By words: a file whose name or folder says mask, label, seg and the like is a label map; what is left of
its name, without such words, names its case, and the images of the case have the same name, or the same with a
word more, their channel. By templates: `images/{case}_t1.nii.gz` says it all.
"""

from __future__ import annotations

import re
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from pathlib import PurePosixPath

from segpipe.errors import SegpipeError, shown

_LABEL = "annot|annotation|contour|groundtruth|gt|label|labelmap|lbl|manual|mask|roi|seg|segm|segmentation|target|truth"
_LABEL_WORD = re.compile(f"({_LABEL})s?|labelst[rs]", re.IGNORECASE)
_IMAGE_WORD = re.compile("(image|img|input|scan|volume)s?|imagest[rs]", re.IGNORECASE)
_UNLABELLED_FOLDER = "imagests"
_MOST_CHANNEL_WORDS = 2  # by which an image's name may be longer than its label map's
_PLACEHOLDER = re.compile(r"\{(\w*)\}")


@dataclass(frozen=True)
class FoundCase:
    """One case as its files' names tell it.

    Attributes:
        case: id, usable as a file name.
        images: paths below the folder, one a channel.
        channels: what tells the images' names apart, one a channel; empty texts where nothing does.
        label: path of the label map; None where there is none.
        patient: as a template tells it; else None.
    """

    case: str
    images: tuple[str, ...]
    channels: tuple[str, ...]
    label: str | None = None
    patient: str | None = None


@dataclass(frozen=True)
class _Key:
    """What a name says but its role: folders and words, in lower case."""

    folders: tuple[str, ...]
    words: tuple[str, ...]


@dataclass(frozen=True)
class _File:
    path: str
    key: _Key
    said: tuple[str, ...]  # folders and words, as they are written
    is_label: bool
    is_unlabelled: bool


def pairs_by_words(scans: Iterable[tuple[str, str]], where: str) -> list[FoundCase]:
    """Pair images and label maps by their names.

    Args:
        scans: name without suffix, and path, of each; both below the folder and with forward slashes.
        where: the folder, for messages.

    Returns:
        cases in the order of their ids; those without a label map lie in a folder that says so (`imagesTs`).

    Raises:
        SegpipeError: no name says label map, or every one does; images without a label map or label maps without an
            image; two label maps of one case; channels that are not the same in every case.
    """
    files = _files(sorted(scans))
    labels = [file for file in files if file.is_label]
    images = [file for file in files if not file.is_label]
    if not labels or not images:
        what = "none is a label map" if not labels else "every one is a label map"
        raise SegpipeError(
            f"{where}: of {len(files)} scans {what} by its name or folder (words such as mask, label, seg): "
            f"{shown(file.path for file in files)}; say which are which with --image and --label"
        )
    of_label = _by_key(labels, where)
    found = [(image, *_label_of(image, of_label, where)) for image in images]
    grouped: dict[str, list[tuple[_File, tuple[str, ...]]]] = defaultdict(list)
    alone = []
    for image, label, channel in found:
        if label is None:
            alone.append(image)
        else:
            grouped[label.path].append((image, channel))
    _require_partners(
        [image for image in alone if not image.is_unlabelled],
        [label for label in labels if label.path not in grouped],
        where,
    )
    channels = _channels(
        {label: [channel for _, channel in group] for label, group in grouped.items()}, where
    )
    names = _case_names(labels)
    cases = []
    for label in labels:
        of_channel = {channel: image.path for image, channel in grouped[label.path]}
        images_of = tuple(of_channel[channel] for channel in channels)
        cases.append(FoundCase(names[label.path], images_of, tuple(map("_".join, channels)), label.path))
    return sorted([*cases, *_unlabelled(alone, channels, where)], key=lambda case: case.case)


def pairs_by_templates(
    paths: Iterable[str], images: Sequence[str], label: str | None, where: str
) -> list[FoundCase]:
    """Pair the files that templates name; other files are passed over.

    Args:
        paths: below the folder, with suffixes and forward slashes.
        images: one template a channel, such as `images/{case}_t1.nii.gz`; `{case}` and `{patient}` stand for text
            without a slash, `*` for any such text.
        label: the label maps' template; None where there are none.
        where: the folder, for messages.

    Raises:
        SegpipeError: a template without `{case}` or `{patient}`, with another name in braces, or that matches nothing;
            two files of one case by one template; a case that lacks one of its files.
    """
    templates = {f"channel {number}": text for number, text in enumerate(images)}
    if label is not None:
        templates["label map"] = label
    found = _matches(templates, sorted(paths), where)
    known = sorted({case for matches in found.values() for case in matches})
    missing = [
        f"{case} has no {what} ({templates[what]})"
        for case in known
        for what, matches in found.items()
        if case not in matches
    ]
    if missing:
        raise SegpipeError(
            f"{where}: {len(missing)} files are missing: {shown(missing, '; ')}; add them, move the cases away, or "
            "correct the templates"
        )
    cases = []
    for case in known:
        chosen = {what: matches[case] for what, matches in found.items()}
        patient = next((patient for _, patient in chosen.values() if patient), None)
        paths_of = {what: path for what, (path, _) in chosen.items()}
        label_map = paths_of.pop("label map", None)
        cases.append(FoundCase(case, tuple(paths_of.values()), ("",) * len(images), label_map, patient))
    return cases


def template_pattern(template: str) -> re.Pattern[str]:
    """Return the regular expression of a template, with the groups `case` and `patient` that it names.

    Raises:
        SegpipeError: it names neither, or something else.
    """
    names = _PLACEHOLDER.findall(template)
    if not names or set(names) - {"case", "patient"}:
        raise SegpipeError(
            f"template {template!r}: must have {{case}} or {{patient}} where the name of either stands, and no other "
            "braces"
        )
    pattern, end, seen = "", 0, set()
    for match in _PLACEHOLDER.finditer(template):
        name = match.group(1)
        pattern += _literal(template[end : match.start()])
        pattern += f"(?P={name})" if name in seen else f"(?P<{name}>[^/]+?)"
        seen.add(name)
        end = match.end()
    return re.compile(pattern + _literal(template[end:]))


def _literal(text: str) -> str:
    return re.escape(text).replace(r"\*", "[^/]*")


def _matches(
    templates: Mapping[str, str], paths: Sequence[str], where: str
) -> dict[str, dict[str, tuple[str, str | None]]]:
    """Return what a template is for -> case -> path and patient.

    A file that several templates match belongs to the one that says most: `mask_a.nii` to `mask_{case}.nii`, not to
    `{case}.nii`.
    """
    patterns = {what: template_pattern(template) for what, template in templates.items()}
    by_length = sorted(
        templates, key=lambda what: -len(_PLACEHOLDER.sub("", templates[what]).replace("*", ""))
    )
    found: dict[str, dict[str, tuple[str, str | None]]] = {what: {} for what in templates}
    for path in paths:
        matches = ((what, patterns[what].fullmatch(path)) for what in by_length)
        what, match = next(((what, match) for what, match in matches if match is not None), ("", None))
        if match is None:
            continue
        groups = match.groupdict()
        case = "_".join(dict.fromkeys(name for name in (groups.get("patient"), groups.get("case")) if name))
        if case in found[what]:
            raise SegpipeError(
                f"{where}: {found[what][case][0]} and {path} are both case {case} by {templates[what]}; make the "
                "template tell them apart"
            )
        found[what][case] = (path, groups.get("patient"))
    for what, template in templates.items():
        if not found[what]:
            raise SegpipeError(
                f"{where}: {template} matches none of its {len(paths)} scans, such as {shown(paths)}; correct the "
                "template"
            )
    return found


def _files(scans: Sequence[tuple[str, str]]) -> list[_File]:
    """Read the names; folders that all have say nothing."""
    parts = [PurePosixPath(name).parts for name, _ in scans]
    shared = 0
    shortest = min(map(len, parts), default=1)
    while shared < shortest - 1 and len({part[shared] for part in parts}) == 1:
        shared += 1
    return [_file(path, part[shared:]) for (_, path), part in zip(scans, parts, strict=True)]


def _file(path: str, parts: Sequence[str]) -> _File:
    *folders, stem = [_words(part) for part in parts]
    said = [word for words in (*folders, stem) for word in words]
    kept = [[word for word in words if not _is_role(word)] for words in (*folders, stem)]
    kept_folders = ["_".join(words) for words in kept[:-1] if words]
    key = _Key(tuple(map(str.lower, kept_folders)), tuple(map(str.lower, kept[-1])))
    repeated = kept_folders and kept_folders[-1] == "_".join(kept[-1])  # BraTS/case_1/case_1_t1.nii.gz
    return _File(
        path,
        key,
        tuple(kept_folders) if repeated else (*kept_folders, *kept[-1]),
        is_label=any(_LABEL_WORD.fullmatch(word) for word in said),
        is_unlabelled=_UNLABELLED_FOLDER in map(str.lower, said),
    )


def _is_role(word: str) -> bool:
    return bool(_LABEL_WORD.fullmatch(word) or _IMAGE_WORD.fullmatch(word))


def _words(text: str) -> list[str]:
    return [word for word in re.split(r"[\W_]+", unicodedata.normalize("NFC", text)) if word]


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
            label = of_label.get(_Key(image.key.folders, rest))
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
        raise SegpipeError(
            f"{where}: {'; '.join(said)}; name partners alike (case_image, case_mask), move what has none away (images "
            "without label maps into a folder imagesTs), or say which are which with --image and --label"
        )


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


def _listed(channels: Iterable[tuple[str, ...]]) -> str:
    return ", ".join("_".join(channel) or "(one without a name)" for channel in channels)


def _case_names(files: Sequence[_File]) -> dict[str, str]:
    """Return path -> case id: what a name says, without the words at its end that all have."""
    said = {file.path: file.said for file in files}
    while len(said) > 1 and all(len(words) > 1 for words in said.values()):
        shorter = {path: words[:-1] for path, words in said.items()}
        if len({words[-1] for words in said.values()}) > 1 or len(set(shorter.values())) < len(shorter):
            break
        said = shorter
    return {path: "_".join(words) or PurePosixPath(path).name.split(".")[0] for path, words in said.items()}


def _unlabelled(images: Sequence[_File], channels: Sequence[tuple[str, ...]], where: str) -> list[FoundCase]:
    """Return the cases without a label map, whose channels the labelled ones tell."""
    cases: dict[str, dict[tuple[str, ...], str]] = defaultdict(dict)
    for image in images:
        lower = [word.lower() for word in image.said]
        fitting = [channel for channel in channels if set(channel) <= set(lower)]
        channel = max(fitting, key=len, default=())
        name = "_".join(word for word in image.said if word.lower() not in channel)
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
