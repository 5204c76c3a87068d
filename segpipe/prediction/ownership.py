"""Which files in an output folder are segpipe's own, and what a scan therefore needs."""

from __future__ import annotations

import os
from collections.abc import Mapping
from enum import StrEnum
from pathlib import Path

from segpipe.errors import SegpipeError
from segpipe.files import file_sha256
from segpipe.prediction.ledger import VOLUMES_COLUMNS, VOLUMES_FILE, Entry, Ledger, State
from segpipe.prediction.options import (
    ENTROPY,
    OVERLAYS,
    PROBABILITIES,
    SIDE_FOLDERS,
    PredictOptions,
    label_map_name,
    scan_place,
    side_file,
)
from segpipe.volumes import Scan, existing_outputs, voxel_file


class ToDo(StrEnum):
    """What a scan needs."""

    SEGMENT = "segment"
    NOTHING = "nothing"
    """It was done before, with the same scan, weights and options."""
    KEEP = "keep"
    """Its label map was corrected by hand since; that is newer than any weights."""


def to_do(
    scan: Scan, sha256: str, folder: Path, ledger: Ledger, options: PredictOptions, recipe: str
) -> ToDo:
    """Say what a scan needs, by the ledger and by what lies where its label map goes.

    Args:
        scan: of the cohort.
        sha256: of the scan, see `scan_sha256`.
        folder: of the outputs.
        ledger: of the folder.
        options: of the run.
        recipe: of the run, see `PredictOptions.recipe`.

    Raises:
        OtherScanError: what lies there under its name was made of another scan.
        SegpipeError: its files would replace some that are not segpipe's, or a label map that was changed since.
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


class OtherScanError(SegpipeError):
    """A scan's name is taken in the output folder; what the ledger says of that case stays true."""


def _refuse_another_scan(scan: Scan, sha256: str, folder: Path, before: Entry) -> None:
    """Refuse a scan that is neither the one that was segmented, moved perhaps, nor a new one in its place."""
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
    """Refuse to replace files that go with a label map, and to lay one beside a correction in another format."""
    ours = {**before.replaced, **before.files}
    outputs = [
        path.relative_to(folder).as_posix() for path in existing_outputs([scan], folder, options.format)
    ]
    sides = [file for file in _side_files(scan, options) if os.path.lexists(folder / file)]
    foreign = [file for file in (*outputs, *sides) if file not in {name, *there, *ours}]
    if foreign:
        raise SegpipeError(
            f"{folder / foreign[0]}: lies where segpipe writes for {scan.path}, and was not written by segpipe; choose "
            "another --output, or add --overwrite to replace it"
        )
    for file in ours:
        path = folder / file
        if file in (*outputs, *there) or file.split("/")[0] in SIDE_FOLDERS or not path.is_file():
            continue
        if not _is_ours(file, file_sha256(path), before):
            raise SegpipeError(
                f"{path}: is the label map of {scan.path} in another format, and was changed since segpipe wrote it; "
                "choose its --format or another --output, or add --overwrite to have one of the network beside it"
            )


def _is_ours(file: str, sha256: str, before: Entry) -> bool:
    """Return whether a file has the bytes that segpipe gave it."""
    return sha256 in (before.files.get(file), before.replaced.get(file))


def written_files(folder: Path, before: Entry) -> dict[str, str]:
    """Return path below a folder -> SHA-256 of a scan's files that are there as segpipe wrote them.

    Which of two runs wrote them the ledger alone does not know, where the second was killed.
    """
    names = [name for name in {**before.replaced, **before.files} if (folder / name).is_file()]
    found = {name: file_sha256(folder / name) for name in names}
    return {name: sha256 for name, sha256 in found.items() if _is_ours(name, sha256, before)}


def label_map_hashes(folder: Path, name: str) -> dict[str, str]:
    """Return path below a folder -> SHA-256 of a label map's file, and of the voxel file beside a .mhd.

    Args:
        folder: of the outputs.
        name: of the label map below it, which exists.
    """
    path = folder / name
    if not path.is_file():
        return {name: "no file"}
    try:
        beside = voxel_file(path)
    except SegpipeError:  # a header that somebody broke has other bytes, too
        beside = None
    files = [path] if beside is None or not beside.is_file() else [path, beside]
    return {os.path.relpath(file, folder).replace(os.sep, "/"): file_sha256(file) for file in files}


def _side_files(scan: Scan, options: PredictOptions) -> list[str]:
    """Return where the pictures and the like of a scan go, below the output folder."""
    wanted = (
        (OVERLAYS, options.overlays),
        (ENTROPY, options.entropy),
        (PROBABILITIES, options.probabilities),
    )
    return [side_file(folder, scan) for folder, write in wanted if write]


def require_own_volumes(folder: Path, ledger: Ledger) -> None:
    """Refuse a folder in which volumes.csv is of another program, before it is replaced.

    Args:
        folder: of the outputs.
        ledger: of the folder.

    Raises:
        SegpipeError: the file does not begin as segpipe writes it, and there is no ledger.
    """
    path = folder / VOLUMES_FILE
    if ledger.entries or not path.exists():
        return
    with path.open("rb") as file:
        if file.readline() != f"{','.join(VOLUMES_COLUMNS)}\n".encode():
            raise SegpipeError(f"{path}: was not written by segpipe; rename it, or choose another --output")
