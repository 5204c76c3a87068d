"""Recognise a public data set by the names of its files, see `segpipe.dataset.importing.known_sets`."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from segpipe.dataset.importing.channel_choice import usable_channels, with_chosen_channels
from segpipe.dataset.importing.found_cases import FoundCase, Layout, with_parts
from segpipe.dataset.importing.known_sets import KNOWN_SETS, KnownSet
from segpipe.dataset.importing.mask_merging import MergedMasks, merged_masks
from segpipe.dataset.importing.set_patterns import set_pattern
from segpipe.errors import SegpipeError, counted, shown
from segpipe.volumes import Scan

_Key = tuple[str, ...]
"""The texts of a case's fields, in lower case, `above` first."""


@dataclass
class _Files:
    """The files of one case.

    Attributes:
        id: made of the fields' texts.
        patient: text of the field.
        above: folders above the data set.
        images: channel -> path.
        label: path of the label map.
        masks: class -> path of its mask.
    """

    id: str
    patient: str
    above: str
    images: dict[str, str] = field(default_factory=dict)
    label: str | None = None
    masks: dict[str, str] = field(default_factory=dict)


def known_layout(
    folder: Path,
    scans: Sequence[tuple[Scan, str]],
    *,
    channels: Sequence[str] = (),
    classes: Mapping[int, str] | None = None,
    merge_masks: bool = False,
    resample_channels: bool = False,
) -> Layout | None:
    """Return the layout of a folder with the names of a public data set; None for other folders.

    Args:
        folder: of the data set.
        scans: all scans below the folder with their paths.
        channels: names of the channels to use, in this order; empty for all.
        classes: stored value -> class name, where a set has one mask for each class: the masks to merge.
        merge_masks: write one label map for each case that has one mask for each class.
        resample_channels: channels may be on other grids than the label map.

    Raises:
        SegpipeError: two files are one channel or the label map of one case; a case lacks a channel; no channel is on
            the label map's grid; or as `with_chosen_channels` and `merged_masks`.
    """
    for known in KNOWN_SETS:
        files = _files(known, scans, str(folder))
        if any(case.images and (case.label or case.masks) for case in files.values()):
            return _layout(
                known,
                list(files.values()),
                folder,
                scans,
                channels,
                classes,
                merge_masks=merge_masks,
                resample_channels=resample_channels,
            )
    return None


def _files(known: KnownSet, scans: Sequence[tuple[Scan, str]], where: str) -> dict[_Key, _Files]:
    """Return the files of each case; empty if no file is a label map or mask of the set.

    Raises:
        SegpipeError: two files are one channel, one mask or the label map of one case, and the set is recognised.
    """
    names = [(scan.name, path) for scan, path in scans]
    labels = _labels(known, names)
    if not labels:
        return {}
    cases: dict[_Key, _Files] = {}
    twice: list[str] = []
    for channel, template in known.channels.items():
        for path, match in _matches(template, known, names):
            if path not in labels:
                case = _case(cases, known, match)
                other = case.images.setdefault(channel, path)
                twice += [f"{other} and {path} are both {channel} of case {case.id}"] if other != path else []
    for path, match in labels.items():
        case = _case(cases, known, match)
        if known.masks:
            other = case.masks.setdefault(match["class"], path)
        else:
            other = case.label = case.label or path
        twice += [f"{other} and {path} are both the label map of case {case.id}"] if other != path else []
    if twice and any(case.images for case in cases.values()):
        raise SegpipeError(
            f"{where}: has the names of {known.name}, but {shown(twice, '; ', most=3)}; move one of the two away, or "
            "say which files are which with --image and --label"
        )
    return cases


def _labels(known: KnownSet, names: Sequence[tuple[str, str]]) -> dict[str, re.Match[str]]:
    """Return the label maps, or the masks, by the first template that fits any file."""
    for template in (known.masks,) if known.masks else known.labels:
        found = dict(_matches(template, known, names))
        if found:
            return found
    return {}


def _matches(
    template: str, known: KnownSet, names: Sequence[tuple[str, str]]
) -> Iterator[tuple[str, re.Match[str]]]:
    pattern = set_pattern(template, known.fields)
    for name, path in names:
        match = pattern.fullmatch(name)
        if match is not None:
            yield path, match


