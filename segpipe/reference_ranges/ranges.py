"""Reference ranges of the training cases, and warnings about a scan whose measures lie outside them."""

from __future__ import annotations

import logging
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from segpipe.errors import SegpipeError
from segpipe.files import json_sha256, read_json, write_json
from segpipe.reference_ranges.channel_order import swapped_channels
from segpipe.reference_ranges.coarse_images import compared, require_coarse_image
from segpipe.reference_ranges.mahalanobis import Mahalanobis
from segpipe.reference_ranges.measure_kinds import FACING, HAS_FOREGROUND, kind_of, require_measure
from segpipe.reference_ranges.measures import Measures
from segpipe.reference_ranges.prediction_intervals import FEWEST_PATIENTS, PredictionIntervals, widening
from segpipe.reference_ranges.wrong_header import wrong_spacing

_logger = logging.getLogger(__name__)
RANGES_SUFFIX = ".reference_ranges.json"
_FORMER_SUFFIX = ".limits.json"  # of version 1 of the file
_VERSION = 3
_CHANCE_OF_MEASURES = 0.01  # that a measure of a new patient's good scan lies outside
_CHANCE_OF_DISTANCE = 0.002  # that its Mahalanobis distance does
FEWEST_FOR_DISTANCE = 30  # patients; of fewer, the correlations of measures and image say too little
_FEWEST_TO_TELL = 50  # patients that may show by their number which way up is right
_OTHERWISE = 0.02  # share of the training cases that may then be more like the others when mirrored or turned
_SHOWN = 200  # characters of a reason in a message; a reason may quote the file


class EarlierVersionError(SegpipeError):
    """Ranges of an earlier version: too narrow for few patients, so that no scan is compared with them."""


