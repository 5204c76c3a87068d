"""How good predicted Dice and intervals are on cases of folds that they were not fitted on."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from segpipe.confidence.conformal import patient_weights
from segpipe.confidence.target_model import HeldOutTarget, TargetModel
from segpipe.errors import SegpipeError
from segpipe.evaluation.classification.ranking import Ranking
from segpipe.evaluation.intervals import patient_draws

Array = NDArray[np.float64]
_FAILING = 0.1  # share of the cases, those of the lowest Dice, that count as failed
_RESAMPLES, _CONFIDENCE = 2000, 0.95


@dataclass(frozen=True)
class Assessment:
    """Predictions of a target against the truth.

    Attributes:
        cases, patients: numbers of the cases with a label and a known Dice.
        missed: number of cases whose label map lacks the target that the reference has: nothing warns of these.
        error: mean absolute error of the predicted Dice.
        constant_error: that of the other folds' median Dice in place of a prediction.
        spearman: rank correlation of predicted and true Dice; nan if all are equal.
        auroc: chance that a failed case, a tenth of the cases, has a lower predicted Dice than another case.
        auroc_low, auroc_high: its 95 % bootstrap interval over patients.
        dice_coverage, volume_coverage: share of the patients' cases inside the 90 % intervals.
        dice_width: median width of the intervals of the Dice.
        outside: number of cases whose features lie outside the range of the others.
    """

    cases: int
    patients: int
    missed: int
    error: float
    constant_error: float
    spearman: float
    auroc: float
    auroc_low: float
    auroc_high: float
    dice_coverage: float
    volume_coverage: float
    dice_width: float
    outside: int

    @property
    def gain(self) -> float:
        """The part of the constant's error that the prediction removes; below 0 it adds to the error."""
        return 1 - self.error / self.constant_error if self.constant_error else np.nan


class Forecast(NamedTuple):
    """What was predicted of a case, and the truth.

    Attributes:
        true: true Dice.
        dice: predicted Dice.
        constant: median Dice of the calibrated cases, the prediction without any feature.
        low, high: interval of the Dice.
        volume: true volume, in any unit; nan for an image without a volume.
        volume_low, volume_high: its interval, in the same unit.
        is_outside: whether the case lies outside the calibrated cases.
    """

    true: float
    dice: float
    constant: float
    low: float
    high: float
    volume: float
    volume_low: float
    volume_high: float
    is_outside: bool


def assess(held_out: HeldOutTarget, name: str) -> Assessment:
    """Predict the cases of each fold with a model of the other folds, intervals included, and compare with the truth.

    Args:
        held_out: cases of at least two folds.
        name: of the target, for messages.

    Raises:
        SegpipeError: there is one fold, or the other folds have too few patients, see `TargetModel.fitted`.
    """
    usable = held_out.usable()
    if len(set(usable.folds)) < 2:
        raise SegpipeError(
            f"{name}: cases of one fold cannot show how good a prediction is; give at least two folds"
        )
    forecasts: list[Forecast] = []
    patients: list[str] = []
    for fold in sorted(set(usable.folds)):
        inside = [place for place, other in enumerate(usable.folds) if other == fold]
        rest = usable.chosen([place for place, other in enumerate(usable.folds) if other != fold])
        forecasts += _forecasts(TargetModel.fitted(rest, f"{name} without {fold}"), usable.chosen(inside))
        patients += [usable.patients[place] for place in inside]
    return assessed(forecasts, patients, held_out.missed)


def assessed(forecasts: Sequence[Forecast], patients: Sequence[str], missed: int) -> Assessment:
    """Compare predictions with the truth.

    Args:
        forecasts: one a case, at least one.
        patients: patient of each case.
        missed: see `Assessment`.
    """
    column = dict(zip(Forecast._fields, np.array(forecasts, np.float64).T, strict=True))
    true, dice, weights = column["true"], column["dice"], patient_weights(patients)
    low, high = _auroc_interval(true, dice, patients)
    return Assessment(
        cases=len(true),
        patients=len(set(patients)),
        missed=missed,
        error=float(np.abs(dice - true).mean()),
        constant_error=float(np.abs(column["constant"] - true).mean()),
        spearman=_spearman(true, dice),
        auroc=float(_auroc(true, dice, np.ones((1, len(true))))[0]),
        auroc_low=low,
        auroc_high=high,
        dice_coverage=_share(true, column["low"], column["high"], weights),
        volume_coverage=_share(column["volume"], column["volume_low"], column["volume_high"], weights),
        dice_width=float(np.median(column["high"] - column["low"])),
        outside=int(column["is_outside"].sum()),
    )


def _forecasts(model: TargetModel, cases: HeldOutTarget) -> Iterator[Forecast]:
    for features, true, ratio in zip(cases.features, cases.dice, cases.volume_ratios, strict=True):
        made = model.confidence(features)
        if made is not None:
            of_dice = (true, made.dice, model.median_dice, made.dice_low, made.dice_high)
            yield Forecast(*of_dice, ratio, made.volume_low, made.volume_high, bool(made.outside))


def _spearman(true: Array, dice: Array) -> float:
    if np.ptp(true) == 0 or np.ptp(dice) == 0:
        return float("nan")
    return float(stats.spearmanr(true, dice).statistic)


def _auroc(true: Array, dice: Array, weights: Array) -> Array:
    """Return the AUROC of failure, for each weighting of the cases `(B, cases)`."""
    failed = true <= np.sort(true)[max(int(np.ceil(_FAILING * len(true))) - 1, 0)]
    return Ranking(1 - dice, failed).scores(weights)[0]


def _auroc_interval(true: Array, dice: Array, patients: Sequence[str]) -> tuple[float, float]:
    names, place = np.unique(np.asarray(list(patients)), return_inverse=True)
    drawn = np.concatenate(
        [
            _auroc(true, dice, times[:, place])
            for times in patient_draws(len(names), _RESAMPLES, np.random.default_rng(0))
        ]
    )
    known = drawn[np.isfinite(drawn)]
    if not len(known):
        return float("nan"), float("nan")
    low, high = np.quantile(known, [(1 - _CONFIDENCE) / 2, (1 + _CONFIDENCE) / 2])
    return float(low), float(high)


def _share(values: Array, low: Array, high: Array, weights: Array) -> float:
    known = np.isfinite(values)
    if not known.any():
        return float("nan")
    inside = (low <= values) & (values <= high)
    return float((inside * weights)[known].sum() / weights[known].sum())
