"""Settings of the C library's heap, so that freed memory is used again."""

from __future__ import annotations

import ctypes
import sys

_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3  # malloc.h
_LARGEST_OF_A_WINDOW = 256 << 20  # bytes: larger blocks, such as scans, go back to the system at once
_KEPT = 512 << 20  # bytes that may stay free at the end of the heap
LARGEST_OF_A_STEP = 32 << 20  # bytes: larger ones leave gaps in the heap, and the peak exceeds the plan


def keep_freed_memory(largest: int = _LARGEST_OF_A_WINDOW) -> bool:
    """Have glibc keep a window's freed memory for the next window, instead of returning it to the system.

    By default glibc returns blocks of 32 MB and more at once, and the system clears each page of the next block. That
    takes a tenth of a small network's time on a processor. The setting holds for the whole process. Without glibc the
    function does nothing.

    Args:
        largest: bytes of the largest block that is kept; a training takes `LARGEST_OF_A_STEP`.

    Returns:
        whether the setting was made.
    """
    if not sys.platform.startswith("linux"):
        return False
    library = ctypes.CDLL(None)
    if not hasattr(library, "gnu_get_libc_version"):  # musl has no mallopt
        return False
    allowed = (largest, LARGEST_OF_A_STEP)  # glibc before 2.35 refuses more than 32 MB
    done = any(library.mallopt(_M_MMAP_THRESHOLD, size) == 1 for size in allowed)
    return done and library.mallopt(_M_TRIM_THRESHOLD, _KEPT) == 1
