"""DICOM series whose labels are Segmentations or structure sets: one label map for each series, written as NIfTI."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path, PurePosixPath

import numpy as np
import numpy.typing as npt

from segpipe.dataset.importing.found_cases import FoundCase, Layout, with_parts
from segpipe.dataset.progress import with_progress
from segpipe.errors import SegpipeError, counted, shown
from segpipe.files import require_writable
from segpipe.labels import same_name
from segpipe.volumes import (
    IGNORED_MARK,
    Grid,
    Scan,
    VolumeFormat,
    find_label_objects,
    read_volume,
    write_label_map,
)
from segpipe.volumes.label_objects import (
    LabelObject,
    SeriesPlace,
    belongs_to,
    masks_of,
    read_label_object,
    series_place,
)

LABELS_FOLDER = "dicom_labels"
"""Folder below the data set's folder that gets the label maps."""
_MOST_CLASSES = 255
_MODALITIES = {"CT": "CT", "MR": "MRI", "PT": "PET"}  # DICOM's Modality -> a manifest's


@dataclass(frozen=True)
class DicomLabels:
    """Choice of the labels in DICOM segmentations and structure sets.

    Attributes:
        convert: write label maps below the data set's folder; False refuses with the name of the option.
        rois: patterns of the segments or regions of interest to use, as `NAME=PATTERN`, or PATTERN, which keeps their
            names; `*` and `?` as in file names, upper and lower case alike. The first that fits counts. Empty for all.
    """

    convert: bool = False
    rois: tuple[str, ...] = ()

    @property
    def options(self) -> list[str]:
        """The options of the command line that the user gave."""
        return [*(["--convert-dicom"] if self.convert else []), *(["--roi"] if self.rois else [])]


NO_DICOM_LABELS = DicomLabels()
"""No option of the user."""


@dataclass(frozen=True)
class _Labelled:
    """A series with its label object, and the numbers of the object that make each class."""

    place: SeriesPlace
    labels: LabelObject
    numbers: Mapping[str, Sequence[int]]


def dicom_label_layout(
    folder: Path,
    scans: Sequence[tuple[Scan, str]],
    dicom: DicomLabels,
    classes: Mapping[int, str] | None = None,
) -> Layout | None:
    """Return the cases of a folder of DICOM series with Segmentations or structure sets; None for other folders.

    An object belongs to the series whose UID it states, wherever its file lies below the folder. Where classes overlap,
    the class with the larger value counts.

    Args:
        folder: of the data set.
        scans: all scans below the folder with their paths.
        dicom: choice of the labels.
        classes: stored value -> class name; None: 1, 2, ... in the order of `dicom.rois`, then of the alphabet.

    Raises:
        SegpipeError: `dicom.convert` is False; two objects belong to one series, or an object to none; no region
            of interest of a series is chosen; or an error of `masks_of`.
    """
    if not scans or any(scan.format is not VolumeFormat.DICOM for scan, _ in scans):
        return None
    paths = find_label_objects(folder)
    if not paths:
        return None
    places = {path: series_place(scan.path) for scan, path in scans}
    of_series = _of_series(paths, places, folder)
    patterns = [_pattern(text) for text in dicom.rois]
    labelled = {
        path: _Labelled(places[path], labels, _chosen(labels, patterns)) for path, labels in of_series.items()
    }
    order = _order(labelled.values(), patterns, classes, folder)
    _require_option(folder, order, labelled, write=dicom.convert)
    ids = _case_ids([path for _, path in scans], folder)
    target = folder / LABELS_FOLDER
    require_writable(target)
    written = _write_maps(labelled, order, ids, target)
    notes = [*_notes(folder, order, labelled, ids), *written]
    cases = [
        FoundCase(
            ids[path], (path,), ("",), f"{LABELS_FOLDER}/{ids[path]}.nii.gz" if path in labelled else None
        )
        for _, path in scans
    ]
    cases, part_notes = with_parts(cases, str(folder))
    return Layout(
        "DICOM series with segmentations or structure sets",
        cases,
        {0: "background", **order},
        modality=_modality(places.values()),
        notes=[*notes, *part_notes],
    )


