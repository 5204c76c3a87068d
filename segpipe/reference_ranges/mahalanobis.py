"""All measures of a scan taken together: each may be usual where their combination is not.

The Mahalanobis distance from the training cases (P. C. Mahalanobis, Proc. Natl. Inst. Sci. India 2, 1936), with the
correlations shrunk half way to none, since there are often fewer cases than measures (Ledoit & Wolf, J. Multivar. Anal.
88, 2004, on why).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from segpipe.reference_ranges.measure_kinds import FOUND, MEASURE_KINDS, require_measure
from segpipe.reference_ranges.measures import Measures

_SHRINKAGE = 0.5  # of the correlations
_USUAL = 2.5  # standard deviations of the logarithm above its mean
_FEW = 10  # cases, with which the limit is 1.4 times as far above
_LEFT_OUT = 100  # cases whose distance is measured, each without itself
_SAME = 1e-6  # spread of a measure that all cases share
_TIMES = 2  # as coarse along each axis as the coarse image, which would outweigh the rest


@dataclass(frozen=True)
class Mahalanobis:
    """Where the training cases lie, all measures taken together.

    Attributes:
        names: the measures, on their kinds' scales; the coarse image's blocks follow.
        mean, spread: of each in the training cases; an infinite spread takes no part.
        precision: the inverse of their shrunk correlations.
        usual: the distance up to which a case is like them.
    """

    names: tuple[str, ...]
    mean: NDArray[np.float64]
    spread: NDArray[np.float64]
    precision: NDArray[np.float64]
    usual: float

    @classmethod
    def of(cls, measured: Sequence[Measures]) -> Mahalanobis:
        """Take the training cases' measures; how far off each lies is told by all the others."""
        names = tuple(dict.fromkeys(name for own in measured for name in own.values if name != FOUND))
        table = np.stack([_row(own, names) for own in measured])
        mean, spread = _mean_and_spread(table)
        standard = _standard(table, mean, spread)
        chosen = np.unique(np.linspace(0, len(table) - 1, min(len(table), _LEFT_OUT)).round().astype(int))
        others = (np.delete(standard, row, axis=0) for row in chosen)
        logs = np.log(
            [
                max(_distance(standard[row], rest.mean(axis=0), _precision(rest)), _SAME)
                for row, rest in zip(chosen, others, strict=True)
            ]
        )
        above = _USUAL * math.sqrt(1 + _FEW / len(measured)) * float(logs.std())
        return cls(names, mean, spread, _precision(standard), math.exp(float(logs.mean()) + above))

    def distance(self, measured: Measures) -> float:
        """Return how far off a scan lies; 1 is about what a training case does."""
        row = _standard(_row(measured, self.names)[None], self.mean, self.spread)[0]
        return _distance(row, np.zeros_like(row), self.precision)

    def plain(self) -> dict[str, Any]:
        """Return it in JSON's types; a row of the matrix is a text, which keeps the file short."""
        return {
            "names": list(self.names),
            "mean": _text(self.mean),
            "spread": _text(self.spread),
            "precision": [_text(row) for row in self.precision],
            "usual": float(f"{self.usual:.6g}"),
        }

    @classmethod
    def of_plain(cls, content: Mapping[str, Any], coarse: tuple[int, ...]) -> Mahalanobis:
        """Take it from JSON's types.

        Args:
            content: of `plain`.
            coarse: shape of the mean coarse image.

        Raises:
            ValueError: its parts do not fit each other, or a number is none.
        """
        names = tuple(map(str, content["names"]))
        for name in names:
            require_measure(name)
        mean, spread = (np.array(content[name].split(), float) for name in ("mean", "spread"))
        precision = np.array([row.split() for row in content["precision"]], float)
        places = len(names) + coarse[0] * math.prod(length // _TIMES for length in coarse[1:])
        if not (places,) == mean.shape == spread.shape == precision.shape[:1] == precision.shape[1:]:
            raise ValueError("its measures taken together are not of one number")
        usual = float(content["usual"])
        if not (np.isfinite(mean).all() and np.isfinite(precision).all() and (spread > 0).all()):
            raise ValueError("its measures taken together hold what is no number")
        if not 0 < usual < math.inf:
            raise ValueError(f"what is usual of its measures taken together is {usual:g}")
        return cls(names, mean, spread, precision, usual)


def _row(measured: Measures, names: Sequence[str]) -> NDArray[np.float64]:
    """Return what is measured on the kinds' scales, NaN where it is not known, then the coarse image's blocks."""
    values = [
        MEASURE_KINDS[name.partition("/")[0]].scale(value)
        if math.isfinite(value := measured.values.get(name, math.nan))
        else math.nan
        for name in names
    ]
    coarse = measured.coarse_images.mean(axis=0)
    shape = [own for length in coarse.shape[1:] for own in (length // _TIMES, _TIMES)]
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
    """Return standard scores; what is not known lies at the mean."""
    return np.nan_to_num((table - mean) / spread)


def _precision(standard: NDArray[np.float64]) -> NDArray[np.float64]:
    shared = np.cov(standard, rowvar=False)
    shrunk = (1 - _SHRINKAGE) * shared + _SHRINKAGE * np.eye(len(shared))
    return np.asarray(np.linalg.inv(shrunk), np.float64)


def _distance(row: NDArray[np.float64], mean: NDArray[np.float64], precision: NDArray[np.float64]) -> float:
    off = row - mean
    return math.sqrt(max(float(off @ precision @ off), 0.0) / len(row))


def _text(values: NDArray[np.float64]) -> str:
    return " ".join(f"{value:.6g}" for value in values.tolist())
