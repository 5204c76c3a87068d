"""A classification bundle that trains in seconds: the tile network with a few channels, on small phantoms."""

import json
import shutil
from pathlib import Path
from typing import Any

import monai.bundle

from segpipe.dataset import load_manifest
from segpipe.files import write_json
from segpipe.planning.image_experiment import ImageExperiment, image_configs
from segpipe.planning.image_planner import image_data_format
from segpipe.planning.plans import PlannedValue

BUNDLES = Path(__file__).parents[2] / "bundles"
SIDE = 32
NUMBERS: dict[str, Any] = {
    "image_size": [SIDE, SIDE],
    "flips": [],
    "precision": "float32",
    "batch_size": 8,
    "epochs": 2,
    "learning_rate": 0.02,
    "momentum": 0.9,
    "weight_decay": 0.0005,
    "weighting": None,
    "label_smoothing": 0.0,
    "key_score": "auroc",
    "val_interval": 1,
    "patience": 0,
}


def write_trial(root: Path, manifest: Path, *, balanced: bool = False, **numbers: Any) -> Path:
    """Write the bundle for a manifest of images of 32 x 32 pixels that lie beside it."""
    described = load_manifest(manifest)
    run = {"manifest": str(manifest), "dataset_dir": str(manifest.parent), "fold": 0}
    experiment = ImageExperiment(
        about=("Trial",),
        inference_about=("Trial",),
        network="TileClassifier",
        target=described.categories().target,
        run={name: PlannedValue(value, "") for name, value in run.items()},
        numbers={name: PlannedValue(value, "") for name, value in {**NUMBERS, **numbers}.items()},
        optimizer="SGD",
        balanced=balanced,
        grey=True,
        pretrained=False,
        freezes=False,
    )
    (root / "configs").mkdir(parents=True)
    (root / "models").mkdir()
    for name, text in image_configs(experiment).items():
        small = text.replace('  tile_size: "@image_size"', '  tile_size: "@image_size"\n  stages: [[4], [8]]')
        (root / "configs" / name).write_text(small)
    shipped = BUNDLES / "ct_covid_unet" / "configs"
    shutil.copy(shipped / "logging.conf", root / "configs")
    metadata = json.loads((shipped / "metadata.json").read_text())
    categories = described.categories()
    metadata |= {
        "task": "classification",
        **categories.to_metadata(),
        "network_data_format": image_data_format(categories, [SIDE, SIDE], ("grey",), "OT"),
    }
    write_json(root / "configs" / "metadata.json", metadata)
    return root


def run_bundle(root: Path, *names: str, **overrides: Any) -> None:
    """Do the same as `python -m monai.bundle run` with these files and overrides."""
    monai.bundle.run(
        config_file=[str(root / "configs" / f"{name}.yaml") for name in names],
        bundle_root=str(root),
        device="cpu",
        **overrides,
    )


def train(root: Path, run_name: str, **overrides: Any) -> Path:
    """Train the bundle; return the run's folder. Reference ranges cost a process of their own: only where asked for."""
    run_bundle(root, "train", run_name=run_name, **{"reference_ranges": False, **overrides})
    return root / "runs" / run_name
