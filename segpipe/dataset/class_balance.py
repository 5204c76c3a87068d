"""Classes and findings with too few cases, in all and in the parts that validate."""

from __future__ import annotations

import shlex
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path

from segpipe.dataset.folds import with_folds, with_split
from segpipe.dataset.leaks import Side, leaks, sides_of_folds, sides_of_split
from segpipe.dataset.manifest import Case, Manifest
from segpipe.dataset.reports import Finding
from segpipe.errors import SegpipeError, counted, shown
from segpipe.labels import same_name

FEWEST_VALIDATING = 30
"""Least number of validation cases of a class: with fewer, one mistake is more than 3 points of its sensitivity."""
_FEWEST_TRAINING = 10
_VALIDATION_SHARES = (10, 15, 20, 25, 30, 40, 50)  # per cent
_FOLDS = (5, 3, 2)
_NAMES_SHOWN = 6
_MOST_DIVIDED = 5_000  # cases: larger sets would take minutes to divide for an offer
_SURELY = 2  # times the least number: so many expected cases are enough without dividing


def counts_of(cases: Sequence[Case], manifest: Manifest) -> dict[str, int]:
    """Return name -> number of cases of the class, or with the finding present, in the manifest's order."""
    counts = Counter(same_name(name) for case in cases for name in case.classes)
    return {name: counts[same_name(name)] for name in manifest.categories().names}


def unknown_counts_of(cases: Sequence[Case], manifest: Manifest) -> dict[str, int]:
    """Return name -> number of cases of which nobody knows the finding, in the manifest's order."""
    counts = Counter(same_name(name) for case in cases for name in case.unknown)
    return {name: counts[same_name(name)] for name in manifest.categories().names}


def balance_findings(
    manifest: Manifest, where: str, contents: Mapping[str, str] | None = None
) -> list[Finding]:
    """Find classes or findings without training cases or with few, and parts that validate with few.

    Args:
        manifest: of target class or findings.
        where: the manifest on a command line, for the command that makes a better division.
        contents: case -> hash of its picture, for the cases whose hash is known; equal pictures stay together.

    Returns:
        an error for a class or finding that no training case has; warnings.
    """
    return [*_in_training(manifest), *_in_validation(manifest, where, contents or {})]


def _finding(message: str, *, is_error: bool = False) -> Finding:
    return Finding("error" if is_error else "warning", "all cases", "labels", message)


def _in_training(manifest: Manifest) -> list[Finding]:
    what = "class" if manifest.target == "class" else "finding"
    unknown = unknown_counts_of(manifest.training, manifest)
    findings = []
    for name, present in counts_of(manifest.training, manifest).items():
        known = len(manifest.training) - unknown[name]
        thing = f"the {what} {name}"
        fewer = present if manifest.target == "class" else min(present, known - present)
        if not present:
            why = "" if known else " (nobody knows it of any case)"
            message = (
                f"no training case has {thing}{why}, so it cannot be learned; add cases, or remove the name"
            )
        elif not fewer:
            message = (
                f"all {known} training cases have {thing}, so it cannot be learned; add cases without it"
            )
        elif fewer < _FEWEST_TRAINING:
            verb = "have" if fewer == present else "lack"
            message = (
                f"{fewer} of {known} training cases {verb} {thing}, at least {_FEWEST_TRAINING} are needed to learn "
                "it; add such cases, or remove the name"
            )
        else:
            message = ""
        if message:
            findings.append(_finding(message, is_error=not fewer))
        owners = {
            case.patient for case in manifest.training if same_name(name) in map(same_name, case.classes)
        }
        if present > 1 and len(owners) == 1 and None not in owners:
            message = (
                f"all {present} training cases with {thing} are of patient {owners.pop()}, so only one side of a "
                "division can have it; add patients, or remove the name"
            )
            findings.append(_finding(message))
    return findings


def _in_validation(manifest: Manifest, where: str, contents: Mapping[str, str]) -> list[Finding]:
    """Warn of each division that validates with few cases of a class or is not disjoint, and offer a better one."""
    folds = sides_of_folds(manifest)
    divisions = [("the folds", folds, folds, _offer_folds)] if folds else []
    for name in manifest.splits:
        sides = [side for side in sides_of_split(manifest, name) if side.cases]
        validating = [side for side in sides if side.use == "validate"]
        divisions.append((f"the split {name}", sides, validating, _offer_split))
    findings = []
    for title, sides, validating, offer in divisions:
        few, shared = _few(manifest, validating), leaks(sides, contents)
        faults = [f"fewer than {FEWEST_VALIDATING} validation cases of {_listed(few)}"] if few else []
        faults += [f"{len(shared)} patient(s) or image(s) on two sides"] if shared else []
        if faults:
            better = offer(manifest, few or manifest.categories().names, where, contents)
            findings.append(_finding(f"{title}: {' and '.join(faults)}{_points(few)}; {better}"))
    return findings


def _few(manifest: Manifest, sides: Sequence[Side]) -> dict[str, tuple[int, int]]:
    """Return name -> smallest and largest number of its cases in a side, where the smallest is too small."""
    counts = [counts_of(side.cases, manifest) for side in sides]
    spans = {
        name: (min(one[name] for one in counts), max(one[name] for one in counts))
        for name in manifest.categories().names
        if counts
    }
    return {name: span for name, span in spans.items() if span[0] < FEWEST_VALIDATING}


