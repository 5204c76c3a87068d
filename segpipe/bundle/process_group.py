"""The processes of a training on several cards or nodes: how they join, what they share, how they end."""

from __future__ import annotations

import atexit
import logging
import os
import sys
import time
from types import TracebackType
from typing import Any

import torch
import torch.distributed as dist
from monai.engines import Trainer
from torch import nn
from torch.distributed import PrefixStore, TCPStore  # type: ignore[attr-defined]  # not marked as exported
from torch.nn.modules.batchnorm import _BatchNorm

from segpipe.errors import SegpipeError, exception_chain
from segpipe.losses import OverRanks
from segpipe.monai_run import is_monai_run, refusal_ends_run
from segpipe.printable import printable
from segpipe.ranks import LOST_PEER, is_first_to_lose_peers, rank, restarts, world_size

_SECONDS_TO_BE_ENDED = 3.0  # torchrun looks every 0.1 s which process ended, and ends the others
_LONGEST_REASON = 400  # NCCL's has many lines, the last of which names the failure
_LOST = ("gloo", "Connection closed by peer", "Connection reset by peer", "NCCL")


@refusal_ends_run()
def join_process_group(device: torch.device | str | None = None) -> None:
    """Join the processes that torchrun started: over NCCL on CUDA, with one card per process, else over Gloo.

    In MONAI's run, the log is that of rank 0 from here on, with the warnings of all.

    Args:
        device: of this process; None: CUDA where there is a card.

    Raises:
        SegpipeError: torchrun did not start this process, or there are more processes than cards.
    """
    if "RANK" not in os.environ:
        raise SegpipeError(
            "multi_gpu_train.yaml is for processes that torchrun starts, and this one was not; use segpipe train "
            "BUNDLE --processes N, or leave the file out"
        )
    on_cuda = torch.cuda.is_available() if device is None else torch.device(device).type == "cuda"
    if on_cuda:
        card, count = int(os.environ["LOCAL_RANK"]), torch.cuda.device_count()
        processes = int(os.environ.get("LOCAL_WORLD_SIZE", card + 1))
        if processes > count:
            raise SegpipeError(
                f"{processes} processes on this machine, and it has {count} cards: each process needs one; start "
                f"{count} (segpipe train: --processes {count}, torchrun: --nproc-per-node {count})"
            )
        # before the first collective call; otherwise NCCL runs it on card 0 in every process
        torch.cuda.set_device(card)
    if is_monai_run():
        _end_quietly_without_peers()
    _join("nccl" if on_cuda else "gloo")
    if is_monai_run() and dist.get_rank():
        logging.disable(logging.INFO)
    if not on_cuda:  # a process that ends with Gloo's threads running aborts
        atexit.register(_leave_at_exit)


def leave_process_group() -> None:
    """Leave the process group when every process has come this far.

    A process that leaves earlier would close the connections of the others, one of which may still be writing; and
    torchrun ends all processes if one fails.
    """
    dist.barrier()
    dist.destroy_process_group()


def local_device() -> torch.device:
    """Return the device of this process under torchrun."""
    if not torch.cuda.is_available():
        return torch.device("cpu")
    return torch.device("cuda", int(os.environ["LOCAL_RANK"]))


@refusal_ends_run()
def share_batch_norms(network: nn.Module) -> None:
    """Let the batch norms of a network take their statistics over the images of all processes.

    Args:
        network: changed in place; its parameters and the names in its state stay. In one process nothing changes.

    Raises:
        SegpipeError: it has batch norms, and the processes compute on processors, where PyTorch cannot share them.
    """
    if not (dist.is_available() and dist.is_initialized()) or dist.get_world_size() == 1:
        return
    alone = [
        name
        for name, module in network.named_modules()
        if isinstance(module, _BatchNorm) and not isinstance(module, nn.SyncBatchNorm)
    ]
    if not alone:
        return
    if dist.get_backend() != "nccl":
        raise SegpipeError(
            f"the network has {len(alone)} batch norms, the first at {alone[0]}, whose statistics are those of a whole "
            f"batch; PyTorch shares them among cards only, not among {dist.get_world_size()} processes on processors. "
            "Train with one process, which uses all cores; or choose norm=instance where the bundle has that id"
        )
    nn.SyncBatchNorm.convert_sync_batchnorm(network)  # type: ignore[no-untyped-call]


def prepare_for_ranks(trainer: Trainer) -> None:
    """Let a trainer of several processes minimise the loss of the batch of all of them, see `OverRanks`.

    Raises:
        SegpipeError: see `share_batch_norms`.
    """
    if not (dist.is_available() and dist.is_initialized()) or dist.get_world_size() == 1:
        return
    share_batch_norms(trainer.network)
    if not isinstance(trainer.loss_function, OverRanks):
        trainer.loss_function = OverRanks(trainer.loss_function)


def _join(backend: str) -> None:
    """Join, after a start again at addresses of this attempt.

    torchrun keeps its store, in which the addresses of the processes that ended still stand.
    """
    if not restarts() or os.environ.get("TORCHELASTIC_USE_AGENT_STORE") != "True":
        dist.init_process_group(backend)
        return
    host, port = os.environ["MASTER_ADDR"], int(os.environ["MASTER_PORT"])
    of_torchrun = TCPStore(host, port, is_master=False, wait_for_workers=False)
    store = PrefixStore(f"restart-{restarts()}", of_torchrun)
    dist.init_process_group(backend, store=store, rank=rank(), world_size=world_size())


def _leave_at_exit() -> None:
    if dist.is_initialized():
        dist.destroy_process_group()


def _end_quietly_without_peers() -> None:
    """End this process without a traceback if a peer ended; who runs torchrun reports the peer.

    Where torchrun finds no peer that ended, it is on another machine, or the connection failed: then one line says how.
    """
    before = sys.excepthook

    def end(kind: type[BaseException], error: BaseException, traceback: TracebackType | None) -> None:
        lost = _lost_peer(error)
        if lost is None:
            before(kind, error, traceback)
            return
        time.sleep(_SECONDS_TO_BE_ENDED)  # so that torchrun finds the peer first
        if is_first_to_lose_peers():
            reason = printable(" ".join(str(lost).split())[:_LONGEST_REASON])
            os.write(2, f"segpipe: rank {rank()} lost its peers: {reason}\n".encode())
        raise SystemExit(LOST_PEER)

    sys.excepthook = end
    for handler in logging.getLogger().handlers:
        handler.addFilter(_is_no_lost_peer)


def _is_no_lost_peer(record: logging.LogRecord) -> bool:
    return record.levelno < logging.ERROR or not any(text in record.getMessage() for text in _LOST)


def _lost_peer(error: BaseException) -> BaseException | None:
    """Return the error of a connection behind an error; None if there is none."""
    return next((one for one in exception_chain(error) if _is_of_connection(one)), None)


def _is_of_connection(error: Any) -> bool:
    if isinstance(error, dist.DistBackendError | dist.DistNetworkError | dist.DistStoreError):
        return True
    return isinstance(error, RuntimeError) and any(text in str(error) for text in _LOST)
