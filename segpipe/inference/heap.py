"""What the C library does with memory that tensors free."""

from __future__ import annotations

import ctypes
import sys

_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3  # malloc.h
_FROM_THE_HEAP = (
    256 << 20
)  # bytes: larger blocks go back to the system at once, as scans and bands of scores do
_KEPT = 512 << 20  # bytes, at most, that lie free at the heap's end


def keep_freed_memory() -> bool:
    """Have glibc give a window's tensors the memory of the last window's, instead of asking the system again.

    It would return blocks of 32 MB and more at once, and the system clears each page of the next one: a tenth of the
    time that a small network takes on a processor. Holds for the whole process. Elsewhere than on Linux with glibc
    nothing is done.

    Returns:
        whether it was done.
    """
    if not sys.platform.startswith("linux"):
        return False
    library = ctypes.CDLL(None)
    if not hasattr(library, "gnu_get_libc_version"):  # musl has no mallopt
        return False
    sizes = ((_M_MMAP_THRESHOLD, _FROM_THE_HEAP), (_M_TRIM_THRESHOLD, _KEPT))
    done = [library.mallopt(option, size) == 1 for option, size in sizes]
    return all(done)
