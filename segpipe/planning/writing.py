"""What the planners of all tasks share: the part that validates, the ids of a run, metadata, and the bundle's files."""

from __future__ import annotations

import importlib.metadata
import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import monai
import torch

from segpipe import __version__
from segpipe.dataset import Manifest, training_split
from segpipe.files import require_writable
from segpipe.planning.plans import PlannedValue

_SCHEMA = (
    "https://github.com/Project-MONAI/MONAI-extra-test-data/releases/download/0.8.1/meta_schema_20240725.json"
)
SUPPORTED_APPS = {"monai-label": "0.8.5", "monai-deploy-app-sdk": "4.0.0"}
"""Programs that take a bundle as it is, with the versions that `tests/integration/test_embedding.py` runs."""
_REQUIRED = ("nibabel", "SimpleITK", "pytorch-ignite", "tensorboard")


def held_out(manifest: Manifest, *, validate: bool) -> tuple[PlannedValue, float]:
    """Return the part that validates, and the share of the cases that then train.

    Args:
        manifest: with folds, splits or neither.
        validate: whether a part is held out, if there is one.
    """
    others = "another fold, or all: trains on every case"
    folds = {case.fold for case in manifest.training if case.fold is not None}
    chosen: int | str = min(folds) if len(folds) > 1 else next(iter(manifest.splits), "all")
    if chosen == "all" or not validate:
        return PlannedValue("all", "trains on every case and validates on none"), 1.0
    train, validation = training_split(manifest, chosen)
    why = f"validates on this part, {len(validation)} cases, trains on the rest; or {others}"
    return PlannedValue(chosen, why), len(train) / len(manifest.training)


def run_ids(manifest: str | Path, folder: Path, fold: PlannedValue) -> dict[str, PlannedValue]:
    """Return the ids that name manifest, folder and fold."""
    path = Path(manifest)
    return {
        "manifest": PlannedValue(
            str(path.resolve()) if path.is_file() else str(manifest),
            "a manifest that comes with segpipe, or the path of one",
        ),
        "dataset_dir": PlannedValue(str(folder.resolve()), "folder in which the manifest's paths begin"),
        "fold": fold,
    }


def metadata_head(manifest: Manifest, task: str, what: str, modality: str) -> dict[str, Any]:
    """Return the entries of a bundle's metadata.json that do not depend on its network.

    Args:
        manifest: of the training cases.
        task: "segmentation" or "classification".
        what: what the bundle does, as the beginning of a sentence that ends in the modality.
        modality: DICOM's name of the modality, or n/a; by it MONAI Deploy's pipeline generator chooses the series.
    """
    packages = {name: importlib.metadata.version(name) for name in _REQUIRED}
    return {
        "schema": _SCHEMA,
        "version": "0.1.0",
        "changelog": {"0.1.0": "planned"},
        "monai_version": monai.__version__,
        "pytorch_version": torch.__version__.partition("+")[0],
        "numpy_version": importlib.metadata.version("numpy"),
        "required_packages_version": {"segpipe": __version__, **packages},
        "supported_apps": dict(SUPPORTED_APPS),
        "name": manifest.name,
        "task": task,
        "modality": modality,
        "description": f"{what} on {', '.join(manifest.modality)}",
        "authors": "not filled in",
        "copyright": "not filled in",
        "data_source": manifest.source or "not filled in",
        "data_license": manifest.licence or "not named in its manifest",
        "data_type": "not filled in",
        "intended_use": "Research only. Not a medical device, not for diagnosis.",
        "references": [text for text in (manifest.citation, manifest.reference) if text],
    }


def in_a_line(text: str) -> str:
    """Return a text on one line, for a comment."""
    return " ".join(text.split())


def write_bundle(root: Path, texts: dict[str, str], copies: Mapping[str, Path] | None = None) -> None:
    """Write all files, or none.

    Args:
        root: folder of the bundle.
        texts: path below the folder -> content.
        copies: path below the folder -> file to copy there.
    """
    require_writable(root.parent)
    root.parent.mkdir(parents=True, exist_ok=True)
    staged = Path(tempfile.mkdtemp(prefix=".segpipe-plan-", dir=root.parent))
    try:
        for name, text in texts.items():
            path = staged / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")
        for configs in [*staged.rglob("configs")]:  # a locator has its own
            (configs.parent / "models").mkdir()
        for name, file in (copies or {}).items():
            shutil.copyfile(file, staged / name)
        staged.chmod(0o755)
        staged.rename(root)
    finally:
        shutil.rmtree(staged, ignore_errors=True)
