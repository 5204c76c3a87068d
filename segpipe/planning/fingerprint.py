"""The fingerprint of a data set, from which a plan follows: only numbers, with the axes of all cases in one order."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeVar

import nibabel
import numpy as np

from segpipe.dataset import Case, CaseReport
from segpipe.dataset.reports import CaseFacts
from segpipe.errors import SegpipeError
from segpipe.labels import LabelTable

_Number = TypeVar("_Number", int, float)
_RAREST, _COMMONEST = 5, 95  # percentiles over cases: one odd scan decides nothing
_CT_WORDS = {"CT", "CTA", "CECT", "HRCT", "LDCT", "NCCT"}
_AIR_HU, _EIGHT_BIT = -100.0, 255.0


@dataclass(frozen=True)
class Channel:
    """Intensities of one channel, in the files' units.

    Attributes:
        modality: modality in the manifest, such as CT or MRI T1.
        low, high: the images' 0.5th and 99.5th percentiles, each the median over the cases.
        foreground_low, foreground_high: the same percentiles over the foreground voxels of each case: the 5th
            percentile of the low values and the 95th percentile of the high values over the cases.
    """

    modality: str
    low: float
    high: float
    foreground_low: float
    foreground_high: float

    @property
    def is_ct(self) -> bool:
        """Whether the modality contains a word for CT."""
        return bool(_CT_WORDS & set(re.findall("[A-Z]+", self.modality.upper())))

    @property
    def has_air(self) -> bool:
        """Whether the intensities can be HU: air has far less than 0 HU."""
        return self.low < _AIR_HU

    @property
    def fits_eight_bits(self) -> bool:
        """Whether the intensities fit the range of 8-bit images."""
        return self.low >= 0 and self.high <= _EIGHT_BIT


@dataclass(frozen=True)
class Class:
    """A class in numbers.

    Attributes:
        share: share of the class in the voxels of all label maps.
        cases: number of cases whose label map contains the class.
        offsets: offset of the class's middle from the image's middle, as a share of the image, along each axis: mean
            over the cases and its standard error. Empty where fewer than two cases contain the class.
    """

    share: float
    cases: int
    offsets: tuple[tuple[float, float], ...] = ()


@dataclass(frozen=True)
class Fingerprint:
    """A data set in numbers.

    Attributes:
        patients: number of patients; each case of an unknown patient counts as one.
        sizes: voxels of each case, volumes along right, anterior, superior, 2D images along x and y.
        spacings_mm: spacing of each case along the same axes.
        channels: intensities of each channel.
        classes: classes by index, the background first.
        regions: number of regions that the network scores instead of the classes; 0: it scores the classes.
    """

    patients: int
    sizes: tuple[tuple[int, ...], ...]
    spacings_mm: tuple[tuple[float, ...], ...]
    channels: tuple[Channel, ...]
    classes: tuple[Class, ...]
    regions: int = 0

    @property
    def num_outputs(self) -> int:
        """Number of output channels of the network."""
        return self.regions or len(self.classes)

    @property
    def cases(self) -> int:
        """Number of cases."""
        return len(self.sizes)

    @property
    def spatial_dims(self) -> int:
        """Number of spatial dimensions of the cases, 2 or 3."""
        return len(self.sizes[0])


def fingerprint(cases: Sequence[Case], reports: Sequence[CaseReport], labels: LabelTable) -> Fingerprint:
    """Return the fingerprint of training cases.

    Args:
        cases: training cases of the manifest, all with label maps.
        reports: reports of the same cases, see `segpipe.dataset.require_valid`.
        labels: the classes, by index.

    Raises:
        SegpipeError: there is no case, or no case has a foreground voxel.
    """
    facts = [report.facts for report in reports if report.facts is not None and not report.has_errors]
    if not facts or len(facts) < len(reports):
        raise SegpipeError(
            f"plan: {len(reports) - len(facts)} of {len(reports)} cases have errors; correct the findings of `segpipe "
            "data check` first"
        )
    voxels = sum(sum(fact.class_voxels.values()) for fact in facts)
    classes = tuple(
        Class(
            sum(fact.class_voxels[name] for fact in facts) / voxels,
            sum(fact.class_voxels[name] > 0 for fact in facts),
            _offsets(
                [_signed(fact, fact.class_offsets[name]) for fact in facts if name in fact.class_offsets]
            ),
        )
        for name in labels.names
    )
    if not any(one.cases for one in classes[1:]):
        raise SegpipeError(
            f"plan: none of {len(facts)} label maps has a voxel of {', '.join(labels.foreground_names)}; there is "
            "nothing to learn: check which files are the label maps"
        )
    return Fingerprint(
        patients=len({case.patient or f"case {case.case}" for case in cases}),
        sizes=tuple(_ordered(fact, fact.size) for fact in facts),
        spacings_mm=tuple(_ordered(fact, fact.spacing_mm) for fact in facts),
        channels=tuple(_channel(facts, position) for position in range(len(facts[0].channels))),
        classes=classes,
        regions=len(labels.regions),
    )


def _ordered(fact: CaseFacts, values: tuple[_Number, ...]) -> tuple[_Number, ...]:
    """Reorder values along a volume's file axes to right, anterior, superior."""
    if len(values) == 2:
        return values
    turn = nibabel.orientations.axcodes2ornt(fact.orientation)
    ordered = dict(zip(turn[:, 0].astype(int).tolist(), values, strict=True))
    return tuple(ordered[axis] for axis in range(len(values)))


def _signed(fact: CaseFacts, offsets: tuple[float, ...]) -> tuple[float, ...]:
    """Return offsets along a volume's file axes as offsets to the right, to the front and upwards."""
    if len(offsets) == 2:
        return offsets
    turn = nibabel.orientations.axcodes2ornt(fact.orientation)
    return _ordered(
        fact, tuple(sign * offset for (_, sign), offset in zip(turn.tolist(), offsets, strict=True))
    )


def _offsets(cases: Sequence[tuple[float, ...]]) -> tuple[tuple[float, float], ...]:
    if len(cases) < 2:
        return ()
    values = np.array(cases)
    errors = values.std(axis=0, ddof=1) / np.sqrt(len(values))
    return tuple(zip(values.mean(axis=0).tolist(), errors.tolist(), strict=True))


def _channel(facts: Sequence[CaseFacts], position: int) -> Channel:
    channels = [fact.channels[position] for fact in facts]
    low, _, high = np.median([channel.percentiles for channel in channels], axis=0)
    foreground = np.array([channel.foreground for channel in channels if channel.foreground])
    return Channel(
        channels[0].name,
        float(low),
        float(high),
        float(np.percentile(foreground[:, 0], _RAREST)),
        float(np.percentile(foreground[:, -1], _COMMONEST)),
    )
