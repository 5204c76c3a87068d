"""Damaged copies of small scans, and the outcome of reading them: the fuzzing of every format.

A damaged file must be refused by a SegpipeError, or read as the original. Two kinds of change are counted apart, since
nobody can notice them: a byte of the voxels where the format has no checksum, and a valid number in the header that is
changed into another valid number which nothing else in the file contradicts.
"""

from __future__ import annotations

import re
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import SimpleITK as sitk

from segpipe.errors import SegpipeError
from segpipe.volumes import Grid, Volume, read_volume

LONGEST_SECONDS = 10.0
_BENT = 0.02  # of a spacing: what making rounded axes perpendicular moves the farthest voxel of a sample
_NUMBER = re.compile(rb"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?")


@dataclass(frozen=True)
class Sample:
    """A good file to damage.

    Attributes:
        name: of the row in the table of outcomes.
        folder: a fresh folder with nothing but the scan.
        scan: what is read, a file or a folder.
        damaged: the file whose bytes are changed.
        header_bytes: of that file, before voxels without a checksum; None where a checksum covers all voxels.
        unnoticed: says of a file that was read otherwise whether the change is one of valid numbers; gets the bytes
            before and after, and what was read.
    """

    name: str
    folder: Path
    scan: Path
    damaged: Path
    header_bytes: int | None
    unnoticed: Callable[[bytes, bytes, Volume], bool]


@dataclass
class Outcomes:
    """How the damaged copies of one sample were read.

    Attributes:
        counts: by outcome: refused, same, voxels, numbers, wrong, exception.
        faults: a line for each wrong one, exception, or slow one.
        slowest: seconds.
    """

    counts: Counter[str] = field(default_factory=Counter)
    faults: list[str] = field(default_factory=list)
    slowest: float = 0.0


def fuzz(sample: Sample, count: int, seed: int) -> Outcomes:
    """Damage a sample `count` times, one way a copy, and read each copy."""
    outcomes = Outcomes()
    original = read_volume(sample.scan)
    before = sample.damaged.read_bytes()
    for number in range(count):
        random = np.random.default_rng([seed, number])
        after, what = damage(before, random, sample.header_bytes)
        sample.damaged.write_bytes(after)
        since = time.perf_counter()
        try:
            outcome = _outcome(sample, original, before, after, read_volume(sample.scan))
        except SegpipeError:
            outcome = "refused"
        except Exception as error:
            outcome = "exception"
            what += f": {type(error).__name__}: {error}"
        seconds = time.perf_counter() - since
        outcomes.slowest = max(outcomes.slowest, seconds)
        outcomes.counts[outcome] += 1
        if outcome in ("wrong", "exception") or seconds > LONGEST_SECONDS:
            outcomes.faults.append(
                f"{sample.name}, seed {seed}, number {number}: {outcome}, {what}, {seconds:.1f} s"
            )
    sample.damaged.write_bytes(before)
    return outcomes


def _outcome(sample: Sample, original: Volume, before: bytes, after: bytes, volume: Volume) -> str:
    same_voxels = volume.array.shape == original.array.shape and np.array_equal(volume.array, original.array)
    if same_voxels and volume.grid.matches(original.grid):
        return "same"
    header = sample.header_bytes
    if header is not None and len(before) == len(after) and before[:header] == after[:header]:
        return "voxels"
    return "numbers" if sample.unnoticed(before, after, volume) else "wrong"


