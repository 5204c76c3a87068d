"""From a manifest to a bundle: checks the files, makes the fingerprint, applies the rules, writes the bundle."""

from __future__ import annotations

import importlib.metadata
import re
import shutil
import tempfile
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import monai
import torch

from segpipe import __version__
from segpipe.dataset import Manifest, load_manifest, require_valid, set_findings, training_split
from segpipe.dataset.importing.channel_files import planned_channels
from segpipe.errors import SegpipeError, shown
from segpipe.files import require_writable
from segpipe.labels import LabelTable
from segpipe.names import require_configurable
from segpipe.planning.experiment import Experiment
from segpipe.planning.files import as_json, rendered
from segpipe.planning.fingerprint import Fingerprint, fingerprint
from segpipe.planning.memory import step_bytes
from segpipe.planning.plans import Plan, PlannedValue, PlanOptions
from segpipe.planning.rules import plan

_SCHEMA = (
    "https://github.com/Project-MONAI/MONAI-extra-test-data/releases/download/0.8.1/meta_schema_20240725.json"
)
_TEMPLATED = (
    *(
        "configs/train.yaml",
        "configs/inference.yaml",
        "configs/evaluate.yaml",
        "configs/multi_gpu_train.yaml",
    ),
    *("configs/logging.conf", "docs/README.md", "docs/data_license.txt", "LICENSE"),
)
_REQUIRED = ("nibabel", "SimpleITK", "pytorch-ignite", "tensorboard")


@dataclass(frozen=True)
class PlannedBundle:
    """A written bundle.

    Attributes:
        root: folder of the bundle.
        plan: numbers of the bundle, with reasons.
        data: fingerprint that the plan follows from.
    """

    root: Path
    plan: Plan
    data: Fingerprint


def plan_bundle(
    manifest: str | Path, dataset_dir: str | Path, output: str | Path, options: PlanOptions
) -> PlannedBundle:
    """Plan a bundle for a data set and write it.

    Args:
        manifest: name of a shipped manifest, or a path.
        dataset_dir: folder of the manifest's files.
        output: folder of the bundle; must not exist.
        options: options of the user; the manifest's share replaces `training_share`.

    Returns:
        The written bundle.

    Raises:
        SegpipeError: the output exists, a path has a character that no configuration can hold (`#`), the check refuses
            files, the manifest has no label maps, or an error of `segpipe.planning.rules.plan`.
    """
    root, folder = Path(output), Path(dataset_dir)
    for path in (root, folder, Path(manifest)):
        require_configurable(path)
    if root.exists():
        raise SegpipeError(f"{root}: exists already; choose another --output, or remove it")
    described = load_manifest(manifest)
    if described.target != "mask":
        raise SegpipeError(
            f"{described.name}: its target is {described.target}; plans are made for label maps"
        )
    labels = described.label_table()
    reports = require_valid(described.training, folder, described, labels)
    data = fingerprint(described.training, reports, labels)
    fold, share = _held_out(described, options)
    planned = plan(data, replace(options, training_share=share), step_bytes)
    apart = set_findings(described.training, reports)
    if apart:
        messages = shown((finding.message for finding in apart), "; ", most=2)
        warning = (
            f"{len(apart)} finding(s) of `segpipe data check`, look at them before you train: {messages}"
        )
        planned = replace(planned, warnings=(*planned.warnings, _in_a_line(warning)))
    path = Path(manifest)
    run = {
        "manifest": PlannedValue(
            str(path.resolve()) if path.is_file() else str(manifest),
            "a manifest that comes with segpipe, or the path of one",
        ),
        "dataset_dir": PlannedValue(str(folder.resolve()), "folder in which the manifest's paths begin"),
        "fold": fold,
    }
    experiment = _experiment(described, planned, labels, run)
    further = {
        "name": _in_a_line(described.name),
        "described": described,
        "classes_text": _in_a_line(", ".join(labels.target_names)),
        "modality_text": _in_a_line(", ".join(described.modality)),
        "labels": labels,
        "warnings": planned.warnings,
        "peak_gb": planned.peak_gb,
        "fold_is_held_out": fold.value != "all",
        "data": data,
    }
    texts = {name: rendered(name, experiment, further) for name in _TEMPLATED}
    texts["configs/metadata.json"] = as_json(_metadata(described, planned, labels))
    _write(root, texts)
    return PlannedBundle(root, planned, data)


def _held_out(manifest: Manifest, options: PlanOptions) -> tuple[PlannedValue, float]:
    """Return the part that validates, and the share of the cases that then train."""
    others = "another fold, or all: trains on every case"
    folds = {case.fold for case in manifest.training if case.fold is not None}
    chosen: int | str = min(folds) if len(folds) > 1 else next(iter(manifest.splits), "all")
    if chosen == "all" or not options.validate:
        return PlannedValue("all", "trains on every case and validates on none"), 1.0
    train, validation = training_split(manifest, chosen)
    why = f"validates on this part, {len(validation)} cases, trains on the rest; or {others}"
    return PlannedValue(chosen, why), len(train) / len(manifest.training)


