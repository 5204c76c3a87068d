"""Divide a manifest's cases by their image content and classes, and count cases and classes of each part."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from segpipe.dataset.folder_patients import folder_patients
from segpipe.dataset.folds import with_folds, with_split
from segpipe.dataset.image_examination import image_hashes_of_tests, require_valid_images
from segpipe.dataset.integrity import content_hashes_of_tests, require_valid
from segpipe.dataset.leaks import Side, refuse_leaks, side_of_test_list, sides_of_folds, sides_of_split
from segpipe.dataset.manifest import Case, Manifest
from segpipe.dataset.reports import CaseFacts
from segpipe.dataset.stratification import groups_of_cases
from segpipe.errors import SegpipeError, counted, shown
from segpipe.labels import same_name

_NOT_STRATIFIED = (
    "not stratified: the folder of the files is not known (--dataset-dir), so a part may lack a class"
)
_ANY_WINDOW = (-32768.0, 65535.0)  # holds every 16-bit value: pixels are only compared here
_WHOLES = (10, 100)  # sums of shares in tenths and in per cent


@dataclass(frozen=True)
class Part:
    """One part of a division.

    Attributes:
        name: such as "fold 0" or "train".
        cases: number of cases.
        patients: number of patients; a case of an unknown patient counts as one.
        cases_with: foreground class -> how many of the cases have it; empty where label maps were not read.
    """

    name: str
    cases: int
    patients: int
    cases_with: Mapping[str, int]


@dataclass(frozen=True)
class Division:
    """A manifest with a division of its cases.

    Attributes:
        manifest: with folds, or with one more split.
        parts: counts of each part.
        notes: remarks on the division for the user.
    """

    manifest: Manifest
    parts: Sequence[Part]
    notes: Sequence[str]


def divide_manifest(
    manifest: Manifest,
    dataset_dir: Path | None,
    *,
    num_folds: int | None = None,
    shares: Mapping[str, int] | None = None,
    name: str = "holdout",
    seed: int = 0,
    keep_folders: bool = True,
) -> Division:
    """Divide a manifest's training cases into folds or into one split; patients and image contents are not divided.

    Args:
        manifest: its training cases are divided.
        dataset_dir: folder of its files. The files are checked, every part gets every class where possible, and cases
            with equal image content stay together. None uses the manifest alone: its checksums, and its classes where
            its target is class or findings.
        num_folds: number of folds; None for one split by `shares`.
        shares: of train, validation and test, such as 84 and 16; numbers of cases, if their sum is the number of
            training cases.
        name: of the split by `shares`.
        seed: the same seed gives the same division.
        keep_folders: if the manifest has no patient at all, keep the cases of a folder together, see
            `segpipe.dataset.folder_patients`.

    Raises:
        SegpipeError: both or none of folds and shares are given, the manifest has the split already, a training case is
            also a test case, there are more parts than folders to keep together, or as `require_valid` and
            `segpipe.dataset.stratification.divided`.
    """
    if (num_folds is None) == (shares is None):
        raise SegpipeError("split: give either --folds, or --train with --test or --validation")
    if shares is not None and name in manifest.splits:
        raise SegpipeError(f"{manifest.name}: has a split {name} already; choose another --name")
    given = manifest
    folders = _folders(manifest) if keep_folders else {}
    parts_asked = num_folds or sum(map(bool, (shares or {}).values()))
    if folders:
        if len(set(folders.values())) < parts_asked:
            raise SegpipeError(
                f"{manifest.name}: {parts_asked} parts asked for, but patients are unknown and the cases lie in "
                f"{len(set(folders.values()))} folders, which stay together; make fewer parts, give patients in the "
                "manifest, or let a split divide folders with --ignore-folders"
            )
        training = tuple(replace(case, patient=folders[case.case]) for case in manifest.training)
        manifest = replace(manifest, training=training)
    present, contents = _classes_and_contents(manifest, dataset_dir)
    tested = _hashes_of_tests(manifest, dataset_dir)
    notes = [] if present is not None else [_NOT_STRATIFIED]
    notes += _kept_together(manifest.training, contents)
    if num_folds is not None:
        divided = with_folds(manifest, num_folds, seed, present, contents)
        sides = sides_of_folds(divided)
        titles = [side.name for side in sides]
    else:
        wanted = {part: share for part, share in (shares or {}).items() if share}
        divided = with_split(manifest, name, wanted, seed, present, contents)
        sides = [side for side in sides_of_split(divided, name) if side.cases]
        titles = list(wanted)
        notes += _notes_on_sizes(wanted, [len(side.cases) for side in sides])
    ids = [case.case for case in manifest.training]
    content_of = dict(zip(ids, contents or (), strict=False))
    refuse_leaks(manifest.name, sides, content_of)
    listed = [Side("training", "train", manifest.training), side_of_test_list(manifest)]
    refuse_leaks(manifest.name, listed, {**content_of, **tested})
    classes = None if present is None else dict(zip(ids, present, strict=True))
    names = class_names(manifest)
    parts = [part_of(title, side.cases, classes, names) for title, side in zip(titles, sides, strict=True)]
    lacking = sorted({name for part in parts for name, count in part.cases_with.items() if not count})
    notes += _notes_on_patients(manifest, len(parts))
    if lacking and manifest.target == "mask":
        notes.append(f"too few patients have {shown(lacking)} for every part to have one")
    if folders:
        notes.append(
            f"patients are unknown: the cases of each of {len(set(folders.values()))} folders stay together "
            "(--ignore-folders lets a split divide folders)"
        )
        training = tuple(
            replace(case, patient=before.patient)
            for case, before in zip(divided.training, given.training, strict=True)
        )
        divided = replace(divided, training=training)
    elif any(case.patient is None for case in manifest.training):
        notes.append("some patients are unknown: each of their cases counts as a patient of its own")
    return Division(divided, parts, notes)


def _folders(manifest: Manifest) -> dict[str, str]:
    """Return case -> folder where no patient is known and folders have several cases; else an empty dict.

    Folders of other targets than label maps are often classes.
    """
    if manifest.target != "mask" or any(
        case.patient is not None for case in (*manifest.training, *manifest.test)
    ):
        return {}
    folders = folder_patients({case.case: case.images[0] for case in manifest.training})
    return folders if len(set(folders.values())) < len(folders) else {}


def class_names(manifest: Manifest) -> tuple[str, ...]:
    """Return the classes that are counted per case: for label maps all except the background."""
    if manifest.target == "mask":
        return manifest.label_table().foreground_names
    return tuple(manifest.labels.values())


def present_classes(manifest: Manifest, case: Case, facts: CaseFacts | None) -> frozenset[str]:
    """Return the classes of a case: from its label map or, for the targets class and findings, from the manifest.

    Args:
        manifest: of the case.
        case: of the manifest.
        facts: of its files; needed for label maps.
    """
    if manifest.target == "mask":
        voxels = facts.class_voxels if facts is not None else {}
        return frozenset(name for name in class_names(manifest) if voxels.get(name))
    given = set(map(same_name, case.classes))
    return frozenset(name for name in class_names(manifest) if same_name(name) in given)


def part_of(
    name: str, cases: Sequence[Case], classes: Mapping[str, frozenset[str]] | None, names: Sequence[str]
) -> Part:
    """Count the cases of a part.

    Args:
        name: of the part.
        cases: in it.
        classes: case id -> its classes; None where they are not known.
        names: of the classes to count.
    """
    patients = {(case.patient is None, case.patient or case.case) for case in cases}
    counts = (
        {} if classes is None else {one: sum(one in classes[case.case] for case in cases) for one in names}
    )
    return Part(name, len(cases), len(patients), counts)


def _classes_and_contents(
    manifest: Manifest, dataset_dir: Path | None
) -> tuple[list[frozenset[str]] | None, list[str] | None]:
    """Return the classes of each training case and the hash of its image content; None where they are not known."""
    if manifest.target != "mask":
        present = [present_classes(manifest, case, None) for case in manifest.training]
        if dataset_dir is None:
            return present, None
        images = require_valid_images(manifest.training, dataset_dir, manifest, window=_ANY_WINDOW)
        return present, [report.facts.content_sha256 for report in images if report.facts is not None]
    if dataset_dir is None:
        return None, None
    reports = require_valid(manifest.training, dataset_dir, manifest, manifest.label_table())
    present = [
        present_classes(manifest, case, report.facts)
        for case, report in zip(manifest.training, reports, strict=True)
    ]
    return present, [report.facts.content_sha256 for report in reports if report.facts is not None]


def _hashes_of_tests(manifest: Manifest, dataset_dir: Path | None) -> dict[str, str]:
    """Return test case -> hash of its image content, for those that can be read."""
    if dataset_dir is None:
        return {}
    if manifest.target != "mask":
        return image_hashes_of_tests(manifest, dataset_dir, window=_ANY_WINDOW)
    return content_hashes_of_tests(manifest, dataset_dir)


def _notes_on_patients(manifest: Manifest, parts: int) -> list[str]:
    """Return a note on the classes or findings that have fewer patients than there are parts, with the numbers."""
    if manifest.target == "mask":
        return []
    few = []
    for name in class_names(manifest):
        cases = [case for case in manifest.training if name in present_classes(manifest, case, None)]
        patients = {(case.patient is None, case.patient or case.case) for case in cases}
        if len(patients) < parts:
            few.append(f"{name} ({counted(len(cases), 'image')} of {counted(len(patients), 'patient')})")
    if not few:
        return []
    what = "class" if manifest.target == "class" else "finding"
    return [
        f"fewer patients than the {parts} parts: {shown(few)}; a score of such a {what} in a part without it is empty: "
        "make fewer parts, or add images of other patients"
    ]


def _notes_on_sizes(wanted: Mapping[str, int], made: Sequence[int]) -> list[str]:
    """Return a note where parts have other sizes than asked for, or where shares may have been meant as numbers."""
    asked, total = list(wanted.values()), sum(made)
    cases = ", ".join(f"{count} {part}" for count, part in zip(made, wanted, strict=True))
    if sum(asked) == total:
        return [f"cases that belong together stay together: {cases}"] if list(made) != asked else []
    if sum(asked) in _WHOLES:
        return []
    listed = " and ".join(map(str, asked))
    return [
        f"{listed} are taken as shares, since they do not add up to the {total} training cases: {cases}; give numbers "
        "that do, for just so many cases"
    ]


def _are_frames(cases: Sequence[Case]) -> bool:
    """Return whether cases are different time frames of one image."""
    return len({case.images for case in cases}) == 1 and len({case.frame for case in cases}) == len(cases)


def _kept_together(cases: Sequence[Case], contents: Sequence[str] | None) -> list[str]:
    """Return a note on cases with the same image, by path, by the manifest's checksums or by image content."""
    groups = groups_of_cases([replace(case, patient=None) for case in cases], contents)
    same = [
        shown((cases[position].case for position in group), " and ")
        for group in groups
        if len(group) > 1 and not _are_frames([cases[position] for position in group])
    ]
    return (
        [f"several cases have the same image content and stay together: {shown(same, '; ')}"] if same else []
    )
