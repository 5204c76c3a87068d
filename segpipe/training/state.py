"""Handlers that keep a run's results: best and last weights, and the state a broken-off run resumes from."""

from __future__ import annotations

import random
from collections.abc import Mapping
from typing import Any, cast

import numpy as np
import torch
from ignite.engine import Engine, Events
from monai.engines import Evaluator, Trainer
from numpy.typing import NDArray

from segpipe.errors import SegpipeError, exit_with_message
from segpipe.files import json_sha256, write_atomically
from segpipe.networks import Identity, save_weights
from segpipe.networks.weights import read_state
from segpipe.training.run_folder import RunFolder, is_main_process

STATE_VERSION = 2


class SaveBest:
    """Write the network's weights after each validation that was the best so far; attach to the evaluator.

    Args:
        run_folder: where `best.pt` goes.
        network: whose state is written; the bare one, not its DistributedDataParallel wrapper.
        identity: what the weights belong to.
        provenance: how they are made, see `segpipe.networks.weights.Sidecar`.
    """

    def __init__(
        self,
        run_folder: RunFolder,
        network: torch.nn.Module,
        identity: Identity,
        provenance: Mapping[str, Any],
    ) -> None:
        self.run_folder = run_folder
        self.network = network
        self.identity = identity
        self.provenance = provenance

    def attach(self, engine: Evaluator) -> None:
        """Save when the evaluator has compared its key metric."""
        engine.add_event_handler(Events.EPOCH_COMPLETED, self._save)

    @exit_with_message()
    def _save(self, engine: Evaluator) -> None:
        if not is_main_process() or engine.state.best_metric_epoch != engine.state.epoch:
            return
        metric = {engine.state.key_metric_name: float(engine.state.best_metric)}
        made = {**self.provenance, **self.run_folder.provenance, "epoch": engine.state.epoch}
        save_weights(self.run_folder.best, self.network, self.identity, {**made, "validation": metric})


