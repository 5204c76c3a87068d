"""Reading a scan takes at most 1.5 times the memory of its voxels and a little, in a separate process."""

from __future__ import annotations

import subprocess
import sys

import nibabel
import numpy as np
import pytest
import SimpleITK as sitk

BESIDE = 2**25  # bytes; the limit of issue and documents, 2^28, would hide a second copy of so small a scan
READ = """
import sys
from pathlib import Path
from segpipe.volumes import read_volume

def peak():
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM"))

read_volume(sys.argv[1])
before = peak()
voxel_bytes = read_volume(sys.argv[2]).array.nbytes
print(voxel_bytes, peak() - before)
"""


def write_nifti(path, size):
    nibabel.save(nibabel.Nifti1Image(np.full(size, 2.0), np.diag([-1, -1, 1, 1])), path)


def write_metaimage(path, size):
    array = np.random.default_rng(0).integers(0, 2, size[::-1]).astype(np.float64)
    sitk.WriteImage(sitk.GetImageFromArray(array), str(path), useCompression=True)


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="reads the peak from /proc")
@pytest.mark.parametrize(("suffix", "write"), [(".nii.gz", write_nifti), (".mha", write_metaimage)])
def test_a_label_map_in_float64_is_read_in_the_memory_of_its_voxels(suffix, write, tmp_path):
    """The voxels take 84 MB: a second copy, or the stream beside the voxels, would exceed the limit."""
    paths = [tmp_path / f"{name}{suffix}" for name in ("small", "large")]
    for path, size in zip(paths, ((8, 8, 8), (256, 256, 160)), strict=True):
        write(path, size)

    done = subprocess.run(
        [sys.executable, "-c", READ, *map(str, paths)], capture_output=True, text=True, check=True
    )
    voxel_bytes, taken = map(int, done.stdout.split())

    assert voxel_bytes == 256 * 256 * 160 * 8
    assert taken <= 1.5 * voxel_bytes + BESIDE
