"""Opening the files that a user names: regular files only, so that no read waits for ever or runs without end."""

from __future__ import annotations

import errno
import os
import stat
from io import BufferedReader
from pathlib import Path

from segpipe.errors import SegpipeError

NO_REGULAR_FILE = "is no regular file but a pipe or a device; give a regular file"
_READ_WITHOUT_WAITING = (
    os.O_RDONLY
    | getattr(os, "O_NONBLOCK", 0)  # a pipe without a writer would be waited for
    | getattr(os, "O_NOCTTY", 0)
    | getattr(os, "O_BINARY", 0)
)


def open_regular(path: Path) -> BufferedReader:
    """Open a regular file for reading, also behind links.

    What was opened is judged, so that a pipe that takes the file's place in between is refused, too.

    Raises:
        SegpipeError: a pipe, a socket or a device.
        OSError: there is no such file, it may not be read, or it is a folder.
    """
    require_regular(path)  # before it is opened, which some devices act upon
    descriptor = os.open(path, _READ_WITHOUT_WAITING)
    try:
        _judge(path, os.fstat(descriptor).st_mode)
        return os.fdopen(descriptor, "rb")
    except BaseException:
        os.close(descriptor)
        raise


def require_regular(path: Path) -> None:
    """Refuse what is no regular file, also behind links, before another library opens it by its name.

    Raises:
        SegpipeError: a pipe, a socket or a device.
        OSError: there is no such file, it may not be looked at, or it is a folder.
    """
    _judge(path, path.stat().st_mode)


def _judge(path: Path, mode: int) -> None:
    if stat.S_ISDIR(mode):
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
    if not stat.S_ISREG(mode):
        raise SegpipeError(f"{path}: {NO_REGULAR_FILE}")
