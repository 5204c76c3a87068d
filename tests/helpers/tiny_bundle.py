"""A bundle that segments dozens of scans in seconds, and scans for it, broken scans too.

The hippocampus bundle with few filters, small windows and random weights: tests with it are about
files, not about the segmentation.
"""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import torch
import yaml
from monai.bundle import ConfigParser

from segpipe.networks import save_weights
from segpipe.volumes import Grid, write_series, write_volume

BUNDLES = Path(__file__).parents[2] / "bundles"
SMALL = {
    "filters": [2, 4, 8],
    "kernel_size": [3, 3, 3],
    "strides": [1, 2, 2],
    "upsample_kernel_size": [2, 2],
    "window_size": [16, 16, 16],
    "precision": "float32",  # auto would be timed, and the label maps depend on it
    "device": "cpu",
}
SIZE = (14, 16, 12)
NOT_OUTPUTS = {"predictions.jsonl", "predict.log", ".segpipe-lock"}


def write_bundle(folder: Path, seed: int = 0, **changes: Any) -> Path:
    """Write the bundle with weights of a seed; `changes` apply to its inference.yaml."""
    without_twin = shutil.ignore_patterns("inference.json")  # it would not be this inference.yaml
    shutil.copytree(BUNDLES / "mri_hippocampus_unet" / "configs", folder / "configs", ignore=without_twin)
    path = folder / "configs" / "inference.yaml"
    path.write_text(yaml.safe_dump({**yaml.safe_load(path.read_text()), **SMALL, **changes}, sort_keys=False))
    write_weights(folder, folder / "models" / "model.pt", seed)
    return folder


CHANNELS = [{"name": "FLAIR", "files": "{case}_flair"}, {"name": "T1c", "files": "{case}_t1c"}]


def write_two_channel_bundle(folder: Path) -> Path:
    """Write the bundle for scans of two channels, `CHANNELS`."""
    content = yaml.safe_load((BUNDLES / "mri_hippocampus_unet" / "configs" / "inference.yaml").read_text())
    more = {"num_channels": 2, "channels": "@channels", "channel_order": "@channel_order"}
    load, *others = content["load_transforms"]
    return write_bundle(
        folder,
        channels=CHANNELS,
        channel_order=None,
        cases={**content["cases"], **more},
        network_def={**content["network_def"], "in_channels": 2},
        load_transforms=[{**load, **more}, *others],
    )


def write_weights(bundle: Path, path: Path, seed: int, **training: Any) -> Path:
    """Write random weights that fit the bundle, and a sidecar with `training`."""
    parser = ConfigParser()
    parser.read_config(str(bundle / "configs" / "inference.yaml"))
    parser.read_meta(str(bundle / "configs" / "metadata.json"))
    network = parser.get_parsed_content("network_def")
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in network.parameters():
            if parameter.ndim > 1:
                parameter.copy_(torch.randn(parameter.shape, generator=generator))
            elif not parameter.all():  # a bias of the scores would let one class win everywhere
                parameter.zero_()
    save_weights(path, network, parser.get_parsed_content("identity"), training)
    return path


def noise(size: tuple[int, ...] = SIZE, seed: int = 0) -> np.ndarray:
    """Return int16 intensities."""
    return np.random.default_rng(seed).integers(0, 1000, size).astype(np.int16)


def write_scan(path: Path, seed: int = 0, size: tuple[int, ...] = SIZE) -> Path:
    """Write a scan of noise, different for every seed, and make its folder."""
    write_volume(noise(size, seed), Grid.from_affine(size, np.eye(4)), path)
    return path


def write_scans(folder: Path, count: int, suffix: str = ".nii.gz") -> Path:
    """Write `scan_000`, `scan_001` and so on."""
    for index in range(count):
        write_scan(folder / f"scan_{index:03d}{suffix}", index)
    return folder


def contents(folder: Path) -> dict[str, bytes]:
    """Return the bytes of all files of an output folder but the ledger (it has times), the log and the lock."""
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.name not in NOT_OUTPUTS
    }


def _truncated(path: Path) -> None:
    write_scan(path)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def _with_nan(path: Path) -> None:
    array = noise().astype(np.float32)
    array[1, 2, 3] = np.nan
    nibabel.save(nibabel.Nifti1Image(array, np.eye(4)), path)


def _singular(path: Path) -> None:
    image = nibabel.Nifti1Image(noise(), np.eye(4))
    image.header["srow_z"] = 0
    nibabel.save(nibabel.Nifti1Image(noise(), None, image.header), path)


def _without_voxels(path: Path) -> None:
    write_scan(path)
    path.with_suffix(".zraw").unlink()


def _with_a_gap(path: Path) -> None:
    grid = Grid.from_affine((14, 16, 6), np.diag([-1.0, -1.0, 1.0, 1.0]))
    write_series(noise(grid.size), grid, path, series_uid="1.2.3")[3].unlink()


def _nifti(array: np.ndarray, affine: np.ndarray | None) -> Callable[[Path], None]:
    return lambda path: nibabel.save(nibabel.Nifti1Image(array, affine), path)


BROKEN = {  # name -> what writes it, what the reason says
    "truncated.nii.gz": (_truncated, "truncated"),
    "empty.nii.gz": (lambda path: path.touch(), "empty file"),
    "text.nii.gz": (
        lambda path: path.write_text("it is on the other disk\n" * 50),
        "not a gzip file",
    ),
    "nan.nii.gz": (_with_nan, r"1 of 2688 voxels are NaN or infinite"),
    "blank.nii.gz": (_nifti(np.zeros(SIZE, np.int16), np.eye(4)), "blank"),
    "channels.nii.gz": (
        _nifti(noise((*SIZE, 2)), np.eye(4)),
        r"3D with 2 channel\(s\), the bundle takes 3D with 1",
    ),
    "slice.nii.gz": (
        _nifti(noise(SIZE[:2]), np.eye(4)),
        r"2D with 1 channel\(s\), the bundle takes 3D with 1",
    ),
    "nowhere.nii.gz": (_nifti(noise(), None), "which side is left is unknown"),
    "singular.nii.gz": (_singular, r"spacing \(1, 1, 0\) mm"),
    "voxels.mhd": (_without_voxels, r"voxels\.mhd: .*voxels\.zraw"),
    "gap": (_with_a_gap, "gap in the series: 2 mm"),
    "huge.nii.gz": (_nifti(noise(), np.diag([1, 1, 150, 1])), "must be at most 100 mm"),
}


def write_broken(folder: Path, name: str) -> Path:
    """Write one of the scans in `BROKEN`."""
    folder.mkdir(parents=True, exist_ok=True)
    BROKEN[name][0](folder / name)
    return folder / name
