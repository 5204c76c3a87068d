"""Read what the JPEG decoder says about damaged pixels: it fills them in, and prints the reason."""

from __future__ import annotations

import os
import tempfile
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import IO

from segpipe.errors import SegpipeError
from segpipe.printable import printable

_STREAMS = (1, 2)  # ITK prints to standard output, libjpeg alone to standard error
_DAMAGED = (b"Corrupt JPEG data", b"Premature end of JPEG", b"Inconsistent progression sequence")
_lock = threading.Lock()


@contextmanager
def refusing_damaged_jpeg(path: Path) -> Iterator[None]:
    """Refuse a JPEG whose decoder reports damage while the block runs; other text is printed afterwards.

    The descriptors of the standard streams are the process's, so one JPEG is decoded at a time.

    Args:
        path: the file that the block decodes, for the message.

    Raises:
        SegpipeError: with the decoder's first line on damage.
    """
    with _lock, ExitStack() as files:
        texts = [
            (stream, files.enter_context(tempfile.TemporaryFile())) for stream in _STREAMS if _is_open(stream)
        ]
        try:
            with ExitStack() as held:
                for stream, text in texts:
                    held.enter_context(_held(stream, text))
                yield
        finally:
            damage = [line for stream, text in texts for line in _damage(stream, text)]
    if damage:
        reason = printable(damage[0].decode(errors="replace").strip())
        raise SegpipeError(
            f"{path}: damaged pixels, which a decoder would fill in ({reason}); copy the file again from its source"
        )


def _is_open(stream: int) -> bool:
    try:
        os.fstat(stream)
    except OSError:
        return False
    return True


def _damage(stream: int, text: IO[bytes]) -> list[bytes]:
    """Return the decoder's lines on damage, and print the other lines to the stream."""
    text.seek(0)
    lines = text.read().splitlines(keepends=True)
    for line in lines:
        if not line.startswith(_DAMAGED):
            os.write(stream, line)
    return [line for line in lines if line.startswith(_DAMAGED)]


@contextmanager
def _held(stream: int, text: IO[bytes]) -> Iterator[None]:
    """Write what is printed to a stream into a file."""
    printed = os.dup(stream)
    os.dup2(text.fileno(), stream)
    try:
        yield
    finally:
        os.dup2(printed, stream)
        os.close(printed)
