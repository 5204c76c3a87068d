"""What `segpipe predict` does with a cohort whatever the task: progress, interruption, failures and totals."""

from __future__ import annotations

import math
import signal
import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

import typer

from segpipe.cli.printed import print_table, say
from segpipe.printable import printable

if TYPE_CHECKING:
    from segpipe.prediction.estimate import Estimate
    from segpipe.prediction.output_folder import ScanOutcome

_FAILURES_SHOWN = 20
T = TypeVar("T", bound="ScanOutcome")


def run_cohort(
    run: Callable[..., Sequence[T]],
    show: Callable[[Sequence[T]], None],
    *,
    doing: str,
    cases: str,
    quiet: bool,
) -> None:
    """Predict a cohort behind a progress bar, and print what became of it.

    Args:
        run: predicts; takes `watch` and `report` of a `Progress`.
        show: prints a summary of the predictions.
        doing: word before the bar.
        cases: what the cases are called, such as "scans".
        quiet: print failures only.

    Raises:
        typer.Exit: some cases fail, or the user interrupts.
    """
    with Progress(quiet=quiet, doing=doing) as progress:
        try:
            predictions = run(watch=progress.watch, report=progress.report)
        except KeyboardInterrupt:
            say(f"segpipe: interrupted; finished {cases} stay; run the same command to continue", err=True)
            raise typer.Exit(128 + signal.SIGINT) from None
    failed = [prediction for prediction in predictions if prediction.outcome == "failed"]
    if not quiet:
        show(predictions)
    if failed:
        print_failures(failed)
        raise typer.Exit(1)


def print_failures(failed: Sequence[ScanOutcome]) -> None:
    """Print the scans or images that failed, with their reasons; of many the first ones."""
    from rich.table import Column

    print_table(
        [Column("case", overflow="fold"), Column("reason", overflow="fold")],
        [(prediction.case, prediction.reason) for prediction in failed[:_FAILURES_SHOWN]],
        title=f"{len(failed)} failed",
        err=True,
        show_lines=True,
    )
    if len(failed) > _FAILURES_SHOWN:
        say(f"and {len(failed) - _FAILURES_SHOWN} more: all reasons are in predict.log", err=True)


def end_estimates(rows: Sequence[Estimate], action: str, cases: str) -> None:
    """Print the refused cases, and the totals of the others.

    Args:
        rows: estimates of all cases.
        action: what is done with a case that is not refused or finished, such as "segment".
        cases: what the cases are called, such as "scans".

    Raises:
        typer.Exit: a case is refused.
    """
    refused = [row for row in rows if row.action == "refuse"]
    for row in refused:
        say(f"{row.case}: {row.reason}")
    planned = [row for row in rows if row.action == action]
    minutes = sum(row.seconds for row in planned) / 60
    takes = "unknown time" if math.isnan(minutes) else f"about {minutes:.1f} minutes"
    gigabytes = max((row.peak_bytes for row in planned), default=0) / 1e9
    say(f"{len(planned)} of {len(rows)} {cases} to {action}: {takes}, {gigabytes:.1f} GB at most")
    if refused:
        raise typer.Exit(1)


class Progress:
    """A progress bar with the time left on stderr, messages above it; elsewhere than on a terminal a line a minute."""

    def __init__(self, *, quiet: bool, doing: str = "Segmenting") -> None:
        from rich import progress as bars
        from rich.console import Console

        console = Console(stderr=True)
        self._bar = bars.Progress(
            bars.TextColumn("{task.description}", markup=False),
            bars.BarColumn(),
            bars.MofNCompleteColumn(),
            bars.TimeRemainingColumn(),
            console=console,
            transient=True,
            disable=quiet or not console.is_terminal,
        )
        self._task: Any = None
        self._is_quiet, self._doing = quiet, doing
        self._began = self._printed = time.monotonic()

    def __enter__(self) -> Progress:
        if self._task is not None:  # a second cohort, such as the cases of the next fold
            self._bar.remove_task(self._task)
        self._began = self._printed = time.monotonic()
        self._bar.start()
        self._task = self._bar.add_task("opening the bundle", total=None)
        return self

    def __exit__(self, *_: object) -> None:
        self._bar.stop()

    def watch(self, prediction: ScanOutcome, done: int, total: int) -> None:
        """Move the bar to a case, or print a line."""
        from segpipe.dataset.progress import SECONDS_BETWEEN_LINES, line_of

        now = time.monotonic()
        if self._bar.disable and not self._is_quiet and now - self._printed >= SECONDS_BETWEEN_LINES:
            self._printed = now
            say(line_of(self._doing, max(done, 1), total, now - self._began), err=True)
        self._bar.update(
            self._task, description=printable(prediction.case)[-40:], completed=done, total=total
        )

    @staticmethod
    def report(message: str) -> None:
        """Print a message, such as a deviation from the options."""
        say(f"segpipe: {message}", err=True)
