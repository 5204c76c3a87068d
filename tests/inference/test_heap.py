"""keep_freed_memory keeps the pages of a freed tensor for the next tensor."""

import platform
import subprocess
import sys
from types import SimpleNamespace

import pytest

from segpipe.inference.heap import keep_freed_memory

FAULTS = """
import resource, sys
import torch, monai.bundle  # as segpipe predict
from segpipe.inference.heap import keep_freed_memory
if sys.argv[1] == "keep":
    assert keep_freed_memory()
torch.ones(10**7)
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(20):
    torch.ones(10**7)
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


@pytest.mark.slow
@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="of glibc alone")
def test_a_freed_tensors_pages_are_used_again():
    def faults(how):
        command = [sys.executable, "-c", FAULTS, how]
        return int(subprocess.run(command, check=True, capture_output=True, text=True).stdout)

    assert faults("keep") < 0.1 * faults("leave")


@pytest.mark.skipif(sys.platform != "linux", reason="asks for Linux")
def test_a_glibc_before_2_35_keeps_what_it_allows(monkeypatch):
    """It refuses a threshold above 32 MB, and its own would stay at 128 kB once the other setting is made."""
    asked = []

    def mallopt(option, value):
        asked.append((option, value))
        return int(option != -3 or value <= 32 << 20)

    library = SimpleNamespace(gnu_get_libc_version=None, mallopt=mallopt)
    monkeypatch.setattr("segpipe.inference.heap.ctypes.CDLL", lambda _: library)

    assert keep_freed_memory()

    assert asked == [(-3, 256 << 20), (-3, 32 << 20), (-1, 512 << 20)]
