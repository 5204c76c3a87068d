"""The time frames of a cohort's 4D scans: which are segmented, and their names."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace

from segpipe.documents import DocumentError, read_document
from segpipe.errors import SegpipeError
from segpipe.volumes import RefusedScan, Scan, num_frames

ALL, END_DIASTOLE = "all", "ed"
_INFO = "Info.cfg"  # of the ACDC data set, in each patient's folder, with lines such as "ED: 1"


@dataclass(frozen=True)
class ChosenFrames:
    """The scans of a cohort after the choice of time frames.

    Attributes:
        scans: a series is one scan with all its frames, or one scan with one frame.
        refused: scans without such a frame.
        notes: for each end-diastolic frame the file that states its number.
    """

    scans: tuple[Scan, ...]
    refused: tuple[RefusedScan, ...]
    notes: tuple[str, ...]


def require_frames(frames: str) -> None:
    """Refuse a choice of time frames that is neither all, ed nor a number.

    Raises:
        SegpipeError: with the choice.
    """
    if frames not in (ALL, END_DIASTOLE) and not re.fullmatch("[1-9][0-9]{0,5}", frames):
        raise SegpipeError(
            f"--frames (frames in Python) is {frames!r}; must be all, ed (end-diastole) or the number of a frame, "
            "from 1"
        )


def choose_frames(scans: Sequence[Scan], frames: str) -> ChosenFrames:
    """Choose the time frames of the 4D scans; scans with one frame, and frames that a manifest lists, stay as they are.

    Args:
        scans: of the cohort.
        frames: "all", "ed" or a number from 1, see `require_frames`.
    """
    chosen: list[Scan] = []
    refused: list[RefusedScan] = []
    notes: list[str] = []
    for scan in scans:
        try:
            several = scan.frame is None and num_frames(scan.path) > 1
            if not several:
                chosen.append(scan)
            elif frames == ALL:
                chosen.append(replace(scan, is_series=True))
            else:
                number = int(frames) if frames != END_DIASTOLE else _end_diastole(scan, notes)
                _require_frame(scan, number)
                chosen.append(replace(scan, name=frame_name(scan.name, number), frame=number))
        except SegpipeError as error:
            refused.append(RefusedScan(scan.path, scan.name, str(error)))
    return ChosenFrames(tuple(chosen), tuple(refused), tuple(notes))


def frame_name(case: str, frame: int) -> str:
    """Return the name of a case's time frame, as the ACDC data set has it: patient001_frame01."""
    return f"{case}_frame{frame:02d}"


def _require_frame(scan: Scan, number: int) -> None:
    held = num_frames(scan.path)
    if number > held:
        raise SegpipeError(
            f"{scan.path}: has no frame {number}: its frames are 1 to {held}; give a number among these"
        )


def _end_diastole(scan: Scan, notes: list[str]) -> int:
    """Return the end-diastolic frame that a file beside the scan states."""
    path = scan.path.parent / _INFO
    if not path.is_file():
        raise SegpipeError(
            f"{scan.path}: its end-diastolic frame is not known: {path} is missing, which states it as the ACDC data "
            "set does (ED: 1); give the number of the frame instead, such as --frames 1"
        )
    try:
        text = read_document(path)
    except DocumentError as error:
        raise SegpipeError(f"{path}: {error}") from error
    match = re.search(r"^\s*ED\s*:\s*([0-9]{1,6})\s*$", text, re.MULTILINE)
    if match is None or int(match[1]) < 1:
        raise SegpipeError(
            f"{path}: states no end-diastolic frame; add a line such as ED: 1, or give the number with --frames"
        )
    notes.append(f"{scan.name}: frame {int(match[1])} is end-diastolic by {path}")
    return int(match[1])
