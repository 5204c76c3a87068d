"""Cases that differ from their set in orientation, spacing, size, unit or intensities; classes without voxels."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from segpipe.dataset.manifest import Case
from segpipe.dataset.reports import CaseFacts, CaseReport, Finding
from segpipe.errors import shown

_FEWEST = 8  # least number of cases for a comparison with the rest
_MOST = 0.8  # least share of agreeing cases for a warning about the others
_SPREADS = 6.0  # least distance of an outlier from the median, in robust standard deviations
_TIMES = 2.0  # least factor between an outlying spacing or size and the median
_INTENSITY_TIMES = 10.0
_AIR_HU = -300.0  # a lower 0.5th percentile means air, in HU
_REPORTED_ALONE = 5  # most cases with one difference that get a finding each; more cases share one finding
FloatArray = NDArray[np.float64]


def set_findings(cases: Sequence[Case], reports: Sequence[CaseReport]) -> list[Finding]:
    """Compare the cases of a set with each other.

    Args:
        cases: of the manifest.
        reports: of the same cases, in the same order; reports with errors are ignored.

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
    facts = [case_facts for _, case_facts in pairs]
    spacings = [sorted(case.spacing_mm) for case in facts]
    extents = [sorted(n * mm for n, mm in zip(case.size, case.spacing_mm, strict=True)) for case in facts]
    has_mm = any(case.has_spacing for case in facts)
    findings = [
        *_by_majority(pairs, "is oriented", [case.orientation for case in facts]),
        *_by_size(pairs, "spacing", spacings, "mm"),
        *_by_size(pairs, *(("extent", extents, "mm") if has_mm else ("size", extents, "pixels"))),
    ]
    for position, channel in enumerate(facts[0].channels):
        findings += _by_majority(pairs, f"{channel.name}: looks as if it is", _units(facts, position))
        findings += _by_intensity(pairs, position)
    return findings


def _units(facts: Sequence[CaseFacts], position: int) -> list[str]:
    return ["in HU" if case.channels[position].percentiles[0] < _AIR_HU else "not in HU" for case in facts]


def _mixed_units(pairs: Sequence[tuple[Case, CaseFacts]]) -> list[Finding]:
    """Warn of a channel with some cases in HU and others not; `_by_majority` warns where few of many differ."""
    findings = []
    for position, channel in enumerate(pairs[0][1].channels if pairs else ()):
        units = _units([facts for _, facts in pairs], position)
        kinds = {
            unit: [case for (case, _), other in zip(pairs, units, strict=True) if other == unit]
            for unit in units
        }
        least = min(map(len, kinds.values()))
        if len(kinds) == 1 or (len(pairs) >= _FEWEST and len(pairs) - least >= _MOST * len(pairs)):
            continue
        groups = "; ".join(
            f"{len(cases)} look as if they are {unit} ({_named(cases)})" for unit, cases in kinds.items()
        )
        message = (
            f"{channel.name}: two modalities or units in one channel: {groups}; make a data set or a channel of "
            "each, or convert all to one unit"
        )
        findings.append(_finding(min(kinds.values(), key=len)[0], message))
    return findings


def _named(cases: Sequence[Case]) -> str:
    return shown((case.case for case in cases), most=3)


def _by_majority(pairs: Sequence[tuple[Case, CaseFacts]], verb: str, texts: Sequence[str]) -> list[Finding]:
    usual, count = Counter(texts).most_common(1)[0]
    if count < _MOST * len(pairs):
        return []
    odd = [
        (case, f"{verb} {text}, {count} of {len(pairs)} cases {usual}")
        for (case, _), text in zip(pairs, texts, strict=True)
        if text != usual
    ]
    return together(odd, len(pairs))


def robust_distances(values: FloatArray) -> FloatArray:
    """Return the distance of each row from the median in robust standard deviations, which are at least 1e-3.

    Args:
        values: one row a case.
    """
    median = np.median(values, axis=0)
    spread = 1.4826 * np.median(np.abs(values - median), axis=0)
    away: FloatArray = np.abs(values - median) / np.maximum(spread, 1e-3)
    return away


def _by_size(
    pairs: Sequence[tuple[Case, CaseFacts]], name: str, values: Sequence[Sequence[float]], unit: str
) -> list[Finding]:
    sizes = np.array(values)
    logs = np.log(sizes)
    median = np.median(sizes, axis=0)
    odd = (robust_distances(logs) > _SPREADS) & (np.abs(logs - np.log(median)) > np.log(_TIMES))
    reference = f"{unit} (axes sorted), the set's median {_listed(median)} {unit}"
    return together(
        [
            (case, f"its {name} is {_listed(row)} {reference}")
            for (case, _), row, is_odd in zip(pairs, sizes, odd.any(axis=1), strict=True)
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
    odd = (robust_distances(logs) > _SPREADS) & (np.abs(logs - np.log(median)) > np.log(_INTENSITY_TIMES))
    reference = f"(from the 0.5th to the 99.5th percentile), the set's median is {median:.4g}"
    return together(
        [
            (case, f"{facts.channels[position].name}: its intensities span {span:.4g} {reference}")
            for (case, facts), (span,), (is_odd,) in zip(pairs, spans, odd, strict=True)
            if is_odd
        ],
        len(pairs),
    )


def together(
    odd: Sequence[tuple[Case, str]],
    number: int,
    advice: str = "check that it belongs to this set, its unit and its header",
) -> list[Finding]:
    """Return one warning a case, or one for all where many cases differ: the set then consists of two.

    Args:
        odd: cases that differ, each with the difference.
        number: of all cases.
        advice: what to do about a case that differs.
    """
    if len(odd) <= _REPORTED_ALONE:
        return [_finding(case, f"{message}; {advice}") for case, message in odd]
    cases = shown(case.case for case, _ in odd)
    message = (
        f"{len(odd)} of {number} cases differ in this way ({cases}): {odd[0][1]}; {advice}, and check the "
        "other cases"
    )
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
