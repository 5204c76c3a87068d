"""Folders in the layout of nnU-Net: imagesTr, labelsTr, imagesTs, and a dataset.json with channels and labels."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Callable, Container, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from segpipe.dataset.importing.found_cases import (
    FoundCase,
    Layout,
    path_below,
    require_present,
    require_text,
    unlisted,
)
from segpipe.dataset.importing.nnunet_labels import nnunet_labels
from segpipe.errors import SegpipeError, counted, shown
from segpipe.volumes import read_header
from segpipe.volumes.formats import suffix_format

_TEXTS = ("description", "reference", "licence")
_NUMBERED = re.compile("(.+)_([0-9]{4})")
_Stems = dict[str, list[Path]]
"""Name without suffix -> the files with that name."""


def cases_of_nnunet(folder: Path, content: Mapping[str, Any]) -> Layout:
    """Read a folder whose dataset.json names its channels.

    Args:
        folder: of the data set.
        content: of its dataset.json.

    Raises:
        SegpipeError: an entry of the dataset.json does not have nnU-Net's form, or the files do not fit it.
    """
    where = folder / "dataset.json"
    modality = _channels(content["channel_names"], where)
    ending = content.get("file_ending")
    if not isinstance(ending, str) or not re.fullmatch(r"\.[\w.]+", ending):
        raise SegpipeError(f"{where}: file_ending must be a text such as .nii.gz, is {ending!r}; correct it")
    named = nnunet_labels(content.get("labels"), where, content.get("regions_class_order"))
    listed = content.get("dataset")
    cases, notes = _folder_cases(folder, "Ts", ending, len(modality))
    if listed:
        cases += _listed_cases(folder, listed, modality, where)
        require_present((file for case in cases for file in case.files), folder, where)
        notes += unlisted(folder, cases, ("imagesTr", "labelsTr"), where.name)
    else:
        training, more = _folder_cases(folder, "Tr", ending, len(modality))
        cases, notes = [*cases, *training], [*notes, *more]
    labelled = sum(case.label is not None for case in cases if case.part == "train")
    if not labelled:
        raise SegpipeError(
            f"{folder}: imagesTr and labelsTr hold no files that end in {ending}; check the folder"
        )
    expected = content.get("numTraining")
    if isinstance(expected, int) and expected != labelled:
        notes.append(f"{where} says numTraining {expected}, {labelled} cases with label maps are there")
    texts = {key: content[key] for key in ("name", *_TEXTS) if isinstance(content.get(key), str)}
    name = texts.pop("name", "")
    return Layout("nnU-Net", cases, named.names, modality, name, texts, notes, named.regions)


def _channels(names: Any, where: Path) -> tuple[str, ...]:
    """Return the channels' names in order; a name such as "CT", a normalisation rule for nnU-Net, stays unchanged."""
    is_numbered = isinstance(names, Mapping) and all(re.fullmatch("[0-9]+", key) for key in names)
    by_number = {int(key): name for key, name in names.items()} if is_numbered else {}
    if (
        not by_number
        or sorted(by_number) != list(range(len(names)))
        or not all(isinstance(name, str) and name.strip() for name in by_number.values())
    ):
        raise SegpipeError(
            f'{where}: channel_names must be an object such as {{"0": "T1", "1": "FLAIR"}}, is {names!r}; correct it'
        )
    return tuple(by_number[number].strip() for number in range(len(by_number)))


def _listed_cases(folder: Path, listed: Any, modality: Sequence[str], where: Path) -> list[FoundCase]:
    """Return the cases of the entry `dataset`."""
    cases = []
    for name, entry in listed.items() if isinstance(listed, Mapping) else [("", None)]:
        images = entry.get("images") if isinstance(entry, Mapping) else None
        label = entry.get("label") if isinstance(entry, Mapping) else None
        texts = [*images, label] if isinstance(images, list) else [None]
        if not images or not all(isinstance(text, str) and text for text in texts) or set("/\\") & set(name):
            raise SegpipeError(
                f'{where}: dataset: must be an object of entries such as "case_1": {{"images": ["imagesTr/case_1_0000'
                f'.nii.gz"], "label": "labelsTr/case_1.nii.gz"}}; correct {name or "it"}'
            )
        if len(images) not in (1, len(modality)):
            raise SegpipeError(
                f"{where}: dataset: {name} has {len(images)} images, channel_names has {len(modality)} channels; "
                "correct one"
            )
        *paths, label = (path_below(folder, str(text), f"{where}: dataset: {name}") for text in texts)
        cases.append(FoundCase(name, tuple(paths), tuple(modality[: len(paths)]), label, part="train"))
    return cases


