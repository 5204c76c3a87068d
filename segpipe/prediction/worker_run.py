"""The driver of a cohort on workers: hands out scans, and alone writes the ledger and the output folder."""

from __future__ import annotations

import os
import shutil
import tempfile
import uuid
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from segpipe.bundle.source import BundleSource
from segpipe.errors import SegpipeError
from segpipe.files import sync
from segpipe.inference.engines.threads import torch_threads
from segpipe.prediction.label_names import name_labels
from segpipe.prediction.ledger import Entry, State, parse_entry
from segpipe.prediction.options import Outcome, Prediction, label_map_name, scan_place
from segpipe.prediction.output_folder import attempt, now
from segpipe.prediction.ownership import written_files
from segpipe.prediction.pace import Pace
from segpipe.prediction.part_ways import settled_way
from segpipe.prediction.publishing import publish_scan
from segpipe.prediction.request import computing_versions
from segpipe.prediction.scan_files import require_text, scan_content, scan_sha256
from segpipe.prediction.worker import (
    Message,
    WorkRecipe,
    options_message,
    scan_message,
    source_message,
)
from segpipe.volumes import Scan

if TYPE_CHECKING:
    from segpipe.prediction.cohort import CohortRun

_MOST_LOSSES = 3  # of the workers that had one scan


class WorkerLostError(Exception):
    """A worker died, or its machine did, while it had a scan."""


@dataclass(frozen=True)
class ScanJob:
    """A scan for a worker.

    Attributes:
        scan: of the cohort.
        message: from `scan_message`.
        content: bytes of the scan's files, for a worker that does not see them; else None.
    """

    scan: Scan
    message: Message
    content: list[dict[str, bytes]] | None = None


class Pool(Protocol):
    """Workers that segment scans; `segpipe.prediction.ray_pool.RayPool`."""

    def run(self, jobs: Callable[[], ScanJob | None]) -> Iterator[tuple[ScanJob, Message | WorkerLostError]]:
        """Yield each job with its answer, in the order in which they end.

        Args:
            jobs: returns the next job; None while there is none. It is asked again after each answer.
        """


PoolOf = Callable[[Message, int, Callable[[str], None]], Pool]
"""Makes a pool from the recipe's message, the number of scans and a function that tells the user a message."""


@dataclass(frozen=True)
class Workers:
    """Workers that a user asks for.

    Attributes:
        cores: processor threads of each worker.
        open: makes the pool; the pool ends with the process.
    """

    cores: int
    open: PoolOf