def _of_series(
    paths: Sequence[Path], places: Mapping[str, SeriesPlace], folder: Path
) -> dict[str, LabelObject]:
    """Return series' path -> its label object."""
    path_of = {place.folder: path for path, place in places.items()}
    of_series: dict[str, LabelObject] = {}
    for path in paths:
        labels = read_label_object(path)
        series = path_of[belongs_to(labels, list(places.values())).folder]
        other = of_series.setdefault(series, labels)
        if other is not labels:
            raise SegpipeError(
                f"{folder}: {other.path.relative_to(folder)} and {path.relative_to(folder)} are both labels of the "
                f"series {series}, and only one can be its label map; move the other to another folder"
            )
    return of_series


def _pattern(text: str) -> tuple[str, str]:
    """Return class name, empty where the names stay, and pattern."""
    name, equals, pattern = text.partition("=")
    if not equals:
        name, pattern = "", text
    if not pattern.strip() or (equals and not name.strip()):
        raise SegpipeError(f"--roi {text}: must be PATTERN or NAME=PATTERN, such as --roi 'tumour=GTV*'")
    return name.strip(), pattern.strip()


def _chosen(labels: LabelObject, patterns: Sequence[tuple[str, str]]) -> dict[str, list[int]]:
    """Return class -> numbers of the segments or regions of interest that make it."""
    chosen: dict[str, list[int]] = {}
    for number, name in labels.numbers.items():
        for class_name, pattern in patterns or [("", "*")]:
            if fnmatchcase(name.casefold(), pattern.casefold()):
                chosen.setdefault(class_name or name, []).append(number)
                break
    if not chosen:
        raise SegpipeError(
            f"{labels.path}: none of its names ({shown(labels.numbers.values())}) fits "
            f"{shown(f'--roi {pattern}' for _, pattern in patterns)}; correct the pattern, or move the series away: "
            "without labels it would count as background"
        )
    return chosen


def _order(
    labelled: Iterable[_Labelled],
    patterns: Sequence[tuple[str, str]],
    classes: Mapping[int, str] | None,
    folder: Path,
) -> dict[int, str]:
    """Return value -> class name, ascending, without the background."""
    names = {same_name(name): name for one in labelled for name in sorted(one.numbers, reverse=True)}
    first = [same_name(name) for name, _ in patterns if same_name(name) in names]
    ordered = [names[key] for key in dict.fromkeys([*first, *sorted(names)])]
    order = dict(enumerate(ordered, 1))
    if classes:
        given = {value: name for value, name in sorted(classes.items()) if same_name(name) != "background"}
        unlike = set(names) ^ {same_name(name) for name in given.values()}
        if unlike or 0 in given:
            raise SegpipeError(
                f"{folder}: --class names {shown(given.values())}, its DICOM labels are {shown(ordered)}; name all of "
                "these with values from 1, or choose with --roi"
            )
        order = {value: names[same_name(name)] for value, name in given.items()}
    if not all(0 < value <= _MOST_CLASSES for value in order):
        raise SegpipeError(
            f"{folder}: the values of its {len(order)} classes go to {max(order)}, must be 1 to {_MOST_CLASSES}; "
            "choose classes with --roi"
        )
    return order


def _require_option(
    folder: Path, order: Mapping[int, str], labelled: Mapping[str, _Labelled], *, write: bool
) -> None:
    if write:
        return
    listed = shown((f"{value} {name}" for value, name in order.items()), most=8)
    raise SegpipeError(
        f"{folder}: has DICOM segmentations or structure sets of {counted(len(labelled), 'case')}, and training "
        f"needs one label map for each; add --convert-dicom to write them to {folder / LABELS_FOLDER}. The classes get "
        f"the values {listed}; where they overlap the larger value counts. --roi NAME=PATTERN chooses, such as --roi "
        "'tumour=GTV*'"
    )


def _case_ids(paths: Sequence[str], folder: Path) -> dict[str, str]:
    """Return series' path -> case id: the parts of its path, without those that all series share."""
    parts = {path: [part for part in PurePosixPath(path).parts if part != "."] for path in paths}
    shared = set.intersection(*(set(one) for one in parts.values())) if len(parts) > 1 else set()
    return {
        path: "_".join(part for part in one if part not in shared) or "_".join(one) or folder.resolve().name
        for path, one in parts.items()
    }


