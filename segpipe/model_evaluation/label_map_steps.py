"""The choice of the steps on label maps that improve held-out cases."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import reduce
from typing import Any

import numpy as np
import torch
from monai.data import MetaTensor
from numpy.typing import NDArray

from segpipe.confusion import confusion_matrix, foreground_dice
from segpipe.errors import SegpipeError, shown
from segpipe.evaluation.comparison import Difference
from segpipe.evaluation.intervals import paired_differences, sign_flip_p_values
from segpipe.labels import LabelTable
from segpipe.model_evaluation.label_map_trials import (
    HOLES,
    KEY,
    LARGEST,
    ORDER,
    SMALL,
    Choice,
    FoldGain,
    LabelMapStep,
    Trial,
    confidence_of,
)
from segpipe.transforms.small_pieces import piece_sizes
from segpipe.volumes import Grid

_PIECE_QUANTILES = (0.0, 0.05, 0.25)  # of the pieces of the references
_SHARES = (0.1, 0.5)  # of the smallest structure of a reference; no larger volume is tried
_DIGITS = 3  # of a volume that is tried


@dataclass(frozen=True)
class HeldOutCase:
    """A case that a step is tried on.

    Attributes:
        case: name of the case.
        patient: patient of the case; the case's name where the patient is not known.
        prediction: class of each voxel, `(x, y)` or `(x, y, z)`.
        reference: class of each voxel of the same shape; C where nobody looked.
        grid: grid of both maps.
        fold: name of the fold of the case, such as "fold 0".
    """

    case: str
    patient: str
    prediction: NDArray[np.integer[Any]]
    reference: NDArray[np.integer[Any]]
    grid: Grid
    fold: str = ""


@dataclass
class _Tally:
    """What the steps of one kind do to every case; rows are cases."""

    patients: list[str] = field(default_factory=list)
    folds: list[str] = field(default_factory=list)
    before: dict[LabelMapStep, list[NDArray[np.float64]]] = field(default_factory=dict)
    after: dict[LabelMapStep, list[NDArray[np.float64]]] = field(default_factory=dict)
    changed: dict[LabelMapStep, int] = field(default_factory=dict)
    emptied: dict[LabelMapStep, list[str]] = field(default_factory=dict)


def choose_steps(
    cases: Callable[[], Iterable[HeldOutCase]], table: LabelTable, volumes: Sequence[float] = ()
) -> Choice:
    """Try steps on held-out cases and keep those that gain.

    Kinds of steps are tried in the `ORDER`, each on the label maps that the kept steps before leave. A step changes
    only its own class and the background, so the classes of a kind are tried side by side. A step is kept where the
    Dice of its class gains: the paired interval over patients lies above 0, and the sign-flip test agrees. Both hold
    for all steps of a class together: with m steps, intervals are of 1 - 0.05 / m, and p-values are multiplied by m
    (Bonferroni). Of several volumes that gain, the one with the largest mean gain is kept, or the smallest of equal
    ones. A class that is in neither map counts as Dice 1, so that the removal of a false structure is a gain. No step
    is kept that leaves a prediction without a class that its reference has, or that lowers the mean Dice of the class
    in one of several folds.

    Args:
        cases: returns the cases anew at each call; one case is in memory at a time.
        table: the classes.
        volumes: volumes that `SMALL` is tried with, in mm3 (mm2 in 2D); empty: volumes of the references' pieces.

    Raises:
        SegpipeError: there is no case; cases are 2D and 3D, so that one volume has two units; or each of `volumes`
            would empty a class in every trial.
    """
    found = _Sizes.of(cases(), table)
    indices = range(1, table.num_classes)
    wanted = {
        HOLES: [LabelMapStep(HOLES, index) for index in indices],
        SMALL: [
            LabelMapStep(SMALL, index, volume)
            for index in indices
            for volume in (sorted(set(volumes)) or found.volumes(index))
        ],
        LARGEST: [LabelMapStep(LARGEST, index) for index in indices],
    }
    counts = Counter(step.index for steps in wanted.values() for step in steps)
    trials: list[Trial] = []
    for kind in ORDER:
        before = [trial.step for trial in trials if trial.kept]
        tried = _tried(cases(), before, {step: counts[step.index] for step in wanted[kind]}, table)
        if kind == SMALL and volumes and tried and all(trial.emptied for trial in tried):
            worst = tried[0]
            raise SegpipeError(
                f"each volume given ({shown([f'{volume:g}' for volume in volumes])} {found.unit}) would empty a class "
                f"that references have, such as {worst.difference.class_name} in {shown(worst.emptied, most=3)}; give "
                "a smaller --volume"
            )
        trials += _with_best_kept(tried)
    folds = () if len(set(found.folds)) < 2 else tuple(dict.fromkeys(found.folds))
    return Choice(tuple(trials), tuple(found.cases), len(set(found.patients)), found.unit, folds)


@dataclass
class _Sizes:
    """Names of the cases, and the volumes of the pieces in their references."""

    cases: list[str]
    patients: list[str]
    folds: list[str]
    unit: str
    pieces: dict[int, list[float]]
    structures: dict[int, list[float]]
    voxels: list[float]

    @classmethod
    def of(cls, cases: Iterable[HeldOutCase], table: LabelTable) -> _Sizes:
        indices = range(1, table.num_classes)
        found = cls([], [], [], "", {index: [] for index in indices}, {index: [] for index in indices}, [])
        dims = set()
        for case in cases:
            found.cases.append(case.case)
            found.patients.append(case.patient)
            found.folds.append(case.fold)
            dims.add(case.grid.spatial_dims)
            voxel = float(np.prod(case.grid.spacing_mm))
            found.voxels.append(voxel)
            for index in indices:
                _, sizes = piece_sizes(case.reference == index)
                found.pieces[index] += (sizes[1:] * voxel).tolist()
                found.structures[index] += [float(sizes[1:].sum()) * voxel] if len(sizes) > 1 else []
        if not found.cases:
            raise SegpipeError("no held-out case has a prediction and a reference; nothing can be tried")
        if len(dims) > 1:
            raise SegpipeError(
                "the held-out cases are 2D and 3D: a smallest volume has no common unit; give a split of one kind"
            )
        found.unit = "mm3" if dims == {3} else "mm2"
        return found

    def volumes(self, index: int) -> list[float]:
        """Return the volumes that are tried: quantiles of the references' pieces, and shares of the smallest structure.

        None is above half the smallest structure, so that a small but true structure of a new patient stays.
        """
        if not self.pieces[index]:
            return []
        smallest = min(self.structures[index])
        sizes = np.quantile(self.pieces[index], _PIECE_QUANTILES).tolist()
        sizes = [size for size in sizes if size <= _SHARES[-1] * smallest]
        rounded = {
            float(f"{size:.{_DIGITS}g}") for size in [*sizes, *(share * smallest for share in _SHARES)]
        }
        return sorted(size for size in rounded if size > min(self.voxels))


def _tried(
    cases: Iterable[HeldOutCase],
    before: Sequence[LabelMapStep],
    steps: Mapping[LabelMapStep, int],
    table: LabelTable,
) -> list[Trial]:
    """Return the trials of steps, each on the label maps that the steps before leave.

    Args:
        cases: the held-out cases.
        before: steps that are kept.
        steps: step -> number of steps that are tried for its class.
        table: the classes.
    """
    tally = _Tally()
    for case in cases:
        tally.patients.append(case.patient)
        tally.folds.append(case.fold)
        start = applied(case.prediction, case.grid, before)
        scored = _dice(start, case.reference, table)
        for step in steps:
            finished = applied(start, case.grid, [step])
            changes = not np.array_equal(start, finished)
            tally.before.setdefault(step, []).append(scored)
            tally.after.setdefault(step, []).append(
                _dice(finished, case.reference, table) if changes else scored
            )
            tally.changed[step] = tally.changed.get(step, 0) + changes
            emptied = tally.emptied.setdefault(step, [])
            if changes and (case.reference == step.index).any() and not (finished == step.index).any():
                emptied.append(case.case)
    return [_trial(step, tally, table, tried) for step, tried in steps.items()]


def _trial(step: LabelMapStep, tally: _Tally, table: LabelTable, tried: int) -> Trial:
    before, after = (np.stack(of_step[step]) for of_step in (tally.before, tally.after))
    neither = np.isnan(before) & np.isnan(after)
    before, after = (np.where(neither, np.nan, np.nan_to_num(dice, nan=1.0)) for dice in (before, after))
    place = step.index - 1
    ours, theirs = after[:, [place]], before[:, [place]]
    difference = Difference(
        "dice",
        table.names[step.index],
        paired_differences(ours, theirs, tally.patients, confidence=confidence_of(tried))[0],
        min(1.0, tried * sign_flip_p_values(ours, theirs, tally.patients)[0]),
    )
    falls = {
        region.name: np.nan_to_num(after[:, column] - before[:, column]).sum() < 0
        for column, region in enumerate(table.regions, start=table.num_classes - 1)
    }
    return Trial(
        step,
        difference,
        tried,
        tally.changed[step],
        tuple(tally.emptied[step]),
        tuple(name for name, lower in falls.items() if lower),
        _gains_by_fold((ours - theirs)[:, 0], tally.folds),
    )


def _gains_by_fold(gains: NDArray[np.float64], folds: Sequence[str]) -> tuple[FoldGain, ...]:
    """Return the mean gain of each fold, in the order of the cases; nothing for one fold."""
    names = list(dict.fromkeys(folds))
    if len(names) < 2:
        return ()
    of_fold = {name: gains[[fold == name for fold in folds]] for name in names}
    having = {name: values[np.isfinite(values)] for name, values in of_fold.items()}
    return tuple(
        FoldGain(name, float(values.mean()) if len(values) else np.nan, len(values))
        for name, values in having.items()
    )


def _with_best_kept(trials: Sequence[Trial]) -> list[Trial]:
    """Return the trials of one kind, with the best of each class kept if it gains."""
    best: dict[int, Trial] = {}
    for trial in trials:
        there = best.get(trial.step.index)
        if trial.gains and (there is None or trial.difference.interval.mean > there.difference.interval.mean):
            best[trial.step.index] = trial
    kept = set(map(id, best.values()))
    return [replace(trial, kept=id(trial) in kept) for trial in trials]


def applied(
    indices: NDArray[np.integer[Any]], grid: Grid, steps: Iterable[LabelMapStep]
) -> NDArray[np.integer[Any]]:
    """Return a label map after steps; the given array is left as it is.

    Args:
        indices: class of each voxel, `(x, y)` or `(x, y, z)`.
        grid: grid of the map.
        steps: applied one after the other.
    """
    start: Mapping[str, Any] = {
        KEY: MetaTensor(torch.from_numpy(indices[None].astype(np.int16)), affine=grid.affine)
    }
    record = reduce(lambda of_map, step: step.transform(of_map), steps, start)
    cleaned: NDArray[np.integer[Any]] = record[KEY].cpu().numpy()[0]
    return cleaned


def _dice(
    prediction: NDArray[np.integer[Any]], reference: NDArray[np.integer[Any]], table: LabelTable
) -> NDArray[np.float64]:
    """Return the Dice of each foreground class, then of each region."""
    confusion = confusion_matrix(prediction, reference, table.num_classes, ignored_index=table.num_classes)
    of_regions = foreground_dice(confusion, table.target_classes) if table.regions else np.zeros(0)
    return np.concatenate([foreground_dice(confusion), of_regions])