def _case(cases: dict[_Key, _Files], known: KnownSet, match: re.Match[str]) -> _Files:
    """Return the entry of the case that a file belongs to."""
    groups = match.groupdict()
    above = groups.get("above") or ""
    texts = [groups.get(name) or "" for name in known.fields if name not in ("above", "class")]
    key = tuple(text.casefold() for text in (above, *texts))
    name = known.joined.join(text.strip() for text in texts if text)
    return cases.setdefault(key, _Files(name, groups["patient"], above.rstrip("/")))


def _layout(
    known: KnownSet,
    files: Sequence[_Files],
    folder: Path,
    scans: Sequence[tuple[Scan, str]],
    channels: Sequence[str],
    classes: Mapping[int, str] | None,
    *,
    merge_masks: bool,
    resample_channels: bool,
) -> Layout:
    where = str(folder)
    files = _with_own_ids(files)
    alone = [case for case in files if not case.images]
    if alone:
        paths = shown(case.label or next(iter(case.masks.values())) for case in alone)
        raise SegpipeError(
            f"{where}: has the names of {known.name}, but {counted(len(alone), 'case')} with a label map "
            f"{'have' if len(alone) > 1 else 'has'} no image ({', '.join(known.channels)}): {paths}; add the images, "
            "or move the label maps away"
        )
    merged = MergedMasks({}, None, [])
    if known.masks:
        masks = {case.id: case.masks for case in files if case.masks}
        merged = merged_masks(masks, folder, classes, write=merge_masks)
    names = _channel_names(known, files, where)
    cases = [
        FoundCase(
            case.id,
            tuple(case.images[name] for name in names if name in case.images),
            tuple(name for name in names if name in case.images),
            merged.labels.get(case.id, case.label),
            case.patient,
        )
        for case in files
    ]
    notes: list[str] = []
    if channels:
        cases = with_chosen_channels(cases, channels, where)
    elif not known.same_channels and not resample_channels:
        cases, notes = usable_channels(cases, folder)
    cases, part_notes = with_parts(cases, where)
    used = {path for case in cases for path in case.files}
    used |= {path for case in files for path in case.masks.values()}
    return Layout(
        f"recognised by its names as {known.name}",
        sorted(cases, key=lambda case: case.case),
        merged.classes or known.classes,
        cases[0].channels,
        notes=[*notes, *part_notes, *merged.notes, *_ignored_notes(known, scans, used)],
        patients_from=known.patients,
        classes_may_be_absent=True,
    )


def _with_own_ids(files: Sequence[_Files]) -> list[_Files]:
    """Put the folders above the data set in front of ids and patients that occur below several of these folders."""
    above: dict[str, set[str]] = defaultdict(set)
    for case in files:
        above[case.patient].add(case.above)
    return [
        replace(
            case,
            id="_".join([*case.above.split("/"), case.id]).lstrip("_"),
            patient="_".join([*case.above.split("/"), case.patient]).lstrip("_"),
        )
        if len(above[case.patient]) > 1
        else case
        for case in files
    ]


def _channel_names(known: KnownSet, files: Sequence[_Files], where: str) -> list[str]:
    """Return the channels that the cases have, in the order of the set.

    Raises:
        SegpipeError: a case lacks a channel that other cases have, and the set needs the same channels in all cases.
    """
    counts = Counter(name for case in files for name in case.images)
    names = [name for name in known.channels if counts[name]]
    missing = [f"{case.id} has no {name}" for case in files for name in names if name not in case.images]
    if missing and known.same_channels:
        raise SegpipeError(
            f"{where}: has the names of {known.name}, but {counted(len(missing), 'image')} "
            f"{'are' if len(missing) > 1 else 'is'} missing: {shown(missing, '; ')}; add the files, or move the cases "
            "away"
        )
    return names


def _ignored_notes(known: KnownSet, scans: Sequence[tuple[Scan, str]], used: set[str]) -> list[str]:
    """Return notes on the scans that are not used: by the reason of the set, then all others."""
    rest = [(scan.name, path) for scan, path in scans if path not in used]
    notes = []
    for template, reason in known.ignored.items():
        found = {path for path, _ in _matches(template, known, rest)}
        if found:
            notes.append(f"{counted(len(found), 'scan')} ignored, {reason}: {shown(sorted(found))}")
        rest = [(name, path) for name, path in rest if path not in found]
    if rest:
        paths = sorted(path for _, path in rest)
        notes.append(f"{counted(len(rest), 'scan')} ignored: {shown(paths)}")
    return notes
