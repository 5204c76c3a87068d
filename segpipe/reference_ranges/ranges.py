"""Reference ranges of the training cases, and warnings about a scan whose measures lie outside them."""

from __future__ import annotations

import itertools
import logging
import math
import re
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from segpipe.errors import SegpipeError
from segpipe.files import json_sha256, read_json, write_json
from segpipe.reference_ranges.coarse_images import compared, require_coarse_image
from segpipe.reference_ranges.mahalanobis import Mahalanobis
from segpipe.reference_ranges.measure_kinds import (
    FACING,
    HAS_FOREGROUND,
    MEASURE_KINDS,
    MeasureKind,
    require_measure,
)
from segpipe.reference_ranges.measures import Measures

_logger = logging.getLogger(__name__)
RANGES_SUFFIX = ".reference_ranges.json"
_FORMER_SUFFIX = ".limits.json"  # of version 1 of the file
FEWEST_CASES = 5
_VERSION = 2
_FORMER_NAMES = {"picture": "coarse_image", "together": "mahalanobis"}  # of version 1 of the file
_FEW_OTHERWISE = 5  # percent of the training cases that may be more like the others when mirrored or turned
_FEWEST_TO_TELL = 20  # with fewer cases a common orientation may be chance
_SHOWN = 200  # characters of a reason in a message; a reason may quote the file
_OF_CHANNEL = re.compile(r"(.*), channel (\d+)")
_MOST_ORDERED = 5  # channels whose orders are all tried
_FEWEST_OUTSIDE = 4  # measures of channels outside their ranges, before another order is tried
_FAR_FEWER = 0.25  # of them may be outside in the right order
_FEW = 10  # with this many cases the margin is twice as wide