def _listed(few: Mapping[str, tuple[int, int]]) -> str:
    spans = (
        f"{name} ({low})" if low == high else f"{name} ({low} to {high})" for name, (low, high) in few.items()
    )
    return shown(spans, most=_NAMES_SHOWN)


def _points(few: Mapping[str, tuple[int, int]]) -> str:
    """Return what one mistake is worth in the smallest class that has a case; empty without one."""
    least = min((low for low, _ in few.values() if low), default=0)
    if not least:
        return ""
    return f" (with {counted(least, 'case')}, one mistake is {100 / least:.0f} points of sensitivity)"


def _offer_folds(manifest: Manifest, few: Collection[str], where: str, contents: Mapping[str, str]) -> str:
    """Return the command that makes folds with enough cases, where some of the names with few can have them."""
    names, none = _within_reach(manifest, few)
    totals = counts_of(manifest.training, manifest)
    most = min((totals[name] for name in names), default=0) // FEWEST_VALIDATING
    for number in range(most, 1, -1):
        if _suffices(manifest, contents, names, folds=number):
            return f"`{_command(where)} --folds {number}` {_makes(manifest, names)}{none}"
    return f"{_offer_cross_validation(manifest, where, contents)}{none}"


def _offer_split(manifest: Manifest, few: Collection[str], where: str, contents: Mapping[str, str]) -> str:
    """Return the command that makes a split with enough validation cases, see `_offer_folds`."""
    names, none = _within_reach(manifest, few)
    name = next(
        f"larger{number or ''}" for number in range(99) if f"larger{number or ''}" not in manifest.splits
    )
    for share in _VALIDATION_SHARES if names else ():
        if _suffices(manifest, contents, names, share=share, name=name):
            options = f"--train {100 - share} --validation {share} --name {name}"
            return f"`{_command(where)} {options}` {_makes(manifest, names)}{none}"
    return f"{_offer_cross_validation(manifest, where, contents)}{none}"


def _offer_cross_validation(manifest: Manifest, where: str, contents: Mapping[str, str]) -> str:
    """Return the advice where the cases do not suffice for a part of their own: every case validates once."""
    advice = "train with each fold held out in turn, and score all folds together"
    if any(case.fold is not None for case in manifest.training):
        return f"the cases do not suffice for such a part: {advice}"
    for number in _FOLDS:
        if len(manifest.training) > _MOST_DIVIDED or _divided(manifest, contents, folds=number) is not None:
            return f"`{_command(where)} --folds {number}` makes patient-disjoint folds: {advice}"
    return "the cases do not suffice for such a part: add cases of other patients"


def _within_reach(manifest: Manifest, few: Collection[str]) -> tuple[list[str], str]:
    """Return the names that have cases for validation and as many for training, and a remark on the others.

    No name is returned where none of the names with few validation cases is among them: no division is better.
    """
    totals = counts_of(manifest.training, manifest)
    reached = [name for name, total in totals.items() if total >= 2 * FEWEST_VALIDATING]
    others = [f"{name} ({total})" for name, total in totals.items() if name not in reached]
    remark = f"; too few cases in all for such a part: {shown(others, most=_NAMES_SHOWN)}" if others else ""
    return (reached if set(few) & set(reached) else []), remark


def _divided(
    manifest: Manifest, contents: Mapping[str, str], *, folds: int = 0, share: int = 0, name: str = ""
) -> Manifest | None:
    """Return the manifest with the folds or the split that `segpipe data split` makes; None where it cannot."""
    present = [case.classes for case in manifest.training]
    known = [contents.get(case.case, case.case) for case in manifest.training]
    try:
        if folds:
            return with_folds(manifest, folds, 0, present, known)
        shares = {"train": 100 - share, "validation": share}
        return with_split(manifest, name, shares, 0, present, known)
    except SegpipeError:  # fewer patients than parts
        return None


def _suffices(
    manifest: Manifest,
    contents: Mapping[str, str],
    names: Collection[str],
    *,
    folds: int = 0,
    share: int = 0,
    name: str = "",
) -> bool:
    """Return whether each validating part of folds, or of a split, has enough cases of each name."""
    if len(manifest.training) > _MOST_DIVIDED:
        totals = counts_of(manifest.training, manifest)
        part = 1 / folds if folds else share / 100
        return min(totals[one] for one in names) * part >= _SURELY * FEWEST_VALIDATING
    divided = _divided(manifest, contents, folds=folds, share=share, name=name)
    if divided is None:
        return False
    sides = sides_of_folds(divided) if folds else sides_of_split(divided, name)
    few = _few(divided, [side for side in sides if folds or side.use == "validate"])
    return not any(one in few for one in names)


def _command(where: str) -> str:
    if Path(where).is_file():
        return f"segpipe data split {shlex.quote(where)}"
    return f"segpipe data split {shlex.quote(where)} --output {shlex.quote(f'{where}.json')}"


def _makes(manifest: Manifest, names: Sequence[str]) -> str:
    of = "each class" if len(names) == manifest.categories().num else shown(names, most=_NAMES_SHOWN)
    unknown = any(case.patient is None for case in manifest.training)
    patients = " (a case of an unknown patient counts as a patient of its own)" if unknown else ""
    return f"makes a patient-disjoint division with at least {FEWEST_VALIDATING} cases of {of}{patients}"
