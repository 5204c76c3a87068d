"""Make a manifest of images with one class or findings, from class folders or a table."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import NotRequired, TypedDict, Unpack

from segpipe.categories import ImageTarget
from segpipe.dataset.checksums import with_checksums
from segpipe.dataset.importing.category_names import category_names, lookalikes
from segpipe.dataset.importing.class_folders import images_of_class_folders
from segpipe.dataset.importing.created import (
    Ask,
    CreatedManifest,
    own_split,
    own_split_note,
    shared_patients,
)
from segpipe.dataset.importing.folder_classes import class_folders
from segpipe.dataset.importing.found_cases import require_text
from segpipe.dataset.importing.image_files import ImageFiles, image_files
from segpipe.dataset.importing.label_tables import Blank, images_of_table, label_tables_in
from segpipe.dataset.importing.labelled_images import (
    ImageLayout,
    LabelledImage,
    class_counts,
    copies,
    refuse_copies_in_two_classes,
    with_case_ids,
)
from segpipe.dataset.importing.patients import UNKNOWN_PATIENTS
from segpipe.dataset.importing.templates import patients_by_template
from segpipe.dataset.manifest import Case, Manifest
from segpipe.dataset.manifest_files import parse_manifest
from segpipe.errors import SegpipeError, counted, shown
from segpipe.volumes.formats import VolumeFormat, suffix_format

_ANY_PICTURE = "image"
_FEWEST_CLASSES = 2
_PICTURES = (VolumeFormat.PNG, VolumeFormat.JPEG)


class ImageOptions(TypedDict):
    """How labelled images are described; for the meanings see `create_image_manifest`."""

    name: NotRequired[str | None]
    labels: NotRequired[Mapping[int, str] | None]
    modality: NotRequired[Sequence[str]]
    patient: NotRequired[str | None]
    checksums: NotRequired[bool]
    ask: NotRequired[Ask | None]
    blank: NotRequired[Blank]


def create_image_manifest(
    folder: Path, target: ImageTarget | None, table: Path | None = None, **options: Unpack[ImageOptions]
) -> CreatedManifest:
    """Describe a folder of images with one class or findings.

    Args:
        folder: of the data set; the manifest's paths begin there.
        target: "class" or "findings"; None for the one that the table tells.
        table: a CSV that labels images; None for the only one in the folder that does, else for class folders.
        **options: `name` of the data set (default: the folder's name). `labels`: value -> name; the names and their
            order or, where classes are numbers, the meaning of the numbers. `modality`: one text. `patient`: template
            of the case ids, such as `*-{patient}-*`. `checksums`: add every file's SHA-256. `ask`: asks the user for
            missing information. `blank`: meaning of an empty field of a finding, "absent" or "unknown".

    Raises:
        SegpipeError: as `images_of_class_folders`, `images_of_table` and `category_names`; no image is left to train
            on; an image has two labels; findings have no table; or the template does not match every case.
    """
    if not folder.is_dir():
        raise SegpipeError(f"{folder}: no such folder; give the one that holds the data set")
    files = image_files(folder)
    layout = _layout(folder, files, target, table, options.get("blank", "absent"))
    images = with_case_ids(layout.images, str(folder))
    images, part_notes = _with_usable_parts(images, str(folder))
    what = "class" if layout.target == "class" else "finding"
    names = category_names(layout.names, options.get("labels"), what, str(folder), options.get("ask"))
    _require_enough(list(names.values()), layout.target, str(folder))
    copied = refuse_copies_in_two_classes(copies(images, folder), str(folder))
    images, source, patient_warnings = _with_patients(images, options.get("patient"), layout.patients_from)
    training = [one for one in images if one.classes is not None and one.part != "test"]
    test = [one for one in images if one.classes is None or one.part == "test"]
    modality, modality_notes = _modality(options.get("modality", ()), images, folder, options.get("ask"))
    folds = {one.fold for one in training}
    manifest = Manifest(
        name=options.get("name") or folder.resolve().name.strip(),
        modality=(modality,),
        labels=dict(enumerate(names.values())),
        target=layout.target,
        training=tuple(_case(one, names, with_fold=None not in folds) for one in training),
        test=tuple(_case(one, names, with_fold=False) for one in test),
        dataset_dir=str(folder.resolve()),
        patients=f"from {source}" if source else UNKNOWN_PATIENTS,
        splits=own_split(
            [one.case for one in training if one.part != "validation"],
            [one.case for one in training if one.part == "validation"],
        ),
    )
    require_text([manifest.name, *manifest.modality, *manifest.labels.values()])
    if options.get("checksums", True):
        manifest = with_checksums(manifest, folder)
    parse_manifest(manifest.to_json(), str(folder))
    counts = class_counts(images, layout.names)
    notes = [*layout.notes, *part_notes, *modality_notes, *_notes(manifest, images, folds)]
    warnings = [
        *layout.warnings,
        *lookalikes(counts),
        *copied,
        *patient_warnings,
        *_shared_warnings(manifest),
    ]
    return CreatedManifest(manifest, layout.what, notes, warnings, source)


def _layout(
    folder: Path, files: ImageFiles, target: ImageTarget | None, table: Path | None, blank: Blank
) -> ImageLayout:
    if table is not None:
        return images_of_table(table, files, target=target, blank=blank)
    tables = label_tables_in(folder, files)
    if len(tables.listed) > 1:
        raise SegpipeError(
            f"{folder}: {shown(path.name for path in tables.listed)} all label images; choose one with --csv, or make "
            "them one table with a column split (train, validation, test)"
        )
    if tables.listed:
        return images_of_table(tables.listed[0], files, target=target, blank=blank)
    reasons = [*tables.unreadable, *tables.unlabelled.values()]
    if reasons and (target == "findings" or not class_folders([*files.images, *files.unread]).images):
        raise SegpipeError(reasons[0])
    if target == "findings":
        raise SegpipeError(
            f"{folder}: no table there has columns image and findings, or one column a finding; give one with --csv"
        )
    layout = images_of_class_folders(folder, files)
    return replace(
        layout,
        notes=[
            *layout.notes,
            *(f"{path.name} has no labels, the class folders count" for path in tables.unlabelled),
        ],
        warnings=[
            *layout.warnings,
            *(f"a table beside the class folders is not used: {one}" for one in tables.unreadable),
        ],
    )


def _require_enough(names: Sequence[str], target: ImageTarget, where: str) -> None:
    """Refuse a single class, or no finding; one finding is enough, since an image has it or not."""
    if not names and target == "findings":
        raise SegpipeError(
            f"{where}: no image has a finding; needs one at least: give images that have it and images without it"
        )
    if len(names) < _FEWEST_CLASSES and target == "class":
        raise SegpipeError(
            f"{where}: has the one class {shown(names) or '(none)'}; needs two at least: where an image has it or "
            "not, give a column class with two names, or a column findings"
        )


def _with_usable_parts(images: Sequence[LabelledImage], where: str) -> tuple[list[LabelledImage], list[str]]:
    """Return the images without a part that all labelled images share; refuse images that are all held out."""
    labelled = {one.part for one in images if one.classes is not None}
    if not labelled:
        raise SegpipeError(
            f"{where}: none of {counted(len(images), 'image')} has a label; fill in the labels"
        )
    if labelled in ({"train"}, {"validation"}, {"test"}):
        (shared,) = labelled
        kept = [replace(one, part="") if one.classes is not None else one for one in images]
        note = f"every labelled image belongs to the part {shared}; all are used to train on"
        return kept, [note] if shared != "train" else []
    if labelled <= {"validation", "test"}:
        raise SegpipeError(
            f"{where}: every labelled image is for {' or '.join(sorted(labelled))}, none to train on; give a folder or "
            "table that also holds training images"
        )
    return list(images), []


def _with_patients(
    images: Sequence[LabelledImage], template: str | None, source: str
) -> tuple[list[LabelledImage], str, list[str]]:
    """Return the images with patients by the template or of the layout, what tells them, and warnings."""
    images = list(images)
    if template is not None:
        of_case = patients_by_template([one.case for one in images], template)
        images = [replace(one, patient=of_case[one.case]) for one in images]
        source = f"the template {template}"
    patients = {one.patient for one in images}
    warnings = []
    if len(images) > 1 and len(patients) == 1 and None not in patients:
        warnings.append(
            f"all {len(images)} images have the one patient {patients.pop()}, by {source}: no image can be held out; "
            "correct --patient or the table"
        )
    return images, source if patients - {None} else "", warnings


def _modality(
    given: Sequence[str], images: Sequence[LabelledImage], folder: Path, ask: Ask | None
) -> tuple[str, list[str]]:
    """Return what the images are; pictures of an unknown modality are called image, with a note."""
    if len(given) > 1:
        raise SegpipeError(
            f"--modality is given {len(given)} times; an image to classify is one file: give one"
        )
    text = given[0].strip() if given else ""
    if given and not text:
        raise SegpipeError("--modality is empty; say what the images are, such as OCT or X-ray")
    if text:
        return text, []
    if ask is not None:
        return ask(
            "What are the images? (OCT, X-ray, microscopy, ...)", _ANY_PICTURE
        ).strip() or _ANY_PICTURE, []
    formats = {suffix_format(Path(one.image)) for one in images}
    if all(one is not None and one[0] in _PICTURES for one in formats):
        return _ANY_PICTURE, [f"the modality is called {_ANY_PICTURE}; --modality OCT, or X-ray, names it"]
    raise SegpipeError(
        f"{folder}: does not say what the images are; add --modality CT, or X-ray, or what else they are"
    )


def _case(one: LabelledImage, names: Mapping[str, str], *, with_fold: bool) -> Case:
    """Return a case with names in the order of the manifest."""
    present, unknown = set(one.classes or ()), set(one.unknown)
    return Case(
        one.case,
        (one.image,),
        patient=one.patient,
        fold=one.fold if with_fold else None,
        classes=tuple(name for found, name in names.items() if found in present),
        unknown=tuple(name for found, name in names.items() if found in unknown),
    )


def _notes(manifest: Manifest, images: Sequence[LabelledImage], folds: set[int | None]) -> list[str]:
    notes = own_split_note(manifest)
    unlabelled = sum(one.classes is None for one in images)
    if unlabelled:
        notes.append(f"{counted(unlabelled, 'image')} without a label: listed under test, never trained on")
    if len(folds) > 1 and None in folds:
        notes.append("some images to train on have no fold in the table, so no fold is taken from it")
    unknown = [case.case for case in manifest.training if case.patient is None]
    if unknown:
        which = (
            "all images"
            if len(unknown) == len(manifest.training)
            else f"{counted(len(unknown), 'image')} ({shown(unknown)})"
        )
        notes.append(
            f"the patient of {which} is unknown, so each of them counts as one patient: if images share a patient, "
            "give --patient, such as --patient '*-{patient}-*', or this patient may both train and validate"
        )
    return notes


def _shared_warnings(manifest: Manifest) -> list[str]:
    """Return a warning on patients with images on two sides of the folder's own division."""
    warnings = []
    shared = shared_patients(manifest)
    if shared:
        warnings.append(
            f"{counted(len(shared), 'patient')} with images both to train on and to test ({shown(shared)}): a training "
            "is refused; remove their images from one side"
        )
    for name, split in manifest.splits.items():
        of_case = {case.case: case.patient for case in manifest.training}
        sides = [{of_case[case] for case in side} - {None} for side in (split.train, split.validation)]
        both = sorted(str(patient) for patient in sides[0] & sides[1])
        if both:
            warnings.append(
                f"{counted(len(both), 'patient')} with images both to train on and to validate with ({shown(both)}): a "
                f"training with --fold {name} is refused; make folds with segpipe data split"
            )
    return warnings
