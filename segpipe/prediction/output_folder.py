"""Runs a cohort into an output folder, whatever the task: locks, ledger, log, and the outcome of each scan."""

from __future__ import annotations

import logging
import shutil
from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from itertools import chain
from pathlib import Path
from typing import Any, Protocol, TypeVar

from segpipe.disk import disk_error, disk_errors, kept_outputs, log_to
from segpipe.errors import SegpipeError, raise_interruption, segpipe_cause
from segpipe.files import require_writable
from segpipe.library_warnings import library_warnings_to
from segpipe.prediction.ledger import Entry, Ledger, State, locked_folder
from segpipe.prediction.options import Cohort, Outcome, failure_reason, scan_place
from segpipe.prediction.part import CohortPart
from segpipe.prediction.part_ledger import PartLedger, locked_part, refuse_unmerged
from segpipe.volumes import RefusedScan, Scan

LOG_FILE = "predict.log"


class OtherScanError(SegpipeError):
    """The output folder has a case of the scan's name already; the ledger's entry of that case must stay."""


class ScanOutcome(Protocol):
    """The outcome of one scan, whatever the task."""

    @property
    def case(self) -> str:
        """Name of the scan."""

    @property
    def outcome(self) -> Outcome:
        """What this run did with the scan."""

    @property
    def scan(self) -> Path:
        """Path of the scan."""

    @property
    def reason(self) -> str:
        """Why the scan failed, or a note for the user."""


OutcomeT = TypeVar("OutcomeT", bound=ScanOutcome)
OutcomeT_co = TypeVar("OutcomeT_co", bound=ScanOutcome, covariant=True)


@dataclass(frozen=True)
class OutputFolder:
    """A locked output folder of one run, with the objects that all its scans share.

    Attributes:
        folder: the folder.
        staging: an empty folder inside it, for files that are not finished.
        ledger: of the folder.
        log: of the folder.
        tell: logs a message, and reports it to the user.
    """

    folder: Path
    staging: Path
    ledger: Ledger
    log: logging.Logger
    tell: Callable[[str], None]

    def fail(self, scan: Scan, error: Exception, note: str = "") -> str:
        """Record in ledger and log that a scan failed; return the reason.

        Args:
            scan: of the cohort.
            error: the reason.
            note: end of the reason.
        """
        known = segpipe_cause(error)
        reason = failure_reason(scan, error) + note
        before = self.ledger.entries.get(scan.name) or Entry(scan.name, State.FAILED, scan_place(scan))
        if not isinstance(known, OtherScanError):  # else the ledger's entry is of another scan, and stays
            nothing: dict[str, Any] = {"volumes": (), "classes": (), "probabilities": (), "decision": ""}
            self.ledger.append(replace(before, state=State.FAILED, reason=reason, finished=now(), **nothing))
        if known:
            self.log.error("%s: failed: %s", scan.name, reason)
        else:
            self.log.error("%s: failed", scan.name, exc_info=error)
        return reason


class CohortSteps(Protocol[OutcomeT_co]):
    """What one task does with the scans of a cohort."""

    def go(self, scans: Iterable[Scan]) -> Generator[OutcomeT_co]:
        """Yield the outcome of each scan once it is on disk."""

    def failed(self, name: str, path: Path, reason: str) -> OutcomeT_co:
        """Return the outcome of a scan that cannot be read or computed."""

    def finish(self) -> None:
        """Report what is known after the last scan."""


def run_cohort(
    cohort: Cohort,
    folder: Path,
    begin: Callable[[OutputFolder], CohortSteps[OutcomeT]],
    written: Callable[[OutcomeT], Path | None],
    watch: Callable[[OutcomeT, int, int], None] | None = None,
    report: Callable[[str], None] | None = None,
    part: CohortPart | None = None,
) -> list[OutcomeT]:
    """Run the scans of a cohort into an output folder; a bad scan does not stop the others.

    Args:
        cohort: of scans that may be written.
        folder: output folder.
        begin: returns the task's steps; may refuse the folder.
        written: returns the file of an outcome that must exist at the end; None: there is none.
        watch: called after each scan with its outcome, the number of outcomes so far and the number of all scans.
        report: called with a message.
        part: the part of a larger cohort that these scans are; it has its own lock, ledger and log.

    Returns:
        one outcome per scan, sorted by case name.

    Raises:
        SegpipeError: the folder is not writable, or another process uses it; the disk is full, or outputs were
            deleted; or `begin` refuses.
    """
    require_writable(folder)
    with (
        disk_errors(folder),
        _held(folder, part) as staging,
        kept_outputs(folder) as require_kept,
        log_to(folder / (LOG_FILE if part is None else part.log_file)) as log,
        library_warnings_to(log),
    ):

        def tell(message: str) -> None:
            log.info(message)
            if report is not None:
                report(message)

        ledger = Ledger(folder) if part is None else PartLedger(folder, part)
        place = OutputFolder(folder, staging, ledger, log, tell)
        steps = begin(place)
        total = len(cohort.scans) + len(cohort.refused)
        for name in cohort.ignored_files:
            log.info("ignored: %s", name)
        if cohort.ignored_files:
            tell(cohort.ignored_files_note)
        for note in cohort.notes:
            tell(note)
        outcomes: list[OutcomeT] = []
        with closing(steps.go(cohort.scans)) as going:
            for outcome in chain((_refused(scan, place, steps) for scan in cohort.refused), going):
                outcomes.append(outcome)
                require_kept(())
                if watch is not None:
                    watch(outcome, len(outcomes), total)
        done = [written(outcome) for outcome in outcomes if outcome.outcome is not Outcome.FAILED]
        require_kept([path for path in done if path is not None])
        steps.finish()
        return sorted(outcomes, key=lambda outcome: outcome.case)


@contextmanager
def _held(folder: Path, part: CohortPart | None) -> Iterator[Path]:
    """Lock the output folder for a whole run, or one part of it; yield the staging folder."""
    if part is not None:
        with locked_part(folder, part) as staging:
            yield staging
        return
    with locked_folder(folder) as staging:
        refuse_unmerged(folder)
        yield staging


def attempt(failed: Callable[[Exception], Any], step: Callable[..., Any], *arguments: Any) -> Any:
    """Return the result of a step; if the step raises, return the failed outcome of its scan.

    Args:
        failed: makes the outcome from the exception.
        step: a part of one scan's work.
        arguments: of the step.

    Raises:
        OSError: the disk is full, which ends the run.
    """
    try:
        return step(*arguments)
    except Exception as error:  # an error in one scan never stops the others
        raise_interruption(error)
        if disk_error(error) is not None:
            raise
        return failed(error)


@contextmanager
def removed_on_failure(folder: Path) -> Iterator[None]:
    """Remove a folder if the block raises."""
    try:
        yield
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        raise


def now() -> str:
    """Return the time in UTC, ISO 8601."""
    return datetime.now(UTC).isoformat(timespec="seconds")


def _refused(scan: RefusedScan, place: OutputFolder, steps: CohortSteps[OutcomeT]) -> OutcomeT:
    """Record a refused scan; an output of that name from an earlier run stays in the ledger."""
    before = place.ledger.entries.get(scan.name)
    if before is None or (before.state is State.FAILED and not before.files):
        path = str(scan.path.absolute())
        place.ledger.append(Entry(scan.name, State.FAILED, path, reason=scan.reason, finished=now()))
    place.log.error("%s: failed: %s", scan.name, scan.reason)
    return steps.failed(scan.name, scan.path, scan.reason)
