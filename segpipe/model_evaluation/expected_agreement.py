"""How the expected Dice of an evaluation's label maps agrees with the true Dice."""

from __future__ import annotations

import math
from collections.abc import Mapping

from segpipe.confidence import Assessment, ConfidenceCalibration, Forecast, assessed
from segpipe.evaluation.scored_cases import ScoredCases
from segpipe.prediction.options import Prediction


def expected_agreement(
    calibration: ConfidenceCalibration | None, predictions: Mapping[str, Prediction], scores: ScoredCases
) -> dict[str, Assessment]:
    """Return name of the class or region -> how well its Dice was expected.

    Args:
        calibration: of the bundle; None: nothing was expected.
        predictions: case -> its prediction.
        scores: of the cases.

    Returns:
        classes with an expected and a true Dice of at least one case; empty without a calibration.
    """
    if calibration is None:
        return {}
    found = {}
    for place, name in enumerate(scores.table.target_names):
        model, forecasts, patients, missed = calibration.targets.get(name), [], [], 0
        for row in scores.rows:
            volume = next(one for one in predictions[row.case].volumes if one.label == name)
            true, reference_ml = float(row.metrics.dice[place]), float(row.metrics.reference_ml[place])
            missed += volume.voxels == 0 and true == 0
            expected = volume.expected
            if model is None or expected is None or expected.dice is None or math.isnan(true):
                continue
            low, high = (end for end in (expected.dice_low, expected.dice_high))
            forecasts.append(
                Forecast(
                    true,
                    expected.dice,
                    model.median_dice,
                    0.0 if low is None else low,
                    1.0 if high is None else high,
                    reference_ml,
                    expected.millilitres_low or 0.0,
                    math.inf if expected.millilitres_high is None else expected.millilitres_high,
                    bool(expected.note),
                )
            )
            patients.append(row.patient)
        if forecasts:
            found[name] = assessed(forecasts, patients, missed)
    return found


def in_words(one: Assessment) -> str:
    """Return an assessment as a sentence for a page."""
    parts = [
        f"mean absolute error {one.error:.3f} in {one.cases} cases, of a constant {one.constant_error:.3f}",
        "" if math.isnan(one.spearman) else f"Spearman's correlation {one.spearman:.2f}",
        ""
        if math.isnan(one.auroc)
        else f"AUROC of the worst tenth {one.auroc:.2f} ({one.auroc_low:.2f} to {one.auroc_high:.2f})",
        f"{one.dice_coverage:.0%} of the true Dice inside the 90 % interval",
        "" if math.isnan(one.volume_coverage) else f"{one.volume_coverage:.0%} of the true volumes",
        f"{one.missed} missed, without an expected Dice" if one.missed else "",
    ]
    return "; ".join(part for part in parts if part)
