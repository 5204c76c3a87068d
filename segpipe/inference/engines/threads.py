"""The processor threads that this process may use, and the name of the processor."""

from __future__ import annotations

import os
import platform
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch

from segpipe.memory import control_groups


def usable_threads() -> int:
    """Return how many threads may compute at a time, at least 1.

    The smallest of PyTorch's number (which OMP_NUM_THREADS sets), the cores that the process is bound to, and the whole
    cores that Linux control groups allow, as containers and batch systems set them.
    """
    limits = [torch.get_num_threads(), os.cpu_count() or 1]
    if hasattr(os, "sched_getaffinity"):  # not on macOS and Windows
        limits.append(len(os.sched_getaffinity(0)))
    for folder in control_groups("cpu"):
        try:
            quota, period = _quota(folder)
        except (OSError, ValueError):  # "max" means no limit; in a container the path may be the host's
            continue
        if quota > 0 and period > 0:
            limits.append(quota // period)
    return max(min(limits), 1)


@contextmanager
def torch_threads(count: int) -> Iterator[None]:
    """Let PyTorch compute with a number of threads, in this thread and in those that it starts.

    PyTorch's sums, as in a mean or a convolution, depend on the number in their last digits.
    """
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _quota(folder: Path) -> tuple[int, int]:
    """Return the microseconds of processor time that a control group may use in a period, and the period."""
    both = folder / "cpu.max"
    if both.exists():
        quota, period = both.read_text(encoding="ascii").split()
        return int(quota), int(period)
    names = ("cpu.cfs_quota_us", "cpu.cfs_period_us")
    quota, period = ((folder / name).read_text(encoding="ascii") for name in names)
    return int(quota), int(period)


def processor_name() -> str:
    """Return the processor's model name; if it is not known, the platform's text."""
    return str(torch.cpu.get_capabilities().get("cpu_name") or platform.processor() or platform.machine())
