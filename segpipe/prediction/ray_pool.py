"""Workers on a Ray cluster: one actor for each GPU, or for a number of processor cores."""

from __future__ import annotations

import atexit
import ipaddress
import logging
import os
import socket
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

from segpipe.errors import SegpipeError, raise_interruption
from segpipe.prediction.worker import Message, ScanWorker
from segpipe.prediction.worker_run import ScanJob, WorkerLostError, Workers

RAY = "ray"
"""Value of --workers."""
_ADDRESS, _AUTH, _TOKEN = "RAY_ADDRESS", "RAY_AUTH_MODE", "token"
_LOCAL = "local"
_ANSWER_S, _LOOK_S, _START_S = 5.0, 5.0, 300.0
_MOST_FAILED_STARTS = 3  # without a start that succeeds between them


def ray_workers(cores: int) -> Workers:
    """Return workers on the cluster that RAY_ADDRESS names, or on this machine without that variable.

    Args:
        cores: processor cores of each worker, at least 1; on cuda a worker also gets a GPU of its own.

    Raises:
        SegpipeError: there are fewer than 1 core; Ray is not installed, or the cluster does not answer or has no token.
    """
    if cores < 1:
        raise SegpipeError(f"--cores-per-worker is {cores}, must be at least 1")
    address = os.environ.get(_ADDRESS, "") or _LOCAL
    require_token(address, os.environ.get(_AUTH, ""))
    _require_answer(address)
    ray = _imported(is_local=address == _LOCAL)

    def opened(recipe: Message, scans: int, tell: Callable[[str], None]) -> RayPool:
        _connect(ray, address)
        return RayPool(ray, recipe, scans, tell)

    return Workers(cores, opened)


def require_token(address: str, mode: str) -> None:
    """Refuse a cluster of other machines without a token: anybody who reaches it could run programs there.

    Args:
        address: as in RAY_ADDRESS.
        mode: as in RAY_AUTH_MODE.

    Raises:
        SegpipeError: the message has the commands that set a token.
    """
    if address == _LOCAL or _is_loopback(address) or mode.lower() == _TOKEN:
        return
    raise SegpipeError(
        f"{_ADDRESS} is {address}, and {_AUTH} is {mode or 'not set'}: without a token, anybody who reaches the "
        f"cluster can run programs on it; on every machine give `export {_AUTH}={_TOKEN}`, make a token with `ray "
        "get-auth-token --generate`, and start the cluster anew with `ray start --head`"
    )


def _is_loopback(address: str) -> bool:
    host, _ = _host_and_port(address)
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _host_and_port(address: str) -> tuple[str, int]:
    """Return host and port of an address such as 10.0.0.1:6379 or ray://10.0.0.1:10001; port 0 if it has none."""
    host, _, port = address.rpartition("://")[2].rpartition(":")
    return (host.strip("[]"), int(port)) if port.isdecimal() and int(port) < 2**16 else (port, 0)


def _require_answer(address: str) -> None:
    """Refuse an address where nothing answers; Ray itself tries for a minute.

    Raises:
        SegpipeError: the address has no port, or nothing answers.
    """
    if address in (_LOCAL, "auto"):
        return
    host, port = _host_and_port(address)
    if not host or not port:
        raise SegpipeError(f"{_ADDRESS} is {address!r:.80}; must be HOST:PORT, such as 10.0.0.1:6379")
    try:
        socket.create_connection((host, port), timeout=_ANSWER_S).close()
    except OSError as error:
        raise SegpipeError(
            f"{_ADDRESS} is {address}, and no Ray cluster answers there ({error}); start one with `ray start --head`, "
            "correct the address, or unset the variable to use this machine alone"
        ) from error