@dataclass(frozen=True)
class ReferenceRanges:
    """Reference ranges of the training cases of some weights.

    Attributes:
        ranges: measure -> its lowest and highest value in the training cases, for messages.
        limits: measure -> the lowest and highest value that counts as usual, on the scale of the measure's kind.
        coarse_image: `(C, 12, 12)` or `(C, 6, 6, 6)`, mean coarse image of the training cases.
        mahalanobis: distribution of all measures taken together; None for fewer than 30 patients.
        cases: number of training cases.
        patients: number of their patients.
        weights_sha256: hashes of the weights files whose results were measured.
        about: how the ranges were made, in plain types.
    """

    ranges: Mapping[str, tuple[float, float]]
    limits: Mapping[str, tuple[float, float]]
    coarse_image: NDArray[np.float32]
    mahalanobis: Mahalanobis | None
    cases: int
    patients: int
    weights_sha256: tuple[str, ...]
    about: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def of(
        cls,
        measured: Sequence[Measures],
        weights_sha256: Sequence[str],
        about: Mapping[str, Any],
        patients: Sequence[str] | None = None,
    ) -> ReferenceRanges:
        """Return the reference ranges of training cases.

        Args:
            measured: the measures of each training case.
            weights_sha256: hashes of the weights files.
            about: how the ranges were made, in plain types.
            patients: patient of each training case; None: every case is of a patient of its own.

        Raises:
            SegpipeError: fewer than five patients.
        """
        whose = list(map(str, range(len(measured)))) if patients is None else list(patients)
        require_enough_patients(len(set(whose)), len(measured))
        means = np.stack([case.coarse_images.mean(axis=0) for case in measured])
        coarse: NDArray[np.float32] = means.mean(axis=0)
        complete = [
            case.values | compared(case.coarse_images, _mean_of_others(means, whose, patient))
            for case, patient in zip(measured, whose, strict=True)
        ]
        names = list(dict.fromkeys(name for values in complete for name in values))
        limits = _limits(names, complete, whose)
        ranges = {}
        for name in names:
            known = [values[name] for values in complete if math.isfinite(values.get(name, math.nan))]
            if known and (name in limits or name == HAS_FOREGROUND):
                ranges[name] = (min(known), max(known))
        return cls(
            ranges,
            limits,
            coarse,
            Mahalanobis.of(measured, whose, _CHANCE_OF_DISTANCE)
            if len(set(whose)) >= FEWEST_FOR_DISTANCE
            else None,
            len(measured),
            len(set(whose)),
            tuple(weights_sha256),
            dict(about),
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
        first += swapped_channels(values, self.limits, channels)
        header = wrong_spacing(values, self.ranges, lambda name: self._side(name, values.get(name, math.nan)))
        if header is not None:
            text, explained = header
            first.append(text)
            values = {name: value for name, value in values.items() if name not in explained}
        outside = []
        for name, value in values.items():
            far = abs(self._beyond(name, value))
            if far > 0:
                of = _named(name.partition("/")[2], channels)
                outside.append((far, kind_of(name).message(of, value, *self.ranges[name])))
        ordered = first + [text for _, text in sorted(outside, key=lambda pair: -pair[0])]
        if ordered or self.mahalanobis is None:
            return ordered
        distance = self.mahalanobis.distance(measured)
        if distance <= self.mahalanobis.usual:
            return []
        return [
            "each measure is like the training cases', but all together are not: their Mahalanobis distance is "
            f"{distance:.3g}; up to {self.mahalanobis.usual:.3g} is usual"
        ]

    def _beyond(self, name: str, value: float) -> float:
        """Return how far a measure lies above (positive) or below its limits, in their half width; 0: inside."""
        if name not in self.limits or not math.isfinite(value):
            return 0.0
        kind, (low, high) = kind_of(name), self.limits[name]
        half, place = (high - low) / 2, kind.scale(value)
        if kind.high and place > high:
            return (place - high) / half
        lowest = min(low, kind.enough)
        return (place - lowest) / half if kind.low and place < lowest else 0.0

    def _side(self, name: str, value: float) -> int:
        return int(np.sign(self._beyond(name, value)))

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
            "patients": self.patients,
            "weights_sha256": list(self.weights_sha256),
            "about": dict(self.about),
            "ranges": _plain_ends(self.ranges),
            "limits": _plain_ends(self.limits),
            "coarse_image": np.round(self.coarse_image.astype(float), 4).tolist(),
            "mahalanobis": None if self.mahalanobis is None else self.mahalanobis.plain(),
        }

    @classmethod
    def read(cls, path: Path) -> ReferenceRanges:
        """Read the ranges.

        Raises:
            EarlierVersionError: an earlier version of segpipe wrote the file.
            SegpipeError: the file cannot be read, or segpipe did not write it.
        """
        content = read_json(path, "reference ranges")
        try:
            version = content["version"]
            if version in range(1, _VERSION):
                raise EarlierVersionError(
                    f"{path}: an earlier version wrote these reference ranges, which are too narrow for few patients; "
                    "write them anew with `segpipe reference-ranges`"
                )
            if version != _VERSION:
                raise ValueError(f"version {version}, must be {_VERSION}")
            ranges, limits = _read_ends(content["ranges"]), _read_ends(content["limits"])
            if missing := sorted(limits.keys() - ranges.keys()):
                raise ValueError(f"{missing[0]} has limits and no range")
            if flat := next((name for name, (low, high) in limits.items() if low == high), None):
                raise ValueError(f"the limits of {flat} are equal")
            with np.errstate(over="ignore"):  # an infinite value is refused
                coarse = require_coarse_image(np.asarray(content["coarse_image"], np.float32))
            cases, patients = content["cases"], content["patients"]
            if not all(isinstance(number, int) for number in (cases, patients)) or patients < FEWEST_PATIENTS:
                raise ValueError(f"it is of {cases} cases of {patients} patients")
            return cls(
                ranges,
                limits,
                coarse,
                None
                if content["mahalanobis"] is None
                else Mahalanobis.of_plain(content["mahalanobis"], coarse.shape),
                cases,
                patients,
                tuple(map(str, content["weights_sha256"])),
                dict(content["about"]),
            )
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise SegpipeError(
                f"{path}: is no file of reference ranges ({str(error)[:_SHOWN]}); write it anew with "
                "`segpipe reference-ranges`"
            ) from None


def require_enough_patients(patients: int, cases: int) -> None:
    """Refuse training cases of so few patients that they do not show what is usual.

    Args:
        patients: number of patients.
        cases: number of their cases.

    Raises:
        SegpipeError: fewer than five patients.
    """
    if patients < FEWEST_PATIENTS:
        raise SegpipeError(
            f"reference ranges: {cases} training cases of {patients} patient{'s' * (patients != 1)}; fewer than "
            f"{FEWEST_PATIENTS} patients do not show what is usual: scans are not compared with the training cases"
        )


