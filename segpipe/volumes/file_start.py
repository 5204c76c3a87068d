"""The first bytes of a file, which say what it is."""

from __future__ import annotations

from pathlib import Path

from segpipe.errors import SegpipeError
from segpipe.regular_files import open_regular


def read_start(path: Path, most: int) -> bytes:
    """Read the first bytes of a file.

    Args:
        path: the file.
        most: bytes that are read; the file may have fewer.

    Raises:
        SegpipeError: it cannot be read, is no regular file, or is empty.
    """
    try:
        with open_regular(path) as file:
            start = file.read(most)
    except OSError as error:
        raise SegpipeError(
            f"{path}: cannot be read ({error.strerror}); check the path and the permissions"
        ) from error
    if not start:
        raise SegpipeError(f"{path}: empty file (0 bytes); copy the file again from its source")
    return start
