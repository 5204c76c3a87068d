"""Images in a folder a class, with or without train, val and test above (the layout of OCT2017)."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from segpipe.dataset.folder_patients import folder_patients
from segpipe.dataset.importing.class_folder_checks import (
    refuse_other_parts,
    require_classes,
    warnings_on_inner_folders,
    warnings_on_parts,
)
from segpipe.dataset.importing.folder_classes import ClassFolders, class_folders, inner_folders
from segpipe.dataset.importing.found_cases import name_of
from segpipe.dataset.importing.image_files import ImageFiles
from segpipe.dataset.importing.labelled_images import ImageLayout, LabelledImage, refuse_names_in_two_classes
from segpipe.dataset.importing.name_words import says_label
from segpipe.errors import SegpipeError, counted, shown

_NAMED = re.compile(r"(.+)-([0-9]+)-[0-9]+")  # CLASS-PATIENT-N, as OCT2017 has
_MOST_LOOSE = 0.1  # share of images outside of class folders, beyond which they are warned of


def images_of_class_folders(folder: Path, files: ImageFiles) -> ImageLayout:
    """Read the images of a folder with one folder a class.

    Args:
        folder: of the data set.
        files: its image files.

    Raises:
        SegpipeError: no folder is a class, there is one class only, a class has no image, a class has no image to train
            on, or an image of one name is in two classes.
    """
    label_maps = _label_maps(files.images)
    found = class_folders([path for path in files.images if path not in label_maps])
    require_classes(found, folder, files)
    refuse_other_parts(found, folder)
    images = [LabelledImage("", path, (name.strip(),), part=part) for path, part, name, _ in found.images] + [
        LabelledImage("", path, None, part="test") for path in found.unlabelled
    ]
    refuse_names_in_two_classes(images, str(folder))
    patients, source = _patients(found, str(folder))
    images = [
        LabelledImage(one.case, one.image, one.classes, patient=patients.get(one.image), part=one.part)
        for one in images
    ]
    notes = []
    many_loose = len(found.loose) > _MOST_LOOSE * len(files.images)
    if found.unlabelled:
        notes.append(
            f"{counted(len(found.unlabelled), 'test image')} without a class: {shown(found.unlabelled)}"
        )
    for what, paths in (
        ("label maps by their names", sorted(label_maps)),
        ("in no class folder", found.loose if not many_loose else ()),
        ("of no image format", files.ignored),
    ):
        if paths:
            notes.append(f"{counted(len(paths), 'file')} ignored, {what}: {shown(paths)}")
    names = tuple(dict.fromkeys(name.strip() for name in found.names))
    what = "a folder a class" if not any(one.part for one in images) else "a folder a class, in parts"
    warnings = [*warnings_on_parts(found), *warnings_on_inner_folders(found, known=bool(source))]
    if files.unread:
        warnings.append(
            f"{counted(len(files.unread), 'image')} ignored, in a format that segpipe does not read: "
            f"{shown(files.unread)}; convert to PNG"
        )
    if many_loose:
        warnings.append(
            f"{counted(len(found.loose), 'image')} ignored, in no class folder: {shown(found.loose)}; move them into "
            "one, or give the folder that holds the class folders"
        )
    return ImageLayout(what, "class", names, images, notes, warnings, source)


def _label_maps(paths: Sequence[str]) -> frozenset[str]:
    """Return the files with a word for a label map in their names; none where all files have one."""
    named = frozenset(path for path in paths if says_label(name_of(path)))
    return named if len(named) < len(paths) else frozenset()


def _patients(found: ClassFolders, where: str) -> tuple[dict[str, str], str]:
    """Return path -> patient, and what tells the patients: names `CLASS-PATIENT-N`, or folders below the classes.

    Raises:
        SegpipeError: most names are `CLASS-PATIENT-N`, and some of them name another class than their folder.
    """
    spelled = {name.strip().casefold(): name.strip() for name in found.names}
    matches = {path: _NAMED.fullmatch(name_of(path)) for path, *_ in found.images}
    said = {
        path: (spelled[match[1].casefold()], match[2])
        for path, match in matches.items()
        if match is not None and match[1].casefold() in spelled
    }
    if len(said) > len(found.images) / 2:
        other = [
            f"{path} ({said[path][0]})"
            for path, _, name, _ in found.images
            if path in said and said[path][0].casefold() != name.strip().casefold()
        ]
        if other:
            raise SegpipeError(
                f"{where}: {counted(len(other), 'image')} named CLASS-PATIENT-N in the folder of another class: "
                f"{shown(other)}; move each to the right folder, or rename it"
            )
        return {path: patient for path, (_, patient) in said.items()}, "the names CLASS-PATIENT-N"
    if all(below for *_, below in found.images) and not inner_folders(found):
        below = {path: "/".join((*folders, name_of(path))) for path, _, _, folders in found.images}
        patients = folder_patients(below)
        if 1 < len(set(patients.values())) < len(patients):
            return patients, "the folder of the image"
    return {}, ""
