"""The experiment of a classification bundle, and its YAML from the templates."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Literal

from segpipe.categories import ImageTarget
from segpipe.planning.files import template_text
from segpipe.planning.plans import PlannedValue

ImageOptimizer = Literal["Adam", "AdamW", "SGD"]
ImageSchedule = Literal["one cycle", "cosine", "constant"]
ImageNetwork = Literal["EfficientNetLite0", "DenseNet121", "TileClassifier", "VGG16Classifier"]
FOLDER = "classification"
CONFIGS = ("train.yaml", "inference.yaml", "evaluate.yaml", "multi_gpu_train.yaml")
_INFERENCE_IDS = {
    *("image_size", "shorter_side", "window", "flips", "precision", "heatmap_layer"),
    *("levels", "grid", "maxima", "dropout", "drop_path"),
}


@dataclass(frozen=True)
class ImageExperiment:
    """The form of a classification bundle's YAML, and its numbers.

    Attributes:
        about: comment lines at the top of train.yaml.
        inference_about: comment lines at the top of inference.yaml.
        network: class of the network.
        target: "class" or "findings".
        run: ids that name manifest, folder and fold.
        numbers: ids of train.yaml; inference.yaml repeats those that it needs.
        optimizer: class of the optimiser.
        schedule: of the learning rate, stepped after each batch.
        augments: whether training turns, crops and colours images.
        balanced: whether an epoch draws rare classes or findings as often as common ones.
        mirrors: whether training mirrors images left to right.
        grey: whether the network takes one channel instead of ImageNet's three.
        pretrained: whether the network can start from ImageNet's weights.
        freezes: whether the first epochs train the last layer alone.
        window: whether the files state no scale, so that a window has to be given.
    """

    about: tuple[str, ...]
    inference_about: tuple[str, ...]
    network: ImageNetwork
    target: ImageTarget
    run: Mapping[str, PlannedValue]
    numbers: Mapping[str, PlannedValue]
    optimizer: ImageOptimizer = "AdamW"
    schedule: ImageSchedule = "one cycle"
    augments: bool = True
    balanced: bool = False
    mirrors: bool = True
    grey: bool = False
    pretrained: bool = True
    freezes: bool = True
    window: bool = False


def image_configs(experiment: ImageExperiment) -> dict[str, str]:
    """Return file name -> text of a bundle's configurations."""
    attributes = {one.name: getattr(experiment, one.name) for one in fields(experiment)}
    ids = {**experiment.numbers, **experiment.run}
    shared = [name for name in experiment.numbers if name in _INFERENCE_IDS]
    return {
        name: template_text(
            f"{FOLDER}/{name}",
            ids,
            {**attributes, "shared": shared, "training": name == "train.yaml"},
        )
        for name in CONFIGS
    }
