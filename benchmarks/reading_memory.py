"""What reading a scan takes in memory, as a multiple of its voxels in the dtype that reading gives.

    python benchmarks/reading_memory.py                       # 256 x 256 x 400 voxels, five minutes on two cores
    python benchmarks/reading_memory.py --size 512 512 600

A scan of noise is written into a temporary folder in each format, and read by a process of its own, which has read a
small scan of that format before. The peak is of resident memory as Linux reports it (VmHWM), less what it was after the
small scan. The limit is 1.5 times the voxels and 256 MiB. A line is added to results/reading_memory.jsonl.
"""

from __future__ import annotations

import argparse
import gzip
import json
import subprocess
import sys
import tempfile
import time
import zlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pydicom
import SimpleITK as sitk  # noqa: N813 - the name all its users know
from bundle_runs import ROOT, append_line
from pydicom.uid import DeflatedExplicitVRLittleEndian

from segpipe.provenance import commit
from segpipe.training.run_folder import processor_name
from segpipe.volumes import Grid, read_volume, write_series

RESULTS = Path(__file__).with_name("results") / "reading_memory.jsonl"
LIMIT, LIMIT_BESIDE = 1.5, 2**28
SMALL = (16, 16, 8)
_AXES = "TransformMatrix = 1 0 0 0 1 0 0 0 1\nOffset = 0 0 0\nElementSpacing = 1 1 1"
_MET = {"uint8": "MET_UCHAR", "int16": "MET_SHORT", "float32": "MET_FLOAT", "float64": "MET_DOUBLE"}
_NRRD = {"uint8": "uint8", "int16": "int16", "float32": "float", "float64": "double"}


