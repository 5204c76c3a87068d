"""Which files in an output folder segpipe wrote, and whether a scan still needs segmenting."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from enum import StrEnum
from pathlib import Path

from segpipe.errors import SegpipeError
from segpipe.files import file_sha256
from segpipe.prediction.ledger import Entry, Ledger, State
from segpipe.prediction.options import (
    REGIONS,
    SIDE_FOLDERS,
    Outcome,
    Prediction,
    PredictOptions,
    label_map_name,
    scan_place,
    side_file,
)
from segpipe.prediction.output_folder import OtherScanError
from segpipe.volumes import Scan, existing_outputs, voxel_file


class ToDo(StrEnum):
    """What to do with a scan."""

    SEGMENT = "segment"
    NOTHING = "nothing"
    """An earlier run segmented it with the same scan, weights and options."""
    KEEP = "keep"
    """Its label map was corrected by hand since; the correction is kept whatever the weights are."""


def to_do(
    scan: Scan, sha256: str, folder: Path, ledger: Ledger, options: PredictOptions, recipe: str
) -> ToDo:
    """Decide what to do with a scan, from the ledger and from the files at the place of its label map.

    Args:
        scan: of the cohort.
        sha256: hash of the scan, see `scan_sha256`.
        folder: output folder.
        ledger: of the output folder.
        options: of the run.
        recipe: of the run, see `PredictOptions.recipe`.

    Raises:
        OtherScanError: the output folder has a case of this name, made from another scan.
        SegpipeError: an output would replace a file that segpipe did not write, or a label map changed since.
    """
    name = label_map_name(scan, options)
    path = folder / name
    before = ledger.entries.get(scan.name) or Entry(scan.name, State.FAILED, scan_place(scan))
    there = label_map_hashes(folder, name) if os.path.lexists(path) else {}
    if not options.overwrite:
        _refuse_another_scan(scan, sha256, folder, before)
        _refuse_other_files(scan, folder, before, options, name, there)
    if all(_is_ours(file, there[file], before) for file in there):
        complete = bool(there) and all((folder / file).is_file() for file in before.files)
        same = (before.state, before.scan_sha256, before.recipe) == (State.DONE, sha256, recipe)
        return ToDo.NOTHING if same and complete else ToDo.SEGMENT
    if options.overwrite and path.is_file():
        return ToDo.SEGMENT
    if name in before.files and not before.replaced and before.scan_sha256 == sha256:
        known = before.state is State.KEPT and there == before.corrected
        return ToDo.NOTHING if known else ToDo.KEEP
    why = "was changed since segpipe wrote it" if name in before.files else "was not written by segpipe"
    raise SegpipeError(
        f"{path}: lies where the label map of {scan.path} goes, and {why}; choose another --output, or add --overwrite "
        "to replace it"
    )


def known_prediction(scan: Scan, entry: Entry, folder: Path, options: PredictOptions) -> Prediction:
    """Return the outcome of a scan of which nothing is to be done, from its entry in the ledger."""
    outcome = Outcome.KEPT if entry.state is State.KEPT else Outcome.SKIPPED
    path = folder / label_map_name(scan, options)
    known = entry.reason, entry.volumes, entry.warnings, entry.resampled
    return Prediction(scan.name, outcome, scan.path, path, 0.0, *known)


def _refuse_another_scan(scan: Scan, sha256: str, folder: Path, before: Entry) -> None:
    """Refuse a scan whose name belongs to another scan that still has outputs; a moved scan is the same by its hash."""
    moved = before.scan != scan_place(scan)
    if (
        moved
        and before.scan_sha256 not in ("", sha256)
        and any((folder / file).exists() for file in before.files)
    ):
        raise OtherScanError(
            f"{scan.path}: {folder} has a case {scan.name} already, of another scan, {before.scan}; choose another "
            "--output, or add --overwrite to replace it"
        )


def _refuse_other_files(
    scan: Scan, folder: Path, before: Entry, options: PredictOptions, name: str, there: Mapping[str, str]
) -> None:
    """Refuse to replace companions of a label map, or to write beside a corrected label map in another format."""
    ours = {**before.replaced, **before.files}
    outputs = [
        path.relative_to(folder).as_posix() for path in existing_outputs([scan], folder, options.format)
    ]
    sides = [file for file in _side_files(scan, options) if os.path.lexists(folder / file)]
    foreign = [file for file in (*outputs, *sides) if file not in {name, *there, *ours}]
    if foreign:
        raise SegpipeError(
            f"{folder / foreign[0]}: has the path of an output for {scan.path}, and was not written by segpipe; "
            "choose another --output, or add --overwrite to replace it"
        )
    for file in ours:
        path = folder / file
        if file in (*outputs, *there) or file.split("/")[0] in SIDE_FOLDERS or not path.is_file():
            continue
        if not _is_ours(file, file_sha256(path), before):
            raise SegpipeError(
                f"{path}: is the label map of {scan.path} in another format, and was changed since segpipe wrote "
                "it; choose its --format or another --output, or add --overwrite to write the network's label map "
                "beside it"
            )


def _is_ours(file: str, sha256: str, before: Entry) -> bool:
    """Return whether a file still has the bytes that segpipe wrote."""
    return sha256 in (before.files.get(file), before.replaced.get(file))


def written_files(folder: Path, before: Entry) -> dict[str, str]:
    """Return path below a folder -> SHA-256 of a scan's files that still have the bytes segpipe wrote.

    If the second of two runs was killed, the ledger alone cannot tell which run wrote the present files.
    """
    names = [name for name in {**before.replaced, **before.files} if (folder / name).is_file()]
    hashes = {name: file_sha256(folder / name) for name in names}
    return {name: sha256 for name, sha256 in hashes.items() if _is_ours(name, sha256, before)}


def label_map_hashes(folder: Path, name: str) -> dict[str, str]:
    """Return path below a folder -> SHA-256 of a label map's file, and of the voxel file beside a .mhd.

    Args:
        folder: output folder.
        name: path of the label map below it; the file exists.
    """
    path = folder / name
    if not path.is_file():
        return {name: "no file"}
    try:
        beside = voxel_file(path)
    except SegpipeError:  # a broken header: its bytes differ in any case
        beside = None
    files = [path] if beside is None or not beside.is_file() else [path, beside]
    return {os.path.relpath(file, folder).replace(os.sep, "/"): file_sha256(file) for file in files}


def _side_files(scan: Scan, options: PredictOptions) -> list[str]:
    """Return the paths of a scan's files in side folders below the output folder, as far as asked for."""
    return [side_file(folder, scan) for folder in options.side_folders if folder != REGIONS]