class WorkerRun:
    """The steps of a cohort whose scans are segmented by workers.

    Args:
        run: of the driver, whose network only settles engine and precision.
        source: the bundle.
        workers: as asked for.
    """

    def __init__(self, run: CohortRun, source: BundleSource, workers: Workers) -> None:
        self._run, self._source, self._workers = run, source, workers
        self._place, self._ledger = run.place, run.place.ledger
        self._waiting: deque[ScanJob] = deque()
        self._ended: deque[Prediction] = deque()
        self._losses: dict[str, int] = {}
        self._told: set[str] = set()
        self._way: dict[str, Any] = {}
        self._pace = Pace()

    def go(self, scans: Iterable[Scan]) -> Generator[Prediction]:
        """Hand out the scans; yield each scan's outcome once it is on disk."""
        every = list(scans)
        name_labels(self._place.folder, self._run.bundle.labels, self._ledger, every, self._run.options)
        self._ledger.write_volumes()
        left = iter(every)
        try:
            for scan in left:
                found = attempt(partial(self._failed, scan), self._job, scan)
                if isinstance(found, ScanJob):
                    self._waiting.append(found)
                    yield from self._by_workers(every, left)  # takes the scans that are left
                else:
                    yield found
        finally:
            self._ledger.write_volumes()

    def _by_workers(self, every: list[Scan], left: Iterator[Scan]) -> Generator[Prediction]:
        pool = self._workers.open(self._recipe(every), len(every), self._tell)
        for job, answer in pool.run(partial(self._next, left)):
            outcome = attempt(partial(self._failed, job.scan), self._outcome, job, answer)
            if outcome is not None:
                yield outcome
            yield from self._drain()
        yield from self._drain()

    def _drain(self) -> Generator[Prediction]:
        while self._ended:
            yield self._ended.popleft()

    def _next(self, left: Iterator[Scan]) -> ScanJob | None:
        """Return the next scan that needs a worker; the outcomes of those that need none are kept for `_drain`."""
        if self._waiting:
            return self._waiting.popleft()
        for scan in left:
            found = attempt(partial(self._failed, scan), self._job, scan)
            if isinstance(found, ScanJob):
                return found
            self._ended.append(found)
        return None

    def _job(self, scan: Scan) -> ScanJob | Prediction:
        require_text(scan)
        label_map = self._place.folder / label_map_name(scan, self._run.options)
        if scan.name in self._ledger.entries or os.path.lexists(
            label_map
        ):  # only then is the scan hashed here
            known = self._run.known(scan, scan_sha256(scan))
            if known is not None:
                return known
        return ScanJob(scan, scan_message(scan))

    def _recipe(self, scans: list[Scan]) -> Message:
        """Return the recipe of all workers, with the engine and precision settled on the first scan."""
        run, staging = self._run, self._place.staging
        self._way = settled_way(run, scans)
        mark = f"shared-{uuid.uuid4().hex}"
        (staging / mark).touch()
        recipe = WorkRecipe(
            source_message(self._source),
            options_message(run.options),
            run.recipe,
            self._way,
            self._workers.cores,
            run.bundle.device.type == "cuda",
            computing_versions(),
            str(staging.absolute()),
            mark,
        )
        return recipe.message()

    def _tell(self, message: str) -> None:
        if message not in self._told:  # each worker says the same
            self._told.add(message)
            self._place.tell(message)

    def _outcome(self, job: ScanJob, answer: Message | WorkerLostError) -> Prediction | None:
        """Return the outcome of a scan; None if the scan goes to a worker again."""
        scan = job.scan
        if isinstance(answer, WorkerLostError):
            self._losses[scan.name] = losses = self._losses.get(scan.name, 0) + 1
            if losses >= _MOST_LOSSES:
                raise SegpipeError(
                    f"{scan.path}: {losses} workers died with this scan ({answer}); they may lack memory: give "
                    "--cores-per-worker a larger number, so that fewer workers share a machine"
                )
            self._place.log.warning("%s: its worker died (%s); another worker gets it", scan.name, answer)
            self._waiting.appendleft(job)
            return None
        if answer.get("unseen"):
            self._tell("workers do not see the files of scans, which are sent to them")
            self._waiting.appendleft(replace(job, content=scan_content(scan)))
            return None
        for message in answer["messages"]:
            self._tell(message)
        self._run.left_out += answer["left_out"]
        return self._published(scan, answer)

    def _published(self, scan: Scan, answer: Message) -> Prediction:
        """Move the files of a scan to their places, and record them."""
        entry = parse_entry(answer["entry"])
        if entry.state is not State.DONE:
            raise SegpipeError(entry.reason)
        self._require_same_way(entry, answer["host"])
        folder, run = self._place.folder, self._run
        known = run.known(scan, entry.scan_sha256)  # a user may have corrected a label map meanwhile
        if known is not None:
            return known
        before = self._ledger.entries.get(scan.name)
        entry = replace(
            entry,
            state=State.WRITING,
            scan=scan_place(scan),
            request=run.request,
            replaced={} if before is None else written_files(folder, before),
            finished=now(),
        )
        name = label_map_name(scan, run.options)
        with _staged(answer, self._place.staging) as staged:
            done = publish_scan(self._ledger, folder, staged, entry, name)
        self._pace.write_if_due(self._ledger.write_volumes)
        self._place.log.info("%s: done in %.1f s", scan.name, done.seconds)
        for warning in done.warnings or ():
            self._place.log.warning("%s: %s", scan.name, warning)
        known_of = done.reason, done.volumes, done.warnings, done.resampled
        return Prediction(scan.name, Outcome.DONE, scan.path, folder / name, done.seconds, *known_of)

    def _require_same_way(self, entry: Entry, host: str) -> None:
        """Refuse a scan whose worker's engine gave way to another one.

        Raises:
            SegpipeError: with the machine and both engines.
        """
        agreed = self._way.get("engine", ""), self._way.get("precision", "")
        got = entry.engine, entry.precision
        if agreed[0] and got[0] and agreed != got:  # an engine is empty for MONAI's own chain
            raise SegpipeError(
                f"{host} computed it with {' in '.join(got)}, and the cohort is computed with {' in '.join(agreed)}; "
                f"mend {agreed[0]} there, then run the same command again; or give --engine torch and another --output"
            )

    def _failed(self, scan: Scan, error: Exception) -> Prediction:
        return self.failed(scan.name, scan.path, self._place.fail(scan, error))

    def failed(self, name: str, path: Path, reason: str) -> Prediction:
        """Return the outcome of a scan that cannot be read or segmented."""
        return self._run.failed(name, path, reason)

    def finish(self) -> None:
        """Report the DICOM files that were left out."""
        self._run.finish()


@contextmanager
def _staged(answer: Message, staging: Path) -> Iterator[Path]:
    """Yield the folder of a worker's files on this disk: the worker's own, or one for the bytes that it sent."""
    if answer["staged"]:
        yield Path(answer["staged"])
        return
    sent = Path(tempfile.mkdtemp(dir=staging))
    try:
        for name, content in answer["files"].items():
            path = sent / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)
            sync(path)
        yield sent
    finally:
        shutil.rmtree(sent, ignore_errors=True)


def worker_run(make: Callable[[], CohortRun], source: BundleSource, workers: Workers) -> WorkerRun:
    """Return the steps of a driver, which settles engine and precision with as many threads as a worker has.

    Args:
        make: makes the driver's run.
        source: the bundle, as workers open it.
        workers: as asked for.
    """
    with torch_threads(workers.cores):
        run = make()
    if run.way.torch_threads < workers.cores:
        run.place.tell(
            f"workers compute with {run.way.torch_threads} of their {workers.cores} cores, as this machine does, or "
            "the earlier scans did; start a cohort on a machine with as many cores as a worker"
        )
    return WorkerRun(run, source, workers)
