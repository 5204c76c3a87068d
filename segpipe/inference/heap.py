"""Settings of the C library's heap, so that freed memory is used again."""

from __future__ import annotations

import ctypes
import sys

_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3  # malloc.h
_FROM_THE_HEAP = (
    256 << 20
)  # bytes: larger blocks, such as scans and bands of scores, go back to the system at once
_KEPT = 512 << 20  # bytes that may stay free at the end of the heap


def keep_freed_memory() -> bool:
    """Have glibc keep a window's freed memory for the next window, instead of returning it to the system.

    By default glibc returns blocks of 32 MB and more at once, and the system clears each page of the next block. That
    takes a tenth of a small network's time on a processor. The setting holds for the whole process. Without glibc the
    function does nothing.

    Returns:
        whether the setting was made.
    """
    if not sys.platform.startswith("linux"):
        return False
    library = ctypes.CDLL(None)
    if not hasattr(library, "gnu_get_libc_version"):  # musl has no mallopt
        return False
    sizes = ((_M_MMAP_THRESHOLD, _FROM_THE_HEAP), (_M_TRIM_THRESHOLD, _KEPT))
    done = [library.mallopt(option, size) == 1 for option, size in sizes]
    return all(done)
