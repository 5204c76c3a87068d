"""A small bundle in the MONAI model zoo's layout: JSON configurations, a module, a plain state dict."""

import json
import sys
from copy import deepcopy
from pathlib import Path

import numpy as np
import pytest
import torch
from monai.bundle import ConfigWorkflow
from monai.networks.nets import UNet
from scipy.ndimage import gaussian_filter

from segpipe.bundle.open import open_bundle
from segpipe.bundle.source import BundleSource
from segpipe.dataset import load_manifest, shipped_manifests
from segpipe.prediction.accuracy import WindowSettings
from segpipe.prediction.segmenter import Segmenter
from segpipe.volumes import Grid, read_volume, write_volume

CLASSES = ("background", "spleen", "liver")
NETWORKS = """\
from monai.networks.nets import UNet

from scripts.names import NAME


class SmallUNet(UNet):
    made_for = NAME

    def __init__(self, spatial_dims, classes):
        super().__init__(spatial_dims, 1, classes, (4, 8), (2,), norm="instance")


class TwoAnswers(SmallUNet):
    def forward(self, x):
        return super().forward(x), x


class HalfTheSize(SmallUNet):
    def forward(self, x):
        return super().forward(x)[..., ::2, ::2, ::2]
"""
INFERERS = """\
from monai.inferers import SlidingWindowInferer


class FirstAnswer(SlidingWindowInferer):
    def __call__(self, inputs, network, *args, **kwargs):
        return super().__call__(inputs, lambda windows: network(windows)[0], *args, **kwargs)
"""
INFERENCE = {
    "imports": ["$import glob", "$import scripts"],
    "bundle_root": ".",
    "dataset_dir": "/path/to/scans",
    "output_dir": "$@bundle_root + '/eval'",
    "datalist": "$sorted(glob.glob(@dataset_dir + '/*.nii.gz'))",
    "device": "$torch.device('cpu')",
    "network_def": {"_target_": "scripts.networks.SmallUNet", "spatial_dims": 3, "classes": 3},
    "network": "$@network_def.to(@device)",
    "preprocessing": {
        "_target_": "Compose",
        "transforms": [
            {"_target_": "LoadImaged", "keys": "image"},
            {"_target_": "EnsureChannelFirstd", "keys": "image"},
            {"_target_": "Orientationd", "keys": "image", "axcodes": "RAS", "labels": None},
            {"_target_": "Spacingd", "keys": "image", "pixdim": [1.5, 1.5, 1.5], "mode": "bilinear"},
            {
                "_target_": "ScaleIntensityRanged",
                "keys": "image",
                "a_min": -160,
                "a_max": 240,
                "b_min": 0,
                "b_max": 1,
                "clip": True,
            },
            {"_target_": "EnsureTyped", "keys": "image"},
        ],
    },
    "dataset": {
        "_target_": "Dataset",
        "data": "$[{'image': path} for path in @datalist]",
        "transform": "@preprocessing",
    },
    "dataloader": {"_target_": "DataLoader", "dataset": "@dataset", "batch_size": 1, "num_workers": 0},
    "inferer": {
        "_target_": "SlidingWindowInferer",
        "roi_size": [16, 16, 16],
        "sw_batch_size": 4,
        "overlap": 0.5,
    },
    "postprocessing": {
        "_target_": "Compose",
        "transforms": [
            {"_target_": "Activationsd", "keys": "pred", "softmax": True},
            {
                "_target_": "Invertd",
                "keys": "pred",
                "transform": "@preprocessing",
                "orig_keys": "image",
                "nearest_interp": False,
                "to_tensor": True,
            },
            {"_target_": "AsDiscreted", "keys": "pred", "argmax": True},
            {
                "_target_": "SaveImaged",
                "keys": "pred",
                "output_dir": "@output_dir",
                "output_postfix": "",
                "separate_folder": False,
            },
        ],
    },
    "evaluator": {
        "_target_": "SupervisedEvaluator",
        "device": "@device",
        "val_data_loader": "@dataloader",
        "network": "@network",
        "inferer": "@inferer",
        "postprocessing": "@postprocessing",
    },
    "checkpointloader": {
        "_target_": "CheckpointLoader",
        "load_path": "$@bundle_root + '/models/model.pt'",
        "load_dict": {"model": "@network"},
    },
    "initialize": ["$@checkpointloader(@evaluator)"],
    "run": ["$@evaluator.run()"],
}
METADATA = {
    "version": "0.1.0",
    "monai_version": "1.6.1",
    "task": "Spleen and liver segmentation",
    "network_data_format": {
        "inputs": {
            "image": {
                "type": "image",
                "format": "hounsfield",
                "modality": "CT",
                "num_channels": 1,
                "spatial_shape": [16, 16, 16],
                "dtype": "float32",
                "value_range": [0, 1],
                "is_patch_data": True,
                "channel_def": {"0": "image"},
            }
        },
        "outputs": {
            "pred": {
                "type": "image",
                "format": "segmentation",
                "num_channels": 3,
                "spatial_shape": [16, 16, 16],
                "dtype": "float32",
                "value_range": [0, 1],
                "is_patch_data": True,
                "channel_def": {str(index): name for index, name in enumerate(CLASSES)},
            }
        },
    },
}


