"""Opening the files that a user names: regular files only, so that no read waits for ever or runs without end."""

from __future__ import annotations

import errno
import os
import stat
from io import BufferedReader
from pathlib import Path

from segpipe.errors import SegpipeError

NO_REGULAR_FILE = "is no regular file but a pipe or a device; give a regular file"


def open_regular(path: Path) -> BufferedReader:
    """Open a regular file for reading, also behind links.

    What was opened is judged, so that a pipe that takes the file's place in between is refused, too.

    Raises:
        SegpipeError: a pipe, a socket or a device.
        OSError: there is no such file, it may not be read, or it is a folder.
    """
    require_regular(path)  # before it is opened, which some devices act upon
    file = open(path, "rb", opener=_without_waiting)  # noqa: SIM115 - the caller closes it
    try:
        _judge(path, os.fstat(file.fileno()).st_mode)
    except BaseException:
        file.close()
        raise
    return file


def _without_waiting(path: str, flags: int) -> int:
    """Open a file; a pipe without a writer, which may have taken its place, would be waited for."""
    return os.open(path, flags | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_NOCTTY", 0))


def require_regular(path: Path) -> None:
    """Refuse what is no regular file, also behind links, before another library opens it by its name.

    Raises:
        SegpipeError: a pipe, a socket or a device.
        OSError: there is no such file, it may not be looked at, or it is a folder.
    """
    _judge(path, path.stat().st_mode)


def is_irregular(path: Path) -> bool:
    """Say whether there is a pipe, a socket or a device, also behind links.

    Raises:
        OSError: as `require_regular`.
    """
    try:
        require_regular(path)
    except SegpipeError:
        return True
    return False


def _judge(path: Path, mode: int) -> None:
    if stat.S_ISDIR(mode):
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
    if not stat.S_ISREG(mode):
        raise SegpipeError(f"{path}: {NO_REGULAR_FILE}")
