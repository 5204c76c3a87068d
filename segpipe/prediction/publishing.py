"""Moves the files of a finished scan from the staging folder to their places, so that a crash loses no ledger line."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from segpipe.files import file_sha256
from segpipe.prediction.ledger import Entry, Ledger, State, publish
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