def noise(size: Sequence[int], dtype: str) -> np.ndarray:
    """Return few labels as float64, and noise in other types, which hardly packs."""
    random = np.random.default_rng(0)
    if dtype == "float64":
        return np.asfortranarray(np.broadcast_to(np.arange(size[0]) // 8 % 5, size[::-1]).T, np.float64)
    return np.asfortranarray(random.integers(0, 100, size, np.uint8), dtype)


def write_nifti(path: Path, array: np.ndarray, *, scaled: bool = False, big_endian: bool = False) -> None:
    """Write .nii, or .nii.gz by its suffix."""
    header = nibabel.Nifti1Header(endianness=">" if big_endian else "<")
    header.set_data_dtype(array.dtype)
    image = nibabel.Nifti1Image(array, np.eye(4), header)
    image.set_sform(np.eye(4), 1)
    if scaled:
        image.header.set_slope_inter(0.5, -3)
    data = image.header.binaryblock + bytes(4)
    data = bytearray(data)
    data[108:112] = np.array(352, f"{'>' if big_endian else '<'}f4").tobytes()
    stored = array.astype(array.dtype.newbyteorder(">" if big_endian else "<")).tobytes(order="F")
    content = bytes(data) + stored
    path.write_bytes(gzip.compress(content, 1) if path.suffix == ".gz" else content)


def write_metaimage(path: Path, array: np.ndarray, *, packed: bool) -> None:
    """Write .mha."""
    voxels = array.tobytes(order="F")
    voxels = zlib.compress(voxels, 1) if packed else voxels
    size = " ".join(map(str, array.shape))
    compressed = f"CompressedData = {packed}" + (f"\nCompressedDataSize = {len(voxels)}" if packed else "")
    lines = [
        "ObjectType = Image",
        "NDims = 3",
        "BinaryData = True",
        "BinaryDataByteOrderMSB = False",
        compressed,
    ]
    lines += [
        _AXES,
        f"DimSize = {size}",
        f"ElementType = {_MET[array.dtype.name]}",
        "ElementDataFile = LOCAL",
        "",
    ]
    path.write_bytes("\n".join(lines).encode() + voxels)


def write_nrrd(path: Path, array: np.ndarray, *, packed: bool) -> None:
    """Write .nrrd."""
    voxels = array.tobytes(order="F")
    lines = [f"NRRD0005\ntype: {_NRRD[array.dtype.name]}\ndimension: 3\nspace: left-posterior-superior"]
    lines += [f"sizes: {' '.join(map(str, array.shape))}\nspace directions: (1,0,0) (0,1,0) (0,0,1)"]
    lines += [f"endian: little\nencoding: {'gzip' if packed else 'raw'}\nspace origin: (0,0,0)\n\n"]
    path.write_bytes("\n".join(lines).encode() + (gzip.compress(voxels, 1) if packed else voxels))


def write_dicom(folder: Path, array: np.ndarray, *, deflated: bool) -> None:
    """Write a series."""
    grid = Grid.from_lps(array.shape, (1, 1, 1), (0, 0, 0), np.eye(3))
    for path in write_series(array, grid, folder):
        if deflated:
            dataset = pydicom.dcmread(path)
            dataset.file_meta.TransferSyntaxUID = DeflatedExplicitVRLittleEndian
            dataset.save_as(path)


def write_picture(path: Path, array: np.ndarray) -> None:
    """Write all voxels as one picture, rows below each other."""
    sitk.WriteImage(sitk.GetImageFromArray(array.reshape(array.shape[0] * 16, -1)), str(path))


def kinds() -> dict[str, tuple[str, str, Callable[[Path, np.ndarray], None]]]:
    """Return the name of each kind of file, with its suffix, its dtype and its writer."""
    found: dict[str, tuple[str, str, Callable[[Path, np.ndarray], None]]] = {}
    for dtype in ("uint8", "int16", "float32", "float64"):
        found[f".nii {dtype}"] = (".nii", dtype, write_nifti)
        found[f".nii.gz {dtype}"] = (".nii.gz", dtype, write_nifti)
        for name, writer in ((".mha", write_metaimage), (".nrrd", write_nrrd)):
            for packed in (False, True):
                found[f"{name}{' packed' if packed else ''} {dtype}"] = (
                    name,
                    dtype,
                    lambda path, array, writer=writer, packed=packed: writer(path, array, packed=packed),
                )
    for dtype in ("uint8", "int16", "float32"):
        found[f".nii.gz {dtype}, scaled"] = (
            ".nii.gz",
            dtype,
            lambda path, array: write_nifti(path, array, scaled=True),
        )
    found[".nii int16, big endian"] = (
        ".nii",
        "int16",
        lambda path, array: write_nifti(path, array, big_endian=True),
    )
    found["DICOM int16"] = ("", "int16", lambda path, array: write_dicom(path, array, deflated=False))
    found["DICOM int16, deflated"] = (
        "",
        "int16",
        lambda path, array: write_dicom(path, array, deflated=True),
    )
    found[".png uint8"] = (".png", "uint8", write_picture)
    found[".jpg uint8"] = (".jpg", "uint8", write_picture)
    return found


def peak_bytes() -> int:
    """Return the largest resident memory that this process has had; ru_maxrss begins with that of its parent."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM"))


def measured(small: Path, large: Path) -> dict[str, Any]:
    """Read both files in this process; return what the second took."""
    read_volume(small)
    before, since = peak_bytes(), time.perf_counter()
    volume = read_volume(large)
    seconds = time.perf_counter() - since
    taken = peak_bytes() - before
    voxels = volume.array.nbytes
    return {
        "dtype": volume.array.dtype.name,
        "voxel_mb": round(voxels / 1e6, 1),
        "taken_mb": round(taken / 1e6, 1),
        "times_voxels": round(taken / voxels, 2),
        "within": taken <= LIMIT * voxels + LIMIT_BESIDE,
        "seconds": round(seconds, 2),
    }


def main() -> None:
    """Measure one file, or all kinds."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--size", type=int, nargs=3, default=[256, 256, 400])
    parser.add_argument("--only", default="", help="kinds whose name begins so")
    parser.add_argument("--results", type=Path, default=RESULTS)
    parser.add_argument("--one", nargs=2, type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.one:
        print(json.dumps(measured(*arguments.one)))
        return
    version = commit(ROOT / "segpipe")  # before the result changes a tracked file
    rows = []
    print("| file | read as | voxels in MB | taken in MB | times the voxels | within the limit | seconds |")
    print("|---|---|---|---|---|---|---|")
    for kind, (suffix, dtype, write) in kinds().items():
        if not kind.startswith(arguments.only):
            continue
        with tempfile.TemporaryDirectory() as folder:
            paths = [Path(folder) / f"{name}{suffix}" for name in ("small", "large")]
            for path, size in zip(paths, (SMALL, arguments.size), strict=True):
                write(path, noise(size, dtype))
            command = [sys.executable, __file__, "--one", *map(str, paths)]
            done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
        row = {"file": kind, **json.loads(done.stdout.splitlines()[-1])}
        rows.append(row)
        numbers = [row[key] for key in ("voxel_mb", "taken_mb", "times_voxels")]
        print(
            "|",
            " | ".join(map(str, [kind, row["dtype"], *numbers, "yes" if row["within"] else "no"])),
            "|",
            end="",
        )
        print(f" {row['seconds']} |", flush=True)
    line = {
        "rows": rows,
        "size": arguments.size,
        "machine": processor_name(),
        "command": f"python benchmarks/reading_memory.py --size {' '.join(map(str, arguments.size))}",
        "commit": version,
    }
    append_line(arguments.results, line)


if __name__ == "__main__":
    main()
