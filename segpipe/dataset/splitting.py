"""A manifest's cases divided by what their files show, and what each part then has."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from segpipe.dataset.integrity import require_valid
from segpipe.dataset.manifest import Case, Manifest
from segpipe.dataset.splits import with_folds, with_split
from segpipe.errors import SegpipeError, shown


@dataclass(frozen=True)
class Part:
    """One part of a division.

    Attributes:
        name: such as "fold 0" or "train".
        cases: how many.
        patients: how many; a case of an unknown patient counts as one.
        cases_with: foreground class -> how many of the cases have it; empty where label maps were not read.
    """

    name: str
    cases: int
    patients: int
    cases_with: Mapping[str, int]


@dataclass(frozen=True)
class Division:
    """A manifest with a division of its cases.

    Attributes:
        manifest: with folds, or with one more split.
        parts: what each has.
        notes: what a person should know of it.
    """

    manifest: Manifest
    parts: Sequence[Part]
    notes: Sequence[str]


def divide_manifest(
    manifest: Manifest,
    dataset_dir: Path | None,
    *,
    num_folds: int | None = None,
    shares: Mapping[str, int] | None = None,
    name: str = "holdout",
    seed: int = 0,
) -> Division:
    """Divide a manifest's training cases into folds, or once, no patient and no picture on both sides.

    Args:
        manifest: whose cases are divided.
        dataset_dir: where its files lie: they are checked, every part gets every class where that can be, and cases
            that show the same picture stay together. None balances numbers of cases alone.
        num_folds: how many; None for one division by `shares`.
        shares: of train, validation and test, such as 84 and 16; numbers of cases, where they add up to all.
        name: of the split that is made of shares.
        seed: the same seed gives the same division.

    Raises:
        SegpipeError: both or none of folds and shares are given, the split is there already, or as `require_valid` and
            `segpipe.dataset.division.divided`.
    """
    if (num_folds is None) == (shares is None):
        raise SegpipeError("split: give either --folds, or --train with --test or --validation")
    if shares is not None and name in manifest.splits:
        raise SegpipeError(f"{manifest.name}: has a split {name} already; choose another --name")
    table = manifest.label_table()
    names = table.foreground_names
    present, contents = None, None
    notes = []
    if dataset_dir is not None:
        reports = require_valid(manifest.training, dataset_dir, manifest, table)
        facts = [report.facts for report in reports if report.facts is not None]
        present = [frozenset(name for name in names if fact.class_voxels.get(name)) for fact in facts]
        contents = [fact.content_sha256 for fact in facts]
        notes += _same_pictures(manifest.training, contents)
    else:
        notes.append(
            "not stratified: without --dataset-dir no label map was read, so a part may lack a class"
        )
    if num_folds is not None:
        divided = with_folds(manifest, num_folds, seed, present, contents)
        named = {
            f"fold {fold}": [case.case for case in divided.training if case.fold == fold]
            for fold in range(num_folds)
        }
    else:
        divided = with_split(manifest, name, dict(shares or {}), seed, present, contents)
        split = divided.splits[name]
        parts = {"train": split.train, "validation": split.validation, "test": split.test}
        named = {part: list(cases) for part, cases in parts.items() if cases}
    of_case = {case.case: case for case in manifest.training}
    classes = dict(zip(of_case, present, strict=True)) if present is not None else {}
    rows = [_part(part, [of_case[case] for case in cases], classes, names) for part, cases in named.items()]
    lacking = sorted({name for row in rows for name, count in row.cases_with.items() if not count})
    if lacking:
        notes.append(f"too few patients have {shown(lacking)} for every part to have one")
    if any(case.patient is None for case in manifest.training):
        notes.append("some patients are unknown: each of their cases counts as a patient of its own")
    return Division(divided, rows, notes)


def _part(
    name: str, cases: Sequence[Case], present: Mapping[str, frozenset[str]], names: Sequence[str]
) -> Part:
    patients = {(case.patient is None, case.patient or case.case) for case in cases}
    counts = {one: sum(one in present[case.case] for case in cases) for one in names if present}
    return Part(name, len(cases), len(patients), counts)


def _same_pictures(cases: Sequence[Case], contents: Sequence[str]) -> list[str]:
    first: dict[str, str] = {}
    pairs = []
    for case, content in zip(cases, contents, strict=True):
        other = first.setdefault(content, case.case)
        if other != case.case:
            pairs.append(f"{other} and {case.case}")
    if not pairs:
        return []
    return [f"{len(pairs)} pairs of cases show the same picture and stay together: {shown(pairs)}"]