def _imported(*, is_local: bool) -> Any:
    """Return the package `ray`; its usage statistics are off, and a cluster of this process gets a token.

    Raises:
        SegpipeError: the package is not installed.
    """
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"  # before the import, and for the processes that Ray starts
    if is_local and "ray" not in sys.modules:  # later, the processes that Ray starts would not have the token
        os.environ.setdefault(_AUTH, _TOKEN)
    try:
        import ray
    except ImportError as error:
        raise SegpipeError(f"--workers {RAY} needs a package: pip install 'segpipe[ray]'") from error
    return ray


def _connect(ray: Any, address: str) -> None:
    """Connect to a cluster, or start one on this machine that other machines do not reach.

    Raises:
        SegpipeError: Ray does not start, or the cluster refuses the connection.
    """
    if ray.is_initialized():
        return
    quiet: dict[str, Any] = {"log_to_driver": False, "logging_level": logging.ERROR}
    if address == _LOCAL:
        cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
        quiet |= {"num_cpus": cores, "include_dashboard": False, "_node_ip_address": "127.0.0.1"}
    try:
        ray.init(address=address, **quiet)
    except Exception as error:  # Ray raises a plain one where its processes do not start in time
        raise_interruption(error)
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        if address == _LOCAL:
            raise SegpipeError(
                f"Ray does not start on this machine: {reason}; other programs may keep its processors busy: run the "
                "same command again, or leave out --workers"
            ) from error
        raise SegpipeError(
            f"the Ray cluster {address} refuses the connection: {reason}; see `ray status` there"
        ) from error
    atexit.register(ray.shutdown)


@dataclass
class _Busy:
    """What an actor does now: a job, or its start."""

    actor: Any
    job: ScanJob | None
    since: float = field(default_factory=time.monotonic)


