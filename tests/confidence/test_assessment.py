"""Predictions against the truth, on folds that were left out."""

import math
from dataclasses import replace

import numpy as np
import pytest
from confidence_cases import held_out, score_features

from segpipe.confidence import assess
from segpipe.errors import SegpipeError


def test_scores_of_a_known_law():
    """Normal errors of 0.02 have a mean absolute error of 0.016; the Dice is uniform over 0.4, of 0.1."""
    found = assess(held_out(150), "liver")

    assert (found.cases, found.patients, found.missed) == (150, 150, 0)
    assert found.error == pytest.approx(0.02 * math.sqrt(2 / math.pi), abs=0.004)
    assert found.constant_error == pytest.approx(0.1, abs=0.02)
    assert found.gain == 1 - found.error / found.constant_error
    assert found.spearman > 0.95
    assert found.auroc_low <= found.auroc <= found.auroc_high
    assert found.auroc > 0.95
    assert 0.83 <= found.dice_coverage <= 0.97
    assert 0.83 <= found.volume_coverage <= 0.97


def test_features_without_meaning_are_no_better_than_a_constant():
    cases = held_out(100)
    shuffled = np.random.default_rng(0).permutation(cases.dice).tolist()

    found = assess(replace(cases, dice=shuffled), "liver")

    assert found.gain == pytest.approx(0, abs=0.1)
    assert found.auroc_low < 0.5 < found.auroc_high or abs(found.auroc - 0.5) < 0.2


def test_missed_targets_are_counted():
    """Nothing is predicted where the label map lacks the target; the count says how many references have it."""
    cases = held_out(60)
    features = [replace(score_features(0.8), voxels=0)] * 3 + list(cases.features[3:])
    dice = [0.0, 0.0, math.nan, *cases.dice[3:]]
    ratios = [math.nan] * 3 + list(cases.volume_ratios[3:])

    found = assess(replace(cases, features=features, dice=dice, volume_ratios=ratios), "liver")

    assert (found.cases, found.missed) == (57, 2)


def test_one_fold_is_refused():
    with pytest.raises(SegpipeError, match=r"liver: cases of one fold cannot show .* at least two folds"):
        assess(held_out(40, folds=1), "liver")
