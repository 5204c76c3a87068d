"""One of several parts of a cohort, each of which a machine of its own predicts."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from segpipe.errors import SegpipeError
from segpipe.prediction.options import Cohort

SLURM = "slurm"
"""Value of --part that takes the part from the variables of a Slurm array job."""
_ARRAY = "SLURM_ARRAY_TASK_"
_FORM = re.compile(r"(\d{1,6})/(\d{1,6})", re.ASCII)
_LEDGER = re.compile(r"predictions\.part(\d{1,6})of(\d{1,6})\.jsonl", re.ASCII)


@dataclass(frozen=True, order=True)
class CohortPart:
    """A part of a cohort: every `count`-th scan by name, so that large and small scans spread over all parts.

    Attributes:
        count: number of parts.
        number: of this part, from 1.

    Raises:
        SegpipeError: there is no such part.
    """

    count: int
    number: int

    def __post_init__(self) -> None:
        if not 1 <= self.number <= self.count:
            raise SegpipeError(
                f"--part is {self.number}/{self.count}, and there is no such part: parts are numbered from 1 to their "
                f"number, such as {min(max(self.number, 1), max(self.count, 1))}/{max(self.count, 1)}"
            )

    def __str__(self) -> str:
        """Return the part as on the command line."""
        return f"{self.number}/{self.count}"

    @classmethod
    def parse(cls, text: str, environment: Mapping[str, str] = os.environ) -> CohortPart:
        """Return the part that a text names.

        Args:
            text: such as 2/8; or slurm, for the part that a Slurm array job has by its variables.
            environment: variables of the process.

        Raises:
            SegpipeError: the text names no part, or the array job is no whole array.
        """
        if text == SLURM:
            return cls.of_slurm(environment)
        found = _FORM.fullmatch(text)
        if found is None:
            raise SegpipeError(
                f"--part is {text!r:.40}; must be a number and the number of parts, such as 2/8, or {SLURM} in a Slurm "
                "array job"
            )
        return cls(int(found[2]), int(found[1]))

    @classmethod
    def of_slurm(cls, environment: Mapping[str, str]) -> CohortPart:
        """Return the part of a Slurm array job by its variables SLURM_ARRAY_TASK_ID, _MIN, _MAX, _STEP and _COUNT.

        An array of equal steps is divided among its tasks. In a list, or in some tasks that are submitted again,
        Slurm's variables do not tell how many parts there are.

        Raises:
            SegpipeError: the process runs outside of an array job, or the array is a list.
        """
        task, first, last, step, count = (
            _number(environment, name) for name in ("ID", "MIN", "MAX", "STEP", "COUNT")
        )
        steps = range(first, last + 1, max(step, 1))
        if task not in steps or len(steps) != count or steps[-1] != last:
            raise SegpipeError(
                f"--part {SLURM}: the array has {count} tasks from {first} to {last} with a step of {step}, and this "
                f"is task {task}: a list, or some tasks that were submitted again. Their parts would not add up; "
                "submit a whole range such as --array=1-8, or name the part of each task, such as --part 3/8"
            )
        return cls(count, steps.index(task) + 1)

    @property
    def mark(self) -> str:
        """The part in the names of its files."""
        return f"part{self.number}of{self.count}"

    @property
    def ledger_file(self) -> str:
        """Name of the part's ledger in the output folder."""
        return f"predictions.{self.mark}.jsonl"

    @property
    def log_file(self) -> str:
        """Name of the part's log in the output folder."""
        return f"predict.{self.mark}.log"

    @classmethod
    def of_ledger_file(cls, name: str) -> CohortPart | None:
        """Return the part whose ledger has this name; None for other files."""
        found = _LEDGER.fullmatch(name)
        return (
            None
            if found is None or not 1 <= int(found[1]) <= int(found[2])
            else cls(int(found[2]), int(found[1]))
        )

    def names(self, cases: Sequence[str]) -> Sequence[str]:
        """Return the cases of this part.

        Args:
            cases: sorted names of all cases, see `case_names`.
        """
        return cases[self.number - 1 :: self.count]

    def of(self, cohort: Cohort) -> Cohort:
        """Return the scans of a cohort that belong to this part; the first part also lists the ignored files."""
        names = set(self.names(case_names(cohort)))
        mine = replace(
            cohort,
            scans=tuple(scan for scan in cohort.scans if scan.name in names),
            refused=tuple(scan for scan in cohort.refused if scan.name in names),
        )
        return mine if self.number == 1 else replace(mine, ignored_files=(), notes=())


def case_names(cohort: Cohort) -> list[str]:
    """Return the sorted names of all scans of a cohort, refused ones too."""
    return sorted({*(scan.name for scan in cohort.scans), *(scan.name for scan in cohort.refused)})


def _number(environment: Mapping[str, str], name: str) -> int:
    text = environment.get(f"{_ARRAY}{name}")
    if text is None:
        raise SegpipeError(
            f"--part {SLURM}: {_ARRAY}{name} is not set, so this is no task of a Slurm array job; submit one, such as "
            "sbatch --array=1-8, or name the part, such as --part 2/8"
        )
    if not (text.isascii() and text.isdecimal()):
        raise SegpipeError(f"--part {SLURM}: {_ARRAY}{name} is {text!r:.40}, must be a whole number")
    return int(text)