class RayPool:
    """Actors that segment scans; the actor of a machine that died is replaced where the cluster has room.

    Args:
        ray: the package.
        recipe: of all workers, with their cores, and whether each gets a GPU.
        most: largest number of workers that are of use.
        tell: called with a message for the user.

    Raises:
        SegpipeError: no machine of the cluster has so many cores, or a GPU.
    """

    def __init__(
        self,
        ray: Any,
        recipe: Message,
        most: int,
        tell: Callable[[str], None],
    ) -> None:
        self._ray, self._recipe = ray, recipe
        cores, has_gpu = recipe["cores"], recipe["has_gpu"]
        needs = {"num_cpus": cores, "num_gpus": int(has_gpu), "max_restarts": 0}
        self._actor = ray.remote(**needs)(ScanWorker)
        self._idle: list[Any] = []
        self._busy: dict[Any, _Busy] = {}
        self._failed_starts = 0
        count = min(workers_that_fit(ray.nodes(), cores, has_gpu=has_gpu), most)
        if not count:
            raise SegpipeError(
                f"no machine of the Ray cluster has {cores} cores{' and a GPU' if has_gpu else ''} for a worker; give "
                "--cores-per-worker a smaller number, or --device cpu"
            )
        tell(f"{count} workers with {cores} cores each" + (" and a GPU" if has_gpu else ""))
        for _ in range(count):
            self._start()

    def _start(self) -> None:
        actor = self._actor.remote(self._recipe)
        self._busy[actor.start.remote()] = _Busy(actor, None)

    def run(self, jobs: Callable[[], ScanJob | None]) -> Iterator[tuple[ScanJob, Message | WorkerLostError]]:
        """Yield each job with its answer, in the order in which they end; see `segpipe.prediction.worker_run.Pool`.

        Raises:
            SegpipeError: a worker has another bundle or other versions; or no worker starts for minutes; or a worker
                fails beside its scan, such as for a full disk.
        """
        try:
            yield from self._answers(jobs)
        finally:
            self._close()

    def _answers(
        self, jobs: Callable[[], ScanJob | None]
    ) -> Iterator[tuple[ScanJob, Message | WorkerLostError]]:
        waiting: ScanJob | None = None
        while True:
            while self._idle and (job := waiting or jobs()) is not None:
                waiting, actor = None, self._idle.pop()
                self._busy[actor.segment.remote(job.message, job.content)] = _Busy(actor, job)
            in_work = any(busy.job is not None for busy in self._busy.values())
            if not in_work and waiting is None and (waiting := jobs()) is None:
                break
            done, _ = self._ray.wait(list(self._busy), num_returns=1, timeout=_LOOK_S)
            if not done:
                self._require_start()
            for reference in done:
                busy = self._busy.pop(reference)
                answer = self._answer(reference, busy)
                if busy.job is not None and answer is not None:
                    yield busy.job, answer

    def _answer(self, reference: Any, busy: _Busy) -> Message | WorkerLostError | None:
        """Return the answer of an actor, which is idle then; a lost actor is replaced."""
        try:
            answer: Message = self._ray.get(reference)
        except (self._ray.exceptions.RayActorError, self._ray.exceptions.ObjectLostError) as error:
            self._failed_starts += busy.job is None
            if self._failed_starts >= _MOST_FAILED_STARTS:
                raise SegpipeError(
                    f"{self._failed_starts} workers died at their start: {str(error).strip().splitlines()[-1]}; "
                    "install the same segpipe on all machines of the cluster, and see that they have memory"
                ) from error
            self._ray.kill(busy.actor)  # it may only be out of reach
            self._start()
            return WorkerLostError(type(error).__name__)
        except self._ray.exceptions.RayTaskError as error:
            raise SegpipeError(
                f"a worker failed: {str(error).strip().splitlines()[-1]}; finished scans stay: mend the reason, then "
                "run the same command to continue"
            ) from error
        if busy.job is None:
            self._require_able(answer)
            self._failed_starts = 0
        self._idle.append(busy.actor)
        return answer

    def _require_able(self, report: Message) -> None:
        """Refuse a worker that would compute in another way than the driver.

        Raises:
            SegpipeError: with the name of its machine, and both versions, or the reason.
        """
        expected = self._recipe["versions"]
        other = [
            f"{name} {report['versions'].get(name)} (driver: {expected.get(name)})"
            for name in {**expected, **report["versions"]}
            if report["versions"].get(name) != expected.get(name)
        ]
        if other:
            raise SegpipeError(
                f"the worker on {report['host']} has {', '.join(other)}; install the same versions on all machines"
            )
        if report["problem"]:
            raise SegpipeError(f"the worker on {report['host']} cannot start: {report['problem']}")

    def _require_start(self) -> None:
        """Refuse to wait for ever for a cluster in which no worker starts.

        Raises:
            SegpipeError: no actor works, and none has started for minutes.
        """
        oldest = min((busy.since for busy in self._busy.values()), default=time.monotonic())
        is_working = self._idle or any(busy.job is not None for busy in self._busy.values())
        if not is_working and time.monotonic() - oldest > _START_S:
            raise SegpipeError(
                f"no worker of the Ray cluster started within {_START_S:.0f} s; see `ray status`, then run the same "
                "command to continue"
            )

    def _close(self) -> None:
        """End the actors, which remove their folders before."""
        ended = [actor.close.remote() for actor in self._idle]
        if ended:
            self._ray.wait(ended, num_returns=len(ended), timeout=_LOOK_S)
        for actor in [*self._idle, *(busy.actor for busy in self._busy.values())]:
            self._ray.kill(actor)


def workers_that_fit(nodes: list[Message], cores: int, *, has_gpu: bool) -> int:
    """Return how many workers the machines of a cluster hold.

    Args:
        nodes: as `ray.nodes()` gives them.
        cores: of each worker.
        has_gpu: each worker gets a GPU.
    """
    count = 0
    for node in nodes:
        if node["Alive"]:
            held = int(node["Resources"].get("CPU", 0) // cores)
            count += min(held, int(node["Resources"].get("GPU", 0))) if has_gpu else held
    return count
