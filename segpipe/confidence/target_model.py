"""The predicted Dice and volume of one target, with intervals, from features of the network's scores and input."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from segpipe.confidence.conformal import conformal_quantile, patient_weights
from segpipe.confidence.median_regression import MedianRegression
from segpipe.confidence.score_features import FEATURES, RISING, ScoreFeatures
from segpipe.errors import SegpipeError

Array = NDArray[np.float64]
COVERAGE = 0.9
"""Share of the cases whose Dice, and whose volume, the intervals are made to contain.

The intervals are as wide as the errors on left-out folds. The model itself is then fitted on all folds, so that the
share holds about, for new patients from where the calibrated cases come from, and for none from elsewhere."""
FEWEST_PATIENTS = 10
"""Patients with a known Dice of a target; with fewer, nothing is predicted."""
_FARTHEST = 100.0  # ratio of true over labelled volume, and its inverse; beyond, a volume counts as missed
_BEYOND = 0.1  # part of a feature's range that a case may lie outside of it
_LEAST_SPREAD = 0.25  # of the median error: a case is never taken for much surer than most
_FEWEST_FOLDS, _GROUPS = (
    3,
    10,
)  # folds that are left out in turn; groups of patients where there are fewer folds
_RISES = [name in RISING for name in FEATURES]
_SMALLEST = 1e-4  # error of a Dice or of a log volume that counts as none


@dataclass(frozen=True)
class Confidence:
    """What is expected of a target's label map, without a reference.

    Attributes:
        dice: expected Dice, 0 to 1.
        dice_low, dice_high: interval that contains the Dice of about nine in ten new cases, see `COVERAGE`.
        volume_low, volume_high: interval of true over labelled volume; infinite or 0: it has no such end.
        outside: features that lie outside the range of the calibrated cases. An interval then has no ground, and its
            ends are 0 and 1, or 0 and infinite.
    """

    dice: float
    dice_low: float
    dice_high: float
    volume_low: float
    volume_high: float
    outside: tuple[str, ...] = ()


@dataclass(frozen=True)
class Spread:
    """How far predictions miss, as a function of the predicted Dice.

    Attributes:
        of: the median error as a function of one minus the predicted Dice.
        least: the smallest value that the function may have.
        quantile: factor on the function for intervals; infinite with too few patients.
    """

    of: MedianRegression
    least: float
    quantile: float

    @classmethod
    def fitted(cls, dice: Array, errors: Array, weights: Array) -> Spread:
        """Fit the function and the factor.

        Args:
            dice: `(cases,)`, predicted.
            errors: `(cases,)`, absolute errors of cases that the prediction was not fitted on.
            weights: of the cases, see `patient_weights`.
        """
        of = MedianRegression.of((1 - dice)[:, None], errors, weights)
        least = max(_LEAST_SPREAD * float(np.median(errors)), _SMALLEST)
        scale = np.maximum(of((1 - dice)[:, None]), least)
        return cls(of, least, conformal_quantile(errors / scale, weights, COVERAGE))

    def half_width(self, dice: float) -> float:
        """Return half the width of the interval where the predicted Dice is `dice`."""
        return self.quantile * max(float(self.of(np.array([1 - dice]))), self.least)


@dataclass(frozen=True)
class HeldOutTarget:
    """The cases of one target that the weights did not train on.

    Attributes:
        features: of each case.
        dice: true Dice of each case; nan where neither label map nor reference has the target.
        volume_ratios: reference over labelled volume; nan without a labelled voxel.
        patients: patient of each case.
        folds: name of each case's fold.
    """

    features: Sequence[ScoreFeatures]
    dice: Sequence[float]
    volume_ratios: Sequence[float]
    patients: Sequence[str]
    folds: Sequence[str]

    @property
    def missed(self) -> int:
        """The number of cases whose label map lacks the target that the reference has."""
        return sum(
            dice == 0 and math.isnan(ratio) for dice, ratio in zip(self.dice, self.volume_ratios, strict=True)
        )

    def usable(self) -> HeldOutTarget:
        """Return the cases whose label map has the target."""
        values = zip(self.features, self.dice, self.volume_ratios, strict=True)
        keep = [
            place
            for place, (features, dice, ratio) in enumerate(values)
            if features.voxels and math.isfinite(dice) and math.isfinite(ratio)
        ]
        return self.chosen(keep)

    def chosen(self, places: Sequence[int]) -> HeldOutTarget:
        """Return the cases at some places."""
        return HeldOutTarget(
            [self.features[place] for place in places],
            [self.dice[place] for place in places],
            [self.volume_ratios[place] for place in places],
            [self.patients[place] for place in places],
            [self.folds[place] for place in places],
        )


@dataclass(frozen=True)
class TargetModel:
    """The calibration of one target.

    Attributes:
        dice: Dice from `FEATURES`.
        volume: logarithm of true over labelled volume, from `ScoreFeatures.log_expected_ratio`.
        dice_spread, volume_spread: errors of the two.
        lowest, highest: `(features,)`, range of each feature in the calibrated cases.
        median_dice: median of their Dice: the prediction without any feature.
        cases, patients: their numbers.
    """

    dice: MedianRegression
    volume: MedianRegression
    dice_spread: Spread
    volume_spread: Spread
    lowest: tuple[float, ...]
    highest: tuple[float, ...]
    median_dice: float
    cases: int
    patients: int

    @classmethod
    def fitted(cls, held_out: HeldOutTarget, name: str) -> TargetModel:
        """Fit the model; every patient counts the same, however many cases there are of it.

        Errors are those of predictions that were fitted without the case's fold; of one or two folds, without the
        case's patient and about a tenth of the others.

        Args:
            held_out: the cases.
            name: of the target, for messages.

        Raises:
            SegpipeError: the label maps of fewer than 10 patients have the target.
        """
        held_out = held_out.usable()
        patients = len(set(held_out.patients))
        if patients < FEWEST_PATIENTS:
            raise SegpipeError(
                f"{name}: {len(held_out.dice)} held-out cases of {patients} patients have a label and a known Dice; "
                f"must be at least {FEWEST_PATIENTS} patients to predict a Dice: give the weights of more folds"
            )
        table, ratio, dice, volume = _tables(held_out)
        weights = patient_weights(held_out.patients)
        predicted, predicted_volume = np.empty(len(dice)), np.empty(len(dice))
        groups = _groups(held_out)
        for group in np.unique(groups):
            out = groups == group
            rest = ~out
            predicted[out] = np.clip(
                MedianRegression.of(table[rest], dice[rest], weights[rest], _RISES)(table[out]), 0, 1
            )
            of_volume = MedianRegression.of(ratio[rest], volume[rest], weights[rest])
            predicted_volume[out] = of_volume(ratio[out])
        return cls(
            MedianRegression.of(table, dice, weights, _RISES),
            MedianRegression.of(ratio, volume, weights),
            Spread.fitted(predicted, np.abs(dice - predicted), weights),
            Spread.fitted(predicted, np.abs(volume - predicted_volume), weights),
            tuple(table.min(axis=0).tolist()),
            tuple(table.max(axis=0).tolist()),
            float(np.median(dice)),
            len(dice),
            patients,
        )

    def confidence(self, features: ScoreFeatures) -> Confidence | None:
        """Return what is expected of a label map; None where it has no voxel of the target."""
        if not features.voxels:
            return None
        values = np.array(features.values)
        low, high = np.array(self.lowest), np.array(self.highest)
        slack = _BEYOND * (high - low)
        outside = (values < low - slack) | (values > high + slack)
        dice = float(np.clip(self.dice(np.clip(values, low, high)), 0, 1))
        names = tuple(name for name, is_outside in zip(FEATURES, outside.tolist(), strict=True) if is_outside)
        if names:
            return Confidence(dice, 0.0, 1.0, 0.0, math.inf, names)
        half = self.dice_spread.half_width(dice)
        centre = float(self.volume(np.array([features.log_expected_ratio])))
        half_volume = self.volume_spread.half_width(dice)
        ends = (centre - half_volume, centre + half_volume)
        limit = math.log(_FARTHEST)
        return Confidence(
            dice,
            max(dice - half, 0.0),
            min(dice + half, 1.0),
            math.exp(ends[0]) if ends[0] > -limit else 0.0,
            math.exp(ends[1]) if ends[1] < limit else math.inf,
        )


def _tables(held_out: HeldOutTarget) -> tuple[Array, Array, Array, Array]:
    """Return features `(cases, features)`, expected log ratios `(cases, 1)`, Dice and log volume ratios `(cases,)`."""
    table = np.array([features.values for features in held_out.features])
    ratio = np.array([[features.log_expected_ratio] for features in held_out.features])
    true = np.clip(np.asarray(held_out.volume_ratios, np.float64), 1 / _FARTHEST, _FARTHEST)
    return table, ratio, np.asarray(held_out.dice, np.float64), np.log(true)


def _groups(held_out: HeldOutTarget) -> NDArray[np.intp]:
    """Return the group of each case that is left out together: its fold, or one of ten groups of patients."""
    _, fold = np.unique(np.asarray(list(held_out.folds)), return_inverse=True)
    if fold.max() >= _FEWEST_FOLDS - 1:
        return np.asarray(fold)
    _, patient = np.unique(np.asarray(list(held_out.patients)), return_inverse=True)
    return np.asarray(patient % _GROUPS)
