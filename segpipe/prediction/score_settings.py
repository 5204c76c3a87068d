"""The settings that the certainty of a network's scores depends on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from segpipe.confidence.calibration_file import ConfidenceCalibration
from segpipe.inference.engines.names import INT8


def score_settings(
    overlap: Sequence[float], flips: Sequence[int], precision: str, postprocessing: str = "", *, located: bool
) -> dict[str, Any]:
    """Return the settings in plain types; all floating-point formats count as one.

    Args:
        overlap: of neighbouring windows, along each axis.
        flips: axes along which inputs are mirrored.
        precision: of the network's computation.
        postprocessing: hash of the steps from scores to a label map.
        located: whether a locator chose a part of the scan.
    """
    return {
        "overlap": [float(share) for share in overlap],
        "flips": list(flips),
        "number_format": INT8 if precision == INT8 else "floating point",
        "locator": located,
        "postprocessing": postprocessing,
    }


def temperature_of(confidence: ConfidenceCalibration | None, settings: Mapping[str, Any]) -> float:
    """Return the temperature of the probabilities; 1 without a calibration, or for one of other settings."""
    if confidence is None or confidence.different_setting(settings) is not None:
        return 1.0
    return confidence.temperature