class TrainingState:
    """Save after every epoch all that the next one depends on, and restore it at the start of a resumed run.

    The state holds tensors and plain values only. A run that is cut off at any moment goes on from its last
    finished epoch and ends with the same weights as one that was not, bit for bit on a CPU.

    Args:
        run_folder: of the run; its `resume` decides whether a state is restored.
        network: the bare network.
        optimizer: of the trainer.
        lr_scheduler: of the trainer.
        evaluator: whose best metric is kept.
        identity: what the weights belong to.
        provenance: how they are made.
    """

    def __init__(
        self,
        run_folder: RunFolder,
        network: torch.nn.Module,
        optimizer: torch.optim.Optimizer,
        lr_scheduler: torch.optim.lr_scheduler.LRScheduler,
        evaluator: Evaluator,
        identity: Identity,
        provenance: Mapping[str, Any],
    ) -> None:
        self.run_folder = run_folder
        self.network = network
        self.optimizer = optimizer
        self.lr_scheduler = lr_scheduler
        self.evaluator = evaluator
        self.identity = identity
        self.provenance = provenance

    def attach(self, engine: Trainer) -> None:
        """Restore at the start; save after all else of an epoch, validation included: attach it last."""
        engine.add_event_handler(Events.STARTED, self._restore)
        engine.add_event_handler(Events.EPOCH_COMPLETED, self._save)

    @exit_with_message()
    def _save(self, engine: Trainer) -> None:
        if not is_main_process():
            return
        state = {
            "version": STATE_VERSION,
            "experiment_sha256": self.run_folder.experiment_sha256,
            "data_sha256": _data_sha256(self.provenance),
            "epoch": engine.state.epoch,
            "epoch_length": engine.state.epoch_length,
            "max_epochs": engine.state.max_epochs,
            "stopped_early": bool(engine.should_terminate),
            "network": self.network.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "lr_scheduler": self.lr_scheduler.state_dict(),
            "scaler": engine.scaler.state_dict() if engine.scaler is not None else None,
            "best_metric": float(self.evaluator.state.best_metric),
            "best_metric_epoch": int(self.evaluator.state.best_metric_epoch),
            "random": _random_state(),
        }
        # the weights first: a state that says the run is finished must not stand beside the weights before it
        save_weights(
            self.run_folder.last,
            self.network,
            self.identity,
            {**self.provenance, **self.run_folder.provenance, "epoch": engine.state.epoch},
        )
        write_atomically(self.run_folder.training_state, lambda file: torch.save(state, file))

    @exit_with_message()
    def _restore(self, engine: Engine) -> None:
        if not self.run_folder.resumes:
            return
        path = self.run_folder.training_state
        state = read_state(path)
        if state.get("version") != STATE_VERSION:
            raise SegpipeError(
                f"{path}: training state version {state.get('version')}, this segpipe reads {STATE_VERSION}; "
                "finish the run with the segpipe that began it"
            )
        if state["experiment_sha256"] != self.run_folder.experiment_sha256:
            raise SegpipeError(f"{path}: belongs to another configuration; restore it, or start a new run")
        if state["data_sha256"] != _data_sha256(self.provenance):
            raise SegpipeError(
                f"{path}: the manifest or the files of the training cases changed since this run began; "
                "restore them, or start a new run"
            )
        if state["epoch_length"] != engine.state.epoch_length:
            raise SegpipeError(
                f"{path}: the run had {state['epoch_length']} steps an epoch, now there are "
                f"{engine.state.epoch_length}; resume with as many processes as it began with"
            )
        if state["epoch"] >= state["max_epochs"] or state["stopped_early"]:
            raise SegpipeError(
                f"{path.parent}: this run is finished, after epoch {state['epoch']} of "
                f"{state['max_epochs']}; choose another --run_name (segpipe train: run_name=NAME) to train again"
            )
        self.network.load_state_dict(state["network"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.lr_scheduler.load_state_dict(state["lr_scheduler"])
        if engine.scaler is not None and state["scaler"] is not None:
            engine.scaler.load_state_dict(state["scaler"])
        self.evaluator.state.best_metric = state["best_metric"]
        self.evaluator.state.best_metric_epoch = state["best_metric_epoch"]
        engine.state.epoch = state["epoch"]
        engine.state.iteration = state["epoch"] * state["epoch_length"]
        _restore_random_state(state["random"])
        self.run_folder.record_resume()
        engine.logger.info(f"Resumed {self.run_folder.path} after epoch {state['epoch']}")


def _data_sha256(provenance: Mapping[str, Any]) -> str:
    """Hash what a run is trained on; the name of a manifest says nothing of what it lists today."""
    return json_sha256({name: value for name, value in provenance.items() if name != "segpipe"})


def _random_state() -> dict[str, Any]:
    """Return the state of every generator, as tensors and plain values."""
    version, internal, gauss = random.getstate()
    name, keys, position, has_gauss, cached = cast(
        tuple[str, NDArray[np.uint32], int, int, float],
        np.random.get_state(),  # noqa: NPY002  # MONAI uses the global one
    )
    return {
        "torch": torch.get_rng_state(),
        "cuda": torch.cuda.get_rng_state_all() if torch.cuda.is_available() else [],
        "python": [version, list(internal), gauss],
        "numpy": [name, torch.from_numpy(keys.astype(np.int64)), position, has_gauss, cached],
    }


def _restore_random_state(state: Mapping[str, Any]) -> None:
    torch.set_rng_state(state["torch"])
    if torch.cuda.is_available() and len(state["cuda"]) == torch.cuda.device_count():
        torch.cuda.set_rng_state_all(state["cuda"])
    version, internal, gauss = state["python"]
    random.setstate((version, tuple(internal), gauss))
    name, keys, position, has_gauss, cached = state["numpy"]
    np.random.set_state((name, keys.numpy().astype(np.uint32), position, has_gauss, cached))  # noqa: NPY002
