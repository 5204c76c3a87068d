"""Make a manifest of label maps from a folder: read its cases, and ask the user for missing information."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TypedDict, Unpack

from segpipe.dataset.checksums import with_checksums
from segpipe.dataset.importing.created import Ask, CreatedManifest, own_split, own_split_note, shared_patients
from segpipe.dataset.importing.dicom_labels import NO_DICOM_LABELS, DicomLabels
from segpipe.dataset.importing.found_cases import FoundCase, Layout, require_text
from segpipe.dataset.importing.label_tables import Blank
from segpipe.dataset.importing.layouts import read_layout
from segpipe.dataset.importing.modality_names import is_modality, modality_warnings
from segpipe.dataset.importing.patients import UNKNOWN_PATIENTS, known_patients
from segpipe.dataset.importing.stored_values import StoredValues, background_warnings, stored_values
from segpipe.dataset.importing.time_frames import fourth_axis_note, has_frame_number, with_time_frames
from segpipe.dataset.manifest import Case, Manifest, Split, Target
from segpipe.dataset.manifest_files import parse_manifest
from segpipe.dataset.resampled_channels import resampling_note
from segpipe.errors import SegpipeError, shown
from segpipe.labels import same_name
from segpipe.regions import NamedRegion
from segpipe.volumes import read_header, volume_format

_VALUES_SHOWN = 16


class CreateOptions(TypedDict, total=False):
    """How the images of a folder are read.

    Attributes:
        target: "mask", "class" or "findings"; None, or no entry, for the target that the folder tells.
        blank: where each finding has a column of a table, meaning of an empty field: "absent" (default) or "unknown".
        regions: unions of classes that overlap; default: from the folder's description, if `labels` are, too. Those
            with most classes are written first.
        channels: names of the channels to use, in this order, where names tell the channels; empty for all.
        merge_masks: where a public data set has one mask for each class, write one label map for each case.
        resample_channels: bring channels of a case on other grids onto the first channel's grid, in every use of the
            manifest.
        frames: take 4D images frame by frame, see `segpipe.dataset.importing.time_frames`.
        dicom: choice of DICOM segmentations and structure sets, where all scans are DICOM series.
    """

    target: Target | None
    blank: Blank
    regions: Sequence[NamedRegion]
    channels: Sequence[str]
    merge_masks: bool
    resample_channels: bool
    frames: bool
    dicom: DicomLabels


def create_label_map_manifest(
    folder: Path,
    *,
    images: Sequence[str] = (),
    label: str | None = None,
    table: Path | None = None,
    name: str | None = None,
    labels: Mapping[int, str] | None = None,
    modality: Sequence[str] = (),
    patient: str | None = None,
    checksums: bool = True,
    ask: Ask | None = None,
    **further: Unpack[CreateOptions],
) -> CreatedManifest:
    """Describe a folder of scans and label maps.

    Args:
        folder: of the data set; the manifest's paths begin there.
        images: see `segpipe.dataset.create_manifest`, also for the other arguments.
        label: template of the label maps.
        table: a CSV that assigns files to cases.
        name: of the data set.
        labels: stored value -> class name.
        modality: one text a channel, or one for all.
        patient: template of the case ids.
        checksums: add every file's SHA-256.
        ask: asks the user for missing information; None refuses instead.
        **further: see `CreateOptions`.

    Raises:
        SegpipeError: as `read_layout`; no case has a label map; information is missing and `ask` is None; a stored
            value has no class; the template `patient` does not match every case; a channel cannot be resampled; or an
            error of `with_time_frames`.
    """
    layout = _read(folder, images, label, table, labels, further)
    if further.get("merge_masks") and layout.labels:
        labels = None  # of the masks, and merged as such
    if further.get("dicom", NO_DICOM_LABELS).convert:
        labels = None  # of the segments, and written as such
    labelled = [case for case in layout.cases if case.label is not None]
    if not labelled:
        raise SegpipeError(
            f"{folder}: none of {len(layout.cases)} images has a label map; segpipe learns from label maps: say where "
            "they are with --label"
        )
    _require_same_channels(layout.cases, folder)
    _refuse_jpeg(labelled, folder)
    patients = known_patients(layout, patient)
    if layout.modality is not None and not modality:
        texts = layout.modality
    else:
        texts = _modality(modality, labelled[0], folder, ask)
    stored = stored_values(_labels_to_read(labels, layout, labelled), folder)
    named = _classes(labels, layout, stored, labelled, folder, ask)
    regions = further.get("regions", ())
    training = [case for case in labelled if case.part != "test"]
    test = [case for case in layout.cases if case.label is None or case.part == "test"]
    manifest = Manifest(
        name=name or layout.name or folder.resolve().name,
        modality=texts,
        labels=dict(sorted(named.items())),
        regions=tuple(_chosen_regions(regions, named) if regions or labels else layout.regions),
        training=tuple(_case(case, patients.of_case) for case in training),
        test=tuple(_case(case, patients.of_case) for case in test),
        description=layout.texts.get("description", ""),
        reference=layout.texts.get("reference", ""),
        licence=layout.texts.get("licence", ""),
        dataset_dir=str(folder.resolve()),
        patients=f"from {patients.source}" if patients.source else UNKNOWN_PATIENTS,
        splits=_splits(training),
        resample_channels=further.get("resample_channels", False),
    )
    require_text([manifest.name, *manifest.modality, *manifest.labels.values(), *layout.texts.values()])
    if checksums:
        manifest = with_checksums(manifest, folder)
    parse_manifest(manifest.to_json(), str(folder))
    notes = [*_notes(layout, manifest), *patients.notes]
    absent = [f"{value} {name}" for value, name in (layout.labels or {}).items() if value not in named]
    if layout.classes_may_be_absent and absent and not labels:
        notes.append(f"no label map stores {shown(absent)}: left out")
    if not further.get("frames"):
        notes += fourth_axis_note(labelled, folder)
    if manifest.resample_channels:
        notes.append(resampling_note(manifest, folder))
    files = [image for case in layout.cases for image in case.images]
    warnings = [
        *modality_warnings(files, modality),
        *patients.warnings,
        *background_warnings(named, stored, len(labelled)),
    ]
    return CreatedManifest(manifest, layout.what, notes, warnings, patients.source)


def _read(
    folder: Path,
    images: Sequence[str],
    label: str | None,
    table: Path | None,
    labels: Mapping[int, str] | None,
    further: CreateOptions,
) -> Layout:
    """Return the layout of the folder, frame by frame if it is asked for."""
    by_frame, frames = has_frame_number(label), further.get("frames", False)
    if by_frame and not (frames and images):
        raise SegpipeError(f"--label {label!r}: {{frame}} needs --frames, and --image for the 4D images")
    layout = read_layout(
        folder,
        images=images,
        label=None if by_frame else label,
        table=table,
        channels=further.get("channels", ()),
        classes=labels,
        merge_masks=further.get("merge_masks", False),
        resample_channels=further.get("resample_channels", False),
        dicom=further.get("dicom", NO_DICOM_LABELS),
    )
    return with_time_frames(layout, folder, label) if frames else layout


def _chosen_regions(regions: Sequence[NamedRegion], named: Mapping[int, str]) -> list[NamedRegion]:
    """Return regions whose classes may be given by value; those with most classes are written first."""
    names = set(map(same_name, named.values()))
    name_of = {str(value): name for value, name in named.items() if same_name(str(value)) not in names}
    by_name = [
        replace(region, classes=tuple(name_of.get(one, one) for one in region.classes)) for region in regions
    ]
    return sorted(by_name, key=lambda region: -len(region.classes))


def _splits(training: Sequence[FoundCase]) -> dict[str, Split]:
    """Return the folder's own division as a split, if the folder has validation cases."""
    validation = [case.case for case in training if case.part == "validation"]
    return own_split([case.case for case in training if case.part != "validation"], validation)


