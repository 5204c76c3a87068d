"""keep_freed_memory keeps the pages of a freed tensor for the next tensor."""

import platform
import subprocess
import sys

import pytest

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