def ranges_path(weights: Sequence[Path], weights_sha256: Sequence[str]) -> Path:
    """Return the path of the reference ranges: beside the weights; for an ensemble beside its first file."""
    if len(weights) == 1:
        return weights[0].with_suffix(RANGES_SUFFIX)
    return weights[0].with_name(f"ensemble-{json_sha256(list(weights_sha256))[:8]}{RANGES_SUFFIX}")


def present_ranges_path(weights: Sequence[Path], weights_sha256: Sequence[str]) -> Path | None:
    """Return the path of the reference ranges if the file exists; log a warning if only one of version 1 does."""
    path = ranges_path(weights, weights_sha256)
    former = path.with_name(path.name.removesuffix(RANGES_SUFFIX) + _FORMER_SUFFIX)
    if not path.is_file() and former.is_file():
        _logger.warning(
            f"{former}: an earlier version wrote it, and scans are not compared with it; write {path.name} with "
            "`segpipe reference-ranges`"
        )
    return path if path.is_file() else None


def _limits(
    names: Sequence[str], cases: Sequence[Mapping[str, float]], patients: Sequence[str]
) -> dict[str, tuple[float, float]]:
    """Return the limits of each measure that enough patients have, on the scale of its kind."""
    compared_names = [name for name in names if name != HAS_FOREGROUND]
    kinds = [kind_of(name) for name in compared_names]
    table = np.array(
        [
            [
                kind.scale(value) if math.isfinite(value := values.get(name, math.nan)) else math.nan
                for name, kind in zip(compared_names, kinds, strict=True)
            ]
            for values in cases
        ]
    )
    least = np.array([kind.slack for kind in kinds])
    sides = np.array([[kind.low for kind in kinds], [kind.high for kind in kinds]])
    intervals = PredictionIntervals.of(table, patients, _CHANCE_OF_MEASURES, least)
    half = intervals.half_width * widening(table, patients, _CHANCE_OF_MEASURES, least, sides)
    ends = zip(
        compared_names, (intervals.centre - half).tolist(), (intervals.centre + half).tolist(), strict=True
    )
    limits = {name: (low, high) for name, low, high in ends if math.isfinite(low)}
    for place, (name, kind) in enumerate(zip(compared_names, kinds, strict=True)):
        otherwise = (table[:, place] < -kind.slack).mean()
        if name.startswith(FACING) and len(set(patients)) >= _FEWEST_TO_TELL and otherwise <= _OTHERWISE:
            low, high = limits[name]
            limits[name] = (max(low, -kind.slack), high)
    return limits


def _mean_of_others(means: NDArray[np.float32], patients: Sequence[str], patient: str) -> NDArray[np.float32]:
    """Return the mean coarse image of the cases of other patients."""
    others: NDArray[np.float32] = means[np.asarray(patients) != patient].mean(axis=0)
    return others


def _plain_ends(ends_of: Mapping[str, tuple[float, float]]) -> dict[str, list[float]]:
    return {name: [float(f"{end:.6g}") for end in ends] for name, ends in ends_of.items()}


def _read_ends(content: Mapping[str, Any]) -> dict[str, tuple[float, float]]:
    """Return ranges or limits from JSON's types; a ValueError says what is wrong with them."""
    ends_of = {str(name): (float(low), float(high)) for name, (low, high) in content.items()}
    for name, (low, high) in ends_of.items():
        require_measure(name)
        if not -math.inf < low <= high < math.inf:
            raise ValueError(f"{name} is from {low:g} to {high:g}")
    return ends_of


def _named(of: str, channels: Sequence[str]) -> str:
    """Return what a measure is of, with the channel's name in place of its number."""
    text, mark, number = of.rpartition(", channel ")
    return f"{text}{mark}{channels[int(number)]}" if mark and int(number) < len(channels) else of


def _of_result(name: str) -> bool:
    return name.partition("/")[0] in (HAS_FOREGROUND, "volume", "area", "pieces", "uncertainty", "centre")
