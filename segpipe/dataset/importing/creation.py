"""Make a manifest from a folder: read its cases with `layouts`, and ask the user for missing information."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TypedDict, Unpack

import numpy as np

from segpipe.dataset.checksums import with_checksums
from segpipe.dataset.importing.found_cases import FoundCase, Layout, require_text
from segpipe.dataset.importing.layouts import read_layout
from segpipe.dataset.importing.templates import patients_by_template
from segpipe.dataset.importing.time_frames import fourth_axis_note, has_frame_number, with_time_frames
from segpipe.dataset.manifest import Case, Manifest, Split
from segpipe.dataset.manifest_files import parse_manifest
from segpipe.dataset.progress import with_progress
from segpipe.dataset.resampled_channels import resampling_note
from segpipe.errors import SegpipeError, shown
from segpipe.labels import same_name, whole_numbers
from segpipe.volumes import label_frame, read_header, read_volume, volume_format

_MOST_THREADS = 4  # each thread holds a label map in memory
_MOST_VALUES = 256  # of a label map; a file with more values holds intensities
_VALUES_SHOWN = 16
_OWN_SPLIT = "folder"

Ask = Callable[[str, str], str]
"""Function that asks the user: takes the question and the default answer, returns the answer."""


class ImageReading(TypedDict, total=False):
    """How the images of a folder are read.

    Attributes:
        resample_channels: bring channels of a case on other grids onto the first channel's grid, in every use of the
            manifest.
        frames: take 4D images frame by frame, see `segpipe.dataset.importing.time_frames`.
    """

    resample_channels: bool
    frames: bool


@dataclass(frozen=True)
class CreatedManifest:
    """A manifest made from a folder, with remarks on the folder.

    Attributes:
        manifest: without folds.
        layout: name of the folder's layout, for messages.
        notes: remarks for the user.
    """

    manifest: Manifest
    layout: str
    notes: Sequence[str]


def create_manifest(
    folder: str | Path,
    *,
    images: Sequence[str] = (),
    label: str | None = None,
    table: str | Path | None = None,
    name: str | None = None,
    labels: Mapping[int, str] | None = None,
    modality: Sequence[str] = (),
    patient: str | None = None,
    checksums: bool = True,
    ask: Ask | None = None,
    **reading: Unpack[ImageReading],
) -> CreatedManifest:
    """Describe a folder of scans and label maps.

    Args:
        folder: of the data set; the manifest's paths begin there.
        images: templates of the images, one a channel, see `segpipe.dataset.importing.layouts.read_layout`.
        label: template of the label maps.
        table: a CSV that assigns files to cases.
        name: of the data set; default: from the folder's description, or the folder's name.
        labels: stored value -> class name, for every value in the label maps; default: from the folder's description,
            else the user is asked. Every label map is read for its values; only the first one with a description.
        modality: one text a channel, or one for all, such as CT or MRI; default: from the folder's description.
        patient: template of the case ids, such as `{patient}_*`; default: patients from the table or the templates,
            else unknown.
        checksums: add every file's SHA-256; a DICOM series has none.
        ask: asks the user for missing information; None refuses instead.
        **reading: resample_channels and frames, see `ImageReading`.

    Raises:
        SegpipeError: as `read_layout`; no case has a label map; information is missing and `ask` is None; a stored
            value has no class; the template `patient` does not match every case; a channel cannot be resampled; or an
            error of `with_time_frames`.
    """
    folder = Path(folder)
    frames, resample_channels = reading.get("frames", False), reading.get("resample_channels", False)
    listed = None if table is None else Path(table)
    by_frame = has_frame_number(label)
    if by_frame and not (frames and images):
        raise SegpipeError(f"--label {label!r}: {{frame}} needs --frames, and --image for the 4D images")
    layout = read_layout(folder, images=images, label=None if by_frame else label, table=listed)
    if frames:
        layout = with_time_frames(layout, folder, label)
    labelled = [case for case in layout.cases if case.label is not None]
    if not labelled:
        raise SegpipeError(
            f"{folder}: none of {len(layout.cases)} images has a label map; segpipe learns from label maps: say where "
            "they are with --label"
        )
    _require_same_channels(layout.cases, folder)
    _refuse_jpeg(labelled, folder)
    patients = _patients(layout.cases, patient)
    if layout.modality is not None and not modality:
        texts = layout.modality
    else:
        texts = _modality(modality, _channels(labelled[0], folder), folder, ask)
    named = _classes(labels, layout, labelled, folder, ask)
    unknown = not any(patients.values())
    training = [case for case in labelled if case.part != "test"]
    test = [case for case in layout.cases if case.label is None or case.part == "test"]
    manifest = Manifest(
        name=name or layout.name or folder.resolve().name,
        modality=texts,
        labels=dict(sorted(named.items())),
        training=tuple(_case(case, patients) for case in training),
        test=tuple(_case(case, patients) for case in test),
        description=layout.texts.get("description", ""),
        reference=layout.texts.get("reference", ""),
        licence=layout.texts.get("licence", ""),
        dataset_dir=str(folder.resolve()),
        patients="unknown: every case counts as a patient of its own" if unknown else "",
        splits=_splits(training),
        resample_channels=resample_channels,
    )
    require_text([manifest.name, *manifest.modality, *manifest.labels.values(), *layout.texts.values()])
    if checksums:
        manifest = with_checksums(manifest, folder)
    parse_manifest(manifest.to_json(), str(folder))
    notes = _notes(layout, manifest)
    if not frames:
        notes += fourth_axis_note(labelled, folder)
    if resample_channels:
        notes.append(resampling_note(manifest, folder))
    return CreatedManifest(manifest, layout.what, notes)


def _splits(training: Sequence[FoundCase]) -> dict[str, Split]:
    """Return the folder's own division as a split, if the folder has validation cases."""
    validation = tuple(case.case for case in training if case.part == "validation")
    train = tuple(case.case for case in training if case.part != "validation")
    return {_OWN_SPLIT: Split(train, validation, about="as the folder has it")} if validation else {}


