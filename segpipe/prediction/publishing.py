"""Moves the files of a finished scan from the staging folder to their places, so that a crash loses no ledger line."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path, PurePath

from segpipe.files import file_sha256, sync
from segpipe.prediction.ledger import Entry, Ledger, State
from segpipe.prediction.output_folder import now


def publish_scan(ledger: Ledger, folder: Path, staged: Path, entry: Entry, last: str) -> Entry:
    """Record a scan in the ledger, move its files into place, and record that they are there.

    Args:
        ledger: of the output folder.
        folder: output folder.
        staged: folder of the scan's files, on the same disk.
        entry: of the scan, with the state writing.
        last: the label map, which is moved last.

    Returns:
        the entry with the state done.
    """
    ledger.append(entry)
    publish(staged, folder, list(entry.files), last=last)
    for name, sha256 in entry.replaced.items():  # of an earlier run, such as a label map in another format
        path = folder / name
        if name not in entry.files and path.is_file() and file_sha256(path) == sha256:
            path.unlink()
    done = replace(entry, state=State.DONE, replaced={}, finished=now())
    ledger.append(done)
    return done


def staged_files(staged: Path) -> dict[str, str]:
    """Sync every file below a folder to disk; return its path below the folder -> SHA-256."""
    files = sorted(path for path in staged.rglob("*") if path.is_file())
    for path in files:
        sync(path)
    return {path.relative_to(staged).as_posix(): file_sha256(path) for path in files}


def publish(staged: Path, folder: Path, files: Sequence[str], last: str) -> None:
    """Move staged files to their names below the output folder; the label map comes last.

    An earlier .mhd file is removed before its voxel file is replaced: a header and a voxel file of two runs would be
    a damaged label map.
    """
    if any(
        PurePath(name).with_suffix("") == PurePath(last).with_suffix("") for name in files if name != last
    ):
        (folder / last).unlink(missing_ok=True)
    for name in [*(name for name in files if name != last), last]:
        target = folder / name
        target.parent.mkdir(parents=True, exist_ok=True)
        (staged / name).replace(target)
        sync(target.parent)
