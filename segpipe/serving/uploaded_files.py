"""Lays an upload out as the files of a scan: a zip is unpacked within bounds."""

from __future__ import annotations

import zipfile
from pathlib import Path, PurePosixPath
from typing import IO

from segpipe.dataset.unpacking import DAMAGED, archive_files
from segpipe.disk import disk_error
from segpipe.errors import SegpipeError
from segpipe.serving.options import ServeLimits
from segpipe.serving.upload_kinds import START_BYTES, UPLOAD, ZIP

_CHUNK = 1 << 20
_ARCHIVES = (".zip", ".7z", ".rar", ".tar", ".tgz", ".tar.gz", ".bz2", ".xz")


def lay_out(folder: Path, limits: ServeLimits) -> Path:
    """Return the folder that holds the files of the uploaded scan.

    Args:
        folder: of the upload; it holds one file, `upload` and its suffix.
        limits: of the content of a zip.

    Raises:
        SegpipeError: a zip is damaged, encrypted or too large; it holds links, other archives or names that lead out
            of its folder.
    """
    (upload,) = folder.iterdir()
    target = folder / "scan"
    target.mkdir(mode=0o700)
    if upload.suffix == ZIP:
        _unpack(upload, target, limits)
        upload.unlink()
    else:
        upload.rename(target / f"scan{upload.name.removeprefix(UPLOAD)}")
    return target


def _unpack(archive: Path, target: Path, limits: ServeLimits) -> None:
    if not zipfile.is_zipfile(archive):
        raise SegpipeError("the zip is damaged or truncated; upload it again")
    left, count = limits.unpacked_bytes, 0
    try:
        for name, content in archive_files(archive, "the zip", limits.unpacked_bytes):
            count += 1
            if count > limits.files:
                raise SegpipeError(
                    f"the zip holds more than {limits.files} files; upload one scan, or raise --max-files"
                )
            left -= _write(name, content, target, left, limits)
    except DAMAGED as error:
        if disk_error(error) is not None:
            raise
        raise SegpipeError(
            f"the zip cannot be unpacked ({type(error).__name__}): it is damaged, encrypted, or compressed in a way "
            "that segpipe does not read; make a plain zip"
        ) from error
    if count == 0:
        raise SegpipeError("the zip is empty; upload one scan")


def _write(name: str, content: IO[bytes], target: Path, left: int, limits: ServeLimits) -> int:
    """Write a file of the zip, and return its number of bytes."""
    parts = [part for part in PurePosixPath(name).parts if part not in (".", "")]
    start = content.read(START_BYTES)
    if name.lower().endswith(_ARCHIVES) or start.startswith(b"PK\x03\x04"):
        raise SegpipeError("the zip holds another archive; upload a zip of the files themselves")
    path = target.joinpath(*parts)
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    written = 0
    with path.open("xb") as file:
        chunk = start
        while chunk:
            written += len(chunk)
            if written > left:
                raise SegpipeError(
                    f"the zip holds more than {limits.unpacked_megabytes} MiB unpacked; upload one scan, or raise "
                    "--max-unpacked-megabytes"
                )
            file.write(chunk)
            chunk = content.read(_CHUNK)
    return written
