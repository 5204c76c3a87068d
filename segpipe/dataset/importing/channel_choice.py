"""Choose the channels of cases: several modalities of one patient, on one grid or each a set of its own."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from segpipe.dataset.importing.found_cases import FoundCase, words_of
from segpipe.dataset.importing.modality_names import MODALITY_WORDS, says_modality
from segpipe.errors import SegpipeError, counted, shown
from segpipe.volumes import read_header, read_volume


def with_chosen_channels(cases: Sequence[FoundCase], wanted: Sequence[str], where: str) -> list[FoundCase]:
    """Return the cases with the wanted channels alone, in the order of `wanted`.

    Args:
        cases: with one image file for each channel.
        wanted: names of channels; upper and lower case, `_` and space count as equal. The only channel of a case may
            also be named by the path of its image.
        where: the folder, for messages.

    Raises:
        SegpipeError: a channel is wanted twice, or a case does not have it.
    """
    keys = _keys(wanted)
    chosen = []
    for case in cases:
        images = dict(zip(map(_key, case.channels), case.images, strict=False))
        if list(images) == [""] and len(keys) == 1 and says_modality(case.images[0], wanted[0]):
            images = {keys[0]: case.images[0]}
        missing = [name for name, key in zip(wanted, keys, strict=True) if key not in images]
        if missing:
            raise SegpipeError(
                f"{where}: --channel {missing[0]}: {case.case} has no such channel, it has "
                f"{', '.join(filter(None, case.channels)) or 'one without a name'}; correct the name, or move the case "
                "away"
            )
        chosen.append(replace(case, images=tuple(images[key] for key in keys), channels=tuple(wanted)))
    return chosen


def usable_channels(cases: Sequence[FoundCase], folder: Path) -> tuple[list[FoundCase], list[str]]:
    """Return the cases with the channels that all labelled cases have on the label map's grid, and notes on others.

    A case without a label map that lacks such a channel is left out.

    Args:
        cases: with one image file for each channel; cases may have different channels.
        folder: of the data set.

    Raises:
        SegpipeError: no channel is left, or a header cannot be read.
    """
    labelled = [case for case in cases if case.label is not None]
    names = list(dict.fromkeys(name for case in cases for name in case.channels))
    lacking, apart = defaultdict(list), defaultdict(list)
    for case in labelled:
        grid = read_header(folder / str(case.label)).grid
        images = dict(zip(case.channels, case.images, strict=True))
        for name in names:
            if name not in images:
                lacking[name].append(case.case)
                continue
            header = read_header(folder / images[name])
            if header.num_channels != 1 or not header.grid.matches(grid):
                apart[name].append(case.case)
    usable = [name for name in names if not lacking[name] and not apart[name]]
    reasons = [
        *(
            f"{name} is missing in {len(lacking[name])} of {counted(len(labelled), 'case')} ({shown(lacking[name])})"
            for name in names
            if lacking[name]
        ),
        *(
            f"{name} is on another grid than the label map in {len(apart[name])} of {counted(len(labelled), 'case')} "
            f"({shown(apart[name])})"
            for name in names
            if apart[name]
        ),
    ]
    if not usable:
        raise SegpipeError(
            f"{folder}: no channel is there in every case on the grid of the label map: {shown(reasons, '; ')}; "
            "resample the images, or choose with --image and --label"
        )
    complete = [case for case in cases if set(usable) <= set(case.channels)]
    notes = [f"channels left out: {'; '.join(reasons)}; --channel NAME chooses others"] if reasons else []
    left_out = [case.case for case in cases if case not in complete]
    if left_out:
        notes.append(
            f"{counted(len(left_out), 'case')} without a label map and without {', '.join(usable)} left out: "
            f"{shown(left_out)}"
        )
    return with_chosen_channels(complete, usable, str(folder)), notes


def require_one_grid(cases: Sequence[FoundCase], folder: Path) -> None:
    """Refuse cases whose channels are on different grids.

    Args:
        cases: with one image file for each channel.
        folder: of the data set.

    Raises:
        SegpipeError: with the first such case, both channels and the differences.
    """
    for case in cases:
        if len(case.images) > 1:
            difference = _grid_difference(case.images, case.channels, folder)
            if difference:
                raise SegpipeError(
                    f"{folder}: {case.case}: {difference}; choose the channels of one grid with --channel "
                    f"{case.channels[0]}, or add --resample-channels"
                )


def one_set(
    cases: Sequence[FoundCase], folder: Path, wanted: Sequence[str], *, resample_channels: bool = False
) -> tuple[list[FoundCase], list[str]]:
    """Return the cases of one data set where a folder has several modalities of a patient, and notes.

    `STS_001_CT` and `STS_001_PET` are two modalities of STS_001. They become one case with two channels if their images
    are on one grid and their label maps are equal. Otherwise each modality is a data set of its own, and the user
    chooses. Cases with one modality are returned as they are.

    Args:
        cases: as their names pair them.
        folder: of the data set.
        wanted: names of the channels to use; empty for all.
        resample_channels: channels may be on other grids than the first.

    Raises:
        SegpipeError: the modalities cannot be one case and none is chosen; or a wanted channel is missing.
    """
    modality_of = {case.case: _modality_in(case.case) for case in cases}
    groups: dict[str, dict[str, FoundCase]] = defaultdict(dict)
    for case in cases:
        rest = "_".join(word for word in case.case.split("_") if word.upper() not in MODALITY_WORDS)
        groups[rest][modality_of[case.case]] = case
    is_split = (
        all(modality_of.values())
        and all(len(case.images) == 1 for case in cases)
        and max(map(len, groups.values()), default=0) > 1
        and sum(map(len, groups.values())) == len(cases)
        and all(groups)
    )
    if not is_split:
        chosen = with_chosen_channels(cases, wanted, str(folder)) if wanted else list(cases)
        if not resample_channels:
            require_one_grid(chosen, folder)
        return chosen, []
    counts = {
        name: sum(name in group for group in groups.values()) for name in sorted(set(modality_of.values()))
    }
    key_of = {_key(name): name for name in counts}
    unknown = [name for name, key in zip(wanted, _keys(wanted), strict=True) if key not in key_of]
    if unknown:
        raise SegpipeError(
            f"{folder}: --channel {unknown[0]}: the folder has no such modality, it has {', '.join(counts)}; correct "
            "the name"
        )
    names = [key_of[key] for key in _keys(wanted)] or list(counts)
    if len(names) == 1:
        (name,) = names
        others = ", ".join(other for other in counts if other != name)
        left = [
            replace(group[name], case=rest, channels=(name,))
            for rest, group in groups.items()
            if name in group
        ]
        return left, [f"only {name} is used, not {others}"]
    return _merged(groups, names, counts, folder), [
        f"{', '.join(names)} of a patient are one case with {len(names)} channels: they are on one grid and have equal "
        "label maps"
    ]


def _merged(
    groups: Mapping[str, Mapping[str, FoundCase]],
    names: Sequence[str],
    counts: Mapping[str, int],
    folder: Path,
) -> list[FoundCase]:
    """Return one case for each patient with the modalities as channels."""
    merged = []
    for rest, group in groups.items():
        missing = [name for name in names if name not in group]
        members = [group[name] for name in names if name in group]
        images = [case.images[0] for case in members]
        problem = f"{rest} has no {missing[0]}" if missing else _grid_difference(images, names, folder)
        problem = problem or _label_difference(members, folder)
        if problem:
            listed = ", ".join(f"{name} ({counted(count, 'case')})" for name, count in counts.items())
            raise SegpipeError(
                f"{folder}: holds several modalities, each with label maps: {listed}. They cannot be the channels of "
                f"one case: {problem}. Make one data set for each: choose with --channel {names[0]}"
            )
        merged.append(replace(members[0], case=rest, images=tuple(images), channels=tuple(names)))
    return merged


def _grid_difference(images: Sequence[str], names: Sequence[str], folder: Path) -> str:
    """Return how the grid of an image differs from the first image's; empty if all have one grid."""
    first, *others = (read_header(folder / image).grid for image in images)
    for name, grid in zip(names[1:], others, strict=True):
        differences = first.differences(grid)
        if differences:
            return f"{names[0]} and {name} are on different grids: {', '.join(differences)}"
    return ""


def _label_difference(cases: Sequence[FoundCase], folder: Path) -> str:
    """Return which label map differs from the first; empty if all are equal."""
    first, *others = (case.label for case in cases)
    array = None if first is None else read_volume(folder / first).array
    for label in others:
        if (first is None) != (label is None) or (
            label is not None
            and array is not None
            and not np.array_equal(array, read_volume(folder / label).array)
        ):
            return f"the label maps {first or '(none)'} and {label or '(none)'} differ"
    return ""


def _modality_in(case: str) -> str:
    return "_".join(word for word in case.split("_") if word.upper() in MODALITY_WORDS)


def _key(name: str) -> str:
    return "_".join(words_of(name)).casefold()


def _keys(wanted: Sequence[str]) -> list[str]:
    keys = [_key(name) for name in wanted]
    twice = [name for name, key in zip(wanted, keys, strict=True) if keys.count(key) > 1]
    if twice:
        raise SegpipeError(f"--channel {twice[0]} is given twice; give each channel once")
    return keys
