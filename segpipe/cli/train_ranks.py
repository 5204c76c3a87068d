"""`python -m segpipe.cli.train_ranks COMMAND COPY OPTIONS... -- run ...`: runs torchrun, and says how it ended.

torchrun itself reports an end in some thirty lines, after a traceback of each process. Here it is one line, with the
rank, the signal and the command that goes on.
"""

from __future__ import annotations

import logging
import os
import shutil
import signal
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from segpipe.printable import printable
from segpipe.ranks import LOST_PEER, noted_refusal, noted_run

if TYPE_CHECKING:
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError

_RANK = "segpipe.cli.train_rank"
_ELASTIC = "torch.distributed.elastic"
_FAILED = "failed (exitcode"  # torchrun's log of a process that ended
_ENDED = 1
_LONGEST_REASON = 300


def main() -> None:
    """Run torchrun in this process; exit status 0: trained, 1: a process ended, 128 + N: stopped by signal N."""
    command, copy, *rest = sys.argv[1:]
    options, arguments = rest[: rest.index("--")], rest[rest.index("--") + 1 :]
    log_dir = Path(tempfile.mkdtemp(prefix="segpipe-ranks-"))
    given = [
        text.replace("$", "$$") for text in (command, copy, *arguments)
    ]  # torchrun fills in ${local_rank}
    try:
        status = _run([*options, f"--log-dir={log_dir}", "-m", _RANK, *given], log_dir, command)
    except KeyboardInterrupt:  # before torchrun handles signals
        status = 128 + signal.SIGINT
    finally:
        shutil.rmtree(log_dir, ignore_errors=True)
        if copy:
            shutil.rmtree(copy, ignore_errors=True)
    sys.exit(status)


def _run(arguments: Sequence[str], log_dir: Path, command: str) -> int:
    """Run torchrun; return the exit status.

    Args:
        arguments: of torchrun.
        log_dir: its `--log-dir`.
        command: the command of the training, for the message on going on.
    """
    os.environ.setdefault("TORCH_CPP_LOG_LEVEL", "ERROR")  # which torch reads at its import
    from torch.distributed import DistNetworkError, DistStoreError
    from torch.distributed import run as torchrun
    from torch.distributed.elastic.multiprocessing import SignalException
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
    from torch.distributed.elastic.rendezvous import RendezvousClosedError, RendezvousError

    parsed = torchrun.parse_args(list(arguments))  # type: ignore[no-untyped-call]
    _share_cores(parsed.nproc_per_node)
    several = parsed.nnodes != "1"
    if several:  # each start again at a port of its own: the machines do not count their restarts alike
        os.environ.setdefault("TORCH_DISABLE_SHARE_RDZV_TCP_STORE", "1")
    _shorten_logs(log_dir, parsed.max_restarts, several)
    try:
        torchrun.run(parsed)  # type: ignore[no-untyped-call]
    except ChildFailedError as error:
        if not noted_refusal(log_dir):
            _say(f"{reason_of(error, several)}; {_next(log_dir, command, several)}")
        return _ENDED
    except SignalException as error:
        _say(f"stopped by {error.sigval.name}; {_next(log_dir, command, several)}")
        return 128 + error.sigval
    except (RendezvousError, DistNetworkError, DistStoreError) as error:
        if _has_started(log_dir) or isinstance(error, RendezvousClosedError):
            if not noted_refusal(log_dir):
                go_on = _next(log_dir, command, several)
                _say(f"the training has ended on another machine, whose log has the reason; {go_on}")
            return _ENDED
        reason = " ".join(str(error).split())[:_LONGEST_REASON] or type(error).__name__
        _say(
            f"the machines did not meet at {parsed.rdzv_endpoint} ({reason}); start the same command on all of them, "
            "see that each reaches that address, and that no other program has its port"
        )
        return _ENDED
    return 0


