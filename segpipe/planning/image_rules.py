"""Rules from the images of a classification to the numbers of a training, each with its reason."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from segpipe.categories import Categories
from segpipe.dataset import Case, ImageReport
from segpipe.errors import SegpipeError, shown
from segpipe.planning.plans import PlannedValue

IMAGE_NETWORKS = ("efficientnet", "densenet")
_IMAGENET_SIDE = 224  # pixels, of EfficientNet-Lite0's training
_LARGE = 112  # pixels of the shorter side; smaller images stay small
_UNIT = 32  # pixels: the network halves an image five times
_CROPPED = 256 / 224
_BATCH = 32
_UNEQUAL = 1.5  # times as many images of one class as of another, from which classes are weighted
_STEPS, _STEPS_OF_SMALL = 450, 255
_EPOCHS = (5, 60)
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
        augments: whether training turns, crops and colours images.
        warnings: weaknesses of the plan, a sentence each.
    """

    network: str
    numbers: dict[str, PlannedValue]
    balanced: bool
    augments: bool
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
    training_images: Mapping[str, tuple[int, int]] | None = None,
    validation_images: Mapping[str, int] | None = None,
) -> ImagePlan:
    """Return the numbers of a bundle for a set of images.

    Args:
        data: of the training images.
        network: name in `IMAGE_NETWORKS`.
        epochs: of the training; None: chosen from the number of images.
        balanced: draw rare classes or findings as often as common ones, instead of weighing them in the loss.
        training_share: share of the images that train while a fold is held out.
        training_images: class or finding -> images that train and have it, and images that train and lack it; whether
            the loss weighs them follows from these alone. None: all images train, and every finding is known.
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
    large = data.shorter_side >= _LARGE
    rules = _FROZEN if network == "efficientnet" else _FROM_RANDOM
    numbers = {
        **_sizes(data, large=large),
        **rules.network(large=large),
        **(_augmentation(data) if large else {}),
        **rules.schedule(data, large=large),
        **_epochs(data, epochs, training_share, _STEPS if large else _STEPS_OF_SMALL),
        **_imbalance(data, training_images, balanced=balanced),
        "flips": PlannedValue([], "axes of mirror images whose scores are averaged; [1] takes twice as long"),
        "precision": PlannedValue("float32", "bfloat16 lost accuracy on retinal OCT"),
        "key_score": PlannedValue("log_loss", "of validation; the best epoch is kept; or accuracy, auroc"),
        "val_interval": PlannedValue(1, "epochs between validations"),
        "patience": PlannedValue(
            0, "training stops after so many validations without a better one; 0: never"
        ),
    }
    return ImagePlan(
        network, numbers, balanced, augments=large, warnings=tuple(_warnings(data, validation_images))
    )


def _sizes(data: ImageData, *, large: bool) -> dict[str, PlannedValue]:
    if large:
        return {
            "image_size": PlannedValue(
                [_IMAGENET_SIDE] * 2, "pixels, the size that ImageNet's networks were trained with"
            ),
            "shorter_side": PlannedValue(
                round(_IMAGENET_SIDE * _CROPPED), "pixels before the centre crop, as at ImageNet"
            ),
        }
    side = max(round(data.shorter_side / _UNIT) * _UNIT, _UNIT)
    return {
        "image_size": PlannedValue(
            [side, side], f"pixels: the images' shorter side is {data.shorter_side}; enlarging gained nothing"
        ),
        "shorter_side": PlannedValue(side, "pixels before the centre crop"),
    }


def _frozen_network(*, large: bool) -> dict[str, PlannedValue]:
    levels = {
        "levels": PlannedValue([8, 11, 15, 17], "parts whose features the last layer reads, of 0 to 17"),
        "maxima": PlannedValue(True, "each level's largest values beside its means"),
    }
    if not large:
        levels = {
            "levels": PlannedValue(
                [3, 8], "parts whose features the last layer reads, of 0 to 17: early ones"
            ),
            "grid": PlannedValue(4, "each level is averaged over 4 x 4 cells, so that places count"),
        }
    return {
        "pretrained": PlannedValue(
            "imagenet", "the installed package's weights, a path, or none: random numbers"
        ),
        **levels,
        "dropout": PlannedValue(0.0, "of the features before the last layer"),
    }


def _frozen_schedule(data: ImageData, *, large: bool) -> dict[str, PlannedValue]:
    count = 1 if data.categories.exclusive else data.categories.num
    why = "high, since features are divided by the root of their number"
    if count > 1:
        why = f"times the {count} findings, over which the loss is a mean; {why}"
    return {
        "unfreeze_after": PlannedValue("never", "epochs in which the last layer is trained alone"),
        "frozen_parts": PlannedValue(0, "first parts that stay frozen afterwards"),
        "batch_size": PlannedValue(_BATCH, "images a step"),
        "learning_rate": PlannedValue(float(count), why),
        "momentum": PlannedValue(0.9, ""),
        "weight_decay": PlannedValue(1e-4 if large else round(0.03 / count, 4), "of the last layer"),
    }


def _random_network(*, large: bool) -> dict[str, PlannedValue]:
    return {"dropout": PlannedValue(0.2 if large else 0.1, "in each layer")}


def _random_schedule(_: ImageData, **__: bool) -> dict[str, PlannedValue]:
    why = "the peak of one cycle; the network starts from random numbers"
    return {
        "batch_size": PlannedValue(_BATCH, "images a step"),
        "learning_rate": PlannedValue(0.001, why),
        "weight_decay": PlannedValue(0.01, ""),
    }


def _augmentation(data: ImageData) -> dict[str, PlannedValue]:
    low, high = data.ratios
    ratio = round(min(max(math.sqrt(high / low), 1.1), 1.25), 2)
    return {
        "augmented_share": PlannedValue([0.4, 0.6], "of images as at inference, and of changed ones"),
        "crop_scale": PlannedValue([0.64, 1.0], "share of the area of a changed image's crop"),
        "crop_ratio": PlannedValue(
            [round(1 / ratio, 2), ratio],
            "stretching of the crop; the images' sides differ by as much, within 10 to 25 %",
        ),
        "rotation": PlannedValue(0.17, "radians, 10 degrees; images are taken upright"),
        "brightness": PlannedValue(0.2, "largest change of all values, as a share"),
        "contrast": PlannedValue(0.2, "largest change of the contrast, as a share"),
    }


def _epochs(
    data: ImageData, epochs: int | None, training_share: float, wanted: int
) -> dict[str, PlannedValue]:
    steps = max(int(data.images * training_share) // _BATCH, 1)
    chosen = min(max(round(wanted / steps), _EPOCHS[0]), _EPOCHS[1])
    why = f"{steps} steps each, {chosen * steps} in all" if epochs is None else "asked for"
    return {"epochs": PlannedValue(epochs or chosen, why)}


@dataclass(frozen=True)
class _Rules:
    """The rules of a kind of network."""

    network: Callable[..., dict[str, PlannedValue]]
    schedule: Callable[..., dict[str, PlannedValue]]


_FROZEN = _Rules(_frozen_network, _frozen_schedule)
_FROM_RANDOM = _Rules(_random_network, _random_schedule)


def _imbalance(
    data: ImageData, training: Mapping[str, tuple[int, int]] | None, *, balanced: bool
) -> dict[str, PlannedValue]:
    """Choose whether the loss weighs classes or findings; held-out images count in none of these numbers."""
    share = 0.05 if data.categories.exclusive else 0.0
    smoothing = PlannedValue(share, "share by which the loss's targets move towards uncertainty")
    if balanced:
        why = "none: balanced sampling draws rare ones as often as common ones"
        return {"weighting": PlannedValue(None, why), "label_smoothing": smoothing}
    if training is None:
        training = {name: (count, data.images - count) for name, count in data.counts.items()}
    counts = [present for present, _ in training.values() if present]
    if data.categories.exclusive:
        unequal = max(counts) > _UNEQUAL * min(counts)
        weighting = "$losses.balanced_class_weights" if unequal else None
        why = f"{max(counts)} training images of the commonest class, {min(counts)} of the rarest"
        return {"weighting": PlannedValue(weighting, why), "label_smoothing": smoothing}
    learnable = {name: pair for name, pair in training.items() if 0 not in pair}
    if not learnable:
        why = "none, since no finding has training images with it and without it"
        return {"weighting": PlannedValue(None, why), "label_smoothing": smoothing}
    shares = [present / (present + absent) for present, absent in learnable.values()]
    span = (
        f"{100 * min(shares):.2g} to {100 * max(shares):.2g}" if len(shares) > 1 else f"{100 * shares[0]:.2g}"
    )
    why = f"findings are in {span} % of the training images"
    if one_kind := [name for name in training if name not in learnable]:
        why += (
            f"; {shown(one_kind)} cannot be learnt, since the training images are all with it or all without"
        )
    return {"weighting": PlannedValue("$losses.finding_weights", why), "label_smoothing": smoothing}


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
