"""Recognise the layout of a data set's folder: MSD, nnU-Net, a CSV, templates, a public data set, or names alone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from segpipe.dataset.importing.channel_choice import one_set
from segpipe.dataset.importing.decathlon_folders import cases_of_decathlon
from segpipe.dataset.importing.dicom_labels import NO_DICOM_LABELS, DicomLabels, dicom_label_layout
from segpipe.dataset.importing.found_cases import (
    Layout,
    crossed_names,
    listed_scans,
    require_own_files,
    require_text,
    with_own_ids,
    with_parts,
)
from segpipe.dataset.importing.known_layouts import known_layout
from segpipe.dataset.importing.named_folders import cases_by_names
from segpipe.dataset.importing.nnunet_folders import cases_of_nnunet
from segpipe.dataset.importing.slicer_segments import segment_classes
from segpipe.dataset.importing.tables import cases_of_table, table_in
from segpipe.dataset.importing.templates import pairs_by_templates
from segpipe.errors import SegpipeError, shown
from segpipe.files import read_json

_DESCRIPTION = "dataset.json"


def read_layout(
    folder: Path,
    *,
    images: Sequence[str] = (),
    label: str | None = None,
    table: Path | None = None,
    channels: Sequence[str] = (),
    classes: Mapping[int, str] | None = None,
    merge_masks: bool = False,
    resample_channels: bool = False,
    dicom: DicomLabels = NO_DICOM_LABELS,
) -> Layout:
    """Recognise the layout of a folder, and list its cases.

    The first source that exists counts: the table or the templates; a `dataset.json` of the Medical Segmentation
    Decathlon or of nnU-Net; the only CSV in the folder with the columns; the names of a public data set; the names of
    files and folders.

    Args:
        folder: of the data set.
        images: templates, one a channel, see `segpipe.dataset.importing.templates.pairs_by_templates`.
        label: template of the label maps.
        table: a CSV with the columns image (or several that begin with image, one a channel), label and, if known,
            case, patient and split; its paths are relative to the folder.
        channels: names of the channels to use, in this order, where names tell the channels; empty for all.
        classes: stored value -> class name; where a public data set has one mask for each class, the masks to merge.
        merge_masks: write one label map for each case that has one mask for each class.
        resample_channels: channels may be on other grids than the first.
        dicom: choice of DICOM segmentations and structure sets, for folders of DICOM series.

    Raises:
        SegpipeError: the folder is missing or empty; a table or description cannot be read or names missing files;
            files do not pair; or a file is used twice.
    """
    if not folder.is_dir():
        raise SegpipeError(f"{folder}: no such folder; give the one that holds the data set")
    if label is not None and not images:
        raise SegpipeError("--label is given without --image: give one template a channel of the images, too")
    if table is not None and images:
        raise SegpipeError("--csv and --image are given: the table says already which files are which")
    require_text([str(folder)])
    layout = _described_layout(folder, images, label, table)
    if layout is not None and channels:
        raise SegpipeError(
            f"{folder}: --channel chooses channels by the names of files, but {layout.what} says which files are the "
            "channels; leave --channel out, or give one --image for each channel"
        )
    if layout is None:
        layout = _of_dicom_labels(folder, classes, dicom)
    elif dicom.options:
        raise SegpipeError(
            f"{folder}: {' and '.join(dicom.options)}: {layout.what} says already which files are the label maps; "
            "leave it out, or move the description or table away"
        )
    if layout is None:
        layout = _named_layout(
            folder, channels, classes, merge_masks=merge_masks, resample_channels=resample_channels
        )
    require_text(file for case in layout.cases for file in case.files)
    require_own_files(layout.cases, str(folder))
    notes = [*layout.notes, *crossed_names(layout.cases)]
    return replace(layout, cases=with_own_ids(layout.cases, str(folder)), notes=notes)


def _described_layout(
    folder: Path, images: Sequence[str], label: str | None, table: Path | None
) -> Layout | None:
    """Return the layout that templates, a table or a description tell; None where only names tell it."""
    if table is not None:
        return cases_of_table(folder, table)
    if images:
        paths = [path for _, path in listed_scans(folder, strict=False)]
        cases, notes = with_parts(pairs_by_templates(paths, images, label, str(folder)), str(folder))
        known = any(case.patient for case in cases)
        return Layout(
            "templates", cases, notes=notes, patients_from="{patient} of the templates" if known else ""
        )
    if (folder / _DESCRIPTION).is_file():
        return _described(folder, folder / _DESCRIPTION)
    listed, _ = table_in(folder)
    return None if listed is None else cases_of_table(folder, listed)


def _of_dicom_labels(folder: Path, classes: Mapping[int, str] | None, dicom: DicomLabels) -> Layout | None:
    """Return the layout of DICOM series with segmentations or structure sets; None for other folders."""
    scans = listed_scans(folder, strict=False)
    layout = dicom_label_layout(folder, scans, dicom, classes)
    if layout is None and dicom.options:
        held = shown(sorted({scan.format.name for scan, _ in scans})) or "no scan"
        raise SegpipeError(
            f"{folder}: {' and '.join(dicom.options)}: needs a folder whose scans are all DICOM series, with DICOM "
            f"segmentations or structure sets beside them; this one holds {held}: leave the option out"
        )
    return layout


def _named_layout(
    folder: Path,
    channels: Sequence[str],
    classes: Mapping[int, str] | None,
    *,
    merge_masks: bool,
    resample_channels: bool,
) -> Layout:
    """Return the layout that the names of files and folders tell."""
    _require_no_description_below(folder)
    _, others = table_in(folder)
    scans = listed_scans(folder, strict=False)
    layout = known_layout(
        folder,
        scans,
        channels=channels,
        classes=classes,
        merge_masks=merge_masks,
        resample_channels=resample_channels,
    )
    if layout is not None:
        return replace(layout, notes=[*layout.notes, *others])
    paired, ignored_files = cases_by_names(folder, channels)
    paired, chosen = one_set(paired, folder, channels, resample_channels=resample_channels)
    cases, notes = with_parts(paired, str(folder))
    segments = segment_classes([case.label for case in cases if case.label is not None], folder)
    return Layout(
        "pairs of files"
        if segments is None
        else "pairs of files, label maps of 3D Slicer with names of segments",
        cases,
        segments,
        notes=[*chosen, *notes, *others, *ignored_files],
        classes_may_be_absent=True,
    )


def _require_no_description_below(folder: Path) -> None:
    below = sorted(path.parent for path in folder.glob(f"*/{_DESCRIPTION}"))
    if below:
        raise SegpipeError(
            f"{folder}: {shown(map(str, below))} has a {_DESCRIPTION}, so the data set begins there; give that folder, "
            "or say which files are which with --image and --label"
        )


def _described(folder: Path, path: Path) -> Layout:
    """Read a folder with a dataset.json, of nnU-Net with `channel_names` or of MSD with `modality`."""
    content = read_json(path, "the description of the data set")
    if not isinstance(content, Mapping):
        raise SegpipeError(f"{path}: must be one JSON object, as of MSD or nnU-Net; mend it, or move it away")
    if "schema_version" in content:
        raise SegpipeError(
            f"{path}: is a manifest of segpipe already; use it as it is (segpipe data check {path} --dataset-dir "
            f"{folder}), or move it away to make a new one"
        )
    if "channel_names" in content:
        return cases_of_nnunet(folder, content)
    if "modality" in content and "training" in content:
        return cases_of_decathlon(folder, content)
    raise SegpipeError(
        f"{path}: is not of MSD (modality, labels, training) or nnU-Net (channel_names, labels, file_ending), its keys "
        f"are {shown(content) or 'none'}; move it away, or say which files are which with --image and --label"
    )
