"""A bundle that segments bright voxels, with a locator that finds them at half the resolution; and scans for both.

Their networks are one convolution of one voxel whose answer is worked out by hand, so that every label is known.
"""

import json
from pathlib import Path
from typing import Any

import numpy as np
import torch
import yaml
from monai.bundle import ConfigParser
from tiny_bundle import write_bundle

from segpipe.bundle.locator_margin import LocatorMargin, margin_path
from segpipe.files import file_sha256
from segpipe.networks import save_weights
from segpipe.volumes import Grid, write_volume

SIZE = (60, 40, 36)
BLOCK = (slice(20, 28), slice(14, 20), slice(12, 20))
MARGIN_MM = (4.0, 4.0, 4.0)
_BRIGHT = 1.0  # standard deviations above the mean, which the blocks exceed


def write_located(folder: Path, margin_mm: tuple[float, ...] = MARGIN_MM, classes: int = 3) -> Path:
    """Write a bundle of the hippocampus bundle's classes, and its locator with weights and margin."""
    convolution = {"_target_": "torch.nn.Conv3d", "in_channels": 1, "kernel_size": 1}
    numbers = {"spacing_mm": [1.0, 1.0, 1.0], "window_size": [16, 16, 16]}
    write_bundle(folder, network_def={**convolution, "out_channels": classes}, **numbers)
    _one_convolution(folder)
    write_bright(folder, classes)
    locator = folder / "locator"
    numbers = {"spacing_mm": [2.0, 2.0, 2.0], "window_size": [32, 24, 24]}
    write_bundle(locator, network_def={**convolution, "out_channels": 2}, **numbers)
    _one_convolution(locator)
    change_metadata(
        locator,
        locates=["background", "anterior", "posterior"],
        label_table=[
            {"index": 0, "name": "background", "color": [0, 0, 0], "value": 0},
            {"index": 1, "name": "foreground", "color": [255, 0, 0], "value": 1},
        ],
    )
    write_margin(write_bright(locator, 2), margin_mm)
    return folder


def change_metadata(bundle: Path, **entries: Any) -> None:
    """Replace entries of a bundle's metadata."""
    path = bundle / "configs" / "metadata.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **entries}))


def write_bright(bundle: Path, classes: int, path: Path | None = None, **training: Any) -> Path:
    """Write weights with which the first class is brighter than `_BRIGHT`, and a sidecar with `training`."""
    parser = ConfigParser()
    parser.read_config(str(bundle / "configs" / "inference.yaml"))
    parser.read_meta(str(bundle / "configs" / "metadata.json"))
    network = parser.get_parsed_content("network_def")
    with torch.no_grad():
        network.weight.zero_()
        network.weight[1] = 10.0
        network.bias.copy_(torch.tensor([0.0, -10.0 * _BRIGHT, *[-100.0] * (classes - 2)]))
    path = path or bundle / "models" / "model.pt"
    save_weights(path, network, parser.get_parsed_content("identity"), training)
    return path


def write_margin(weights: Path, margin_mm: tuple[float, ...] = MARGIN_MM) -> Path:
    """Write a margin for a locator's weights."""
    path = margin_path(weights)
    LocatorMargin(margin_mm, file_sha256(weights), (2.0, 2.0, 2.0), "case_3", 5, 1).write(path)
    return path


def write_blocks(path: Path, *blocks: tuple[slice, ...], affine: np.ndarray | None = None) -> Path:
    """Write a dark scan with bright blocks."""
    voxels = np.zeros(SIZE, np.int16)
    voxels[0, 0, 0] = 1  # not blank without blocks
    for block in blocks:
        voxels[block] = 100
    write_volume(voxels, Grid.from_affine(SIZE, np.eye(4) if affine is None else affine), path)
    return path


def change_inference(bundle: Path, **entries: Any) -> None:
    """Replace ids of a bundle's inference.yaml."""
    path = bundle / "configs" / "inference.yaml"
    path.write_text(yaml.safe_dump({**yaml.safe_load(path.read_text()), **entries}, sort_keys=False))


def _one_convolution(bundle: Path) -> None:
    """Leave out the ids of the network that one convolution replaces."""
    path = bundle / "configs" / "inference.yaml"
    entries = yaml.safe_load(path.read_text())
    for name in ("filters", "kernel_size", "upsample_kernel_size"):
        del entries[name]
    path.write_text(yaml.safe_dump(entries, sort_keys=False))
