"""Runs in which nothing is to be done: told from the ledger before torch, MONAI and the bundle are loaded."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Generic

from segpipe.errors import SegpipeError
from segpipe.prediction.ledger import LEDGER_FILE, Entry, Ledger, State
from segpipe.prediction.options import Cohort
from segpipe.prediction.output_folder import OutcomeT, OutputFolder, run_cohort
from segpipe.volumes import Scan


class _UnfinishedError(Exception):
    """A scan is not finished after all."""


@dataclass(frozen=True)
class Earlier(Generic[OutcomeT]):
    """What one task knows of the results of an earlier run.

    Attributes:
        tables: names of the files that every finished run leaves in the output folder.
        cohort: finds the scans.
        outcome: returns the outcome of a scan from its entry; None if its files or its results have changed since.
        written: returns the file of an outcome that must exist; None: there is none.
        write_tables: writes those tables again that the ledger alone determines; None: there is none.
    """

    tables: Sequence[str]
    cohort: Callable[[], Cohort]
    outcome: Callable[[Scan, Entry, OutputFolder], OutcomeT | None]
    written: Callable[[OutcomeT], Path | None]
    write_tables: Callable[[Ledger], None] | None = None


@dataclass(frozen=True)
class _Steps(Generic[OutcomeT]):
    """The steps of a cohort whose outcomes are known."""

    outcomes: Sequence[OutcomeT]

    def go(self, scans: Iterable[Scan]) -> Generator[OutcomeT]:
        """Yield the known outcome of each scan."""
        del scans
        yield from self.outcomes

    def failed(self, name: str, path: Path, reason: str) -> OutcomeT:
        """Call the run unfinished: a scan is refused after all."""
        raise _UnfinishedError(f"{name} ({path}): {reason}")

    def finish(self) -> None:
        """Report nothing: every message belongs to the run that made the outcome."""


def finished_run(
    earlier: Earlier[OutcomeT],
    folder: Path,
    request: str,
    watch: Callable[[OutcomeT, int, int], None] | None = None,
    report: Callable[[str], None] | None = None,
) -> list[OutcomeT] | None:
    """Return the outcomes of a run whose scans an earlier run finished for an equal request; None for any other run.

    Nothing of the bundle runs. Every scan and every label map is hashed, as in any run.

    Args:
        earlier: of the task.
        folder: output folder.
        request: of this run, see `request_sha256`; empty for none.
        watch: called after each scan, see `predict`.
        report: called with a message, see `predict`.

    Raises:
        SegpipeError: another process uses the folder, or the disk is full.
    """
    if not request or not all((folder / name).is_file() for name in (LEDGER_FILE, *earlier.tables)):
        return None
    try:
        known = Ledger(folder).entries
        if not any(entry.request == request for entry in known.values()):
            return None
        cohort = earlier.cohort()
        for scan in cohort.scans:
            _entry_of(scan, known, request)
    except (SegpipeError, _UnfinishedError):  # the run itself reports the reason
        return None
    if cohort.refused:
        return None

    def begin(place: OutputFolder) -> _Steps[OutcomeT]:
        outcomes = [_outcome_of(scan, earlier, place, request) for scan in cohort.scans]
        place.log.info("%d scans into %s: nothing to do", len(outcomes), folder)
        if earlier.write_tables is not None:
            earlier.write_tables(place.ledger)
        return _Steps(outcomes)

    try:
        return run_cohort(cohort, folder, begin, earlier.written, watch, report)
    except _UnfinishedError:
        return None


def _entry_of(scan: Scan, entries: dict[str, Entry], request: str) -> Entry:
    """Return the ledger's entry of a scan that an earlier run finished for this request."""
    entry = entries.get(scan.name)
    if entry is None or entry.state is not State.DONE or entry.request != request:
        raise _UnfinishedError(scan.name)
    return entry


def _outcome_of(scan: Scan, earlier: Earlier[OutcomeT], place: OutputFolder, request: str) -> OutcomeT:
    entry = _entry_of(scan, place.ledger.entries, request)
    try:
        outcome = earlier.outcome(scan, entry, place)
    except SegpipeError as error:
        raise _UnfinishedError(scan.name) from error
    if outcome is None:
        raise _UnfinishedError(scan.name)
    return outcome
