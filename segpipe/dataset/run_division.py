"""The training and held-out cases of a run: a fold, or a named split whose test cases may lie elsewhere."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from segpipe.dataset.folds import describe_split, training_split
from segpipe.dataset.manifest import Case, Manifest, Target

_CHOOSE_NOTHING = "they are test cases and choose nothing: the weights of the last epoch are the result"


@dataclass(frozen=True)
class RunDivision:
    """The cases of a run.

    Attributes:
        train: training cases.
        held_out: cases for validation or test.
        about: of a named split: its author, how many of its cases are here, and what stands in for missing ones; of
            others empty.
        chooses: whether the held-out cases may choose weights; not so for test cases.
        stand_in: number of the fold that stands in for a split's missing cases; None: nothing does.
    """

    train: tuple[Case, ...]
    held_out: tuple[Case, ...]
    about: str = ""
    chooses: bool = True
    stand_in: int | None = None


def run_division(manifest: Manifest, fold: int | str | None, part: str, dataset_dir: Path) -> RunDivision:
    """Return the cases of a run.

    The manifest's list `test` may lie elsewhere: of a split's held-out cases, those of this list without a file below
    the folder, or without a reference, are left out. A split without a case to validate with is validated on its test
    cases, which choose nothing; without these, on the lowest fold of its training cases.

    Args:
        manifest: with folds of its training cases, or with splits.
        fold: see `training_split`.
        part: see `training_split`.
        dataset_dir: folder of the manifest's files.

    Raises:
        SegpipeError: see `training_split`.
    """
    train, held_out = training_split(manifest, fold, part)
    if not isinstance(fold, str):
        return RunDivision(tuple(train), tuple(held_out))
    tests = {case.case for case in manifest.test}
    absent = {case.case for case in manifest.test if not _is_usable(case, manifest.target, dataset_dir)}
    about = describe_split(manifest, fold, absent)
    present = tuple(case for case in held_out if case.case not in absent)
    if part == "test":
        return RunDivision(tuple(train), present, about, chooses=False)
    if present:
        chooses = not any(case.case in tests for case in present)
        note = "" if chooses else f"; validation on {len(present)} of them: {_CHOOSE_NOTHING}"
        return RunDivision(tuple(train), present, f"{about}{note}", chooses)
    if manifest.splits[fold].test:
        _, listed = training_split(manifest, fold, "test")
        present = tuple(case for case in listed if case.case not in absent)
    if present:
        note = f"; validation on its {len(present)} test cases: {_CHOOSE_NOTHING}"
        return RunDivision(tuple(train), present, f"{about}{note}", chooses=False)
    return _by_fold(train, about)


def _is_usable(case: Case, target: Target, dataset_dir: Path) -> bool:
    """Return whether a test case can be scored: it has a reference, and one of its files is there."""
    if (case.label is None) if target == "mask" else (target == "class" and not case.classes):
        return False
    return any((dataset_dir / name).exists() for name in case.files)


def _by_fold(train: Sequence[Case], about: str) -> RunDivision:
    """Hold out the lowest fold of the training cases, if this leaves a case to train on."""
    folds = sorted({case.fold for case in train if case.fold is not None})
    if len(folds) < 2:
        note = "no other case to validate with: the weights of the last epoch are the result"
        return RunDivision(tuple(train), (), f"{about}; {note}")
    held_out = tuple(case for case in train if case.fold == folds[0])
    rest = tuple(case for case in train if case.fold != folds[0])
    note = f"validation on the {len(held_out)} of its training cases in fold {folds[0]}"
    return RunDivision(rest, held_out, f"{about}; {note}", stand_in=folds[0])