@dataclass(frozen=True)
class ReferenceRanges:
    """Reference ranges of the training cases of some weights.

    Attributes:
        ranges: measure -> its lowest and highest value in the training cases.
        coarse_image: `(C, 12, 12)` or `(C, 6, 6, 6)`, mean coarse image of the training cases.
        mahalanobis: distribution of all measures taken together.
        cases: number of training cases.
        weights_sha256: hashes of the weights files whose results were measured.
        about: how the ranges were made, in plain types.
    """

    ranges: Mapping[str, tuple[float, float]]
    coarse_image: NDArray[np.float32]
    mahalanobis: Mahalanobis
    cases: int
    weights_sha256: tuple[str, ...]
    about: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def of(
        cls, measured: Sequence[Measures], weights_sha256: Sequence[str], about: Mapping[str, Any]
    ) -> ReferenceRanges:
        """Return the reference ranges of training cases.

        Args:
            measured: the measures of each training case.
            weights_sha256: hashes of the weights files.
            about: how the ranges were made, in plain types.

        Raises:
            SegpipeError: fewer than five cases.
        """
        if len(measured) < FEWEST_CASES:
            raise SegpipeError(
                f"reference ranges: {len(measured)} training cases; fewer than {FEWEST_CASES} do not "
                "show what is usual"
            )
        means = np.stack([case.coarse_images.mean(axis=0) for case in measured])
        coarse: NDArray[np.float32] = means.mean(axis=0)
        complete = [
            case.values
            | compared(case.coarse_images, coarse - mean / len(means))  # with the mean of the other cases
            for case, mean in zip(measured, means, strict=True)
        ]
        names = dict.fromkeys(name for values in complete for name in values)
        ranges = {}
        for name in names:
            known = [values[name] for values in complete if math.isfinite(values.get(name, math.nan))]
            if name.startswith(FACING):
                known = known if _tells_which_way(known) else []
            if known:
                ranges[name] = (min(known), max(known))
        return cls(
            ranges, coarse, Mahalanobis.of(measured), len(measured), tuple(weights_sha256), dict(about)
        )

    def warnings(self, measured: Measures, channels: Sequence[str] = ()) -> list[str]:
        """Return a warning for each measure outside its range, the farthest first, or for the Mahalanobis distance.

        Channels whose measures lie inside the ranges in another order are reported first.

        Args:
            measured: of the scan and its label map.
            channels: names of the channels, for the texts; empty: their numbers.
        """
        if measured.coarse_images.shape[1:] != self.coarse_image.shape:
            return ["it has other dimensions or channels than the training cases"]
        values = measured.values | compared(measured.coarse_images, self.coarse_image)
        always = HAS_FOREGROUND in self.ranges and self.ranges[HAS_FOREGROUND][0] > 0
        if always and not values.get(HAS_FOREGROUND, 1.0):
            values = {name: value for name, value in values.items() if not _of_result(name)}
            first = ["the label map is empty; no label map of a training case was"]
        else:
            first = []
        first += self._swapped(values, channels)
        outside = []
        for name, value in values.items():
            far = self._outside(name, value)
            if far > 0:
                key, _, of = name.partition("/")
                outside.append(
                    (far, MEASURE_KINDS[key].message(_named(of, channels), value, *self.ranges[name]))
                )
        ordered = first + [text for _, text in sorted(outside, key=lambda pair: -pair[0])]
        distance = self.mahalanobis.distance(measured)
        if ordered or distance <= self.mahalanobis.usual:
            return ordered
        return [
            "each measure is like the training cases', but all together are not: their Mahalanobis distance is "
            f"{distance:.3g}; up to {self.mahalanobis.usual:.3g} is usual"
        ]

    def _outside(self, name: str, value: float) -> float:
        """Return how far a measure lies outside its range; 0 or less: inside, or not compared."""
        if name not in self.ranges or name == HAS_FOREGROUND or not math.isfinite(value):
            return 0.0
        return self._beyond(MEASURE_KINDS[name.partition("/")[0]], value, *self.ranges[name])

    def _swapped(self, values: Mapping[str, float], channels: Sequence[str]) -> list[str]:
        """Return a warning if the channels' measures fit the ranges much better in another order."""
        of_channel: dict[int, dict[str, float]] = defaultdict(dict)
        for name, value in values.items():
            if match := _OF_CHANNEL.fullmatch(name):
                of_channel[int(match[2])][match[1]] = value
        stored = tuple(sorted(of_channel))
        if not 1 < len(stored) <= _MOST_ORDERED:
            return []

        def number_outside(order: Sequence[int]) -> int:
            return sum(
                self._outside(f"{name}, channel {channel}", value) > 0
                for channel, source in zip(stored, order, strict=True)
                for name, value in of_channel[source].items()
            )

        outside = number_outside(stored)
        fewest, best = min((number_outside(order), order) for order in itertools.permutations(stored))
        if outside < _FEWEST_OUTSIDE or fewest > outside * _FAR_FEWER:
            return []
        right = [stored[best.index(source)] for source in stored]  # the channel that each stored image is
        as_given, as_trained = (
            ", ".join(channels[at] if channels else f"channel {at}" for at in order)
            for order in (stored, right)
        )
        return [
            f"its channels look swapped: taken as {as_given}, {outside} of their measures lie outside the range of the "
            f"training cases; taken as {as_trained}, {fewest}"
        ]

    def _beyond(self, kind: MeasureKind, value: float, lowest: float, highest: float) -> float:
        """Return how far a value lies outside the range, in widths of the margin; 0 or less: inside."""
        low, high, place = (kind.scale(number) for number in (lowest, highest, value))
        margin = max((high - low) * kind.margin * (1 + _FEW / self.cases), kind.slack)
        low = min(low, kind.enough)
        below = (low - place) / margin - 1 if kind.low else -1.0
        above = (place - high) / margin - 1 if kind.high else -1.0
        return max(below, above)

    @property
    def sha256(self) -> str:
        """Hash of everything that the warnings depend on."""
        return json_sha256({**self._plain(), "about": None})

    def write(self, path: Path) -> None:
        """Write the ranges atomically."""
        write_json(path, self._plain())

    def _plain(self) -> dict[str, Any]:
        return {
            "version": _VERSION,
            "cases": self.cases,
            "weights_sha256": list(self.weights_sha256),
            "about": dict(self.about),
            "ranges": {name: [float(f"{end:.6g}") for end in ends] for name, ends in self.ranges.items()},
            "coarse_image": np.round(self.coarse_image.astype(float), 4).tolist(),
            "mahalanobis": self.mahalanobis.plain(),
        }

    @classmethod
    def read(cls, path: Path) -> ReferenceRanges:
        """Read the ranges.

        Raises:
            SegpipeError: the file cannot be read, or segpipe did not write it.
        """
        content = read_json(path, "reference ranges")
        try:
            if content["version"] == 1:
                content = {_FORMER_NAMES.get(name, name): value for name, value in content.items()}
            elif content["version"] != _VERSION:
                raise ValueError(f"version {content['version']}, must be {_VERSION}")
            ranges = {str(name): (float(low), float(high)) for name, (low, high) in content["ranges"].items()}
            for name, (low, high) in ranges.items():
                require_measure(name)
                if not -math.inf < low <= high < math.inf:
                    raise ValueError(f"{name} is from {low:g} to {high:g}")
            with np.errstate(over="ignore"):  # an infinite value is refused
                coarse = require_coarse_image(np.asarray(content["coarse_image"], np.float32))
            if not isinstance(content["cases"], int) or content["cases"] < FEWEST_CASES:
                raise ValueError(f"it is of {content['cases']} cases")
            return cls(
                ranges,
                coarse,
                Mahalanobis.of_plain(content["mahalanobis"], coarse.shape),
                content["cases"],
                tuple(map(str, content["weights_sha256"])),
                dict(content["about"]),
            )
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise SegpipeError(
                f"{path}: is no file of reference ranges ({str(error)[:_SHOWN]}); write it anew with "
                "`segpipe reference-ranges`"
            ) from None


def ranges_path(weights: Sequence[Path], weights_sha256: Sequence[str]) -> Path:
    """Return the path of the reference ranges: beside the weights; for an ensemble beside its first file."""
    if len(weights) == 1:
        return weights[0].with_suffix(RANGES_SUFFIX)
    return weights[0].with_name(f"ensemble-{json_sha256(list(weights_sha256))[:8]}{RANGES_SUFFIX}")


def present_ranges_path(weights: Sequence[Path], weights_sha256: Sequence[str]) -> Path | None:
    """Return the path of the reference ranges if the file exists; log a warning if it has the name of version 1."""
    path = ranges_path(weights, weights_sha256)
    former = path.with_name(path.name.removesuffix(RANGES_SUFFIX) + _FORMER_SUFFIX)
    if not path.is_file() and former.is_file():
        _logger.warning(f"{former}: has the name of an earlier version; rename it to {path.name}")
        return former
    return path if path.is_file() else None


def _tells_which_way(more: Sequence[float]) -> bool:
    """Return whether nearly all training cases are most like the others in their stored orientation."""
    return len(more) >= _FEWEST_TO_TELL and float(np.percentile(more, _FEW_OTHERWISE)) > 0


def _named(of: str, channels: Sequence[str]) -> str:
    """Return what a measure is of, with the channel's name in place of its number."""
    text, mark, number = of.rpartition(", channel ")
    return f"{text}{mark}{channels[int(number)]}" if mark and int(number) < len(channels) else of


def _of_result(name: str) -> bool:
    return name.partition("/")[0] in (HAS_FOREGROUND, "volume", "area", "pieces", "uncertainty", "centre")
