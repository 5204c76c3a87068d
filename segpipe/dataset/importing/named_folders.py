"""Folders without a description or a table: cases from the names of files and folders alone."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from segpipe.dataset.importing.found_cases import FoundCase, require_text
from segpipe.dataset.importing.modality_names import of_modalities
from segpipe.dataset.importing.name_words import says_label
from segpipe.dataset.importing.pairing import pairs_by_words
from segpipe.errors import SegpipeError, counted, shown
from segpipe.volumes import FoundScans, Scan, VolumeFormat, find_label_objects, look_for_scans
from segpipe.volumes.formats import KNOWN_FORMATS

_SERIES, _FLAT = "DICOM", "PNG or JPEG"
_FAMILIES = {
    VolumeFormat.NIFTI: "NIfTI",
    VolumeFormat.NIFTI_GZ: "NIfTI",
    VolumeFormat.MHD: "MetaImage",
    VolumeFormat.MHA: "MetaImage",
    VolumeFormat.NRRD: "NRRD",
    VolumeFormat.SEG_NRRD: "NRRD",
    VolumeFormat.PNG: _FLAT,
    VolumeFormat.JPEG: _FLAT,
    VolumeFormat.DICOM: _SERIES,
}


def cases_by_names(folder: Path, modalities: Sequence[str] = ()) -> tuple[list[FoundCase], list[str]]:
    """Pair the images and label maps of a folder by their names; return the cases, and notes on ignored files.

    All images have one format, and all label maps have one format, which may be another. 2D image files beside volumes,
    such as screen shots, are ignored where the volumes alone make cases and no 2D image is a label map by its name.

    Args:
        folder: of the data set.
        modalities: such as CT; scans whose names say other modalities are ignored. Empty for all.

    Raises:
        SegpipeError: the folder holds no scan, a file that cannot be opened, a scan in two formats, formats that do
            not fit together, or DICOM segmentations; or as `pairs_by_words`.
    """
    listing = look_for_scans(folder)
    closed = [refused.reason for refused in listing.refused if not refused.is_unread_format]
    if closed:
        raise SegpipeError(shown(closed, "; "))
    notes = _notes(listing)
    if not listing.scans:
        appendix = f"; {'; '.join(notes)}" if notes else ""
        raise SegpipeError(
            f"{folder}: no scan there{listing.why_none}; segpipe reads {KNOWN_FORMATS}{appendix}"
        )
    if modalities:
        kept = of_modalities([scan.name for scan in listing.scans], modalities, str(folder))
        others = [scan for scan, is_kept in zip(listing.scans, kept, strict=True) if not is_kept]
        if others:
            paths = shown(scan.path.relative_to(folder).as_posix() for scan in others)
            notes.append(f"{counted(len(others), 'scan')} of other modalities ignored: {paths}")
        listing = replace(listing, scans=tuple(scan for scan in listing.scans if scan not in others))
    path_of = {scan: scan.path.relative_to(folder).as_posix() for scan in listing.scans}
    require_text(path_of.values())
    flat = [scan for scan in listing.scans if scan.format.is_2d_format]
    volumes = [scan for scan in listing.scans if not scan.format.is_2d_format]
    if flat and volumes and not any(says_label(scan.name) for scan in flat):
        try:
            cases = _cases(volumes, path_of, folder)
        except SegpipeError:
            _require_one_format(listing.scans, folder)
        names = shown(path_of[scan] for scan in flat)
        return cases, [*notes, f"{counted(len(flat), '2D image file')} beside volumes skipped: {names}"]
    try:
        return _cases(listing.scans, path_of, folder), notes
    except SegpipeError as error:
        unread = [refused.reason for refused in listing.refused]
        if not unread:
            raise
        raise SegpipeError(f"{error}; not read: {shown(unread, '; ')}") from error


def _notes(listing: FoundScans) -> list[str]:
    notes = []
    if listing.ignored_files:
        notes.append(
            f"{counted(len(listing.ignored_files), 'file')} ignored, no scan: {shown(listing.ignored_files)}"
        )
    if listing.refused:
        reasons = shown((refused.reason for refused in listing.refused), "; ")
        notes.append(f"{counted(len(listing.refused), 'image')} not read: {reasons}")
    return notes


def _cases(scans: Sequence[Scan], path_of: Mapping[Scan, str], folder: Path) -> list[FoundCase]:
    """Return the cases of some scans; refuse images, or label maps, of several formats."""
    _refuse_twins(scans, path_of, folder)
    family_of = {path_of[scan]: _FAMILIES[scan.format] for scan in scans}
    families = set(family_of.values())
    if len(families) > 2 or (len(families) == 2 and _FLAT in families):
        _require_one_format(scans, folder)
    try:
        cases = pairs_by_words([(_name_with_role(scan), path_of[scan]) for scan in scans], str(folder))
    except SegpipeError as error:
        objects = find_label_objects(folder) if _SERIES in families else []
        if objects:
            names = shown(path.relative_to(folder).as_posix() for path in objects)
            raise SegpipeError(
                f"{folder}: {names}: segmentations and structure sets of DICOM are read where all scans are DICOM "
                "series; move the scans of other formats to another folder"
            ) from error
        if _SERIES not in families:
            _require_one_format(scans, folder)
        raise
    images = {family_of[image] for case in cases for image in case.images}
    labels = {family_of[case.label] for case in cases if case.label is not None}
    if len(images) > 1 or len(labels) > 1 or (len(families) > 1 and _SERIES in labels):
        _require_one_format(scans, folder)
    return cases


def _name_with_role(scan: Scan) -> str:
    """Return a scan's name, with the word seg for the format .seg.nrrd, which is a label map by its suffix."""
    return f"{scan.name}.seg" if scan.format is VolumeFormat.SEG_NRRD else scan.name


def _refuse_twins(scans: Sequence[Scan], path_of: Mapping[Scan, str], folder: Path) -> None:
    """Refuse files that differ only in their suffix, since either could be the one to use."""
    paths: dict[str, list[str]] = defaultdict(list)
    for scan in scans:
        paths[_name_with_role(scan)].append(path_of[scan])
    twins = [" and ".join(same_name) for same_name in paths.values() if len(same_name) > 1]
    if twins:
        raise SegpipeError(
            f"{folder}: {shown(twins, '; ')}: one name in several formats; which of them counts? Move the others "
            "away, or say which are images and which label maps with --image and --label"
        )


def _require_one_format(scans: Sequence[Scan], folder: Path) -> None:
    """Refuse scans of several formats: the folder holds two data sets, or a file that does not belong to it."""
    families = [_FAMILIES[scan.format] for scan in scans]
    counts = Counter(families).most_common()
    if len(counts) > 1:
        formats = ", ".join(f"{count} {family}" for family, count in counts)
        strays = [scan.name for scan, family in zip(scans, families, strict=True) if family == counts[-1][0]]
        raise SegpipeError(
            f"{folder}: holds scans of several formats, {formats}: {shown(strays)}; convert them, move away the "
            "files of another data set, or say which files are which with --image and --label"
        )
