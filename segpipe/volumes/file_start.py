"""Read the first bytes of a file, which identify its format."""

from __future__ import annotations

from pathlib import Path

from segpipe.errors import SegpipeError
from segpipe.regular_files import open_regular


def read_start(path: Path, most: int) -> bytes:
    """Read the first bytes of a file.

    Args:
        path: the file.
        most: largest number of bytes to read.

    Raises:
        SegpipeError: the file cannot be read, is irregular, or is empty.
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
