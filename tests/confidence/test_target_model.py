"""The predicted Dice and volume of a target, with intervals."""

import math
from dataclasses import replace

import numpy as np
import pytest
from confidence_cases import held_out, score_features

from segpipe.confidence import TargetModel
from segpipe.errors import SegpipeError


def test_a_law_without_noise_is_found():
    model = TargetModel.fitted(held_out(60, noise=0), "liver")

    made = model.confidence(score_features(0.8))

    assert made.dice == pytest.approx(0.1 + 0.8 * 0.8, abs=0.01)
    assert made.dice_high - made.dice_low < 0.03
    assert made.volume_low < (2 - 0.8) ** 0.5 < made.volume_high
    assert made.outside == ()


def test_nine_in_ten_new_cases_lie_inside_both_intervals():
    """Coverage of 1000 new cases; 200 calibrated cases have it at 0.9 with a standard deviation of 0.02."""
    model, new = TargetModel.fitted(held_out(200), "liver"), held_out(1000, seed=1)

    made = [model.confidence(one) for one in new.features]
    dice = np.mean([one.dice_low <= true <= one.dice_high for one, true in zip(made, new.dice, strict=True)])
    volume = np.mean(
        [one.volume_low <= true <= one.volume_high for one, true in zip(made, new.volume_ratios, strict=True)]
    )

    assert 0.85 <= dice <= 0.95
    assert 0.85 <= volume <= 0.95


def test_a_surer_label_map_never_gets_a_lower_dice():
    model = TargetModel.fitted(held_out(80), "liver")

    made = [model.confidence(score_features(sure)).dice for sure in np.linspace(0.5, 1, 20)]

    assert made == sorted(made)
    assert made[0] < made[-1]


def test_a_label_map_without_the_target_has_no_predicted_dice():
    model = TargetModel.fitted(held_out(40), "liver")

    assert model.confidence(replace(score_features(0.8), voxels=0)) is None


def test_a_case_outside_the_calibrated_cases_has_no_interval():
    """All calibrated cases have 1000 voxels, and are surer than one half."""
    model = TargetModel.fitted(held_out(40), "liver")

    made = model.confidence(score_features(0.2, voxels=10))

    assert made.outside == ("expected_dice", "foreground_dice", "certainty", "log_voxels")
    assert (made.dice_low, made.dice_high) == (0, 1)
    assert (made.volume_low, made.volume_high) == (0, math.inf)


def test_an_intensity_may_speak_for_a_lower_dice():
    """The Dice falls by 0.1 with each unit of intensity, and by nothing else."""
    random = np.random.default_rng(0)
    bright = random.uniform(0, 3, 100)
    cases = replace(
        held_out(100),
        features=[score_features(0.8, intensity=one) for one in bright],
        dice=(0.9 - 0.1 * bright).tolist(),
    )

    model = TargetModel.fitted(cases, "liver")

    assert model.confidence(score_features(0.8, intensity=1.0)).dice == pytest.approx(0.8, abs=0.005)
    assert model.confidence(score_features(0.8, intensity=5.0)).outside == ("intensity",)


def test_errors_that_grow_where_the_dice_falls_widen_the_interval():
    random = np.random.default_rng(3)
    even = held_out(200, noise=0)
    uneven = [float(np.clip(dice + 0.5 * (1 - dice) * random.normal(), 0, 1)) for dice in even.dice]
    model = TargetModel.fitted(replace(even, dice=uneven), "liver")

    low, high = (model.confidence(score_features(sure)) for sure in (0.55, 0.95))

    assert low.dice_high - low.dice_low > 1.5 * (high.dice_high - high.dice_low)


def test_few_patients_are_refused():
    """Cases without a label or without a known Dice do not count."""
    cases = held_out(15)
    dice = [math.nan] * 6 + list(cases.dice[6:])

    with pytest.raises(SegpipeError, match=r"liver: 9 held-out cases of 9 patients .* at least 10 patients"):
        TargetModel.fitted(replace(cases, dice=dice), "liver")


def test_one_fold_is_split_by_patients():
    """Two cases of each patient are left out together."""
    cases = held_out(60, folds=1)
    paired = replace(cases, patients=[f"patient {number // 2}" for number in range(60)])

    model = TargetModel.fitted(paired, "liver")

    assert (model.cases, model.patients) == (60, 30)
    assert math.isfinite(model.dice_spread.quantile)
