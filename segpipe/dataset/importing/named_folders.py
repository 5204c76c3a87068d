"""Folders without a description or a table, whose cases are told by the names of files and folders alone."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path

from segpipe.dataset.importing.found_cases import FoundCase, require_text
from segpipe.dataset.importing.name_words import says_label
from segpipe.dataset.importing.pairing import pairs_by_words
from segpipe.errors import SegpipeError, counted, shown
from segpipe.volumes import FoundScans, Scan, VolumeFormat, find_label_objects, look_for_scans
from segpipe.volumes.formats import KNOWN_FORMATS

_SERIES, _PICTURES = "DICOM", "PNG or JPEG"
_FAMILIES = {
    VolumeFormat.NIFTI: "NIfTI",
    VolumeFormat.NIFTI_GZ: "NIfTI",
    VolumeFormat.MHD: "MetaImage",
    VolumeFormat.MHA: "MetaImage",
    VolumeFormat.NRRD: "NRRD",
    VolumeFormat.SEG_NRRD: "NRRD",
    VolumeFormat.PNG: _PICTURES,
    VolumeFormat.JPEG: _PICTURES,
    VolumeFormat.DICOM: _SERIES,
}


def cases_by_names(folder: Path) -> tuple[list[FoundCase], list[str]]:
    """Pair the images and label maps of a folder by their names, and say which files are passed over.

    Images are of one format and label maps of one, which may be another. Pictures beside volumes, such as screen shots,
    are passed over where the volumes alone make cases and no picture is named as a label map.

    Raises:
        SegpipeError: no scan there, a file that cannot be opened, a scan in two formats, formats that do not go
            together, DICOM segmentations, or as `pairs_by_words`.
    """
    found = look_for_scans(folder)
    closed = [refused.reason for refused in found.refused if not refused.is_unread_format]
    if closed:
        raise SegpipeError(shown(closed, "; "))
    notes = _notes(found)
    if not found.scans:
        said = f"; {'; '.join(notes)}" if notes else ""
        raise SegpipeError(f"{folder}: no scan there{found.why_none}; segpipe reads {KNOWN_FORMATS}{said}")
    path_of = {scan: scan.path.relative_to(folder).as_posix() for scan in found.scans}
    require_text(path_of.values())
    pictures = [scan for scan in found.scans if scan.format.is_2d_format]
    volumes = [scan for scan in found.scans if not scan.format.is_2d_format]
    if pictures and volumes and not any(says_label(scan.name) for scan in pictures):
        try:
            cases = _cases(volumes, path_of, folder)
        except SegpipeError:
            _require_one_format(found.scans, folder)
        names = shown(path_of[scan] for scan in pictures)
        return cases, [*notes, f"{counted(len(pictures), 'picture')} beside volumes passed over: {names}"]
    try:
        return _cases(found.scans, path_of, folder), notes
    except SegpipeError as error:
        unread = [refused.reason for refused in found.refused]
        if not unread:
            raise
        raise SegpipeError(f"{error}; not read: {shown(unread, '; ')}") from error


def _notes(found: FoundScans) -> list[str]:
    notes = []
    if found.passed_over:
        notes.append(
            f"{counted(len(found.passed_over), 'file')} passed over, no scan: {shown(found.passed_over)}"
        )
    if found.refused:
        reasons = shown((refused.reason for refused in found.refused), "; ")
        notes.append(f"{counted(len(found.refused), 'image')} not read: {reasons}")
    return notes


def _cases(scans: Sequence[Scan], path_of: Mapping[Scan, str], folder: Path) -> list[FoundCase]:
    """Return the cases of some scans, of which images have one format, and label maps one."""
    _refuse_twins(scans, path_of, folder)
    family_of = {path_of[scan]: _FAMILIES[scan.format] for scan in scans}
    found = set(family_of.values())
    if len(found) > 2 or (len(found) == 2 and _PICTURES in found):
        _require_one_format(scans, folder)
    try:
        cases = pairs_by_words([(_spoken(scan), path_of[scan]) for scan in scans], str(folder))
    except SegpipeError as error:
        objects = find_label_objects(folder) if _SERIES in found else []
        if objects:
            names = shown(path.relative_to(folder).as_posix() for path in objects)
            raise SegpipeError(
                f"{folder}: {names}: segmentations and structure sets of DICOM are not read; convert each to a label "
                "map in NIfTI (dcmqi's segimage2itkimage --mergeSegments, plastimatch convert) and lay it beside its "
                "series as NAME_mask.nii.gz"
            ) from error
        if _SERIES not in found:
            _require_one_format(scans, folder)
        raise
    images = {family_of[image] for case in cases for image in case.images}
    labels = {family_of[case.label] for case in cases if case.label is not None}
    if len(images) > 1 or len(labels) > 1 or (len(found) > 1 and _SERIES in labels):
        _require_one_format(scans, folder)
    return cases


def _spoken(scan: Scan) -> str:
    """Return a scan's name as its words are read: c0.seg.nrrd is a label map."""
    return f"{scan.name}.seg" if scan.format is VolumeFormat.SEG_NRRD else scan.name


def _refuse_twins(scans: Sequence[Scan], path_of: Mapping[Scan, str], folder: Path) -> None:
    """Refuse files that differ in their suffix alone: which of the two counts cannot be told."""
    paths: dict[str, list[str]] = defaultdict(list)
    for scan in scans:
        paths[_spoken(scan)].append(path_of[scan])
    twins = [" and ".join(own) for own in paths.values() if len(own) > 1]
    if twins:
        raise SegpipeError(
            f"{folder}: {shown(twins, '; ')}: one name in several formats; which of them counts? Move the others "
            "away, or say which are images and which label maps with --image and --label"
        )


def _require_one_format(scans: Sequence[Scan], folder: Path) -> None:
    """Refuse volumes and pictures, or two kinds of volumes, side by side: the folder holds two sets, or a stray."""
    families = [_FAMILIES[scan.format] for scan in scans]
    counts = Counter(families).most_common()
    if len(counts) > 1:
        found = ", ".join(f"{count} {family}" for family, count in counts)
        strays = [scan.name for scan, family in zip(scans, families, strict=True) if family == counts[-1][0]]
        raise SegpipeError(
            f"{folder}: holds scans of several formats, {found}: {shown(strays)}; convert them, move what is of "
            "another set away, or say which files are which with --image and --label"
        )