def _classes(
    given: Mapping[int, str] | None,
    layout: Layout,
    labelled: Sequence[FoundCase],
    folder: Path,
    ask: Ask | None,
) -> dict[int, str]:
    """Return stored value -> class name, and check that the label maps hold no other values.

    Every label map is read; only the first one where the folder's description names the classes.
    """
    if layout.no_labels and not given:
        raise SegpipeError(layout.no_labels)
    known = dict(given or layout.labels or {})
    read = labelled if given or not known else labelled[:1]
    values = _label_values(read, folder)
    if len(values) == 1 and len(read) == len(labelled):
        raise SegpipeError(
            f"{folder}: all {len(read)} label maps hold the one value {', '.join(map(str, values))}; there is nothing "
            "to segment: check which files are the label maps"
        )
    if not known:
        known = _named_values(values, folder, ask)
    nameless = {value: count for value, count in values.items() if value not in known}
    if nameless:
        options = " ".join(f"--class '{value}={name}'" for value, name in known.items())
        raise SegpipeError(
            f"{folder}: its label maps store {_counted(nameless)}, too, which no class names; name every value: "
            f"{options} {_class_options(nameless)}, or correct the files"
        )
    known = {value: name.strip() for value, name in known.items()}
    if len(known) < 2 or not all(known.values()):
        raise SegpipeError(
            f"{folder}: its classes are {known}; a background and one class are needed at the least, each with a name: "
            "add --class 0=background --class 1=NAME"
        )
    _require_background(known, folder)
    return known


def _require_background(named: Mapping[int, str], folder: Path) -> None:
    """Refuse classes without a background, since the first class would count as background and never be learned."""
    if 0 not in named and "background" not in map(same_name, named.values()):
        raise SegpipeError(
            f"{folder}: none of its classes ({', '.join(named.values())}) is the background; name the background's "
            "value, such as --class 0=background"
        )


def _case(case: FoundCase, patients: Mapping[str, str | None]) -> Case:
    return Case(case.case, case.images, case.label, patients[case.case], frame=case.frame)


def _notes(layout: Layout, manifest: Manifest) -> list[str]:
    notes = list(layout.notes)
    split = manifest.splits.get(_OWN_SPLIT)
    if split is not None:
        notes.append(
            f"the folder has {len(split.train)} cases to train on and {len(split.validation)} to validate with: "
            f"train with --fold {_OWN_SPLIT} to keep to that"
        )
    unlabelled = sum(case.label is None and case.part != "test" for case in layout.cases)
    if unlabelled:
        notes.append(f"{unlabelled} cases have no label map: they are listed under test, never trained on")
    shared = {case.patient for case in manifest.training} & {case.patient for case in manifest.test} - {None}
    if shared:
        notes.append(
            f"the patients {shown(sorted(map(str, shared)))} have cases both to train on and to test"
        )
    held_out = sum(case.label is not None for case in manifest.test)
    if held_out:
        notes.append(
            f"{held_out} cases with label maps belong to the data set's test part: they are never trained on"
        )
    if any(case.patient is None for case in manifest.training):
        notes.append(
            "the patient of some cases is unknown, so each of them counts as one patient: if cases share a "
            "patient, give --patient, or this patient may both train and validate"
        )
    return notes


