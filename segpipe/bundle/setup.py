"""What a bundle's `initialize` calls: each ends the process with one message where something is wrong."""

from __future__ import annotations

import os
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist

from segpipe.bundle.cases import TrainingCases
from segpipe.bundle.running import merged_configuration, resolved_components, running_parser
from segpipe.errors import SegpipeError, exit_with_message
from segpipe.networks import Identity
from segpipe.networks import load_weights as load_network_weights
from segpipe.training import RunFolder
from segpipe.training.run_folder import is_main_process


@exit_with_message()
def check_device(device: torch.device | str) -> None:
    """Refuse a device that this machine has not.

    Raises:
        SystemExit: with the devices there are.
    """
    try:
        wanted = torch.device(device)
    except RuntimeError as error:
        raise SegpipeError(f"device {device!r} is not a device; use cpu, cuda or cuda:N") from error
    if wanted.type != "cuda":
        return
    count = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if (wanted.index or 0) >= count:
        there = f"cuda:0 to cuda:{count - 1}" if count else "no CUDA device"
        raise SegpipeError(f"device {wanted} is not there: this machine has {there}; use --device cpu")


@exit_with_message()
def start_run(run_folder: RunFolder, cases: TrainingCases) -> None:
    """Make the run's folder with the configuration and environment in it, and say where TensorBoard finds it.

    Args:
        run_folder: of the run.
        cases: asked for so that they are read and checked before the folder is made.
    """
    _require_enough_cases(cases)
    run_folder.start(merged_configuration(running_parser()))
    if is_main_process():
        print(  # noqa: T201
            f"Run folder: {run_folder.path}\nWatch it:   tensorboard --logdir {run_folder.tensorboard}\n"
            f"Cases:      {len(cases.train)} to train on, {len(cases.validation)} to validate with",
            flush=True,
        )


def _require_enough_cases(cases: TrainingCases) -> None:
    """Refuse more processes than cases: one without a case would keep the others waiting for ever."""
    processes = dist.get_world_size() if dist.is_available() and dist.is_initialized() else 1
    for name, records in (("train on", cases.train), ("validate with", cases.validation)):
        if 0 < len(records) < processes:
            raise SegpipeError(
                f"{processes} processes but only {len(records)} cases to {name}: every process needs one; "
                f"start at most {len(records)} processes"
            )


@exit_with_message()
def identity(
    network: torch.nn.Module,
    labels: Sequence[Mapping[str, Any]],
    transforms: str = "deterministic_transforms",
) -> Identity:
    """Describe what weights of this bundle belong to.

    Args:
        network: the bundle's `network_def`.
        labels: the rows of its label table.
        transforms: the id under which the configuration lists its deterministic transforms.
    """
    return Identity.of(network, resolved_components(running_parser(), transforms), labels)


@exit_with_message()
def load_weights(
    network: torch.nn.Module,
    weights: Sequence[str | Path] | None,
    identity: Identity,
    run_folder: RunFolder | None = None,
    held_out: Mapping[str, str] | None = None,
) -> None:
    """Load a bundle's weights into its network.

    Args:
        network: on its device.
        weights: one file; a list, because an ensemble will have several. None takes the best of `run_folder`.
        identity: of the bundle.
        run_folder: of the run whose weights are the default.
        held_out: case -> SHA-256 of its image, where the weights are to be scored on them.

    Raises:
        SystemExit: the file cannot be read, is of another network, of other transforms or labels; nothing is
            held out to score, or the weights were trained on a case that they are to be scored on.
    """
    if weights is None and run_folder is not None:
        weights = [run_folder.best]
    if weights is None or isinstance(weights, str | Path) or len(weights) != 1:
        raise SegpipeError(
            f"weights must be a list of one file, is {weights}; ensembles are not supported yet"
        )
    path = Path(weights[0])
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        sidecar = load_network_weights(network, path, identity)
    for warning in caught:
        print(f"segpipe: warning: {warning.message}", flush=True)  # noqa: T201
    if held_out is not None:
        _require_unseen(path, held_out, {} if sidecar is None else sidecar.training.get("cases", {}))


def _require_unseen(path: Path, held_out: Mapping[str, str], trained_on: Mapping[str, str]) -> None:
    if not held_out:
        raise SegpipeError("fold is all: every case trains and none is held out to score; give --fold N")
    seen = sorted(case for case, sha256 in held_out.items() if sha256 in set(trained_on.values()))
    if seen:
        raise SegpipeError(
            f"{path}: was trained on {len(seen)} of the {len(held_out)} cases it is to be scored on, first "
            f"{seen[0]}: such scores say nothing; give the --fold that its run held out"
        )


def evaluation_folder(run_folder: RunFolder) -> Path:
    """Return where scores go: into the run that is scored, or beside all runs if only weights were named."""
    return (run_folder.path if run_folder.named else run_folder.output_dir) / "evaluation"


def join_process_group() -> None:
    """Join the processes that torchrun started: over NCCL where there is CUDA, else Gloo."""
    dist.init_process_group("nccl" if torch.cuda.is_available() else "gloo")


def local_device() -> torch.device:
    """Return this process's own device under torchrun."""
    if not torch.cuda.is_available():
        return torch.device("cpu")
    device = torch.device("cuda", int(os.environ["LOCAL_RANK"]))
    torch.cuda.set_device(device)
    return device