def _labels_to_read(
    given: Mapping[int, str] | None, layout: Layout, labelled: Sequence[FoundCase]
) -> Sequence[FoundCase]:
    """Return the cases whose values are read: all, or only the first where the folder names the classes."""
    return labelled if given or not layout.labels or layout.classes_may_be_absent else labelled[:1]


def _classes(
    given: Mapping[int, str] | None,
    layout: Layout,
    stored: StoredValues,
    labelled: Sequence[FoundCase],
    folder: Path,
    ask: Ask | None,
) -> dict[int, str]:
    """Return stored value -> class name, and check that the label maps hold no other values."""
    known = dict(given or layout.labels or {})
    values = stored.maps
    if len(values) == 1 and stored.files == len(labelled):
        raise SegpipeError(
            f"{folder}: all {stored.files} label maps hold the one value {', '.join(map(str, values))}; there is "
            "nothing to segment: check which files are the label maps"
        )
    if not known:
        known = _named_values(stored, folder, ask)
    elif layout.classes_may_be_absent and not given:
        known = {value: name for value, name in known.items() if value in values or value == 0}
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
    notes = [*layout.notes, *own_split_note(manifest)]
    unlabelled = sum(case.label is None and case.part != "test" for case in layout.cases)
    if unlabelled:
        notes.append(f"{unlabelled} cases have no label map: they are listed under test, never trained on")
    shared = shared_patients(manifest)
    if shared:
        notes.append(f"the patients {shown(shared)} have cases both to train on and to test")
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


def _modality(given: Sequence[str], case: FoundCase, folder: Path, ask: Ask | None) -> tuple[str, ...]:
    """Return one text a channel; one text for several channels gets the channels' names or numbers."""
    channels = case.channels
    if len(case.images) == 1:  # one file may hold all channels
        channels *= read_header(folder / case.images[0], frame=case.frame).num_channels
    if not given and all(map(is_modality, channels)) and len(set(channels)) == len(channels):
        return tuple(name.upper().replace("_", " ") for name in channels)
    if not given:
        names = ", ".join(name for name in channels if name)
        which = (
            f"{len(channels)} channels{f' ({names})' if names else ''}" if len(channels) > 1 else "the images"
        )
        is_2d = volume_format(folder / case.images[0]).is_2d_format
        first, second = ("microscopy", "X-ray") if is_2d else ("CT", "MRI")
        if ask is None:
            raise SegpipeError(
                f"{folder}: does not say what {which} are; add --modality {first}, or {second}, or what else they are "
                "(one for all, or one a channel)"
            )
        given = [ask(f"What are {which}? ({first}, {second}, ...)", "")]
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


def _named_values(stored: StoredValues, folder: Path, ask: Ask | None) -> dict[int, str]:
    values = stored.maps
    if ask is None:
        raise SegpipeError(
            f"{folder}: does not say what its labels mean; its label maps store {_counted(values)}: add "
            f"{_class_options(values)}"
        )
    largest = max(stored.voxels.values())
    return {
        value: ask(
            f"What is the value {value}, stored in {count} label maps and {stored.share(value):.3g} % of all voxels?",
            "background" if value == 0 and stored.voxels[value] == largest else "",
        )
        for value, count in values.items()
    }


def _counted(values: Mapping[int, int]) -> str:
    return shown((f"{value} (in {count})" for value, count in values.items()), most=_VALUES_SHOWN)


def _class_options(values: Iterable[int]) -> str:
    options = (f"--class {value}={'background' if value == 0 else 'NAME'}" for value in values)
    return shown(options, " ", _VALUES_SHOWN)