def _refuse_jpeg(labelled: Sequence[FoundCase], folder: Path) -> None:
    jpegs = [str(case.label) for case in labelled if str(case.label).lower().endswith((".jpg", ".jpeg"))]
    if jpegs:
        raise SegpipeError(
            f"{folder}: {len(jpegs)} label maps are JPEG, which changes values when it is saved: {shown(jpegs)}; make "
            "PNG of the originals, with one class value a pixel"
        )


def _require_same_channels(cases: Sequence[FoundCase], folder: Path) -> None:
    counts = {len(case.images) for case in cases}
    if len(counts) > 1:
        few = min(cases, key=lambda case: len(case.images))
        raise SegpipeError(
            f"{folder}: {few.case} has {len(few.images)} image files, other cases have {max(counts)}; every case "
            "needs the same channels"
        )


def _channels(case: FoundCase, folder: Path) -> tuple[str, ...]:
    """Return the names of a case's channels; one file may hold all channels."""
    if len(case.images) > 1:
        return case.channels
    return case.channels * read_header(folder / case.images[0], frame=case.frame).num_channels


def _patients(cases: Sequence[FoundCase], template: str | None) -> Mapping[str, str | None]:
    if template is None:
        return {case.case: case.patient for case in cases}
    return patients_by_template([case.case for case in cases], template)


def _modality(
    given: Sequence[str], channels: Sequence[str], folder: Path, ask: Ask | None
) -> tuple[str, ...]:
    """Return one text a channel; one text for several channels gets the channels' names or numbers."""
    if not given:
        names = ", ".join(name for name in channels if name)
        which = (
            f"{len(channels)} channels{f' ({names})' if names else ''}" if len(channels) > 1 else "the images"
        )
        if ask is None:
            raise SegpipeError(
                f"{folder}: does not say what {which} are; add --modality CT, or MRI, or what else they are (one for "
                "all, or one a channel)"
            )
        given = [ask(f"What are {which}? (CT, MRI, ...)", "")]
    if not all(text.strip() for text in given):
        raise SegpipeError("--modality is empty; say what the images are, such as CT or MRI")
    if len(given) == 1 and len(channels) > 1:
        named = tuple(f"{given[0]} {name}".strip() for name in channels)
        numbered = tuple(f"{given[0]} {number}" for number in range(len(channels)))
        return named if len(set(named)) == len(named) else numbered
    if len(given) != len(channels):
        raise SegpipeError(
            f"--modality is given {len(given)} times for {len(channels)} channels; give one each"
        )
    return tuple(given)


def _label_values(cases: Sequence[FoundCase], folder: Path) -> dict[int, int]:
    """Return stored value -> number of label maps that contain it."""
    with ThreadPoolExecutor(min(_MOST_THREADS, os.cpu_count() or 1)) as pool:
        values_of_maps = list(
            with_progress(
                pool.map(lambda case: _values(case, folder), cases),
                "Reading label maps",
                total=len(cases),
            )
        )
    counts = Counter(value for values in values_of_maps for value in values)
    return dict(sorted(counts.items()))


def _values(case: FoundCase, folder: Path) -> list[int]:
    path = folder / str(case.label)
    volume = read_volume(path, frame=label_frame(path, case.frame, [folder / name for name in case.images]))
    if volume.num_channels != 1:
        remedy = (
            "save its colours as one channel with a class value a pixel, no palette"
            if volume_format(path).is_2d_format
            else "merge its maps into one with a class value a voxel (add --frames if its fourth axis is time)"
        )
        raise SegpipeError(
            f"{path}: has {volume.num_channels} channels, a label map has one; {remedy}, or say which files are the "
            "label maps with --image and --label"
        )
    try:
        values = np.unique(whole_numbers(volume.array))
    except SegpipeError as error:
        raise SegpipeError(f"{path}: {error}") from error
    if len(values) > _MOST_VALUES:
        raise SegpipeError(
            f"{path}: holds {len(values)} values, more than a label map has; say which files are the label maps with "
            "--image and --label"
        )
    return [int(value) for value in values]


def _named_values(values: Mapping[int, int], folder: Path, ask: Ask | None) -> dict[int, str]:
    if ask is None:
        raise SegpipeError(
            f"{folder}: does not say what its labels mean; its label maps store {_counted(values)}: add "
            f"{_class_options(values)}"
        )
    return {
        value: ask(
            f"What is the value {value}, stored in {count} label maps?", "background" if value == 0 else ""
        )
        for value, count in values.items()
    }


def _counted(values: Mapping[int, int]) -> str:
    return shown((f"{value} (in {count})" for value, count in values.items()), most=_VALUES_SHOWN)


def _class_options(values: Iterable[int]) -> str:
    options = (f"--class {value}={'background' if value == 0 else 'NAME'}" for value in values)
    return shown(options, " ", _VALUES_SHOWN)
