"""The uploads that wait, run and are done; one is computed at a time, and nothing stays longer than it must."""

from __future__ import annotations

import asyncio
import logging
import math
import secrets
import shutil
import time
import traceback
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Protocol

from segpipe.serving.answer import DEFECT, OK, Answer
from segpipe.serving.metrics import ServerCounts
from segpipe.serving.options import ServeOptions

JSON_RESULT = "result"
"""Name of the answer in JSON among the parts of an answer."""

_ID_BYTES = 16
_SHOWN_OF_ID = 6  # characters of an id in the log; the whole id opens the result
_SWEEP_EVERY_S = 1.0
_logger = logging.getLogger("segpipe.serving")


class JobState(StrEnum):
    """What happens to an upload."""

    RECEIVING = "receiving"
    QUEUED = "queued"
    RUNNING = "running"
    FINISHED = "finished"


class Runner(Protocol):
    """Computes uploads; see `segpipe.serving.worker.WorkerProcess`."""

    restarts: int

    @property
    def is_ready(self) -> bool:
        """Whether the next upload can be computed at once."""

    def run(self, upload: Path, output: Path) -> Answer:
        """Compute an upload."""

    def stop(self) -> None:
        """End at once."""


@dataclass
class Job:
    """An upload and its answer.

    Attributes:
        id: random text, which nobody can guess.
        folder: holds `upload` and `output`.
        state: of the upload.
        answer: None until it is finished.
        finished_at: by `time.monotonic`.
        fetched: the parts of the answer that were fetched.
        done: set with the answer.
    """

    id: str
    folder: Path
    state: JobState = JobState.RECEIVING
    answer: Answer | None = None
    finished_at: float = 0.0
    fetched: set[str] = field(default_factory=set)
    done: asyncio.Event = field(default_factory=asyncio.Event)

    @property
    def upload(self) -> Path:
        """Folder of the uploaded file."""
        return self.folder / "upload"

    @property
    def output(self) -> Path:
        """Folder of the answer's files."""
        return self.folder / "output"

    @property
    def mark(self) -> str:
        """Name in the log."""
        return self.id[:_SHOWN_OF_ID]


class FullError(Exception):
    """No place for another upload.

    Args:
        message: for the client.
        seconds: after which it may try again.
    """

    def __init__(self, message: str, seconds: int) -> None:
        super().__init__(message)
        self.seconds = seconds


