"""How good the expected Dice of weights is, from the calibration beside them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from segpipe.errors import SegpipeError
from segpipe.information.facts import Information, Scores, WeightsFile

_SUFFIX = ".confidence.json"
_SHOWN = ("error", "constant_error", "spearman", "auroc", "volume_coverage")


def with_expected_dice(about: Information) -> Information:
    """Return the information with the scores of each weights file's calibration, or why it is of no use."""
    scores, notes = list(about.scores), list(about.notes)
    for file in about.weights:
        path = file.path.with_suffix(_SUFFIX)
        if file.size is None or not path.is_file():
            continue
        try:
            assessed = _assessments(path, file)
        except SegpipeError as error:
            notes.append(str(error))
            continue
        for name, one in assessed.items():
            if one is None:
                notes.append(f"{path.name}: how good the expected Dice of {name} is was not measured")
            else:
                of = f"expected Dice of {name}, {one.get('cases')} cases of left-out folds"
                scores.append(Scores(of, _figures(one)))
    return replace(about, scores=tuple(scores), notes=tuple(notes))


def _assessments(path: Path, file: WeightsFile) -> dict[str, Mapping[str, Any] | None]:
    from segpipe.confidence import ConfidenceCalibration  # needs more packages than a list of bundles

    calibration = ConfidenceCalibration.read(path)
    if calibration.weights_sha256 != (file.sha256,):
        raise SegpipeError(
            f"{path.name} is of other weights than {file.path.name}; write it anew with `segpipe confidence`, or "
            "remove it"
        )
    assessed = calibration.about.get("assessment")
    given = assessed if isinstance(assessed, Mapping) else {}
    return {
        name: one if isinstance(one := given.get(name), Mapping) else None for name in calibration.targets
    }


def _figures(one: Mapping[str, Any]) -> dict[str, float]:
    return {name: float(one[name]) for name in _SHOWN if isinstance(one.get(name), int | float)}
