"""Steps that clean a label map class by class, and the trials of steps on held-out cases."""

from __future__ import annotations

from dataclasses import dataclass

from monai.transforms import FillHolesd, KeepLargestConnectedComponentd, MapTransform

from segpipe.errors import counted, shown
from segpipe.evaluation.comparison import Difference
from segpipe.transforms import RemoveSmallPiecesd

HOLES, SMALL, LARGEST = "fill holes", "remove small pieces", "keep the largest piece"
ORDER = (HOLES, SMALL, LARGEST)
"""The order in which steps are tried and applied."""

KEY = "pred"
"""The key of the label map in records of the steps' transforms."""

_LEVEL = 0.05  # of the chance that a class gets a step that does not help
_ROUNDING = 1e-12  # of a mean Dice


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
            return RemoveSmallPiecesd(KEY, [self.index], [float(self.min_volume or 0)])
        of_kind = {HOLES: FillHolesd, LARGEST: KeepLargestConnectedComponentd}[self.kind]
        return of_kind(KEY, applied_labels=[self.index])

    def in_words(self, unit: str) -> str:
        """Return the step in words.

        Args:
            unit: of the volume, such as mm3.
        """
        return self.kind if self.min_volume is None else f"{self.kind} below {self.min_volume:g} {unit}"


@dataclass(frozen=True)
class FoldGain:
    """The gain of a step in one fold.

    Attributes:
        fold: name of the fold.
        gain: mean Dice of the class after the step minus before; nan without a case.
        cases: number of cases of the fold that have a Dice.
    """

    fold: str
    gain: float
    cases: int

    @property
    def loses(self) -> bool:
        """Whether the mean Dice falls."""
        return self.gain < -_ROUNDING


@dataclass(frozen=True)
class Trial:
    """A step, and the difference that it makes on the held-out cases.

    Attributes:
        step: the step.
        difference: Dice of the class after the step minus before, over the cases that have a Dice. Its interval has
            `confidence`, and its p-value is multiplied by `tried` (Bonferroni).
        tried: number of steps that are tried for the class.
        changed: number of cases whose label map the step changes.
        emptied: cases whose reference has the class, and whose prediction the step leaves without the class.
        harmed: regions whose mean Dice falls.
        by_fold: the gain in each fold; empty where one fold is used.
        kept: whether the step is written into the bundle.
    """

    step: LabelMapStep
    difference: Difference
    tried: int
    changed: int
    emptied: tuple[str, ...]
    harmed: tuple[str, ...] = ()
    by_fold: tuple[FoldGain, ...] = ()
    kept: bool = False

    @property
    def confidence(self) -> float:
        """Confidence of the interval, 0..1: 95 % for all steps of the class together."""
        return confidence_of(self.tried)

    @property
    def losing_folds(self) -> tuple[str, ...]:
        """Names of the folds in which the mean Dice of the class falls."""
        return tuple(one.fold for one in self.by_fold if one.loses)

    @property
    def gains(self) -> bool:
        """Whether the step improves the class, empties nothing, and lowers no region and no fold."""
        harmless = not self.emptied and not self.harmed and not self.losing_folds
        return harmless and self.difference.better == 0

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
        if self.losing_folds:
            return f"no: loses in {shown(self.losing_folds)}"
        if not self.difference.interval.is_known:
            return "no: too few patients for an interval"
        smallest_p = 2.0 ** (1 - self.difference.interval.patients)
        if smallest_p * self.tried > _LEVEL:
            return f"no: too few patients for {counted(self.tried, 'step')}"
        if self.gains:
            return "no: another volume is kept"
        unsure = self.difference.differs and self.difference.ahead == 0
        return f"no: the test says p = {self.difference.p_value:.2g}" if unsure else "no: no gain shown"


@dataclass(frozen=True)
class Choice:
    """The outcome of all trials.

    Attributes:
        trials: in the order in which they were made.
        cases: names of the held-out cases.
        patients: number of their patients.
        unit: of the volumes.
        folds: names of the folds; empty where one fold is used.
    """

    trials: tuple[Trial, ...]
    cases: tuple[str, ...]
    patients: int
    unit: str
    folds: tuple[str, ...] = ()

    @property
    def kept(self) -> tuple[Trial, ...]:
        """The trials whose steps are kept, in the order of application."""
        return tuple(trial for trial in self.trials if trial.kept)


def confidence_of(steps: int) -> float:
    """Return the confidence of an interval, 0..1, with which 95 % hold for all steps of a class together.

    Args:
        steps: number of steps that are tried for the class.

    Source: Bonferroni, Pubblicazioni del R Istituto Superiore di Scienze Economiche e Commerciali di Firenze 8, 1936.
    """
    return 1 - _LEVEL / steps
