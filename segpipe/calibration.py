"""From a classifier's logits to probabilities and decisions; fitted on validation cases and kept beside the weights.

A network that was trained to rank images is often too sure of its answers. A temperature, one number fitted on
validation cases, brings its probabilities closer to the observed shares. Class weights and balanced sampling shift the
probabilities of findings, so that each finding has a shift beside its temperature. The thresholds of the decisions are
chosen on the same validation cases and stay fixed afterwards.

Source: Guo et al., On Calibration of Modern Neural Networks, ICML 2017; Platt, 1999 (temperature and shift);
Youden, Cancer 3, 32 (1950) (threshold).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.optimize import brentq, minimize
from scipy.special import expit, log_expit, log_softmax, logsumexp, softmax

from segpipe.categories import NO_FINDING, Categories, ImageTarget
from segpipe.errors import SegpipeError
from segpipe.files import read_json, write_json

CALIBRATION_VERSION = 1
_COLDEST, _HOTTEST = 0.01, 20.0  # temperatures outside say that the validation cases are too few
_FEWEST_OF_EACH = 2  # cases with and without a finding, below which nothing is fitted
_PRIOR = (
    1e-2  # pull of the fit towards temperature 1, so that cases without a mistake give no infinite certainty
)


def calibration_path(weights: Path) -> Path:
    """Return the path of the calibration of a weights file: `model_calibration.json` beside `model.pt`."""
    return weights.with_name(f"{weights.stem}_calibration.json")


@dataclass(frozen=True)
class Calibration:
    """How logits become probabilities and decisions.

    Attributes:
        names: the classes or findings, in the order of the logits.
        target: "class" or "findings".
        temperature: logits are divided by it: one value for classes, one a finding; all above 0.
        shift: added to a finding's divided logits, one a finding; one 0 for classes.
        thresholds: one a name, 0 to 1: the decision of a finding, and of a class against all others.
        about: the cases it was fitted on, in plain types.
        weights_sha256: the weights that it belongs to.
    """

    names: tuple[str, ...]
    target: ImageTarget
    temperature: tuple[float, ...]
    shift: tuple[float, ...]
    thresholds: tuple[float, ...]
    about: Mapping[str, Any] = field(default_factory=dict)
    weights_sha256: tuple[str, ...] = ()

    @classmethod
    def none(cls, categories: Categories) -> Calibration:
        """Return the calibration that changes nothing, with thresholds of one half."""
        count = 1 if categories.exclusive else categories.num
        return cls(
            categories.names, categories.target, (1.0,) * count, (0.0,) * count, (0.5,) * categories.num
        )

    @property
    def categories(self) -> Categories:
        """The classes or findings."""
        return Categories(self.names, self.target)

    def probabilities(self, logits: ArrayLike) -> NDArray[np.float64]:
        """Return probabilities, `(N, C)` float64: over the classes they sum to 1, findings stand by themselves.

        Args:
            logits: `(N, C)`.
        """
        divided = np.asarray(logits, np.float64) / np.asarray(self.temperature)
        if self.target == "class":
            return np.asarray(softmax(divided, axis=1))
        return np.asarray(expit(divided + np.asarray(self.shift)))

    def decided(self, probabilities: NDArray[np.float64]) -> NDArray[np.bool_]:
        """Return for each name whether its probability reaches its threshold, `(N, C)`.

        For classes this is each class against all others; the class of an image is its most probable one.
        """
        return probabilities >= np.asarray(self.thresholds)

    def decision(self, probabilities: NDArray[np.float64]) -> str:
        """Return the decision on one image: the most probable class, or the findings at their thresholds.

        Args:
            probabilities: `(C,)`.
        """
        if self.target == "class":
            return self.names[int(np.argmax(probabilities))]
        present = self.decided(probabilities[None])[0]
        return (
            "|".join(name for name, is_there in zip(self.names, present, strict=True) if is_there)
            or NO_FINDING
        )

    def of_weights(self, sha256: Sequence[str]) -> Calibration:
        """Return the calibration as that of other weights files."""
        return replace(self, weights_sha256=tuple(sha256))

    def write(self, path: Path) -> None:
        """Write the calibration as JSON."""
        write_json(path, {"version": CALIBRATION_VERSION, **asdict(self)})

    @classmethod
    def read(cls, path: Path) -> Calibration:
        """Read a calibration.

        Raises:
            SegpipeError: the file is unreadable, or was not written by `write`.
        """
        content = read_json(path, "the calibration")
        try:
            if content.pop("version") != CALIBRATION_VERSION:
                raise ValueError("another version")
            numbers = {name: _finite(content.pop(name)) for name in ("temperature", "shift", "thresholds")}
            made = cls(
                tuple(map(str, content.pop("names"))),
                content.pop("target"),
                about=dict(content.pop("about")),
                weights_sha256=tuple(map(str, content.pop("weights_sha256"))),
                **numbers,
            )
            count = 1 if made.categories.exclusive else len(made.names)
            if (len(made.temperature), len(made.shift), len(made.thresholds)) != (
                count,
                count,
                len(made.names),
            ):
                raise ValueError("a wrong number of values")
            if content or min(made.temperature) <= 0:
                raise ValueError("unknown entries, or a temperature that is not above 0")
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise SegpipeError(
                f"{path}: is not a calibration that segpipe wrote ({error}); restore it, or train again"
            ) from error
        return made


def fitted_calibration(
    logits: ArrayLike, targets: ArrayLike, categories: Categories, about: Mapping[str, Any] | None = None
) -> Calibration:
    """Fit temperature, shift and thresholds on validation cases.

    The temperature of classes minimises the mean negative log-likelihood. Temperature and shift of a finding minimise
    its binary cross-entropy. A finding with fewer than two cases of either kind keeps temperature 1. Its shift makes
    the mean probability the share of its cases, with half a case of either kind added. A threshold maximises
    sensitivity + specificity (Youden's index); it is one half where a name has no case of a kind.

    Args:
        logits: `(N, C)`, of the validation cases.
        targets: for classes `(N,)` indices; for findings `(N, C)` with 1 present, 0 absent, NaN unknown.
        categories: the names.
        about: what the cases are, in plain types.

    Raises:
        SegpipeError: there are no cases, or a logit is not finite.
    """
    scores, truth = np.asarray(logits, np.float64), np.asarray(targets)
    if not len(scores) or not np.isfinite(scores).all():
        raise SegpipeError(
            f"calibration: needs finite logits of at least one case, has {len(scores)} case(s), of which "
            f"{int((~np.isfinite(scores)).any(axis=-1).sum()) if len(scores) else 0} with NaN or infinite ones"
        )
    temperature: tuple[float, ...]
    shift: tuple[float, ...]
    if categories.exclusive:
        temperature, shift = (_class_temperature(scores, truth.astype(int)),), (0.0,)
        present = (np.arange(categories.num) == truth[:, None]).astype(float)
    else:
        present = truth.astype(float)
        pairs = [_finding_scale(scores[:, one], present[:, one]) for one in range(categories.num)]
        temperature, shift = tuple(a for a, _ in pairs), tuple(b for _, b in pairs)
    made = Calibration(
        categories.names,
        categories.target,
        temperature,
        shift,
        (0.5,) * categories.num,
        {"cases": len(scores), **(about or {})},
    )
    probabilities = made.probabilities(scores)
    thresholds = [youden_threshold(probabilities[:, one], present[:, one]) for one in range(categories.num)]
    return replace(made, thresholds=tuple(thresholds))


def youden_threshold(probabilities: NDArray[np.float64], present: NDArray[np.float64]) -> float:
    """Return the threshold of the largest sensitivity + specificity: half-way between two neighbouring probabilities.

    Args:
        probabilities: `(N,)`.
        present: `(N,)` with 1 present, 0 absent, NaN unknown; unknown cases do not count.

    Returns:
        the threshold; one half where all known cases are of one kind.
    """
    known = ~np.isnan(present)
    values, is_there = probabilities[known], present[known] > 0
    if is_there.all() or not is_there.any():
        return 0.5
    order = np.argsort(-values, kind="stable")
    ranked, hits = values[order], is_there[order]
    ends = np.append(ranked[1:] < ranked[:-1], True)  # equal probabilities stay on one side
    index = (np.cumsum(hits) / hits.sum() - np.cumsum(~hits) / (~hits).sum())[ends]
    best = int(np.flatnonzero(ends)[np.argmax(index)])
    below = ranked[best + 1] if best + 1 < len(ranked) else 0.0
    return float((ranked[best] + below) / 2)


def _class_temperature(logits: NDArray[np.float64], classes: NDArray[np.intp]) -> float:
    def loss(log_temperature: NDArray[np.float64]) -> float:
        scores = log_softmax(logits / np.exp(log_temperature[0]), axis=1)
        likelihood = np.take_along_axis(scores, classes[:, None], axis=1).mean()
        return float(-likelihood + _PRIOR / len(classes) * log_temperature[0] ** 2)

    found = minimize(loss, np.zeros(1), method="Nelder-Mead")
    return float(np.clip(np.exp(found.x[0]), _COLDEST, _HOTTEST))


def _finding_scale(logits: NDArray[np.float64], present: NDArray[np.float64]) -> tuple[float, float]:
    """Return temperature and shift of a finding."""
    known = ~np.isnan(present)
    scores, is_there = logits[known], present[known] > 0
    if not len(scores):
        return 1.0, 0.0
    if min(is_there.sum(), (~is_there).sum()) < _FEWEST_OF_EACH:
        share = (is_there.sum() + 0.5) / (len(scores) + 1)
        return 1.0, float(brentq(lambda shift: expit(scores + shift).mean() - share, -1e3, 1e3))

    def loss(numbers: NDArray[np.float64]) -> float:
        log_temperature, shift = numbers
        values = scores / np.exp(log_temperature) + shift
        return float(
            -np.where(is_there, log_expit(values), log_expit(-values)).mean()
            + _PRIOR / len(scores) * log_temperature**2
        )

    start = np.array([0.0, np.log(is_there.mean() / (1 - is_there.mean())) - _log_mean_odds(scores)])
    log_temperature, shift = minimize(loss, start, method="Nelder-Mead").x
    return float(np.clip(np.exp(log_temperature), _COLDEST, _HOTTEST)), float(shift)


def _log_mean_odds(logits: NDArray[np.float64]) -> float:
    return float(logsumexp(np.clip(logits, -30, 30)) - np.log(len(logits)))


def _finite(values: Sequence[float]) -> tuple[float, ...]:
    numbers = tuple(float(value) for value in values)
    if not np.isfinite(numbers).all():
        raise ValueError("a value that is not finite")
    return numbers
