"""Runs a function in several processes of one Gloo group, without torchrun."""

import multiprocessing
import tempfile
import warnings
from pathlib import Path

import torch
import torch.distributed as dist


def in_ranks(function, *arguments, processes=2):
    """Return what each rank returns from `function(rank, *arguments)`.

    The processes are forked, so that they need not import torch again.
    """
    context = multiprocessing.get_context("fork")
    with tempfile.TemporaryDirectory() as folder:
        with warnings.catch_warnings():
            warnings.simplefilter(
                "ignore", DeprecationWarning
            )  # Python 3.12 warns of threads that PyTorch has made
            started = [
                context.Process(target=_run, args=(rank, processes, folder, function, arguments))
                for rank in range(processes)
            ]
            for process in started:
                process.start()
        for process in started:
            process.join(timeout=120)
            assert process.exitcode == 0, f"exit status {process.exitcode}"
        return [torch.load(Path(folder) / f"{rank}.pt", weights_only=False) for rank in range(processes)]


def _run(rank, processes, folder, function, arguments):
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{folder}/store", rank=rank, world_size=processes)
    torch.save(function(rank, *arguments), Path(folder) / f"{rank}.pt")
    dist.barrier()
    dist.destroy_process_group()