def refuse_foreign_table(folder: Path, ledger: Ledger, name: str, columns: Sequence[str]) -> None:
    """Refuse an output folder with a table that another program wrote, before segpipe replaces the file.

    Args:
        folder: output folder.
        ledger: of the output folder.
        name: of the table's file.
        columns: of segpipe's table.

    Raises:
        SegpipeError: the file does not begin with these columns, and the folder has no ledger.
    """
    path = folder / name
    if ledger.entries or not path.exists():
        return
    with path.open("rb") as file:
        if file.readline() != f"{','.join(columns)}\n".encode():
            raise SegpipeError(f"{path}: was not written by segpipe; rename it, or choose another --output")


def refuse_another_task(folder: Path, ledger: Ledger, classes: Sequence[str]) -> None:
    """Refuse an output folder with results of another task, or of other classes of images.

    Args:
        folder: output folder.
        ledger: of the output folder.
        classes: names of the classes or findings; empty for a segmentation.

    Raises:
        SegpipeError: the message has a case of the ledger, and both.
    """
    states = (State.WRITING, State.DONE, State.KEPT)
    for case, entry in ledger.entries.items():
        if entry.state in states and tuple(entry.classes) != tuple(classes):
            held, wanted = (
                f"images classified as {', '.join(names)}" if names else "segmented scans"
                for names in (entry.classes, classes)
            )
            raise SegpipeError(
                f"{folder}: holds {held} (such as {case}), and {wanted} would join them; choose another --output"
            )