def reason_of(error: ChildFailedError, several: bool) -> str:
    """Return which process ended first, and how.

    Args:
        error: torchrun's, with every process that ended, and those that torchrun ended then.
        several: the training has several machines.
    """
    failures = list(error.failures.items())
    causes = [
        (rank, failure)
        for rank, failure in failures
        if failure.exitcode not in (LOST_PEER, -signal.SIGTERM)  # of those that ended after another
    ]
    by_hand = [(rank, failure) for rank, failure in failures if failure.exitcode == -signal.SIGTERM]
    if not causes and any(failure.exitcode == LOST_PEER for _, failure in failures):
        return lost_peers(several)
    rank, failure = (causes or by_hand)[0]
    return f"rank {rank} {how_it_ended(failure.exitcode, failure.pid)}; the training ended with it"


def lost_peers(several: bool) -> str:
    """Return why processes ended that lost a peer which is not among those that ended on this machine."""
    if several:
        return "a process on another machine ended, whose log has the reason"
    return "the processes lost each other, for the reason above"


def how_it_ended(exitcode: int, pid: int) -> str:
    """Return how a process ended.

    Args:
        exitcode: its exit status, or the negative number of the signal that killed it.
        pid: its id.
    """
    if exitcode >= 0:
        return f"(process {pid}) ended with exit status {exitcode}, for the reason above"
    name = signal.Signals(-exitcode).name
    hint = ", as Linux does where memory runs out" if exitcode == -signal.SIGKILL else ""
    return f"(process {pid}) was killed by {name}{hint}"


def _next(log_dir: Path, command: str, several: bool) -> str:
    """Return what to do next."""
    if noted_run(log_dir) is None:
        if several:  # rank 0 made the run's folder, and notes it on its own machine
            return "the log of the machine with rank 0 says how to go on"
        return "nothing was written; run the same command to start again"
    return f"resume with: {command} resume=true"


def _has_started(log_dir: Path) -> bool:
    """Return whether torchrun has started processes on this machine: the machines have met."""
    return any(log_dir.glob("*/attempt_*"))


def _share_cores(processes: str) -> None:
    """Give each process its share of the cores; torchrun would give it one, and say so."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    os.environ.setdefault("OMP_NUM_THREADS", str(max(cores // int(processes), 1)))


def _shorten_logs(log_dir: Path, max_restarts: int, several: bool) -> None:
    """Show of torchrun's log only that it starts again."""
    handler = _Restarts(log_dir, max_restarts, several)
    for name in (_ELASTIC, f"{_ELASTIC}.multiprocessing.api", f"{_ELASTIC}.agent.server.api"):
        logging.getLogger(name).propagate = False
    logging.getLogger(_ELASTIC).addHandler(logging.NullHandler())  # else Python shows warnings in any case
    logging.getLogger(f"{_ELASTIC}.multiprocessing.api").addHandler(handler)


class _Restarts(logging.Handler):
    """Turns torchrun's log of a process that ended into one line, where it starts all processes again."""

    def __init__(self, log_dir: Path, most: int, several: bool) -> None:
        super().__init__()
        self.log_dir = log_dir
        self.most = most
        self.several = several
        self.done = 0

    def emit(self, record: logging.LogRecord) -> None:
        """Show a record."""
        if not str(record.msg).startswith(_FAILED) or self.done >= self.most:
            return
        if noted_refusal(self.log_dir):  # the processes of the new start end at once
            return
        self.done += 1
        exitcode, local_rank, pid, *_ = record.args if isinstance(record.args, tuple) else (1, 0, 0)
        what = f"local rank {local_rank} {how_it_ended(int(exitcode), int(pid))}"  # type: ignore[call-overload]
        if exitcode == LOST_PEER:
            what = lost_peers(self.several)
        _say(f"{what}; all start again, {self.done} of {self.most}")


def _say(text: str) -> None:
    os.write(2, f"segpipe: {printable(text)}\n".encode())


if __name__ == "__main__":
    main()
