"""From a manifest of classes or findings to a bundle: checks the images, applies the rules, writes the bundle."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from segpipe.categories import Categories
from segpipe.dataset import Manifest, load_manifest, require_valid_images, training_split
from segpipe.dataset.targets import target_of
from segpipe.documents import json_of
from segpipe.errors import SegpipeError
from segpipe.names import require_configurable
from segpipe.planning.files import as_json, template_text
from segpipe.planning.image_experiment import FOLDER, ImageExperiment, ImageNetwork, image_configs
from segpipe.planning.image_rules import ImageData, ImagePlan, image_data, image_plan
from segpipe.planning.plans import PlannedValue
from segpipe.planning.writing import held_out, in_a_line, metadata_head, run_ids, write_bundle

_CLASS_OF: Mapping[str, ImageNetwork] = {"efficientnet": "EfficientNetLite0", "densenet": "DenseNet121"}
_COPIED = ("configs/logging.conf", "LICENSE")
_MODALITY = "n/a"  # a manifest of images names none


@dataclass(frozen=True)
class PlannedImageBundle:
    """A written bundle.

    Attributes:
        root: folder of the bundle.
        plan: numbers of the bundle, with reasons.
        data: summary of the images that the plan follows from.
    """

    root: Path
    plan: ImagePlan
    data: ImageData


@dataclass(frozen=True)
class ImagePlanOptions:
    """The options of a plan for classes or findings.

    Attributes:
        network: name in `segpipe.planning.image_rules.IMAGE_NETWORKS`.
        epochs: epochs of training; None lets the data decide.
        balanced: draw rare classes or findings as often as common ones, instead of weighing them in the loss.
        validate: whether a fold is held out, if the manifest has folds or splits.
    """

    network: str = "efficientnet"
    epochs: int | None = None
    balanced: bool = False
    validate: bool = True


def plan_image_bundle(
    manifest: str | Path, dataset_dir: str | Path, output: str | Path, options: ImagePlanOptions
) -> PlannedImageBundle:
    """Plan a bundle for a data set of classes or findings and write it.

    Args:
        manifest: name of a shipped manifest, or a path; of target class or findings.
        dataset_dir: folder of the manifest's files.
        output: folder of the bundle; must not exist.
        options: options of the user.

    Raises:
        SegpipeError: the output exists, a path has a character that no configuration can hold (`#`), the check refuses
            images, the target is mask, or an error of `segpipe.planning.image_rules.image_plan`.
    """
    root, folder = Path(output), Path(dataset_dir)
    for path in (root, folder, Path(manifest)):
        require_configurable(path)
    if root.exists():
        raise SegpipeError(f"{root}: exists already; choose another --output, or remove it")
    described = load_manifest(manifest)
    categories = described.categories()
    reports = require_valid_images(described.training, folder, described)
    data = image_data(described.training, reports, categories, described.modality)
    fold, share = held_out(described, validate=options.validate)
    planned = image_plan(
        data,
        options.network,
        options.epochs,
        balanced=options.balanced,
        training_share=share,
        training_images=_training_images(described, fold, categories),
        validation_images=_validation_images(described, fold, categories),
    )
    experiment = _experiment(described, planned, run_ids(manifest, folder, fold))
    texts = {f"configs/{name}": text for name, text in image_configs(experiment).items()}
    variables = {
        "name": in_a_line(described.name),
        "described": described,
        "plan": planned,
        "data": data,
        "fold_is_held_out": fold.value != "all",
        "names_text": in_a_line(", ".join(categories.names)),
        "modality_text": in_a_line(", ".join(described.modality)),
        "is_pretrained": "pretrained" in planned.numbers,
        "start": None,
    }
    texts["docs/README.md"] = template_text(f"{FOLDER}/README.md", {}, variables)
    texts |= {name: template_text(name, {}, variables) for name in (*_COPIED, "docs/data_license.txt")}
    texts["configs/inference.json"] = json_of(texts["configs/inference.yaml"])
    texts["configs/metadata.json"] = as_json(_metadata(described, planned, categories))
    write_bundle(root, texts)
    return PlannedImageBundle(root, planned, data)


def _training_images(
    manifest: Manifest, fold: PlannedValue, categories: Categories
) -> dict[str, tuple[int, int]]:
    """Return class or finding -> images that train and have it, and that train and lack it."""
    held = None if fold.value == "all" else fold.value
    targets = np.array([target_of(case, categories) for case in training_split(manifest, held)[0]])
    present = np.arange(categories.num) == targets[:, None] if categories.exclusive else targets
    counts = zip((present == 1).sum(axis=0).tolist(), (present == 0).sum(axis=0).tolist(), strict=True)
    return dict(zip(categories.names, counts, strict=True))


def _validation_images(
    manifest: Manifest, fold: PlannedValue, categories: Categories
) -> dict[str, int] | None:
    """Return class or finding -> images of the held-out part; None where nothing is held out."""
    if fold.value == "all":
        return None
    _, validation = training_split(manifest, fold.value)
    named = [name.casefold() for case in validation for name in case.classes]
    return {name: named.count(name.casefold()) for name in categories.names}


def _experiment(manifest: Manifest, planned: ImagePlan, run: dict[str, PlannedValue]) -> ImageExperiment:
    names = ", ".join(manifest.labels.values())
    verb = "tells apart" if manifest.target == "class" else "finds"
    about = (
        f"Trains a network that {verb} {names} on {', '.join(manifest.modality)}.",
        "Written by `segpipe plan`, which gives a reason for every number. Change what you know better.",
        *(f"WARNING: {warning}" for warning in planned.warnings),
    )
    return ImageExperiment(
        about=tuple(map(in_a_line, about)),
        inference_about=(
            "Classifies images: a folder of PNG, JPEG, MetaImage and DICOM files, or one image.",
        ),
        network=_CLASS_OF[planned.network],
        target=manifest.categories().target,
        run=run,
        numbers=planned.numbers,
        balanced=planned.balanced,
        optimizer="SGD" if "momentum" in planned.numbers else "AdamW",
        schedule="cosine" if "momentum" in planned.numbers else "one cycle",
        augments=planned.augments,
        pretrained="pretrained" in planned.numbers,
        freezes="unfreeze_after" in planned.numbers,
    )


def _metadata(manifest: Manifest, planned: ImagePlan, categories: Categories) -> dict[str, Any]:
    names = ", ".join(categories.names)
    what = f"Tells apart {names}" if categories.exclusive else f"Finds {names}"
    return {
        **metadata_head(manifest, "classification", what, _MODALITY),
        "image_classes": "grey or colour, 8 or 16 bits, as three channels",
        "label_classes": names,
        "pred_classes": f"{categories.num} logits: {names}",
        **categories.to_metadata(),
        "network_data_format": image_data_format(
            categories, planned.numbers["image_size"].value, ("red", "green", "blue"), _MODALITY
        ),
    }


def image_data_format(
    categories: Categories, size: list[int], channels: tuple[str, ...], modality: str
) -> dict[str, Any]:
    """Return `network_data_format` of a classification bundle's metadata.

    Args:
        categories: the classes or findings.
        size: rows and columns of the network's input.
        channels: names of the input's channels.
        modality: DICOM's name of the modality, or n/a.
    """
    return {
        "inputs": {
            "image": {
                "type": "image",
                "format": "magnitude",
                "modality": modality,
                "num_channels": len(channels),
                "spatial_shape": size,
                "dtype": "float32",
                "value_range": [-3, 3],
                "is_patch_data": False,
                "channel_def": {str(number): name for number, name in enumerate(channels)},
            }
        },
        "outputs": {
            "pred": {
                "type": "probabilities",
                "format": "classification",
                "num_channels": categories.num,
                "spatial_shape": [],
                "dtype": "float32",
                "value_range": [-100, 100],
                "is_patch_data": False,
                "channel_def": {str(index): name for index, name in enumerate(categories.names)},
            }
        },
    }
