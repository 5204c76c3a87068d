"""The card of a case: the slice with most foreground, without and with its label map, and a caption."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
from numpy.typing import NDArray

from segpipe.dataset import Case, CaseReport, Manifest
from segpipe.errors import SegpipeError
from segpipe.labels import LabelTable
from segpipe.pictures import largest_slice, overlay_slice
from segpipe.pictures.layout import slice_axis
from segpipe.pictures.montage import montage
from segpipe.volumes import Grid, label_frame, read_channels, read_volume

_PLANES = ("sagittal", "coronal", "axial")


@dataclass(frozen=True)
class CaseFigure:
    """The card of one case on the contact sheet.

    Attributes:
        case: id of the case.
        place: part of the data set, such as "fold 0".
        classes: classes of the label map.
        size: such as "35 x 51 x 35 voxels".
        spacing: such as "1 x 1 x 1 mm"; empty for 2D image files, which have none.
        view: orientation and index of the slice, such as "axial, z = 17"; empty for a 2D image.
        remarks: warnings about the case.
        plain: picture (height, width, 3), 0 to 255; None where the case could not be drawn.
        tinted: picture of the same slice with the classes in their colours; None without a label map.
        channels: names of the channels in the picture, row by row; empty for one channel.
    """

    case: str
    place: str
    classes: Sequence[str]
    size: str
    spacing: str
    view: str
    remarks: Sequence[str]
    plain: NDArray[np.uint8] | None
    tinted: NDArray[np.uint8] | None
    channels: Sequence[str] = ()


def make_case_figure(
    case: Case,
    place: str,
    classes: Sequence[str],
    report: CaseReport,
    dataset_dir: Path,
    manifest: Manifest,
    table: LabelTable,
) -> CaseFigure:
    """Read one case and draw it.

    Args:
        case: case to draw.
        place: part of the data set, such as "fold 0".
        classes: classes of the case.
        report: report of the case, without errors.
        dataset_dir: folder of the data set's files.
        manifest: manifest with the values that label maps store.
        table: the classes and their colours.
    """
    remarks = [finding.message for finding in report.findings]
    if case.label is None:
        remarks.append("no label map")
    size = spacing = view = ""
    if report.facts is not None:
        size = f"{_times(report.facts.size)} {'pixels' if len(report.facts.size) == 2 else 'voxels'}"
        spacing = f"{_times(report.facts.spacing_mm)} mm" if report.facts.has_spacing else ""
    plain = tinted = None
    names: Sequence[str] = ()
    try:
        files = [dataset_dir / path for path in case.images]
        image = read_channels(files, frame=case.frame, resample=manifest.resample_channels)
        labels = None
        if case.label is not None:
            path = dataset_dir / case.label
            label_map = read_volume(path, frame=label_frame(path, case.frame, files))
            labels = table.to_indices(label_map.array, manifest.labels)
        if image.num_channels > 1:
            names = manifest.modality
            if image.num_channels != manifest.num_channels:
                names = [f"channel {number}" for number in range(1, image.num_channels + 1)]
        plain, tinted, view = _draw(list(image.channels), names, labels, image.grid, table)
    except SegpipeError as error:
        remarks.append(str(error))
    return CaseFigure(case.case, place, classes, size, spacing, view, remarks, plain, tinted, names)


def _draw(
    channels: Sequence[NDArray[Any]],
    names: Sequence[str],
    labels: NDArray[np.integer] | None,
    grid: Grid,
    table: LabelTable,
) -> tuple[NDArray[np.uint8], NDArray[np.uint8] | None, str]:
    """Draw a slice's channels side by side under their names, without and with the label map; return the view, too."""
    if grid.spatial_dims == 2:
        axis, index, view = -1, 0, ""
        spacing_mm: Sequence[float] = grid.spacing_mm
    else:
        turn = nibabel.io_orientation(grid.affine)
        spacing_mm = np.asarray(grid.spacing_mm)[np.argsort(turn[:, 0])].tolist()
        channels = [nibabel.orientations.apply_orientation(channel, turn) for channel in channels]
        labels = None if labels is None else nibabel.orientations.apply_orientation(labels, turn)
        axis = slice_axis(channels[0].shape, spacing_mm)
        index = largest_slice(labels, axis) if labels is not None else channels[0].shape[axis] // 2
        file_axis = int(np.flatnonzero(turn[:, 0] == axis)[0])
        stored = index if turn[file_axis, 1] > 0 else grid.size[file_axis] - 1 - index
        view = f"{_PLANES[axis]}, {'xyz'[file_axis]} = {stored}"
    drawn = [overlay_slice(one, labels, table.colors, spacing_mm, axis, index) for one in channels]
    plain, tinted = (
        [picture for picture in pictures if picture is not None] for pictures in zip(*drawn, strict=True)
    )
    if not names:
        return plain[0], tinted[0] if tinted else None, view
    return montage(plain, names), montage(tinted, names) if tinted else None, view


def _times(values: Sequence[float]) -> str:
    return " x ".join(f"{value:.3g}" if value < 100 else f"{value:.0f}" for value in values)
