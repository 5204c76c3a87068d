"""Rules from the images of a classification to the numbers of a training, each with its reason."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from segpipe.categories import Categories
from segpipe.dataset import Case, ImageReport
from segpipe.errors import SegpipeError
from segpipe.planning.plans import PlannedValue

IMAGE_NETWORKS = ("efficientnet", "densenet")
_IMAGENET_SIDE = 224  # pixels, of EfficientNet-Lite0's training
_SMALLEST_SIDE = 128
_CROPPED = 256 / 224
_UNEQUAL = 1.5  # times as many images of one class as of another, from which classes are weighted
_STEPS = 450
_EPOCHS = (8, 60)
_FEW = 10
_FEW_VALIDATION = 30


@dataclass(frozen=True)
class ImageData:
    """What a plan knows of a set of images.

    Attributes:
        categories: the classes or findings.
        images: number of training images.
        patients: number of their patients; None where some are unknown.
        counts: class or finding -> images that have it.
        shorter_side: median of the shorter side, pixels.
        ratios: smallest and largest of columns / rows.
        coloured: number of images in colour.
        modality: of the manifest.
    """

    categories: Categories
    images: int
    patients: int | None
    counts: Mapping[str, int]
    shorter_side: int
    ratios: tuple[float, float]
    coloured: int
    modality: tuple[str, ...]


@dataclass(frozen=True)
class ImagePlan:
    """The numbers of a classification bundle.

    Attributes:
        network: name in `IMAGE_NETWORKS`.
        numbers: YAML id -> planned number, in the order of the file.
        balanced: whether an epoch draws rare classes or findings as often as common ones.
        mirrors: whether training mirrors images left to right, with the reason.
        warnings: weaknesses of the plan, a sentence each.
    """

    network: str
    numbers: dict[str, PlannedValue]
    balanced: bool
    mirrors: PlannedValue
    warnings: tuple[str, ...]


def image_data(
    cases: Sequence[Case], reports: Sequence[ImageReport], categories: Categories, modality: tuple[str, ...]
) -> ImageData:
    """Sum up the training images.

    Args:
        cases: the training cases.
        reports: of these cases, without errors.
        categories: the classes or findings.
        modality: of the manifest.
    """
    facts = [report.facts for report in reports if report.facts is not None]
    known = [case.patient for case in cases if case.patient is not None]
    named = [name.casefold() for case in cases for name in case.classes]
    ratios = [fact.columns / fact.rows for fact in facts]
    return ImageData(
        categories=categories,
        images=len(cases),
        patients=len(set(known)) if len(known) == len(cases) else None,
        counts={name: named.count(name.casefold()) for name in categories.names},
        shorter_side=int(np.median([min(fact.rows, fact.columns) for fact in facts])),
        ratios=(min(ratios), max(ratios)),
        coloured=sum(fact.is_coloured for fact in facts),
        modality=modality,
    )


def image_plan(
    data: ImageData,
    network: str = "efficientnet",
    epochs: int | None = None,
    *,
    balanced: bool = False,
    training_share: float = 1.0,
    validation_images: Mapping[str, int] | None = None,
) -> ImagePlan:
    """Return the numbers of a bundle for a set of images.

    Args:
        data: of the training images.
        network: name in `IMAGE_NETWORKS`.
        epochs: of the training; None: chosen from the number of images.
        balanced: draw rare classes or findings as often as common ones, instead of weighing them in the loss.
        training_share: share of the images that train while a fold is held out.
        validation_images: class or finding -> images of the held-out part; None: nothing is held out.

    Raises:
        SegpipeError: an unknown network, or a class without an image.
    """
    if network not in IMAGE_NETWORKS:
        raise SegpipeError(
            f"--network {network}: must be one of {', '.join(IMAGE_NETWORKS)} for classes and findings"
        )
    lacking = [name for name, count in data.counts.items() if not count]
    if lacking and data.categories.exclusive:
        raise SegpipeError(f"no image is of class {', '.join(lacking)}; leave the class out, or add images")
    mirrors = _mirrors(data)
    numbers = {
        **_sizes(data),
        **_network(network),
        **_augmentation(data),
        **_schedule(data, network, epochs, training_share),
        **_imbalance(data, balanced=balanced),
        "flips": PlannedValue(
            [1] if mirrors.value else [], "mirror images whose scores validation and inference average, too"
        ),
        "precision": PlannedValue("auto", "bfloat16 where the processor or card computes in it"),
        "key_score": PlannedValue("auroc", "of validation; the best epoch is kept; or accuracy, log_loss"),
        "val_interval": PlannedValue(1, "epochs between validations"),
        "patience": PlannedValue(
            0, "training stops after so many validations without a better one; 0: never"
        ),
    }
    return ImagePlan(network, numbers, balanced, mirrors, tuple(_warnings(data, validation_images)))


def _sizes(data: ImageData) -> dict[str, PlannedValue]:
    side = _IMAGENET_SIDE if data.shorter_side * 2 >= _IMAGENET_SIDE else _SMALLEST_SIDE
    why = "pixels, the size that ImageNet's networks were trained with"
    if side != _IMAGENET_SIDE:
        why = f"pixels: the images' shorter side is {data.shorter_side}, more would be invented"
    return {
        "image_size": PlannedValue([side, side], why),
        "shorter_side": PlannedValue(round(side * _CROPPED), "pixels before the centre crop, as at ImageNet"),
    }


def _network(network: str) -> dict[str, PlannedValue]:
    chosen = {"dropout": PlannedValue(0.2, "of the features before the last layer")}
    if network == "efficientnet":
        return {
            "pretrained": PlannedValue(
                "imagenet", "the installed package's weights, a path, or none: random numbers"
            ),
            **chosen,
            "drop_path": PlannedValue(0.1, "of the residual branches, least at the first"),
        }
    return chosen


def _augmentation(data: ImageData) -> dict[str, PlannedValue]:
    low, high = data.ratios
    spread = max(high / low, 1.0)
    ratio = round(max(math.sqrt(spread), 1.15), 2)
    return {
        "crop_scale": PlannedValue([0.6, 1.0], "share of the image's area in a training crop"),
        "crop_ratio": PlannedValue(
            [round(1 / ratio, 2), ratio],
            "stretching of a crop; the images' sides differ by as much, at least 15 %",
        ),
        "rotation": PlannedValue(0.17, "radians, 10 degrees; images are taken upright"),
        "brightness": PlannedValue(0.2, "largest change of all values, as a share"),
        "contrast": PlannedValue(0.2, "largest change of the contrast, as a share"),
    }


def _schedule(
    data: ImageData, network: str, epochs: int | None, training_share: float
) -> dict[str, PlannedValue]:
    batch = 16
    steps = max(int(data.images * training_share) // batch, 1)
    chosen = min(max(round(_STEPS / steps), _EPOCHS[0]), _EPOCHS[1])
    why = f"{steps} steps each, {chosen * steps} in all" if epochs is None else "asked for"
    numbers = {
        "batch_size": PlannedValue(batch, "images a step"),
        "epochs": PlannedValue(epochs or chosen, why),
        "learning_rate": PlannedValue(0.003, "of the last layer: the peak of one cycle"),
        "backbone_rate": PlannedValue(0.0005, "of all other layers, which start from ImageNet"),
        "weight_decay": PlannedValue(0.01, ""),
    }
    if network == "efficientnet":
        numbers |= {
            "unfreeze_after": PlannedValue(
                1, "epochs in which the last layer is trained alone; never: all epochs"
            ),
            "frozen_parts": PlannedValue(0, "first parts of 18 that stay frozen afterwards"),
        }
    return numbers


def _imbalance(data: ImageData, *, balanced: bool) -> dict[str, PlannedValue]:
    smoothing = PlannedValue(0.05, "share by which the loss's targets move towards uncertainty")
    if balanced:
        why = "none: balanced sampling draws rare ones as often as common ones"
        return {"weighting": PlannedValue(None, why), "label_smoothing": smoothing}
    counts = [count for count in data.counts.values() if count]
    if data.categories.exclusive:
        unequal = max(counts) > _UNEQUAL * min(counts)
        weighting = "$losses.balanced_class_weights" if unequal else None
        why = f"{max(counts)} images of the commonest class, {min(counts)} of the rarest"
        return {"weighting": PlannedValue(weighting, why), "label_smoothing": smoothing}
    if any(not 0 < count < data.images for count in data.counts.values()):
        why = "none, since a finding has no image of a kind"
        return {"weighting": PlannedValue(None, why), "label_smoothing": smoothing}
    why = f"findings are in {100 * min(counts) / data.images:.2g} to {100 * max(counts) / data.images:.2g} % of images"
    return {"weighting": PlannedValue("$losses.finding_weights", why), "label_smoothing": smoothing}


def _mirrors(data: ImageData) -> PlannedValue:
    words = " ".join(data.modality).casefold()
    if any(
        word in words.replace("-", " ").split() for word in ("xray", "x", "ray", "cr", "dx", "radiograph")
    ):
        return PlannedValue(False, "the heart lies on one side of an X-ray")
    return PlannedValue(True, "left and right are alike")


def _warnings(data: ImageData, validation: Mapping[str, int] | None) -> list[str]:
    warnings = []
    few = [f"{name} ({count})" for name, count in data.counts.items() if count < _FEW]
    if few:
        warnings.append(
            f"fewer than {_FEW} images with {', '.join(few)}: little can be learnt or measured about them"
        )
    if data.patients is None:
        warnings.append("some patients are unknown, so that no fold can be proved to divide no patient")
    if validation is None:
        warnings.append("nothing validates: no calibration is fitted, and thresholds are one half")
    elif data.categories.exclusive:
        small = [f"{name} ({count})" for name, count in validation.items() if count < _FEW_VALIDATION]
        if small:
            warnings.append(
                f"fewer than {_FEW_VALIDATION} validation images of {', '.join(small)}: the best epoch and the "
                "thresholds are chosen on few"
            )
    return warnings
