"""What all parts of a cohort agree on, in a file of the output folder: recipe, scans, engine, precision and threads."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, TypeVar

from segpipe.errors import SegpipeError, shown
from segpipe.files import read_json, write_json
from segpipe.inference.engines.names import TORCH
from segpipe.prediction.ledger import Entry, State
from segpipe.prediction.options import Cohort
from segpipe.prediction.output_folder import OutputFolder
from segpipe.prediction.part import CohortPart, case_names
from segpipe.prediction.part_ledger import agreeing
from segpipe.prediction.request import computing_versions
from segpipe.volumes import Scan

AGREEMENT_FILE = "predictions.parts.json"
_SAME_WAY = ("engine", "precision", "threads")
_HASH_SHOWN = 12


@dataclass(frozen=True)
class Agreement:
    """What the first part of a cohort fixes for all parts.

    Attributes:
        count: number of parts.
        recipe: of all scans, see `PredictOptions.recipe`.
        settings: name -> value, in plain types, of everything that must be equal in all parts; for messages.
        cases: sorted names of all scans.
        table: of a classification, the names of the classes and the number of columns with the most probable ones.
        way: fields of a ledger's entry that say how scores are computed; empty while no scan could be read.
        merged: whether the parts were merged since.
    """

    count: int
    recipe: str
    settings: Mapping[str, Any]
    cases: Sequence[str]
    table: Mapping[str, Any] = field(default_factory=dict)
    way: Mapping[str, Any] = field(default_factory=dict)
    merged: bool = False

    @classmethod
    def wanted(
        cls,
        part: CohortPart,
        cohort: Cohort,
        recipe: str,
        settings: Mapping[str, Any],
        table: Mapping[str, Any] | None = None,
    ) -> Agreement:
        """Return what a part asks for, without the engine and precision that are measured.

        Args:
            part: the part.
            cohort: all scans.
            recipe: of the scans.
            settings: bundle, device and options.
            table: see above.
        """
        every = {"number of parts": part.count, **settings, **computing_versions()}
        plain = json.loads(json.dumps(every))  # as it is read from the file: tuples are lists
        return cls(part.count, recipe, plain, case_names(cohort), table or {})

    @classmethod
    def read(cls, folder: Path) -> Agreement | None:
        """Return the agreement in an output folder; None if there is none.

        Raises:
            SegpipeError: the file was not written by segpipe.
        """
        path = folder / AGREEMENT_FILE
        if not path.exists():
            return None
        content = read_json(path)
        try:
            found = cls(**content)
            CohortPart(found.count, 1)
            texts, maps = (found.recipe, *found.cases), (found.settings, found.table, found.way)
            if not (
                all(isinstance(text, str) for text in texts) and all(isinstance(one, dict) for one in maps)
            ):
                raise TypeError("a value has another type")
        except (TypeError, SegpipeError) as error:
            raise SegpipeError(
                f"{path}: was not written by segpipe ({error}); restore the file, or choose another output folder"
            ) from error
        return found

    def write(self, folder: Path) -> None:
        """Write the agreement into an output folder, atomically."""
        write_json(folder / AGREEMENT_FILE, asdict(self))

    def require_same(self, wanted: Agreement, part: CohortPart, folder: Path) -> None:
        """Refuse a part that asks for something else than the parts before.

        Raises:
            SegpipeError: the message has each difference with both values.
        """
        names = dict.fromkeys((*self.settings, *wanted.settings))
        other = [
            f"{name} {_text(wanted.settings, name)} (before: {_text(self.settings, name)})"
            for name in names
            if wanted.settings.get(name) != self.settings.get(name)
        ]
        if not other and wanted.recipe != self.recipe:
            other = [f"recipe {wanted.recipe[:_HASH_SHOWN]} (before: {self.recipe[:_HASH_SHOWN]})"]
        if other:
            raise SegpipeError(
                f"{folder}: part {part} differs from the parts before in {shown(other, '; ')}; give "
                "all parts the same bundle, options and versions, or choose another --output"
            )
        more, fewer = (
            sorted(set(a) - set(b)) for a, b in ((wanted.cases, self.cases), (self.cases, wanted.cases))
        )
        if more or fewer:
            found = "; ".join(
                f"{what}: {shown(names)}" for what, names in (("new", more), ("missing", fewer)) if names
            )
            raise SegpipeError(
                f"{folder}: part {part} finds {len(wanted.cases)} scans, and the parts before found {len(self.cases)} "
                f"({found}); give all parts the same scans, or choose another --output"
            )

    def entry(self) -> Entry:
        """Return an entry that holds how all parts compute, as `Ledger.agreed` takes it."""
        return Entry("", State.DONE, "", recipe=self.recipe, **self.way)


RunT = TypeVar("RunT")


def agreed_run(
    place: OutputFolder,
    part: CohortPart,
    wanted: Agreement,
    scans: Sequence[Scan],
    make: Callable[[], RunT],
    settle: Callable[[RunT, Sequence[Scan]], dict[str, Any]],
) -> RunT:
    """Return the run of a part, which computes as all parts do.

    The first part measures engine and precision on the first scan of the whole cohort, and writes them down; parts
    that start meanwhile wait for it.

    Args:
        place: the output folder of the part.
        part: the part.
        wanted: what this part asks for.
        scans: of the whole cohort.
        make: makes a run, which computes as `place.ledger` says.
        settle: returns `Agreement.way` of a run, from the first of some scans that can be read; empty if none can.

    Raises:
        SegpipeError: the part asks for something else than the parts before; or this machine cannot compute as they do.
    """
    with agreeing(place.folder, place.tell):
        known = Agreement.read(place.folder)
        if (
            known is not None
            and known.merged
            and (known.recipe, known.settings, known.cases) != (wanted.recipe, wanted.settings, wanted.cases)
        ):
            known = None  # of an earlier cohort
        if known is not None:
            known.require_same(wanted, part, place.folder)
        if known is None or not known.way:
            run = make()
            replace(known or wanted, way=settle(run, scans)).write(place.folder)
            return run
    place.ledger.agreed = known.entry()
    run = make()
    names = set(part.names(known.cases))
    mine = [scan for scan in scans if scan.name in names and not _is_done(place, scan, known.recipe)]
    if known.way.get("engine") not in (None, "", TORCH):  # PyTorch gives way to nothing
        _require_same_way(known.way, settle(run, mine), place.folder)
    return run


def _is_done(place: OutputFolder, scan: Scan, recipe: str) -> bool:
    entry = place.ledger.entries.get(scan.name)
    return entry is not None and (entry.state, entry.recipe) == (State.DONE, recipe)


def _require_same_way(agreed: Mapping[str, Any], way: Mapping[str, Any], folder: Path) -> None:
    """Refuse to compute in another engine or precision, after an engine gave way to PyTorch on this machine alone."""
    other = [name for name in _SAME_WAY if way and (way.get(name) or 0) != (agreed.get(name) or 0)]
    if other:
        raise SegpipeError(
            f"{folder}: its parts are computed with "
            f"{', '.join(f'{name} {agreed.get(name) or 0}' for name in other)}, and this machine computes with "
            f"{', '.join(f'{name} {way.get(name) or 0}' for name in other)}; predict this part on another machine, or "
            "all parts with --engine torch in another output folder"
        )


def _text(settings: Mapping[str, Any], name: str) -> str:
    return json.dumps(settings[name]) if name in settings else "not given"


def part_settings(
    bundle_sha256: str, device: str, options: Mapping[str, Any], batch_size: int | None
) -> dict[str, Any]:
    """Return name -> value of everything that a user chooses, and that must be equal in all parts.

    Args:
        bundle_sha256: of the opened bundle with its weights.
        device: type of the device, such as "cpu".
        options: `described` of the task's options.
        batch_size: as asked for.
    """
    return {**options, "bundle": bundle_sha256[:_HASH_SHOWN], "device": device, "batch_size": batch_size}