def damage(data: bytes, random: np.random.Generator, header_bytes: int | None) -> tuple[bytes, str]:
    """Return a copy damaged in one of twelve ways, three times in four in the header, and a description of the way."""
    header = len(data) if header_bytes is None else min(header_bytes, len(data))
    where = len(data) if random.random() < 0.25 else header
    at = int(random.integers(max(where, 1)))
    length = int(random.choice([1, 1, 2, 3, 4, 8, 16, 100]))
    length = min(length, len(data) - at)
    noise = random.integers(0, 256, length, np.uint8).tobytes()
    text = bytes(random.choice(np.frombuffer(b"0123456789-+. eE:=#()\n,xX", np.uint8), 1))
    digits = [match.span() for match in _NUMBER.finditer(data[: header_bytes or 400])]
    start, end = digits[int(random.integers(len(digits)))] if digits else (at, at + 1)
    ways: list[tuple[str, bytes]] = [
        ("a bit flipped", data[:at] + bytes([data[at] ^ (1 << int(random.integers(8)))]) + data[at + 1 :]),
        ("a byte replaced", data[:at] + noise[:1] + data[at + 1 :]),
        ("a letter replaced", data[:at] + text + data[at + 1 :]),
        ("a letter inserted", data[:at] + text + data[at:]),
        ("bytes inserted", data[:at] + noise + data[at:]),
        ("bytes deleted", data[:at] + data[at + length :]),
        ("bytes replaced", data[:at] + noise + data[at + length :]),
        ("bytes zeroed", data[:at] + bytes(length) + data[at + length :]),
        ("a part repeated", data[:at] + data[max(at - length, 0) : at] + data[at:]),
        ("cut short", data[:at]),
        ("a tail", data + noise),
        ("a number replaced", data[:start] + str(int(random.integers(-9, 999))).encode() + data[end:]),
    ]
    what, after = ways[int(random.integers(len(ways)))]
    return after, f"{what} at byte {at} of {len(data)}"


def never(before: bytes, after: bytes, volume: Volume) -> bool:
    """Every change must be noticed: a checksum covers the file."""
    return False


def always(before: bytes, after: bytes, volume: Volume) -> bool:
    """No change can be noticed: neither header nor voxels have a checksum or another field that repeats them."""
    return True


def nibabel_and_itk_agree(before: bytes, after: bytes, volume: Volume) -> bool:
    """The header has other valid numbers, and two independent readers read the same values as segpipe."""
    if len(before) != len(after) or volume.grid.is_sheared:
        return False
    image: Any = nibabel.load(volume.path)
    scalars = image.dataobj.ndim == volume.array.ndim and volume.num_channels == 1
    if scalars and not np.allclose(np.asarray(image.dataobj), volume.array, equal_nan=True):
        return False
    if not Grid.from_affine(volume.grid.size, image.affine).matches(volume.grid):
        return False
    forms = volume.nifti_forms
    if (
        forms is not None and forms.sform_code > 2
    ):  # ITK takes voxel sizes from pixdim, which a template may scale
        return True
    return itk_grid(volume).matches(volume.grid)


def itk_agrees_on_other_numbers(before: bytes, after: bytes, volume: Volume) -> bool:
    """The header differs in numbers only, and ITK reads the same values from them as segpipe."""
    return (
        _without_numbers(before) == _without_numbers(after)
        and not volume.grid.is_sheared
        and itk_grid(volume).matches(volume.grid, _BENT)
    )


def itk_grid(volume: Volume) -> Grid:
    """Return the grid of a scan's file as ITK reads it; another grid if ITK refuses the file."""
    reader = sitk.ImageFileReader()
    reader.SetFileName(str(volume.path))
    try:
        reader.ReadImageInformation()
    except RuntimeError:
        return Grid.from_affine((1, 1), np.eye(4))
    dims = volume.grid.spatial_dims
    all_dims = len(reader.GetSize())
    direction = np.array(reader.GetDirection()).reshape(all_dims, all_dims)[:dims, :dims]
    return Grid.from_lps(
        reader.GetSize()[:dims], reader.GetSpacing()[:dims], reader.GetOrigin()[:dims], direction
    )


def _without_numbers(data: bytes) -> bytes:
    """Return a text header with a mark in place of each number and of each value of one word."""
    metaimage = data.find(b"ElementDataFile")
    end = metaimage if metaimage >= 0 else data.find(b"\n\n")
    text = _NUMBER.sub(b"0", data[:end])
    # a type, an order of bytes or a switch is a number in words
    text = re.sub(rb"((?:Type|MSB|type|endian|space|kinds)\w*\s*[=:] *)[^\n]*", rb"\1", text)
    return re.sub(rb"[ \t]+|\n(?=\n)", b"", text)