class Desk:
    """Takes uploads, has them computed one after the other, and keeps answers until they are fetched.

    All methods run in one event loop; `runner.run` runs in a thread.

    Args:
        runner: computes uploads.
        options: of the server.
        scratch: folder for uploads and answers.
    """

    def __init__(self, runner: Runner, options: ServeOptions, scratch: Path) -> None:
        self._runner, self._options, self._scratch = runner, options, scratch
        self._jobs: dict[str, Job] = {}
        self._waiting: asyncio.Queue[Job] = asyncio.Queue()
        self._tasks: list[asyncio.Task[None]] = []
        self.counts = ServerCounts()

    async def start(self) -> None:
        """Begin to compute uploads, and to delete what nobody fetched."""
        self._tasks = [asyncio.create_task(self._work()), asyncio.create_task(self._sweep())]

    async def stop(self) -> None:
        """Give up what runs and waits, and delete all files."""
        self._runner.stop()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        for job in list(self._jobs.values()):
            self.drop(job)
            _remove([job.folder])  # of a scan that ran, too

    @property
    def is_ready(self) -> bool:
        """Whether the process with the network runs."""
        return self._runner.is_ready

    def open(self) -> Job:
        """Take a place for an upload that is about to be received.

        Raises:
            FullError: the queue, or the place for results, is full.
        """
        unfinished = self._number(JobState.RECEIVING, JobState.QUEUED, JobState.RUNNING)
        if unfinished >= self._options.queue:
            seconds = max(math.ceil(self.counts.mean_seconds), 1)
            raise FullError(f"{unfinished} scans are being received, wait or run; try again later", seconds)
        finished = [job for job in self._jobs.values() if job.state is JobState.FINISHED]
        if len(finished) >= self._options.results:
            oldest = min(job.finished_at for job in finished)
            seconds = max(math.ceil(oldest + self._options.keep_seconds - time.monotonic()), 1)
            raise FullError(f"{len(finished)} results wait to be fetched; fetch or delete some", seconds)
        name = secrets.token_urlsafe(_ID_BYTES)
        job = Job(name, self._scratch / name)
        for folder in (job.folder, job.upload, job.output):
            folder.mkdir(mode=0o700)
        self._jobs[job.id] = job
        return job

    def enqueue(self, job: Job, received_bytes: int) -> None:
        """Have an upload computed that was received as a whole."""
        job.state = JobState.QUEUED
        self.counts.received_bytes += received_bytes
        self._waiting.put_nowait(job)
        _logger.info("scan %s: received %d bytes", job.mark, received_bytes)

    def find(self, job_id: str) -> Job | None:
        """Return an upload that is known; None if there is none, or no longer."""
        return self._jobs.get(job_id)

    def ahead_of(self, job: Job) -> int:
        """Return the number of scans that are computed before an upload."""
        order = [one for one in self._jobs.values() if one.state in (JobState.QUEUED, JobState.RUNNING)]
        return order.index(job) if job in order else 0

    def fetched(self, job: Job, part: str) -> None:
        """Note that a part of an answer was sent; delete the answer with the last part."""
        job.fetched.add(part)
        if job.answer is not None and job.fetched >= {JSON_RESULT, *job.answer.files}:
            self.drop(job)

    def drop(self, job: Job) -> None:
        """Forget an upload and delete its files; what runs is deleted when it ends."""
        if self._jobs.pop(job.id, None) is not None:
            _logger.info("scan %s: deleted", job.mark)
        if job.state is not JobState.RUNNING:
            _remove([job.folder])

    def gauges(self) -> dict[str, tuple[str, float]]:
        """Return name -> description and value of what is there now, for the metrics."""
        return {
            "receiving": ("Uploads that are being received.", self._number(JobState.RECEIVING)),
            "queued": ("Scans that wait.", self._number(JobState.QUEUED)),
            "running": ("Scans that are computed.", self._number(JobState.RUNNING)),
            "results": ("Results that wait to be fetched.", self._number(JobState.FINISHED)),
            "queue_size": ("Largest number of scans received, waiting or computed.", self._options.queue),
            "ready": ("1 if the process with the network runs.", float(self.is_ready)),
            "restarts": ("Restarts of the process with the network.", self._runner.restarts),
        }

    def _number(self, *states: JobState) -> int:
        return sum(job.state in states for job in self._jobs.values())

    async def _work(self) -> None:
        while True:
            job = await self._waiting.get()
            if job.id not in self._jobs:
                continue  # the client deleted it
            job.state = JobState.RUNNING
            since = time.monotonic()
            try:
                answer = await asyncio.to_thread(self._runner.run, job.upload, job.output)
            except Exception as error:  # a defect of the runner must not end the queue
                place = traceback.extract_tb(error.__traceback__)[-1]
                where = f"{Path(place.filename).name}:{place.lineno}"
                answer = Answer(DEFECT, f"a defect of segpipe ({type(error).__name__})", where=(where,))
            self._finish(job, answer, time.monotonic() - since)

    def _finish(self, job: Job, answer: Answer, seconds: float) -> None:
        job.state, job.finished_at = JobState.FINISHED, time.monotonic()
        job.answer = answer
        self.counts.answers[answer.status] += 1
        self.counts.seconds += seconds
        _logger.info("scan %s: status %d after %.1f s", job.mark, answer.status, seconds)
        if answer.where:
            _logger.error("scan %s: %s", job.mark, " < ".join(reversed(answer.where)))
        dropped = job.id not in self._jobs
        _remove([job.folder] if dropped else [job.upload, *([] if answer.status == OK else [job.output])])
        job.done.set()

    async def _sweep(self) -> None:
        while True:
            await asyncio.sleep(_SWEEP_EVERY_S)
            self.sweep(time.monotonic())

    def sweep(self, now: float) -> None:
        """Delete answers that nobody fetched in time.

        Args:
            now: by `time.monotonic`.
        """
        for job in list(self._jobs.values()):
            if job.state is JobState.FINISHED and now - job.finished_at >= self._options.keep_seconds:
                self.drop(job)


def _remove(folders: Sequence[Path]) -> None:
    for folder in folders:
        with suppress(FileNotFoundError):
            shutil.rmtree(folder)
