"""The files of a scan: their hash, and the marks by which a change during reading shows."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from segpipe.errors import SegpipeError
from segpipe.files import file_sha256, json_sha256
from segpipe.volumes import Scan, voxel_file
from segpipe.volumes.dicom_headers import dicom_files


def require_text(scan: Scan) -> None:
    """Refuse a scan whose name cannot be written to volumes.csv.

    Raises:
        SegpipeError: the name is not UTF-8.
    """
    try:
        scan.name.encode()
    except UnicodeEncodeError as error:
        shown = os.fsencode(scan.path).decode(errors="backslashreplace")
        raise SegpipeError(f"{shown}: its name is not UTF-8 text; rename it") from error


def scan_sha256(scan: Scan) -> str:
    """Return a hash of a scan's files: each file, header and voxel file, or the DICOM files of a folder.

    Raises:
        SegpipeError: a file cannot be read.
    """
    with _reading(scan):
        return json_sha256([[path.name, file_sha256(path)] for path in _files(scan)])


def stamps(scan: Scan) -> list[tuple[str, int, int]]:
    """Return name, size and modification time of each file of a scan; they change when a program writes to it.

    Raises:
        SegpipeError: a file cannot be read, or is a pipe or device, whose reading would never end.
    """
    with _reading(scan):
        statuses = [(path, path.stat()) for path in _files(scan)]
    for path, status in statuses:
        if not stat.S_ISREG(status.st_mode):
            raise SegpipeError(
                f"{scan.path}: {path.name} is no regular file but a pipe or a device; give a regular file"
            )
    return [(path.name, status.st_size, status.st_mtime_ns) for path, status in statuses]


def scan_file_sizes(scan: Scan) -> list[tuple[str, int]]:
    """Return name and size in bytes of each file of a scan.

    Raises:
        SegpipeError: a file cannot be read.
    """
    return [(name, size) for name, size, _ in stamps(scan)]


def scan_content(scan: Scan) -> list[dict[str, bytes]]:
    """Return file name -> bytes, for each path of a scan: the file with its voxel file, or the files of a series.

    Raises:
        SegpipeError: a file cannot be read.
    """
    with _reading(scan):
        return [{file.name: file.read_bytes() for file in _files_of(path)} for path in scan.files]


@contextmanager
def _reading(scan: Scan) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        which = "" if error.filename == str(scan.path) else f" {Path(error.filename or '').name}"
        raise SegpipeError(
            f"{scan.path}:{which} cannot be read ({error.strerror}); check path and permissions"
        ) from error


def _files(scan: Scan) -> list[Path]:
    return [file for path in scan.files for file in _files_of(path)]


def _files_of(path: Path) -> list[Path]:
    if path.is_dir():
        return dicom_files(path)
    beside = voxel_file(path)
    return [path] if beside is None else [path, beside]