def _folder_cases(
    folder: Path, part: Literal["Tr", "Ts"], ending: str, channels: int
) -> tuple[list[FoundCase], list[str]]:
    """List the cases of imagesTr, which all have a label map, or of imagesTs, which may have label maps; and notes.

    A file with another ending than `ending` counts only where a name has no file with `ending`.
    """
    images, labels = f"images{part}", f"labels{part}"
    image_files, label_files = _files(folder / images, ending), _files(folder / labels, ending)
    numbered = _by_stem(image_files, ending, _NUMBERED.fullmatch)
    nameless = [
        path
        for stem, paths in numbered.items()
        for path in paths
        if not _NUMBERED.fullmatch(stem) and _ends_in(path, ending)
    ]
    if nameless:
        name = nameless[0].name
        raise SegpipeError(
            f"{folder / images}: {counted(len(nameless), 'image')} without the four digits of a channel at the end of "
            f"the name: {shown(path.name for path in nameless)}; rename each, such as {name} to "
            f"{name[: -len(ending)]}_0000{ending}"
        )
    files: dict[str, dict[int, Path]] = defaultdict(dict)
    for stem, path in _chosen(numbered, ending).items():
        match = _NUMBERED.fullmatch(stem)
        if match is not None:
            files[match.group(1)][int(match.group(2))] = path
    label_of = _chosen(_by_stem(label_files, ending, files.__contains__), ending)
    strays = sorted(stem for stem in set(label_of) - set(files) if _ends_in(label_of[stem], ending))
    without = sorted(set(files) - set(label_of)) if part == "Tr" else []
    if without or strays:
        problems = [f"{len(without)} images without labels: {shown(without)}"] if without else []
        if strays:
            problems.append(f"{len(strays)} labels without images: {shown(strays)}")
        raise SegpipeError(
            f"{folder}: {images} and {labels} have {'; '.join(problems)}; add the missing partners, or move away "
            "the files without a partner"
        )
    taken = {path for of_case in files.values() for path in of_case.values()}
    taken |= {label_of[case] for case in files if case in label_of}
    cases = [
        FoundCase(
            case,
            _channel_files(folder, folder / images / case, of_case, channels),
            ("",) * len(of_case),
            _below(label_of[case], folder) if case in label_of else None,
            part="train" if part == "Tr" else "test",
        )
        for case, of_case in files.items()
    ]
    return cases, _notes_on_files([*image_files, *label_files], taken, folder, ending)


def _channel_files(folder: Path, bare: Path, file_of: Mapping[int, Path], channels: int) -> tuple[str, ...]:
    """Return the image files of a case: one a channel, or one file with all channels."""
    if set(file_of) == set(range(channels)) or (
        set(file_of) == {0} and read_header(file_of[0]).num_channels == channels
    ):
        return tuple(_below(file_of[number], folder) for number in sorted(file_of))
    raise SegpipeError(
        f"{bare}: has the channels {sorted(file_of)}, dataset.json names {channels}; add the missing channels, or "
        "move away the extra files"
    )


def _files(folder: Path, ending: str) -> list[Path]:
    """Return the scans of a folder: the files with `ending`, and those of a known format."""
    if not folder.is_dir():
        return []
    files = [path for path in sorted(folder.iterdir()) if not path.name.startswith(".")]
    require_text(path.name for path in files)
    return [path for path in files if _ends_in(path, ending) or suffix_format(path) is not None]


def _by_stem(files: Sequence[Path], ending: str, fits: Callable[[str], object]) -> _Stems:
    """Group files by name without suffix; of two possible names the one that `fits` counts (c0 for c0.seg.nrrd)."""
    by_stem: _Stems = defaultdict(list)
    for path in files:
        stems = [path.name[: -len(ending)]] if _ends_in(path, ending) else []
        suffix = suffix_format(path)
        if suffix is not None:
            stems.append(path.name.removesuffix(suffix[1]))
        by_stem[next((stem for stem in stems if fits(stem)), stems[0])].append(path)
    return by_stem


def _chosen(files: _Stems, ending: str) -> dict[str, Path]:
    """Return one file for each name; of several files the one with `ending`."""
    chosen = {}
    for stem, paths in files.items():
        fitting = [path for path in paths if path.name == stem + ending] or paths
        if len(fitting) > 1:
            first, second, *_ = fitting
            raise SegpipeError(
                f"{first} and {second} have one name, {stem}, and neither ends in {ending}, the file_ending of "
                "dataset.json; keep one of them"
            )
        chosen[stem] = fitting[0]
    return chosen


def _notes_on_files(files: Sequence[Path], taken: Container[Path], folder: Path, ending: str) -> list[str]:
    """Return notes on the files with another ending that are used, and on the files that are ignored."""
    other = [_below(path, folder) for path in files if path in taken and not _ends_in(path, ending)]
    passed = [_below(path, folder) for path in files if path not in taken]
    notes = []
    if other:
        notes.append(
            f"{counted(len(other), 'file')} of another ending than {ending}, the file_ending of dataset.json, taken as "
            f"well: {shown(other)}"
        )
    if passed:
        notes.append(f"{counted(len(passed), 'scan')} of no case skipped: {shown(passed)}")
    return notes


def _ends_in(path: Path, ending: str) -> bool:
    return path.name.lower().endswith(ending.lower())


def _below(path: Path, folder: Path) -> str:
    return path.relative_to(folder).as_posix()