def _network(dims=3, seed=0, classes=3):
    torch.manual_seed(seed)
    return UNet(dims, 1, classes, (4, 8), (2,), norm="instance").eval()


@pytest.fixture(scope="session")
def random_network():
    """Return a function that builds the network of `zoo_bundle` with random weights; the bundle has seed 0."""
    return _network


@pytest.fixture
def zoo_bundle(tmp_path):
    """Return a function that writes the bundle and returns its folder.

    `change` gets the two configurations, as the dictionaries that they are.
    """

    def write(change=lambda inference, metadata: None, name="spleen", dims=3, classes=3):
        inference, metadata = deepcopy(INFERENCE), deepcopy(METADATA)
        inference["network_def"] |= {"spatial_dims": dims, "classes": classes}
        inference["inferer"]["roi_size"] = [16] * dims
        if dims == 2:
            inference["preprocessing"]["transforms"][2:4] = []
            metadata["network_data_format"]["inputs"]["image"]["spatial_shape"] = [16, 16]
        change(inference, metadata)
        root = tmp_path / "bundles" / name
        for folder in ("configs", "models", "scripts"):
            (root / folder).mkdir(parents=True)
        (root / "configs" / "inference.json").write_text(json.dumps(inference, indent=4))
        (root / "configs" / "metadata.json").write_text(json.dumps(metadata, indent=4))
        (root / "scripts" / "__init__.py").touch()
        (root / "scripts" / "names.py").write_text(f"NAME = {name!r}\n")
        (root / "scripts" / "networks.py").write_text(NETWORKS)
        (root / "scripts" / "inferers.py").write_text(INFERERS)
        torch.save(_network(dims, classes=classes).state_dict(), root / "models" / "model.pt")
        return root

    return write


@pytest.fixture
def write_scan(tmp_path):
    """Return a function that writes smooth noise of -500 to 500 as a 2D or 3D scan and returns its path."""

    def write(affine=None, size=(30, 26, 22), name="case", seed=0):
        noise = gaussian_filter(np.random.default_rng(seed).normal(size=size), 2)
        voxels = np.round(500 * noise / np.abs(noise).max()).astype(np.int16)
        path = tmp_path / "scans" / f"{name}.nii.gz"
        write_volume(voxels, Grid.from_affine(size, np.eye(4) if affine is None else affine), path)
        return path

    return write


@pytest.fixture
def opened():
    """Return a function that opens a bundle in float32 and reads a scan: segmenter, image, grid."""

    def open_with(root, scan, weights=(), precision="float32", flips=None, overlap=None, **settings):
        bundle = open_bundle(BundleSource(root, weights=weights, trust=True))
        segmenter = Segmenter(bundle, precision, windows=WindowSettings(overlap, flips), **settings)
        image = segmenter.prepare(bundle.read(scan))
        return segmenter, image, read_volume(scan).grid

    return open_with


@pytest.fixture
def by_monai(tmp_path, monkeypatch):
    """Return a function that returns the label map of MONAI's run of a bundle on a scan."""

    def run(root, scan, **overrides):
        before = set(sys.modules)
        out = tmp_path / "by_monai" / root.name
        with monkeypatch.context() as patched:
            patched.syspath_prepend(root)
            workflow = ConfigWorkflow(
                config_file=str(root / "configs" / "inference.json"),
                meta_file=str(root / "configs" / "metadata.json"),
                logging_file=None,
                workflow_type="inference",
                bundle_root=str(root),
                output_dir=str(out),
                datalist=[str(scan)],
                **overrides,
            )
            workflow.initialize()
            workflow.run()
        for name in set(sys.modules) - before:
            if name.partition(".")[0] == "scripts":
                del sys.modules[name]
        return read_volume(out / f"{Path(scan).name.partition('.')[0]}.nii.gz").array

    return run


@pytest.fixture(scope="session")
def empty_datasets(tmp_path_factory):
    """Return a folder with the files of every shipped manifest; all files are empty."""
    folder = tmp_path_factory.mktemp("data")
    for name in shipped_manifests():
        for case in load_manifest(name).training:
            for file in case.files:
                path = folder / name / file
                path.parent.mkdir(parents=True, exist_ok=True)
                path.touch()
    tiles = [
        {"case": f"tile_{number}", "image": [f"{name}.mhd"], "classes": [name], "fold": number}
        for number, name in enumerate(("healthy", "infected"))
    ]
    described = {"schema_version": 1, "name": "tiles", "modality": {"0": "CT"}, "target": "class"}
    labels = {"labels": {"0": "healthy", "1": "infected"}, "numTraining": len(tiles), "training": tiles}
    (folder / "tiles").mkdir()
    for tile in tiles:
        (folder / "tiles" / tile["image"][0]).touch()
    (folder / "tiles.json").write_text(json.dumps({**described, **labels}))
    return folder
