"""Merges the parts of a cohort into the one ledger, tables and log that a whole run writes."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from segpipe.errors import SegpipeError, counted, shown
from segpipe.files import discard_remains, require_writable
from segpipe.inference.prediction_rows import prediction_row, write_predictions
from segpipe.prediction.agreement import AGREEMENT_FILE, Agreement
from segpipe.prediction.image_options import ImagePrediction
from segpipe.prediction.ledger import Entry, Ledger, State, folder_lock
from segpipe.prediction.options import Outcome, Prediction
from segpipe.prediction.output_folder import LOG_FILE
from segpipe.prediction.part import CohortPart
from segpipe.prediction.part_ledger import (
    idle_parts,
    is_running,
    part_ledgers,
    remove_part_files,
    running_parts,
)

_WAIT_S = 600.0  # for the merge of another part
_OUTCOMES = {State.DONE: Outcome.DONE, State.KEPT: Outcome.KEPT, State.FAILED: Outcome.FAILED}


@dataclass(frozen=True)
class _Parts:
    """The parts of a cohort in an output folder that nobody else writes to now.

    Attributes:
        folder: the output folder.
        agreement: of the parts.
        before: case -> entry, of `predictions.jsonl`.
        of: part -> case -> entry, of the part's own ledger; a part without ledger is absent.
    """

    folder: Path
    agreement: Agreement
    before: Mapping[str, Entry]
    of: Mapping[CohortPart, Mapping[str, Entry]]

    @classmethod
    def read(cls, folder: Path, agreement: Agreement) -> _Parts:
        """Read all ledgers.

        Raises:
            SegpipeError: a ledger belongs to another division of the cohort, or has scans of another recipe.
        """
        ledgers = part_ledgers(folder)
        parts = cls(
            folder,
            agreement,
            Ledger(folder).entries,
            {part: Ledger(folder, path.name).entries for part, path in ledgers.items()},
        )
        for part, entries in parts.of.items():
            parts.require_own(part, entries)
        return parts

    def require_own(self, part: CohortPart, entries: Mapping[str, Entry]) -> None:
        """Refuse a ledger that is not of this cohort.

        Raises:
            SegpipeError: the message has both values.
        """
        path, agreed = self.folder / part.ledger_file, self.agreement
        if part.count != agreed.count:
            raise SegpipeError(
                f"{path}: is of a cohort in {part.count} parts, and {AGREEMENT_FILE} is of {agreed.count} parts; move "
                "the file away, or choose another output folder"
            )
        names = set(part.names(agreed.cases))
        foreign = [case for case in entries if case not in names]
        if foreign:
            raise SegpipeError(
                f"{path}: has scans of other parts ({shown(foreign)}); restore the ledger of part {part}"
            )
        for case, entry in entries.items():
            if entry.state in (State.WRITING, State.DONE) and entry.recipe != agreed.recipe:
                raise SegpipeError(
                    f"{path}: {case} has the recipe {entry.recipe[:12]}, and the parts agreed on {agreed.recipe[:12]}; "
                    f"predict part {part} again in another output folder"
                )

    def entry(self, part: CohortPart, case: str) -> Entry | None:
        """Return the final entry of a case; None if the part has not finished the case."""
        own = self.of.get(part, {}).get(case)
        entry = own or self.before.get(case)
        if entry is None:
            return None
        is_final = (
            entry.state is State.KEPT
            or (entry.state is State.DONE and entry.recipe == self.agreement.recipe)
            or (entry.state is State.FAILED and (own is not None or self.agreement.merged))
        )
        return entry if is_final else None

    def missing(self, part: CohortPart) -> list[str]:
        """Return the cases that a part has not finished."""
        return [case for case in part.names(self.agreement.cases) if self.entry(part, case) is None]

    def absent(self, running: Collection[CohortPart] = ()) -> list[str]:
        """Return a text for each part that is absent, not finished or running."""
        texts = []
        for part in _all_parts(self.agreement.count):
            missing = self.missing(part)
            if part in running:
                texts.append(f"part {part} is running")
            elif missing:
                scans = len(part.names(self.agreement.cases))
                state = "not finished" if part in self.of else "absent"
                texts.append(
                    f"part {part} is {state} ({scans - len(missing)} of {counted(scans, 'scan')}, without "
                    f"{shown(missing, most=3)})"
                )
        return texts

    def require_outputs(self) -> None:
        """Refuse a cohort whose label maps were deleted since.

        Raises:
            SegpipeError: the message has the part and the files.
        """
        for part, entries in self.of.items():
            gone = [
                file
                for entry in entries.values()
                if entry.state is State.DONE
                for file in entry.files
                if not (self.folder / file).is_file()
            ]
            if gone:
                raise SegpipeError(
                    f"{self.folder}: {counted(len(gone), 'file')} that part {part} wrote did not stay: {shown(gone)}; "
                    f"run part {part} again"
                )


def merge(folder: str | Path) -> list[Prediction] | list[ImagePrediction]:
    """Merge the parts of a cohort: the output folder then is as a whole run leaves it.

    `predictions.jsonl`, `volumes.csv` or `predictions.csv`, and `predict.log` are written, and the files of the parts
    are removed. A second merge changes nothing.

    Args:
        folder: output folder of the parts.

    Returns:
        one prediction per scan, sorted by case name.

    Raises:
        SegpipeError: a part is absent, not finished or still runs, and the message names all such parts; the parts
            differ in their recipe; outputs were deleted; or the folder has no parts.
    """
    folder = Path(folder)
    if not (folder / AGREEMENT_FILE).exists():
        raise SegpipeError(
            f"{folder}: has no parts to merge; predict them first, with --part 1/2 and --part 2/2, for instance"
        )
    require_writable(folder)
    with folder_lock(folder, _WAIT_S):
        agreement = _agreement(folder)
        running = running_parts(folder, agreement.count)
        parts = _Parts.read(folder, agreement)
        absent = parts.absent(running)
        if absent:
            raise SegpipeError(
                f"{folder}: cannot be merged: {'; '.join(absent)}; run or wait for these parts, then merge again"
            )
        with idle_parts(folder, agreement.count):
            return _merged(parts)  # no part starts meanwhile: it would wait for the folder


def merge_when_complete(folder: Path, report: Callable[[str], None] | None = None) -> None:
    """Merge the parts of a cohort if all are finished; the part that ends last does it.

    Args:
        folder: output folder of the parts.
        report: called with a message: what was merged, or which parts are absent.

    Raises:
        SegpipeError: as `merge`, but not for absent parts.
    """
    with folder_lock(folder, _WAIT_S):
        agreement = _agreement(folder)
        every = _all_parts(agreement.count)
        absent = [part for part in every if _may_be_absent(folder, part, agreement)]
        text = f"{len(absent)} of {counted(len(every), 'part')} absent or running: {shown(map(str, absent))}"
        if not absent:
            with idle_parts(folder, agreement.count):
                parts = _Parts.read(folder, agreement)
                unfinished = [str(part) for part in every if parts.missing(part)]
                text = f"{len(unfinished)} of {counted(len(every), 'part')} not finished: {shown(unfinished)}"
                if not unfinished:
                    _merged(parts)
                    text = f"all {counted(len(every), 'part')} finished: their ledgers and tables are merged"
    if report is not None:
        report(text)


def _agreement(folder: Path) -> Agreement:
    agreement = Agreement.read(folder)
    if agreement is None:
        raise SegpipeError(
            f"{folder / AGREEMENT_FILE}: was deleted; restore the file, or choose another --output"
        )
    return agreement


def _all_parts(count: int) -> list[CohortPart]:
    return [CohortPart(count, number) for number in range(1, count + 1)]


def _may_be_absent(folder: Path, part: CohortPart, agreement: Agreement) -> bool:
    """Return whether a part with scans has no ledger, or runs now; no ledger is read for it."""
    if not (folder / part.ledger_file).exists():
        return not agreement.merged and bool(part.names(agreement.cases))
    return is_running(folder, part)


def _merged(parts: _Parts) -> list[Prediction] | list[ImagePrediction]:
    """Write ledger, tables and log of the whole cohort, and remove the files of the parts."""
    parts.require_outputs()
    discard_remains(parts.folder)
    folder, agreement = parts.folder, parts.agreement
    entries = dict(parts.before)
    for of_part in parts.of.values():
        entries |= of_part
    ledger = Ledger(folder)
    ledger.rewrite([entries[case] for case in sorted(entries)])
    if agreement.table:
        _write_predictions(folder, agreement, ledger)
    else:
        ledger.write_volumes()
    _append_logs(folder, list(parts.of))
    replace(agreement, merged=True).write(folder)
    for part in _all_parts(agreement.count):
        remove_part_files(folder, part)
    found = [entries[case] for case in agreement.cases]
    return (
        [_image_prediction(entry) for entry in found]
        if agreement.table
        else [_prediction(entry) for entry in found]
    )


def _write_predictions(folder: Path, agreement: Agreement, ledger: Ledger) -> None:
    names, top = agreement.table["classes"], agreement.table["top"]
    done = [entry for entry in ledger.entries.values() if entry.state is State.DONE]
    rows = (
        prediction_row(one.case, one.classes, one.probabilities, one.decision, top, one.warnings)
        for one in done
    )
    write_predictions(folder, names, rows, top)


def _append_logs(folder: Path, parts: Sequence[CohortPart]) -> None:
    with (folder / LOG_FILE).open("ab") as log:
        for part in parts:
            if (folder / part.log_file).exists():
                with (folder / part.log_file).open("rb") as of_part:
                    shutil.copyfileobj(of_part, log)


def _prediction(entry: Entry) -> Prediction:
    return Prediction(
        entry.case,
        _OUTCOMES[entry.state],
        Path(entry.scan),
        None,
        entry.seconds,
        entry.reason,
        entry.volumes,
        entry.warnings,
        entry.resampled,
    )


def _image_prediction(entry: Entry) -> ImagePrediction:
    return ImagePrediction(
        entry.case,
        _OUTCOMES[entry.state],
        Path(entry.scan),
        entry.classes,
        entry.probabilities,
        entry.decision,
        None,
        entry.seconds,
        entry.reason,
    )
