"""Cases that stand apart from their set, by orientation, spacing, size, unit or intensities; classes that none has."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from segpipe.dataset.manifest import Case
from segpipe.dataset.reports import CaseFacts, CaseReport, Finding
from segpipe.errors import shown

_FEWEST = 8  # cases, to say what is usual
_MOST = 0.8  # of the cases must agree for the others to stand apart
_SPREADS = 6.0  # robust standard deviations
_TIMES = 2.0  # by which a spacing or a size must differ from the median, at the least
_INTENSITY_TIMES = 10.0
_AIR_HU = -300.0  # a 0.5th percentile below it: air, in HU
_TOLD_ALONE = 5  # cases that differ in one way; more are told in one finding
FloatArray = NDArray[np.float64]


def set_findings(cases: Sequence[Case], reports: Sequence[CaseReport]) -> list[Finding]:
    """Compare the cases of a set with each other.

    Args:
        cases: of the manifest.
        reports: of the same cases, in the same order; those with errors are passed over.

    Returns:
        warnings.
    """
    pairs = [
        (case, report.facts)
        for case, report in zip(cases, reports, strict=True)
        if report.facts is not None and not report.has_errors
    ]
    return [*_mixed_units(pairs), *_apart(pairs), *_never_used(pairs)]


def _finding(case: Case, message: str) -> Finding:
    return Finding("warning", case.case, case.images[0], message)


def _apart(pairs: Sequence[tuple[Case, CaseFacts]]) -> list[Finding]:
    if len(pairs) < _FEWEST:
        return []
    facts = [own for _, own in pairs]
    spacings = [sorted(own.spacing_mm) for own in facts]
    extents = [sorted(n * mm for n, mm in zip(own.size, own.spacing_mm, strict=True)) for own in facts]
    found = [
        *_by_majority(pairs, "is oriented", [own.orientation for own in facts]),
        *_by_size(pairs, "spacing", spacings),
        *_by_size(pairs, "extent", extents),
    ]
    for position, channel in enumerate(facts[0].channels):
        found += _by_majority(pairs, f"{channel.name}: looks as if it is", _units(facts, position))
        found += _by_intensity(pairs, position)
    return found


def _units(facts: Sequence[CaseFacts], position: int) -> list[str]:
    return ["in HU" if own.channels[position].percentiles[0] < _AIR_HU else "not in HU" for own in facts]


def _mixed_units(pairs: Sequence[tuple[Case, CaseFacts]]) -> list[Finding]:
    """Warn of a channel in which some cases are in HU and some are not; few of many stand apart by themselves."""
    found = []
    for position, channel in enumerate(pairs[0][1].channels if pairs else ()):
        units = _units([facts for _, facts in pairs], position)
        kinds = {
            unit: [case for (case, _), own in zip(pairs, units, strict=True) if own == unit] for unit in units
        }
        least = min(map(len, kinds.values()))
        if len(kinds) == 1 or (len(pairs) >= _FEWEST and len(pairs) - least >= _MOST * len(pairs)):
            continue
        said = "; ".join(
            f"{len(cases)} look as if they are {unit} ({_named(cases)})" for unit, cases in kinds.items()
        )
        message = (
            f"{channel.name}: two modalities or units in one channel: {said}; make a set, or a channel, of each, or "
            "bring all to one unit"
        )
        found.append(_finding(min(kinds.values(), key=len)[0], message))
    return found


def _named(cases: Sequence[Case]) -> str:
    return shown((case.case for case in cases), most=3)


def _by_majority(pairs: Sequence[tuple[Case, CaseFacts]], said: str, own: Sequence[str]) -> list[Finding]:
    usual, count = Counter(own).most_common(1)[0]
    if count < _MOST * len(pairs):
        return []
    odd = [
        (case, f"{said} {text}, {count} of {len(pairs)} cases {usual}")
        for (case, _), text in zip(pairs, own, strict=True)
        if text != usual
    ]
    return _together(odd, len(pairs))


def _robust(values: FloatArray) -> FloatArray:
    """Return how many robust standard deviations each row is from the median, with a floor under the deviation."""
    median = np.median(values, axis=0)
    spread = 1.4826 * np.median(np.abs(values - median), axis=0)
    away: FloatArray = np.abs(values - median) / np.maximum(spread, 1e-3)
    return away


def _by_size(
    pairs: Sequence[tuple[Case, CaseFacts]], name: str, values: Sequence[Sequence[float]]
) -> list[Finding]:
    own = np.array(values)
    logs = np.log(own)
    median = np.median(own, axis=0)
    odd = (_robust(logs) > _SPREADS) & (np.abs(logs - np.log(median)) > np.log(_TIMES))
    said = f"mm (axes sorted), the set's median {_listed(median)} mm"
    return _together(
        [
            (case, f"its {name} is {_listed(row)} {said}")
            for (case, _), row, is_odd in zip(pairs, own, odd.any(axis=1), strict=True)
            if is_odd
        ],
        len(pairs),
    )


def _by_intensity(pairs: Sequence[tuple[Case, CaseFacts]], position: int) -> list[Finding]:
    spans = np.array(
        [[max(p[-1] - p[0], 1e-12)] for p in (facts.channels[position].percentiles for _, facts in pairs)]
    )
    logs = np.log(spans)
    median = float(np.median(spans))
    odd = (_robust(logs) > _SPREADS) & (np.abs(logs - np.log(median)) > np.log(_INTENSITY_TIMES))
    said = f"(from the 0.5th to the 99.5th percentile), the set's median is {median:.4g}"
    return _together(
        [
            (case, f"{facts.channels[position].name}: its intensities span {span:.4g} {said}")
            for (case, facts), (span,), (is_odd,) in zip(pairs, spans, odd, strict=True)
            if is_odd
        ],
        len(pairs),
    )


def _together(odd: Sequence[tuple[Case, str]], number: int) -> list[Finding]:
    """Return a warning a case; where many differ in one way, one for all: then the set is made of two."""
    advice = "check that it belongs to this set, its unit and its header"
    if len(odd) <= _TOLD_ALONE:
        return [_finding(case, f"{message}; {advice}") for case, message in odd]
    cases = shown(case.case for case, _ in odd)
    message = f"{len(odd)} of {number} cases stand apart so ({cases}): {odd[0][1]}; {advice}, and that of the others"
    return [_finding(odd[0][0], message)]


def _never_used(pairs: Sequence[tuple[Case, CaseFacts]]) -> list[Finding]:
    labelled = [(case, facts) for case, facts in pairs if case.label is not None]
    if not labelled:
        return []
    return [
        Finding(
            "warning",
            "all cases",
            "labels",
            f"no label map holds {name}; remove the class, or find the cases that have it",
        )
        for name in labelled[0][1].class_voxels
        if not any(facts.class_voxels[name] for _, facts in labelled)
    ]


def _listed(values: Sequence[float]) -> str:
    return " x ".join(f"{value:.3g}" for value in values)
