"""Steps that clean a label map class by class, and the choice of the steps that improve held-out cases."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import reduce
from typing import Any

import numpy as np
import torch
from monai.data import MetaTensor
from monai.transforms import FillHolesd, KeepLargestConnectedComponentd, MapTransform
from numpy.typing import NDArray

from segpipe.confusion import confusion_matrix, foreground_dice
from segpipe.errors import SegpipeError, counted, shown
from segpipe.evaluation.comparison import Difference
from segpipe.evaluation.intervals import paired_differences, sign_flip_p_values
from segpipe.labels import LabelTable
from segpipe.transforms import RemoveSmallPiecesd
from segpipe.transforms.small_pieces import piece_sizes
from segpipe.volumes import Grid

HOLES, SMALL, LARGEST = "fill holes", "remove small pieces", "keep the largest piece"
ORDER = (HOLES, SMALL, LARGEST)
"""The order in which steps are tried and applied."""

_KEY = "pred"
_PIECE_QUANTILES = (0.0, 0.05, 0.25)  # of the pieces of the references
_SHARES = (0.1, 0.5)  # of the smallest structure of a reference; no larger volume is tried
_DIGITS = 3  # of a volume that is tried


@dataclass(frozen=True)
class LabelMapStep:
    """A step on one class of a label map.

    Attributes:
        kind: one of `ORDER`.
        index: index of the class, 1 or more.
        min_volume: for `SMALL`, the smallest volume that stays, in mm3 (mm2 in 2D); None otherwise.
    """

    kind: str
    index: int
    min_volume: float | None = None

    @property
    def transform(self) -> MapTransform:
        """The MONAI transform of the step, on the key `pred`."""
        if self.kind == SMALL:
            return RemoveSmallPiecesd(_KEY, [self.index], [float(self.min_volume or 0)])
        of_kind = {HOLES: FillHolesd, LARGEST: KeepLargestConnectedComponentd}[self.kind]
        return of_kind(_KEY, applied_labels=[self.index])

    def in_words(self, unit: str) -> str:
        """Return the step in words.

        Args:
            unit: of the volume, such as mm3.
        """
        return self.kind if self.min_volume is None else f"{self.kind} below {self.min_volume:g} {unit}"


@dataclass(frozen=True)
class HeldOutCase:
    """A case that a step is tried on.

    Attributes:
        case: name of the case.
        patient: patient of the case; the case's name where the patient is not known.
        prediction: class of each voxel, `(x, y)` or `(x, y, z)`.
        reference: class of each voxel of the same shape; C where nobody looked.
        grid: grid of both maps.
    """

    case: str
    patient: str
    prediction: NDArray[np.integer[Any]]
    reference: NDArray[np.integer[Any]]
    grid: Grid


@dataclass(frozen=True)
class Trial:
    """A step, and the difference that it makes on the held-out cases.

    Attributes:
        step: the step.
        difference: Dice of the class after the step minus before, over the cases that have a Dice.
        changed: number of cases whose label map the step changes.
        emptied: cases whose reference has the class, and whose prediction the step leaves without the class.
        harmed: regions whose mean Dice falls.
        kept: whether the step is written into the bundle.
    """

    step: LabelMapStep
    difference: Difference
    changed: int
    emptied: tuple[str, ...]
    harmed: tuple[str, ...] = ()
    kept: bool = False

    @property
    def gains(self) -> bool:
        """Whether the step empties nothing, harms no region, and improves the class as `segpipe compare` says."""
        return not self.emptied and not self.harmed and self.difference.better == 0

    @property
    def reason(self) -> str:
        """Why the step is kept or not, in words."""
        if self.kept:
            return "kept"
        if not self.changed:
            return "no: changes no case"
        if self.emptied:
            return f"no: empties the class in {counted(len(self.emptied), 'case')}"
        if self.harmed:
            return f"no: lowers {shown(self.harmed)}"
        if not self.difference.interval.is_known:
            return "no: too few patients for an interval"
        return "no: another volume is kept" if self.gains else "no: no gain shown"


@dataclass(frozen=True)
class Choice:
    """The outcome of all trials.

    Attributes:
        trials: in the order in which they were made.
        cases: names of the held-out cases.
        patients: number of their patients.
        unit: of the volumes.
    """

    trials: tuple[Trial, ...]
    cases: tuple[str, ...]
    patients: int
    unit: str

    @property
    def kept(self) -> tuple[Trial, ...]:
        """The trials whose steps are kept, in the order of application."""
        return tuple(trial for trial in self.trials if trial.kept)


@dataclass
class _Tally:
    """What the steps of one kind do to every case; rows are cases."""

    patients: list[str] = field(default_factory=list)
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
    Dice of its class gains: the paired interval over patients lies above 0, and the sign-flip test agrees. Of several
    volumes that gain, the one with the largest mean gain is kept, or the smallest of equal ones. A class that is in
    neither map counts as Dice 1, so that the removal of a false structure is a gain. No step is kept that leaves a
    prediction without a class that its reference has.

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
            for volume in (volumes or found.volumes(index))
        ],
        LARGEST: [LabelMapStep(LARGEST, index) for index in indices],
    }
    trials: list[Trial] = []
    for kind in ORDER:
        before = [trial.step for trial in trials if trial.kept]
        tried = _tried(cases(), before, wanted[kind], table)
        if kind == SMALL and volumes and tried and all(trial.emptied for trial in tried):
            worst = tried[0]
            raise SegpipeError(
                f"each volume given ({shown([f'{volume:g}' for volume in volumes])} {found.unit}) would empty a class "
                f"that references have, such as {worst.difference.class_name} in {shown(worst.emptied, most=3)}; give "
                "a smaller --volume"
            )
        trials += _with_best_kept(tried)
    return Choice(tuple(trials), tuple(found.cases), len(set(found.patients)), found.unit)


@dataclass
class _Sizes:
    """Names of the cases, and the volumes of the pieces in their references."""

    cases: list[str]
    patients: list[str]
    unit: str
    pieces: dict[int, list[float]]
    structures: dict[int, list[float]]
    voxels: list[float]

    @classmethod
    def of(cls, cases: Iterable[HeldOutCase], table: LabelTable) -> _Sizes:
        indices = range(1, table.num_classes)
        found = cls([], [], "", {index: [] for index in indices}, {index: [] for index in indices}, [])
        dims = set()
        for case in cases:
            found.cases.append(case.case)
            found.patients.append(case.patient)
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
    steps: Sequence[LabelMapStep],
    table: LabelTable,
) -> list[Trial]:
    """Return the trials of steps, each on the label maps that the steps before leave."""
    tally = _Tally()
    for case in cases:
        tally.patients.append(case.patient)
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
    return [_trial(step, tally, table) for step in steps]


def _trial(step: LabelMapStep, tally: _Tally, table: LabelTable) -> Trial:
    before, after = (np.stack(of_step[step]) for of_step in (tally.before, tally.after))
    neither = np.isnan(before) & np.isnan(after)
    before, after = (np.where(neither, np.nan, np.nan_to_num(dice, nan=1.0)) for dice in (before, after))
    place = step.index - 1
    ours, theirs = after[:, [place]], before[:, [place]]
    difference = Difference(
        "dice",
        table.names[step.index],
        paired_differences(ours, theirs, tally.patients)[0],
        sign_flip_p_values(ours, theirs, tally.patients)[0],
    )
    falls = {
        region.name: np.nan_to_num(after[:, column] - before[:, column]).sum() < 0
        for column, region in enumerate(table.regions, start=table.num_classes - 1)
    }
    return Trial(
        step,
        difference,
        tally.changed[step],
        tuple(tally.emptied[step]),
        tuple(name for name, lower in falls.items() if lower),
    )


def _with_best_kept(trials: Sequence[Trial]) -> list[Trial]:
    """Return the trials of one kind, with the best of each class kept if it gains."""
    best: dict[int, Trial] = {}
    for trial in trials:
        there = best.get(trial.step.index)
        if trial.gains and (there is None or trial.difference.interval.mean > there.difference.interval.mean):
            best[trial.step.index] = trial
    kept = set(map(id, best.values()))
    return [
        Trial(trial.step, trial.difference, trial.changed, trial.emptied, trial.harmed, id(trial) in kept)
        for trial in trials
    ]


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
        _KEY: MetaTensor(torch.from_numpy(indices[None].astype(np.int16)), affine=grid.affine)
    }
    record = reduce(lambda of_map, step: step.transform(of_map), steps, start)
    cleaned: NDArray[np.integer[Any]] = record[_KEY].cpu().numpy()[0]
    return cleaned


def _dice(
    prediction: NDArray[np.integer[Any]], reference: NDArray[np.integer[Any]], table: LabelTable
) -> NDArray[np.float64]:
    """Return the Dice of each foreground class, then of each region."""
    confusion = confusion_matrix(prediction, reference, table.num_classes, ignored_index=table.num_classes)
    of_regions = foreground_dice(confusion, table.target_classes) if table.regions else np.zeros(0)
    return np.concatenate([foreground_dice(confusion), of_regions])