def _merged(
    one: _Labelled, order: Mapping[int, str]
) -> tuple[npt.NDArray[np.uint8], Counter[tuple[str, str]]]:
    """Return the label map of a series, and (earlier, later class) -> number of shared voxels."""
    overlaps: Counter[tuple[str, str]] = Counter()
    merged = np.zeros(one.place.grid.size, np.uint8)
    numbers = {same_name(name): of_class for name, of_class in one.numbers.items()}
    for value, name in order.items():
        if same_name(name) not in numbers:
            continue
        mask = masks_of(one.labels, one.place, numbers[same_name(name)])
        earlier, counts = np.unique(merged[mask], return_counts=True)
        for stored, count in zip(earlier.tolist(), counts.tolist(), strict=True):
            if stored:
                overlaps[order[stored], name] += count
        merged[mask] = value
    return merged, overlaps


def _write_maps(
    labelled: Mapping[str, _Labelled], order: Mapping[int, str], ids: Mapping[str, str], folder: Path
) -> list[str]:
    """Write the label map of each series; return notes on overlaps and on label maps without a class."""
    overlapping, empty, notes = [], [], []
    overlaps: Counter[tuple[str, str]] = Counter()
    for path, one in with_progress(labelled.items(), "Reading DICOM labels", total=len(labelled)):
        merged, of_case = _merged(one, order)
        overlaps += of_case
        overlapping += [ids[path]] if of_case else []
        if merged.any():
            _write(merged, one.place.grid, folder / f"{ids[path]}.nii.gz")
        else:
            empty.append(path)
    if empty:
        listed = shown((str(labelled[path].labels.path) for path in empty), most=2)
        none = (
            f"{listed}: the chosen names enclose no voxel: no contours, contours of fewer than 3 points, or no "
            "frames"
        )
        if len(empty) == len(labelled):
            raise SegpipeError(f"{none}; export the object again, or choose other names with --roi")
        notes.append(f"{none}; these scans count as background")
    for path in empty:
        grid = labelled[path].place.grid
        _write(np.zeros(grid.size, np.uint8), grid, folder / f"{ids[path]}.nii.gz")
    (folder / IGNORED_MARK).touch()
    if overlaps:
        pairs = (f"{later} over {earlier} {count}" for (earlier, later), count in overlaps.most_common())
        notes.append(
            f"classes overlap in {counted(overlaps.total(), 'voxel')} of {shown(overlapping)}; the class with the "
            f"larger value counts: {shown(pairs)}"
        )
    return notes


def _modality(places: Iterable[SeriesPlace]) -> tuple[str, ...] | None:
    """Return the modality that all series state; None where they differ, or for other modalities than these."""
    stated = {place.modality for place in places}
    return (_MODALITIES[stated.pop()],) if len(stated) == 1 and stated <= set(_MODALITIES) else None


def _write(merged: npt.NDArray[np.uint8], grid: Grid, path: Path) -> None:
    """Write a label map; an existing file must be equal, since somebody may have corrected it."""
    if path.exists():
        existing = read_volume(path)
        if existing.grid.matches(grid) and np.array_equal(existing.array, merged):
            return
        raise SegpipeError(
            f"{path}: exists already with other labels; move the folder {path.parent.name} away"
        )
    write_label_map(merged, grid, path)


def _notes(
    folder: Path, order: Mapping[int, str], labelled: Mapping[str, _Labelled], ids: Mapping[str, str]
) -> list[str]:
    listed = shown((f"{value} {name}" for value, name in order.items()), most=8)
    notes = [
        f"wrote the labels of {counted(len(labelled), 'case')} to {folder / LABELS_FOLDER}, with the values {listed}"
    ]
    used = {path: {number for of in one.numbers.values() for number in of} for path, one in labelled.items()}
    left = sorted(
        {
            name
            for path, one in labelled.items()
            for number, name in one.labels.numbers.items()
            if number not in used[path]
        }
    )
    if left:
        notes.append(f"segments and regions of interest that no --roi chooses are left out: {shown(left)}")
    without = [
        ids[path]
        for path, one in labelled.items()
        if one.labels.is_structure_set
        and one.labels.instances
        and not one.labels.instances & set(one.place.instances)
    ]
    if without:
        notes.append(
            f"the structure sets of {shown(without)} name slices that are not in their series; their contours are "
            "placed by position alone"
        )
    return notes
