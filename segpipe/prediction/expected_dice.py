"""The expected Dice and volume of each class of a segmented scan, where the weights have a calibration."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

from segpipe.confidence import ScoreFeatures, TargetModel
from segpipe.inference.class_volume import ClassVolume, Expected
from segpipe.prediction.segmentation import Segmentation
from segpipe.prediction.segmenter import Segmenter

_FEATURES_IN_WORDS = {
    "expected_dice": "the agreement of the scores with their labels",
    "foreground_dice": "the agreement of the foreground's scores with its labels",
    "stability": "the agreement with the label map of the smoothed scan",
    "certainty": "the certainty of the scores",
    "compactness": "the compactness",
    "log_voxels": "the volume",
    "intensity": "the intensity",
    "intensity_spread": "the spread of the intensity",
}


def with_expected(
    segmenter: Segmenter, result: Segmentation, volumes: Sequence[ClassVolume], warnings: Sequence[str] | None
) -> list[ClassVolume]:
    """Return the volumes with their expected Dice and intervals; as they are without a calibration.

    A scan that differs from the training cases gets no expected Dice: the network may be sure and wrong there.

    Args:
        segmenter: of the run.
        result: segmentation of the scan.
        volumes: one per foreground class or region.
        warnings: measures outside the reference ranges; None where they were not compared.
    """
    calibration = segmenter.bundle.confidence
    if calibration is None or result.features is None:
        return list(volumes)
    refused = ""
    if warnings:
        refused = "not predicted: the scan differs from the training cases"
    different = calibration.different_setting(segmenter.score_settings(located=bool(result.located)))
    if different is not None:
        refused = f"not predicted: {different}"
    return [
        replace(
            volume,
            expected=Expected(note=refused)
            if refused
            else expected_volume(calibration.targets.get(volume.label), features, volume.millilitres),
        )
        if volume.voxels
        else volume
        for volume, features in zip(volumes, result.features, strict=True)
    ]


def expected_volume(
    model: TargetModel | None, features: ScoreFeatures, millilitres: float | None
) -> Expected | None:
    """Return what is expected of one class.

    Args:
        model: of the class; None where too few held-out cases had it.
        features: of the network's scores.
        millilitres: volume in the label map; None for a slice.

    Returns:
        None where the network labels no voxel so.
    """
    if model is None:
        return Expected(note="not predicted: too few held-out cases have the class")
    made = model.confidence(features)
    if made is None:
        return None
    if made.outside:
        named = " and ".join(_FEATURES_IN_WORDS[name] for name in made.outside)
        return Expected(dice=made.dice, note=f"no interval: outside the calibrated cases by {named}")
    low, high = (
        None if millilitres is None or math.isinf(factor) else factor * millilitres
        for factor in (made.volume_low, made.volume_high)
    )
    return Expected(made.dice, made.dice_low, made.dice_high, low, high)
