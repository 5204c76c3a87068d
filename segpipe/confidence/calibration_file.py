"""The file of a confidence calibration beside the weights: `model.confidence.json`."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from segpipe.confidence.median_regression import MedianRegression
from segpipe.confidence.score_features import FEATURES, RISING
from segpipe.confidence.target_model import FEWEST_PATIENTS, Spread, TargetModel
from segpipe.errors import SegpipeError
from segpipe.files import json_sha256, read_json, write_json

CONFIDENCE_SUFFIX = ".confidence.json"
_VERSION = 1
_SHOWN = 200  # characters of a reason in a message; a reason may quote the file


@dataclass(frozen=True)
class ConfidenceCalibration:
    """The calibration of some weights: a model for each target that has enough held-out cases.

    Attributes:
        targets: name of the target -> its model.
        weights_sha256: hashes of the weights files that it belongs to.
        settings: overlap of windows, mirrored axes and kind of precision under which the cases were segmented; scores
            of other settings are as certain as others, and nothing is predicted from them.
        temperature: of the probabilities that `--probabilities` writes, see `segpipe.confidence.temperature`.
        about: the folds' weights, manifest and scores on left-out folds, in plain types.
    """

    targets: Mapping[str, TargetModel]
    weights_sha256: tuple[str, ...]
    settings: Mapping[str, Any] = field(default_factory=dict)
    about: Mapping[str, Any] = field(default_factory=dict)
    temperature: float = 1.0

    @property
    def sha256(self) -> str:
        """Hash of everything that predictions depend on."""
        return json_sha256({**self._plain(), "about": None})

    def different_setting(self, settings: Mapping[str, Any]) -> str | None:
        """Return a clause with the first setting that differs and both values; None if all are equal.

        Args:
            settings: of a run, as `settings`.
        """
        for name in sorted({*self.settings, *settings}):
            then, now = self.settings.get(name), settings.get(name)
            if then != now:
                return f"{name} is {now}, and was {then} when the confidence was calibrated"
        return None

    def of_weights(self, sha256: Sequence[str]) -> ConfidenceCalibration:
        """Return the calibration as that of other weights files, such as the same weights in half precision."""
        return replace(self, weights_sha256=tuple(sha256))

    def write(self, path: Path) -> None:
        """Write the calibration atomically."""
        write_json(path, self._plain())

    def _plain(self) -> dict[str, Any]:
        return {
            "version": _VERSION,
            "features": list(FEATURES),
            "weights_sha256": list(self.weights_sha256),
            "settings": dict(self.settings),
            "temperature": self.temperature,
            "about": dict(self.about),
            "targets": {name: _plain_model(model) for name, model in self.targets.items()},
        }

    @classmethod
    def read(cls, path: Path) -> ConfidenceCalibration:
        """Read a calibration.

        Raises:
            SegpipeError: the file cannot be read, or segpipe did not write it.
        """
        content = read_json(path, "the confidence calibration")
        try:
            if content["version"] != _VERSION:
                raise ValueError(f"version {content['version']}, must be {_VERSION}")
            if content["features"] != list(FEATURES):
                raise ValueError("it has other features")
            (temperature,) = _numbers([content["temperature"]], 1)
            if temperature <= 0:
                raise ValueError(f"temperature is {temperature:g}")
            return cls(
                {str(name): _model(plain) for name, plain in content["targets"].items()},
                tuple(map(str, content["weights_sha256"])),
                dict(content["settings"]),
                dict(content["about"]),
                temperature,
            )
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise SegpipeError(
                f"{path}: is no confidence calibration ({str(error)[:_SHOWN]}); write it anew with "
                "`segpipe confidence`, or remove it"
            ) from None


def confidence_path(weights: Sequence[Path], weights_sha256: Sequence[str]) -> Path:
    """Return the path of the calibration: beside the weights; for an ensemble beside its first file."""
    if len(weights) == 1:
        return weights[0].with_suffix(CONFIDENCE_SUFFIX)
    return weights[0].with_name(f"ensemble-{json_sha256(list(weights_sha256))[:8]}{CONFIDENCE_SUFFIX}")


def _plain_model(model: TargetModel) -> dict[str, Any]:
    plain = asdict(model)
    for spread in ("dice_spread", "volume_spread"):
        if math.isinf(plain[spread]["quantile"]):
            plain[spread]["quantile"] = None  # JSON has no infinity
    return plain


def _model(plain: Mapping[str, Any]) -> TargetModel:
    lowest, highest = _numbers(plain["lowest"], len(FEATURES)), _numbers(plain["highest"], len(FEATURES))
    if any(low > high for low, high in zip(lowest, highest, strict=True)):
        raise ValueError("a feature's lowest value is above its highest")
    cases, patients = plain["cases"], plain["patients"]
    if (
        not isinstance(cases, int)
        or not isinstance(patients, int)
        or not FEWEST_PATIENTS <= patients <= cases
    ):
        raise ValueError(f"it is of {cases} cases of {patients} patients")
    return TargetModel(
        _regression(plain["dice"], len(FEATURES), len(RISING)),
        _regression(plain["volume"], 1),
        _spread(plain["dice_spread"]),
        _spread(plain["volume_spread"]),
        lowest,
        highest,
        _numbers([plain["median_dice"]], 1)[0],
        cases,
        patients,
    )


def _spread(plain: Mapping[str, Any]) -> Spread:
    quantile = math.inf if plain["quantile"] is None else _numbers([plain["quantile"]], 1)[0]
    (least,) = _numbers([plain["least"]], 1)
    if least <= 0 or quantile < 0:
        raise ValueError("a spread is not above 0")
    return Spread(_regression(plain["of"], 1), least, quantile)


def _regression(plain: Mapping[str, Any], features: int, rising: int = 1) -> MedianRegression:
    (intercept,) = _numbers([plain["intercept"]], 1)
    slopes, centres = _numbers(plain["slopes"], features), _numbers(plain["centres"], features)
    if min(slopes[:rising]) < 0:
        raise ValueError("a slope is below 0")
    return MedianRegression(intercept, slopes, centres)


def _numbers(values: Sequence[Any], count: int) -> tuple[float, ...]:
    if not isinstance(values, list) or len(values) != count:
        raise ValueError(f"{values!r:.40} is no list of {count} numbers")
    if any(isinstance(value, bool) or not isinstance(value, int | float) for value in values):
        raise TypeError(f"{values!r:.40} holds no numbers")
    if not all(map(math.isfinite, values)):
        raise ValueError(f"{values!r:.40} has NaN or infinite values")
    return tuple(map(float, values))
