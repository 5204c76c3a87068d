"""Opens regular files only, so that no read waits for ever or never ends."""

from __future__ import annotations

import errno
import os
import stat
from io import BufferedReader
from pathlib import Path

from segpipe.errors import SegpipeError

NO_REGULAR_FILE = "is no regular file but a pipe or a device; give a regular file"


def open_regular(path: Path) -> BufferedReader:
    """Open a regular file for reading; links are followed.

    The opened file is checked, so that a pipe that replaces the file just before is refused, too.

    Raises:
        SegpipeError: the path is a pipe, a socket or a device.
        OSError: the file does not exist, may not be read, or is a folder.
    """
    require_regular(path)  # before opening, since opening a device may have effects
    file = open(path, "rb", opener=_without_waiting)  # noqa: SIM115 - the caller closes it
    try:
        _judge(path, os.fstat(file.fileno()).st_mode)
    except BaseException:
        file.close()
        raise
    return file


def _without_waiting(path: str, flags: int) -> int:
    """Open a file without waiting, in case a pipe without a writer has replaced it."""
    return os.open(path, flags | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_NOCTTY", 0))


def require_regular(path: Path) -> None:
    """Refuse a path that is not a regular file, before another library opens it; links are followed.

    Raises:
        SegpipeError: the path is a pipe, a socket or a device.
        OSError: the file does not exist, may not be accessed, or is a folder.
    """
    _judge(path, path.stat().st_mode)


def is_possible(path: str | Path) -> bool:
    """Return whether a file could have this path: not if it is too long, or holds a character that no name can have."""
    try:
        os.lstat(path)
    except ValueError:
        return False
    except OSError as error:
        return error.errno != errno.ENAMETOOLONG
    return True


def is_irregular(path: Path) -> bool:
    """Return whether a path is a pipe, a socket or a device; links are followed.

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
