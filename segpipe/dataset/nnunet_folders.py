"""Folders as nnU-Net has them: imagesTr, labelsTr and imagesTs, and a dataset.json that names channels and labels."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from segpipe.dataset.found_cases import (
    DatasetPart,
    FoundCase,
    Layout,
    path_below,
    require_present,
    require_text,
    unlisted,
)
from segpipe.errors import SegpipeError, shown
from segpipe.volumes import read_header
from segpipe.volumes.formats import suffix_format

_TEXTS = ("description", "reference", "licence")
_NUMBERED = re.compile("(.+)_([0-9]{4})")


def cases_of_nnunet(folder: Path, content: Mapping[str, Any]) -> Layout:
    """Read a folder whose description names its channels.

    Args:
        folder: of the data set.
        content: of its dataset.json.

    Raises:
        SegpipeError: an entry of the description is not as nnU-Net has it, or the files do not fit it.
    """
    where = folder / "dataset.json"
    modality = _channels(content["channel_names"], where)
    ending = content.get("file_ending")
    if not isinstance(ending, str) or not re.fullmatch(r"\.[\w.]+", ending):
        raise SegpipeError(f"{where}: file_ending must be a text such as .nii.gz, is {ending!r}; correct it")
    labels = _labels(content.get("labels"), where)
    listed = content.get("dataset")
    cases = _folder_cases(folder, "imagesTs", "labelsTs", ending, len(modality))
    notes = []
    if listed:
        cases += _listed_cases(folder, listed, modality, where)
        require_present((file for case in cases for file in case.files), folder, where)
        notes += unlisted(folder, cases, ("imagesTr", "labelsTr"), where.name)
    else:
        cases += _folder_cases(folder, "imagesTr", "labelsTr", ending, len(modality))
    labelled = sum(case.label is not None for case in cases if case.part == "train")
    if not labelled:
        raise SegpipeError(f"{folder}: imagesTr and labelsTr hold no files that end in {ending}")
    expected = content.get("numTraining")
    if isinstance(expected, int) and expected != labelled:
        notes.append(f"{where} says numTraining {expected}, {labelled} cases with label maps are there")
    texts = {key: content[key] for key in ("name", *_TEXTS) if isinstance(content.get(key), str)}
    name = texts.pop("name", "")
    return Layout("nnU-Net", cases, labels, modality, name, texts, notes)


def _channels(names: Any, where: Path) -> tuple[str, ...]:
    """Return the channels' names in order; a rule as nnU-Net's for the intensities ("CT") stays as it is."""
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


def _labels(labels: Any, where: Path) -> dict[int, str]:
    if not isinstance(labels, Mapping) or not labels:
        raise SegpipeError(f"{where}: labels must be an object of name: value, as nnU-Net has it")
    regions = [name for name, value in labels.items() if isinstance(value, list)]
    if regions:
        raise SegpipeError(
            f"{where}: labels {shown(regions)} are regions of several values; segpipe's classes exclude each other: "
            "name each value once"
        )
    if "ignore" in labels:
        raise SegpipeError(
            f"{where}: labels has ignore, value {labels['ignore']}: voxels that are not to be learned from; segpipe's "
            "manifests have no such value yet: give the voxels a class, or remove the cases that have any"
        )
    names: dict[int, str] = {}
    for name, stored in labels.items():
        if isinstance(stored, bool) or not re.fullmatch(r"-?[0-9]+", str(stored)):
            raise SegpipeError(
                f"{where}: labels: {name} has the value {stored!r}, must be a whole number; write name: value"
            )
        other = names.setdefault(int(stored), name)
        if other != name:
            raise SegpipeError(
                f"{where}: labels: {other} and {name} both have the value {stored}; name each once"
            )
    return dict(sorted(names.items()))


def _listed_cases(folder: Path, listed: Any, modality: Sequence[str], where: Path) -> list[FoundCase]:
    """Return the cases that the entry `dataset` names."""
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


def _folder_cases(folder: Path, images: str, labels: str, ending: str, channels: int) -> list[FoundCase]:
    """List the cases of imagesTr, which all have a label map, or of imagesTs, of which any may have one."""
    is_test = images == "imagesTs"
    label_of = {
        path.name.removesuffix(ending): f"{labels}/{path.name}" for path in _files(folder / labels, ending)
    }
    numbers: dict[str, set[int]] = defaultdict(set)
    for path in _files(folder / images, ending):
        match = _NUMBERED.fullmatch(path.name.removesuffix(ending))
        if match is None:
            raise SegpipeError(
                f"{path}: must end in _ and the four digits of its channel, such as _0000{ending}; rename it"
            )
        numbers[match.group(1)].add(int(match.group(2)))
    without = [] if is_test else sorted(set(numbers) - set(label_of))
    strays = sorted(set(label_of) - set(numbers))
    if without or strays:
        said = [f"{len(without)} images without labels: {shown(without)}"] if without else []
        said += [f"{len(strays)} labels without images: {shown(strays)}"] if strays else []
        raise SegpipeError(
            f"{folder}: {images} and {labels} have {'; '.join(said)}; add the partners, or move what has none away"
        )
    cases = []
    for name, found in numbers.items():
        files = _channel_files(folder, f"{images}/{name}", found, channels, ending)
        part: DatasetPart = "test" if is_test else "train"
        cases.append(FoundCase(name, files, ("",) * len(files), label_of.get(name), part=part))
    return cases


def _channel_files(folder: Path, bare: str, found: set[int], channels: int, ending: str) -> tuple[str, ...]:
    """Return the files of a case: one a channel, or one picture that holds all."""
    files = tuple(f"{bare}_{number:04d}{ending}" for number in sorted(found))
    if found == set(range(channels)) or (
        found == {0} and read_header(folder / files[0]).num_channels == channels
    ):
        return files
    raise SegpipeError(
        f"{folder / bare}: has the channels {sorted(found)}, dataset.json names {channels}; add what is missing, or "
        "move away what is too much"
    )


def _files(folder: Path, ending: str) -> list[Path]:
    if not folder.is_dir():
        return []
    files = [path for path in sorted(folder.iterdir()) if not path.name.startswith(".")]
    require_text(path.name for path in files)
    others = [
        path.name for path in files if suffix_format(path) is not None and not path.name.endswith(ending)
    ]
    if others:
        raise SegpipeError(
            f"{folder}: {len(others)} scans do not end in {ending}, the file_ending of dataset.json: {shown(others)}; "
            "convert them, or correct file_ending"
        )
    return [path for path in files if path.name.endswith(ending)]
