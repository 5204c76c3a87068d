"""The Mahalanobis distance of a scan's measures from the training cases: each may be usual, their combination not.

P. C. Mahalanobis, Proc. Natl. Inst. Sci. India 2, 1936. The correlations are shrunk half way to zero, since there
are often fewer cases than measures (the reason: Ledoit & Wolf, J. Multivar. Anal. 88, 2004).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from segpipe.reference_ranges.measure_kinds import HAS_FOREGROUND, kind_of, require_measure
from segpipe.reference_ranges.measures import Measures
from segpipe.reference_ranges.prediction_intervals import PredictionIntervals

_SHRINKAGE = 0.5  # of the correlations
_LEFT_OUT = 100  # patients whose distance is measured, each by a distribution without the patient
_SAME = 1e-6  # spread below which all cases share a value
_TIMES = 2  # the coarse image is halved along each axis, or its blocks would outweigh the other measures


@dataclass(frozen=True)
class Mahalanobis:
    """The distribution of the training cases' measures.

    Attributes:
        names: names of the measures, on the scales of their kinds; the blocks of the coarse image follow.
        mean, spread: of each measure in the training cases; a measure of infinite spread is ignored.
        precision: inverse of the shrunk correlation matrix.
        usual: largest Mahalanobis distance that counts as usual.
    """

    names: tuple[str, ...]
    mean: NDArray[np.float64]
    spread: NDArray[np.float64]
    precision: NDArray[np.float64]
    usual: float

    @classmethod
    def of(cls, measured: Sequence[Measures], patients: Sequence[str], chance: float) -> Mahalanobis:
        """Estimate the distribution; a case's distance uses the distribution of the other patients' cases.

        Args:
            measured: the measures of each training case.
            patients: patient of each training case.
            chance: chance that the distance of a new patient's scan is larger than usual; the logarithms of the
                distances count as normal.
        """
        names = tuple(
            dict.fromkeys(name for case in measured for name in case.values if name != HAS_FOREGROUND)
        )
        table = np.stack([_row(case, names) for case in measured])
        mean, spread = _mean_and_spread(table)
        standard = _standard(table, mean, spread)
        names_of = np.asarray(patients)
        unique = np.unique(names_of)
        places = np.linspace(0, len(unique) - 1, min(len(unique), _LEFT_OUT)).round().astype(int)
        logs, left_out = [], []
        for patient in unique[places]:
            rest = table[names_of != patient]
            of_rest = _mean_and_spread(rest)
            precision = _precision(_standard(rest, *of_rest))
            for row in _standard(table[names_of == patient], *of_rest):
                logs.append(math.log(max(_distance(row, precision), _SAME)))
                left_out.append(str(patient))
        interval = PredictionIntervals.of(np.array(logs)[:, None], left_out, 2 * chance, np.zeros(1))
        return cls(
            names,
            mean,
            spread,
            _precision(standard),
            math.exp(float(interval.centre[0] + interval.half_width[0])),
        )

    def distance(self, measured: Measures) -> float:
        """Return the Mahalanobis distance of a scan; a typical training case has about 1."""
        row = _standard(_row(measured, self.names)[None], self.mean, self.spread)[0]
        return _distance(row, self.precision)

    def plain(self) -> dict[str, Any]:
        """Return the distribution in JSON's types; each row of the matrix is one text, which keeps the file short."""
        return {
            "names": list(self.names),
            "mean": _text(self.mean),
            "spread": _text(self.spread),
            "precision": [_text(row) for row in self.precision],
            "usual": float(f"{self.usual:.6g}"),
        }

    @classmethod
    def of_plain(cls, content: Mapping[str, Any], coarse: tuple[int, ...]) -> Mahalanobis:
        """Return the distribution from JSON's types.

        Args:
            content: as `plain` returns it.
            coarse: shape of the mean coarse image.

        Raises:
            ValueError: the parts do not fit each other, or a number is not finite.
        """
        names = tuple(map(str, content["names"]))
        for name in names:
            require_measure(name)
        mean, spread = (np.array(content[name].split(), float) for name in ("mean", "spread"))
        precision = np.array([row.split() for row in content["precision"]], float)
        places = len(names) + coarse[0] * math.prod(length // _TIMES for length in coarse[1:])
        if not (places,) == mean.shape == spread.shape == precision.shape[:1] == precision.shape[1:]:
            raise ValueError("its values for the Mahalanobis distance differ in number")
        usual = float(content["usual"])
        if not (np.isfinite(mean).all() and np.isfinite(precision).all() and (spread > 0).all()):
            raise ValueError("its values for the Mahalanobis distance are not all finite numbers")
        if not 0 < usual < math.inf:
            raise ValueError(f"its usual Mahalanobis distance is {usual:g}")
        return cls(names, mean, spread, precision, usual)


def _row(measured: Measures, names: Sequence[str]) -> NDArray[np.float64]:
    """Return the measures on the scales of their kinds, NaN if unknown, followed by the coarse image's blocks."""
    values = [
        kind_of(name).scale(value)
        if math.isfinite(value := measured.values.get(name, math.nan))
        else math.nan
        for name in names
    ]
    coarse = measured.coarse_images.mean(axis=0)
    shape = [size for length in coarse.shape[1:] for size in (length // _TIMES, _TIMES)]
    coarse = coarse.reshape(len(coarse), *shape).mean(axis=tuple(range(2, len(shape) + 1, 2)))
    return np.array([*values, *coarse.ravel().tolist()])


def _mean_and_spread(table: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    known = ~np.isnan(table)
    counts = np.maximum(known.sum(axis=0), 1)
    mean = np.where(known, table, 0).sum(axis=0) / counts
    spread: NDArray[np.float64] = np.sqrt((np.where(known, table - mean, 0) ** 2).sum(axis=0) / counts)
    spread[spread < _SAME] = np.inf
    return mean, spread


def _standard(
    table: NDArray[np.float64], mean: NDArray[np.float64], spread: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Return standard scores; an unknown measure gets the mean."""
    return np.nan_to_num((table - mean) / spread)


def _precision(standard: NDArray[np.float64]) -> NDArray[np.float64]:
    shared = np.cov(standard, rowvar=False)
    shrunk = (1 - _SHRINKAGE) * shared + _SHRINKAGE * np.eye(len(shared))
    return np.asarray(np.linalg.inv(shrunk), np.float64)


def _distance(row: NDArray[np.float64], precision: NDArray[np.float64]) -> float:
    return math.sqrt(max(float(row @ precision @ row), 0.0) / len(row))


def _text(values: NDArray[np.float64]) -> str:
    return " ".join(f"{value:.6g}" for value in values.tolist())
