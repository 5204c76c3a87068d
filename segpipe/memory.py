"""The memory of this process: in use, and still available."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import psutil

try:
    import resource
except ImportError:  # not on Windows
    resource = None  # type: ignore[assignment]

_PEAK_UNIT = 1 if sys.platform == "darwin" else 1024
_GROUPS = Path("/proc/self/cgroup")
_MOUNT = Path("/sys/fs/cgroup")
_GROUP_FILES = (  # versions 2 and 1: limit, use, file cache in use that the system frees on demand
    ("memory.max", "memory.current", "inactive_file"),
    ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"),
)


def free_memory_bytes() -> int:
    """Return the bytes that the process may still allocate: free memory of the machine, or less under a limit.

    Limits are those of Linux control groups, which containers and batch systems set, and of `ulimit -v`.
    """
    machine = int(psutil.virtual_memory().available)
    return max(min((machine, *_free_in_groups(), *_free_of_process())), 0)


def peak_memory_bytes() -> int:
    """Return the largest main memory of this process since it began, in bytes."""
    if sys.platform == "win32":
        return int(psutil.Process().memory_info().peak_wset)
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * _PEAK_UNIT


def in_gb(count: int) -> str:
    """Return a number of bytes in GB of 10^9 bytes, with two significant digits."""
    return f"{count / 1e9:.2g} GB" if count < 1e11 else f"{count / 1e9:.0f} GB"


def _free_of_process() -> Iterator[int]:
    if resource is not None:
        limit = resource.getrlimit(resource.RLIMIT_AS)[0]
        if limit != resource.RLIM_INFINITY:
            yield limit - psutil.Process().memory_info().vms


def control_groups(controller: str) -> Iterator[Path]:
    """Yield the folders of the Linux control groups that limit this process, from the inner to the outer ones.

    Args:
        controller: `memory` or `cpu`, as version 1 names them; a folder of version 2 has the files of all controllers.
    """
    try:
        lines = _GROUPS.read_text(encoding="ascii").splitlines()
    except (OSError, UnicodeDecodeError):
        return
    for line in lines:
        _, _, controllers_and_group = line.partition(":")
        controllers, _, group = controllers_and_group.partition(":")
        if controllers and controller not in controllers.split(","):
            continue
        top = _MOUNT / (controller if controllers else "")
        folder = top / group.strip("/")
        yield folder
        while folder != top and top in folder.parents:
            folder = folder.parent
            yield folder


def _free_in_groups() -> Iterator[int]:
    """Yield the bytes left in each control group of this process, and in each group around it."""
    for folder in control_groups("memory"):
        for limit_file, used_file, cache_key in _GROUP_FILES:
            try:
                limit = int((folder / limit_file).read_text(encoding="ascii"))
                used = int((folder / used_file).read_text(encoding="ascii"))
                cached = _entry(folder / "memory.stat", cache_key)
            except (OSError, ValueError):  # "max" means no limit; in a container the path may be the host's
                continue
            yield limit - used + cached


def _entry(path: Path, key: str) -> int:
    """Return the number in a line `key number`; 0 if there is no such line."""
    for line in path.read_text(encoding="ascii").splitlines():
        name, _, number = line.partition(" ")
        if name == key:
            return int(number)
    return 0
