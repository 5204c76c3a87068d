"""Networks and folders of scans for the benchmarks of inference. Not run by itself."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import nibabel
import numpy as np
import torch
from bundle_runs import ROOT
from monai.networks.nets import DynUNet

BUNDLE = ROOT / "bundles" / "mri_hippocampus_unet"
LUNG_BUNDLE = ROOT / "bundles" / "ct_covid_unet"
WINDOW, OVERLAP, CLASSES = (40, 56, 40), 0.5, 3


@dataclass(frozen=True)
class Network:
    """A network of a bundle.

    Attributes:
        name: in the table.
        bundle: folder of its bundle.
        filters: of the stages of a DynUNet; () for the network that the bundle has.
        weights: file of its state.
        trained: whether its labels mean anything.
    """

    name: str
    bundle: Path
    filters: tuple[int, ...]
    weights: Path
    trained: bool


def networks(folder: Path, large_weights: Path | None = None) -> list[Network]:
    """Return the shipped DynUNet and one of twice the channels.

    Args:
        folder: where untrained weights are written.
        large_weights: trained weights of the large network; None: untrained ones.
    """
    shipped = Network("16-32-64-128", BUNDLE, (16, 32, 64, 128), BUNDLE / "models" / "model.pt", trained=True)
    filters = (32, 64, 128, 256)
    if large_weights is None:
        torch.manual_seed(0)
        torch.save(dynunet(filters).state_dict(), folder / "large.pt")
    weights = large_weights or folder / "large.pt"
    return [shipped, Network("32-64-128-256", BUNDLE, filters, weights, trained=large_weights is not None)]


def lung_network() -> Network:
    """Return the U-Net of the lung bundle, which takes slices."""
    return Network("lung U-Net", LUNG_BUNDLE, (), LUNG_BUNDLE / "models" / "model.pt", trained=True)


def dynunet(filters: Sequence[int]) -> DynUNet:
    """Return the bundle's network."""
    return DynUNet(3, 1, CLASSES, [3] * 4, [1, 2, 2, 2], [2, 2, 2], filters=list(filters))


def tiled(scans: Sequence[Path], size: int) -> np.ndarray:
    """Return a cube of real scans side by side, each brought to mean 1000 and deviation 200, int16 above 0.

    nnU-Net crops what is 0 at the borders.
    """
    cells = [math.ceil(size / length) for length in WINDOW]
    volume = np.empty([cell * length for cell, length in zip(cells, WINDOW, strict=True)], np.int16)
    for number, cell in enumerate(np.ndindex(*cells)):
        scan = np.asarray(nibabel.load(scans[number % len(scans)]).dataobj, np.float64)
        missing = [max(length - have, 0) for length, have in zip(WINDOW, scan.shape, strict=True)]
        scan = np.pad(scan, [(gap // 2, gap - gap // 2) for gap in missing], mode="reflect")
        first = [(have - length) // 2 for have, length in zip(scan.shape, WINDOW, strict=True)]
        scan = scan[tuple(slice(begin, begin + length) for begin, length in zip(first, WINDOW, strict=True))]
        place = tuple(slice(index * n, (index + 1) * n) for index, n in zip(cell, WINDOW, strict=True))
        volume[place] = (1000 + 200 * (scan - scan.mean()) / scan.std()).clip(1, 32767).round()
    return volume[:size, :size, :size]


def write_cube(folder: Path, scans: Sequence[Path], size: int) -> None:
    """Write a cube of real scans side by side into a new folder."""
    folder.mkdir()
    nibabel.save(nibabel.Nifti1Image(tiled(scans, size), np.eye(4)), folder / "volume.nii.gz")


def write_cohort(folder: Path, scans: Sequence[Path], count: int) -> None:
    """Copy the first scans into a new folder."""
    folder.mkdir()
    for scan in scans[:count]:
        (folder / scan.name).write_bytes(scan.read_bytes())


def write_slices(folder: Path, slices: Sequence[Path], count: int) -> None:
    """Copy slices (.mhd with .zraw) into a new folder; some of them twice, under other names."""
    folder.mkdir()
    for number in range(count):
        header = slices[number % len(slices)]
        voxels = header.with_suffix(".zraw")
        name = header.stem if number < len(slices) else f"{header.stem}_{number // len(slices)}"
        text = header.read_text().replace(voxels.name, f"{name}.zraw")
        (folder / f"{name}.mhd").write_text(text)
        (folder / f"{name}.zraw").write_bytes(voxels.read_bytes())
