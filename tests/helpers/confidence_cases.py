"""Held-out cases with known laws, for tests of the calibration."""

import numpy as np

from segpipe.confidence import HeldOutTarget, ScoreFeatures


def score_features(sure, voxels=1000, intensity=1.0):
    """Features of a label map whose labelled voxels have the probability `sure` on average."""
    return ScoreFeatures(
        voxels=voxels,
        probability=voxels * (2 - sure),
        inside=voxels * sure,
        entropy=voxels * (1 - sure),
        faces=voxels // 2,
        foreground_dice=sure,
        intensity=intensity,
        intensity_spread=0.3,
        stability=0.9,
    )


def held_out(cases, seed=0, folds=5, noise=0.02):
    """Cases whose Dice is 0.1 + 0.8 times the mean probability, with normal errors."""
    random = np.random.default_rng(seed)
    sure = random.uniform(0.5, 1, cases)
    dice = np.clip(0.1 + 0.8 * sure + noise * random.normal(size=cases), 0, 1)
    ratios = np.exp(0.5 * np.log(2 - sure) + 0.1 * random.normal(size=cases))
    return HeldOutTarget(
        [score_features(one) for one in sure],
        dice.tolist(),
        ratios.tolist(),
        [f"patient {number}" for number in range(cases)],
        [f"fold {number % folds}" for number in range(cases)],
    )
