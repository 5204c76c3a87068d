"""Cases of 4D files: each labelled time frame is a case of its own, of one patient."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from segpipe.dataset.importing.found_cases import FoundCase, Layout, listed_scans
from segpipe.dataset.importing.templates import FRAME, frames_by_template
from segpipe.errors import SegpipeError, counted, shown
from segpipe.volumes import label_frame, num_frames, read_volume


def has_frame_number(label: str | None) -> bool:
    """Return whether the template of the label maps names a time frame."""
    return label is not None and FRAME in label


def with_time_frames(layout: Layout, folder: Path, label: str | None) -> Layout:
    """Return a layout in which each labelled time frame of a 4D image is a case.

    A frame is labelled if it has a label map of its own, or if its part of a 4D label map has more than one value.
    Frames of one image share a patient: the one of the image, or the image's case id.

    Args:
        layout: of the folder; cases of 3D images stay as they are.
        folder: of the data set.
        label: template of the label maps; with `{frame}`, each file is of one frame.

    Raises:
        SegpipeError: the channels of a case have different numbers of frames; a 4D label map has other frames than its
            image, or no labelled one; a label map of one frame does not say of which; a file names a frame that the
            image does not have; or no image is 4D.
    """
    named: dict[str, dict[int, str]] = {}
    if label is not None and has_frame_number(label):
        paths = [path for _, path in listed_scans(folder, strict=False)]
        named = frames_by_template(paths, label, [case.case for case in layout.cases], str(folder))
    cases: list[FoundCase] = []
    without, series = [], 0
    for case in layout.cases:
        held = _frames_of_images(case, folder)
        if held == 1:
            cases.append(case)
            continue
        series += 1
        label_maps = named.get(case.case) or _frames_of_label_map(case, folder)
        beyond = [frame for frame in label_maps if frame > held]
        if beyond:
            raise SegpipeError(
                f"{folder}: {label_maps[beyond[0]]} is of frame {beyond[0]}, but {case.images[0]} has {held} frames; "
                "correct the name of the file"
            )
        if not label_maps:
            without.append(case.case)
        cases += [_frame(case, frame, label_maps[frame]) for frame in sorted(label_maps)]
    if not series:
        raise SegpipeError(
            f"{folder}: --frames is given, and no image has time frames, which are the fourth axis of a NIfTI file; "
            "leave out --frames"
        )
    num_labelled = sum(case.frame is not None for case in cases)
    notes = [*layout.notes, f"{counted(num_labelled, 'labelled time frame')} of {series} series, a case each"]
    if without:
        notes.append(
            f"{counted(len(without), 'series')} without a label map not listed: {shown(without)}; segment them with "
            "segpipe predict --frames"
        )
    return replace(layout, cases=cases, notes=notes)


def _frames_of_images(case: FoundCase, folder: Path) -> int:
    """Return the number of frames of a case's images."""
    held = {image: num_frames(folder / image) for image in case.images}
    first = case.images[0]
    odd = [image for image, number in held.items() if number != held[first]]
    if odd:
        raise SegpipeError(
            f"{folder}: {odd[0]} has {counted(held[odd[0]], 'frame')}, {first} has {held[first]}; the channels of a "
            "case need the same time frames: export them again, or move the case away"
        )
    return held[first]


def _frames_of_label_map(case: FoundCase, folder: Path) -> dict[int, str]:
    """Return the labelled frames of a case's label map."""
    if case.label is None:
        return {}
    path, images = folder / case.label, [folder / image for image in case.images]
    if num_frames(path) == 1:
        raise SegpipeError(
            f"{path}: is of one frame, and its image {case.images[0]} has {num_frames(images[0])}: of which frame is "
            f"not known; name the frames' label maps with {FRAME}, such as --label '{{case}}_frame{FRAME}_gt.nii.gz'"
        )
    label_frame(path, 1, images)
    numbers = range(1, num_frames(path) + 1)
    labelled = [number for number in numbers if np.ptp(read_volume(path, frame=number).array)]
    if not labelled:
        raise SegpipeError(
            f"{path}: has one value in each of its {len(numbers)} frames, so none is labelled; leave the case out"
        )
    return dict.fromkeys(labelled, case.label)


def _frame(case: FoundCase, frame: int, label: str) -> FoundCase:
    return replace(
        case,
        case=f"{case.case}_frame{frame:02d}",
        label=label,
        patient=case.patient or case.case,
        frame=frame,
    )


def fourth_axis_note(cases: Sequence[FoundCase], folder: Path) -> list[str]:
    """Return a note where the fourth axis of the images holds the channels, since it may be time."""
    first = cases[0]
    held = 1 if len(first.images) > 1 else _fourth_axis(folder / first.images[0])
    if held == 1:
        return []
    return [
        f"the {held} volumes along the fourth axis of {first.images[0]} are taken as channels; if this axis is time, "
        "add --frames"
    ]


def _fourth_axis(path: Path) -> int:
    try:
        return num_frames(path)
    except SegpipeError:  # colours
        return 1
