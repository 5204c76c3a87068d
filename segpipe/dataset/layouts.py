"""How a folder of scans and masks is laid out, and what it says of itself: MSD, nnU-Net, a CSV, or names alone."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from segpipe.dataset.decathlon_folders import cases_of_decathlon
from segpipe.dataset.found_cases import (
    FoundCase,
    Layout,
    crossed_names,
    listed_scans,
    require_own_files,
    require_text,
    with_own_ids,
    with_parts,
)
from segpipe.dataset.nnunet_folders import cases_of_nnunet
from segpipe.dataset.pairing import pairs_by_words
from segpipe.dataset.tables import cases_of_table, table_in
from segpipe.dataset.templates import pairs_by_templates
from segpipe.errors import SegpipeError, shown
from segpipe.files import read_json
from segpipe.volumes import Scan, VolumeFormat, find_label_objects

_DESCRIPTION = "dataset.json"
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


def read_layout(
    folder: Path, *, images: Sequence[str] = (), label: str | None = None, table: Path | None = None
) -> Layout:
    """Recognise how a folder is laid out, and list its cases.

    In this order: as the table says, or the templates; by a `dataset.json` of the Medical Segmentation Decathlon or of
    nnU-Net; by the one CSV in the folder that has the columns; by the names of its files and folders.

    Args:
        folder: of the data set.
        images: templates, one a channel, see `segpipe.dataset.templates.pairs_by_templates`.
        label: template of the label maps.
        table: a CSV with the columns image (or several that begin so, one a channel), label and, if known, case,
            patient and split; its paths begin in the folder.

    Raises:
        SegpipeError: no such folder, nothing in it, a table or description that cannot be read or that names files that
            are not there, files that do not pair, or one that stands twice.
    """
    if not folder.is_dir():
        raise SegpipeError(f"{folder}: no such folder; give the one that holds the data set")
    if label is not None and not images:
        raise SegpipeError("--label is given without --image: give one template a channel of the images, too")
    if table is not None and images:
        raise SegpipeError("--csv and --image are given: the table says already which files are which")
    require_text([str(folder)])
    layout = _found(folder, images, label, table)
    require_text(file for case in layout.cases for file in case.files)
    require_own_files(layout.cases, str(folder))
    notes = [*layout.notes, *crossed_names(layout.cases)]
    return replace(layout, cases=with_own_ids(layout.cases, str(folder)), notes=notes)


def _found(folder: Path, images: Sequence[str], label: str | None, table: Path | None) -> Layout:
    if table is not None:
        return cases_of_table(folder, table)
    if images:
        paths = [path for _, path in listed_scans(folder, strict=False)]
        cases, notes = with_parts(pairs_by_templates(paths, images, label, str(folder)), str(folder))
        return Layout("templates", cases, notes=notes)
    if (folder / _DESCRIPTION).is_file():
        return _described(folder, folder / _DESCRIPTION)
    listed, others = table_in(folder)
    if listed is not None:
        return cases_of_table(folder, listed)
    cases, notes = with_parts(_by_names(folder), str(folder))
    return Layout("pairs of files", cases, notes=[*notes, *others])


def _by_names(folder: Path) -> list[FoundCase]:
    below = sorted(path.parent for path in folder.glob(f"*/{_DESCRIPTION}"))
    if below:
        raise SegpipeError(
            f"{folder}: {shown(map(str, below))} has a {_DESCRIPTION}, so the data set begins there; give that folder, "
            "or say which files are which with --image and --label"
        )
    try:
        scans = listed_scans(folder, strict=True)
    except SegpipeError as error:
        raise SegpipeError(
            f"{error}; or say which files are the data set's with --image and --label"
        ) from error
    family_of = {path: _FAMILIES[scan.format] for scan, path in scans}
    found = set(family_of.values())
    is_drawn_on_series = len(found) == 2 and _SERIES in found and _PICTURES not in found
    if not is_drawn_on_series:
        _require_one_format([scan for scan, _ in scans], folder)
    try:
        cases = pairs_by_words([(scan.name, path) for scan, path in scans], str(folder))
    except SegpipeError as error:
        objects = find_label_objects(folder) if _SERIES in found else []
        if not objects:
            raise
        names = shown(path.relative_to(folder).as_posix() for path in objects)
        raise SegpipeError(
            f"{folder}: {names}: segmentations and structure sets of DICOM are not read; convert each to a label map "
            "in NIfTI (dcmqi's segimage2itkimage --mergeSegments, plastimatch convert) and lay it beside its series as "
            "NAME_mask.nii.gz"
        ) from error
    if is_drawn_on_series and not all(_is_drawn_on_series(case, family_of) for case in cases):
        _require_one_format([scan for scan, _ in scans], folder)
    return cases


def _is_drawn_on_series(case: FoundCase, family_of: Mapping[str, str]) -> bool:
    """Return whether a case's images are DICOM series, and its label map is a file of another format."""
    labelled = case.label is None or family_of[case.label] != _SERIES
    return labelled and all(family_of[image] == _SERIES for image in case.images)


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


def _described(folder: Path, path: Path) -> Layout:
    """Read a folder with a dataset.json: nnU-Net's names its channels, MSD's its modality."""
    content = read_json(path, "the description of the data set")
    if not isinstance(content, Mapping):
        raise SegpipeError(f"{path}: must be one JSON object, as of MSD or nnU-Net; mend it, or move it away")
    if "schema_version" in content:
        raise SegpipeError(
            f"{path}: is a manifest of segpipe already; use it as it is (segpipe data check {path} --dataset-dir "
            f"{folder}), or move it away to have another made"
        )
    if "channel_names" in content:
        return cases_of_nnunet(folder, content)
    if "modality" in content and "training" in content:
        return cases_of_decathlon(folder, content)
    raise SegpipeError(
        f"{path}: is not of MSD (modality, labels, training) or nnU-Net (channel_names, labels, file_ending), its keys "
        f"are {shown(content) or 'none'}; move it away, or say which files are which with --image and --label"
    )
