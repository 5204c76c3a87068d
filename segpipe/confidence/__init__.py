"""Confidence in a label map without a reference: a predicted Dice and volume, each with an interval."""

from segpipe.confidence.assessment import Assessment, Forecast, assess, assessed
from segpipe.confidence.calibration_file import (
    CONFIDENCE_SUFFIX,
    ConfidenceCalibration,
    confidence_path,
)
from segpipe.confidence.score_features import FEATURES, FeatureMeter, ScoreFeatures
from segpipe.confidence.target_model import Confidence, HeldOutTarget, TargetModel

__all__ = [
    "CONFIDENCE_SUFFIX",
    "FEATURES",
    "Assessment",
    "Confidence",
    "ConfidenceCalibration",
    "FeatureMeter",
    "Forecast",
    "HeldOutTarget",
    "ScoreFeatures",
    "TargetModel",
    "assess",
    "assessed",
    "confidence_path",
]