def _experiment(
    manifest: Manifest, planned: Plan, labels: LabelTable, run: dict[str, PlannedValue]
) -> Experiment:
    """Return the plan as the experiment that the YAML templates take."""
    network, mirrors = planned.architecture, planned.mirrors
    formats = "NIfTI, MetaImage, NRRD and DICOM series" if planned.is_volume else "formats"
    about = (
        f"Trains a network that segments {', '.join(labels.target_names)} on {', '.join(manifest.modality)}.",
        "Written by `segpipe plan`, which gives a reason for every number. Change what you know better.",
        f"In {network.dims}D: {planned.dims.why}. Training is planned to peak at {planned.peak_gb:.1f} GB of memory.",
        *(f"WARNING: {warning}" for warning in planned.warnings),
    )
    return Experiment(
        about=tuple(map(_in_a_line, about)),
        inference_about=(f"Segments scans: a folder that mixes {formats}, or one scan.",),
        architecture=network.name,
        dims=network.dims,
        spatial_dims=3 if planned.is_volume else 2,
        num_channels=network.num_channels,
        channels=planned_channels(manifest),
        resample_channels=manifest.resample_channels,
        intensity=planned.intensity,
        run=run,
        numbers=planned.numbers,
        axcodes=planned.axcodes,
        mirrors=mirrors,
        flips=mirrors.value if "flips" in planned.numbers else [],
        crop="by class, indices cached" if planned.crops_by_class else "anywhere",
        by_region=bool(labels.regions),
        ignores=labels.ignore_value is not None,
    )


def _in_a_line(text: str) -> str:
    """Return a text on one line, for a comment."""
    return " ".join(text.split())


def _metadata(manifest: Manifest, planned: Plan, labels: LabelTable) -> dict[str, Any]:
    network = planned.architecture
    outputs = {str(channel): name for channel, name in enumerate(labels.output_names)}
    shape = planned.numbers["window_size"].value
    packages = {name: importlib.metadata.version(name) for name in _REQUIRED}
    return {
        "schema": _SCHEMA,
        "version": "0.1.0",
        "changelog": {"0.1.0": "planned"},
        "monai_version": monai.__version__,
        "pytorch_version": torch.__version__.partition("+")[0],
        "numpy_version": importlib.metadata.version("numpy"),
        "required_packages_version": {"segpipe": __version__, **packages},
        "supported_apps": {},
        "name": manifest.name,
        "task": "segmentation",
        "description": f"Segments {', '.join(labels.target_names)} on {', '.join(manifest.modality)}",
        "authors": "not filled in",
        "copyright": "not filled in",
        "data_source": manifest.source or "not filled in",
        "data_type": "not filled in",
        "image_classes": f"{network.num_channels} channel(s): {', '.join(manifest.modality)}",
        "label_classes": ", ".join(f"{row.value} {row.name}" for row in labels.labels),
        "pred_classes": f"{len(outputs)} channels: {', '.join(outputs.values())}",
        "intended_use": "Research only. Not a medical device, not for diagnosis.",
        "references": [text for text in (manifest.citation, manifest.reference) if text],
        **labels.to_metadata(),
        "network_data_format": {
            "inputs": {
                "image": {
                    "type": "image",
                    "format": "hounsfield" if planned.intensity == "hu" else "magnitude",
                    "modality": "CT"
                    if planned.intensity != "z-score"
                    else _dicom_modality(manifest.modality),
                    "num_channels": network.num_channels,
                    "spatial_shape": shape,
                    "dtype": "float32",
                    "value_range": [0, 1] if planned.intensity == "hu" else [-10, 10],
                    "is_patch_data": True,
                    "channel_def": {str(number): text for number, text in enumerate(manifest.modality)},
                }
            },
            "outputs": {
                "pred": {
                    "type": "image",
                    "format": "segmentation",
                    "num_channels": len(outputs),
                    "spatial_shape": shape,
                    "dtype": "float32",
                    "value_range": [-100, 100],
                    "is_patch_data": True,
                    "channel_def": outputs,
                }
            },
        },
    }


def _dicom_modality(texts: tuple[str, ...]) -> str:
    words = {word for text in texts for word in re.findall("[A-Z0-9]+", text.upper())}
    return "MR" if words & {"MR", "MRI", "T1", "T2", "FLAIR", "T1W", "T2W", "ADC", "DWI", "PD"} else "n/a"


def _write(root: Path, texts: dict[str, str]) -> None:
    """Write all files, or none."""
    require_writable(root.parent)
    root.parent.mkdir(parents=True, exist_ok=True)
    staged = Path(tempfile.mkdtemp(prefix=".segpipe-plan-", dir=root.parent))
    try:
        for name, text in texts.items():
            path = staged / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")
        (staged / "models").mkdir()
        staged.chmod(0o755)
        staged.rename(root)
    finally:
        shutil.rmtree(staged, ignore_errors=True)
