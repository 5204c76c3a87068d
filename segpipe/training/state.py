"""Handlers that save a run's results: best and last weights, and the state for a resume."""

from __future__ import annotations

import copy
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from ignite.engine import Engine, Events
from monai.engines import Evaluator, Trainer

from segpipe.dataset.loading import EpochSampler
from segpipe.errors import SegpipeError
from segpipe.files import json_sha256, staging_folder
from segpipe.monai_run import refusal_ends_run
from segpipe.networks import Identity, save_weights
from segpipe.networks.weights import load_state
from segpipe.networks.weights_files import read_state
from segpipe.training.longer import (
    cycle_of,
    is_finished,
    rates_of,
    refuse_finished,
    require_own_cycle,
    restart_rates,
)
from segpipe.training.random_state import random_state, restore_random_state
from segpipe.training.run_folder import RunFolder, is_main_process
from segpipe.training.signals import Phase, current_watch

STATE_VERSION = 3
_READ_VERSIONS = (2, 3)  # version 2 has no state within an epoch
_NEEDED = (  # keys of a state of either version
    *("experiment_sha256", "data_sha256", "network", "optimizer", "lr_scheduler", "scaler", "random"),
    *("epoch", "epoch_length", "max_epochs", "stopped_early", "best_metric", "best_metric_epoch"),
)
_LARGEST_PER_NETWORK = 16  # a state has at most this many times the network's bytes, optimisers included
_LARGEST_BESIDE = 2**28  # bytes of everything else in a state
_LONG_STEP_S = 3.0  # before a longer step the state is copied, since a signal does not wait for the step


class SaveBest:
    """Writes the network's weights after each validation that is the best so far; attach to the evaluator.

    Args:
        run_folder: run folder, which gets `best.pt`.
        network: the network to save; the bare one, not its DistributedDataParallel wrapper.
        identity: identity of the weights, see `segpipe.networks.weights.Identity`.
        provenance: how the weights are made, see `segpipe.networks.weights.Sidecar`. Where `chooses` in it is false,
            the validation cases are test cases, which may not choose weights: nothing is written.
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
        self.chooses = bool(provenance.get("chooses", True))

    def attach(self, engine: Evaluator) -> None:
        """Save after the evaluator has compared its key metric; tell `Validate` whether its cases may choose."""
        engine.chooses = self.chooses
        engine.add_event_handler(Events.EPOCH_COMPLETED, self._save)

    @refusal_ends_run()
    def _save(self, engine: Evaluator) -> None:
        if not is_main_process() or engine.state.best_metric_epoch != engine.state.epoch:
            return
        if not self.chooses:
            return
        metric = {engine.state.key_metric_name: float(engine.state.best_metric)}
        made = {**self.provenance, **self.run_folder.provenance, "epoch": engine.state.epoch}
        watch = current_watch()
        if watch is not None:
            watch.phase = Phase.SAVING
        self.run_folder.require_there()
        save_weights(self.run_folder.best, self.network, self.identity, {**made, "validation": metric})
        if watch is not None:
            watch.free()


class TrainingState:
    """Saves the complete state of a training, and restores it at the start of a resumed run.

    The state is saved after every epoch, and within an epoch when a signal ends the training (see `SignalWatch`). It
    holds tensors and plain values only. A run that is interrupted at any moment continues from its last saved state,
    and ends with the same weights as an uninterrupted run, bit for bit on a CPU.

    Args:
        run_folder: folder of the run; its `resume` decides whether a state is restored.
        network: the bare network.
        optimizer: optimiser of the trainer.
        lr_scheduler: learning rate schedule of the trainer.
        evaluator: evaluator whose best metric is saved.
        identity: identity of the weights.
        provenance: how the weights are made.
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
        self.cycle_began = 0  # epochs before the present cycle of the learning rate
        self._point: dict[str, Any] | None = None  # after the last step, until a state of it is saved
        self._copy: dict[str, Any] | None = None  # of the state before a long step
        self._step_began = 0.0
        self._restored: dict[str, Any] | None = None  # until the first step after the restore

    def attach(self, engine: Trainer) -> None:
        """Restore at the start; save after everything else of an epoch, validation included: attach it last."""
        engine.training_state = self
        engine.add_event_handler(Events.STARTED, self._restore)
        engine.add_event_handler(Events.EPOCH_STARTED, self._restore_figures)
        engine.add_event_handler(Events.ITERATION_STARTED, self._begin_step)
        engine.add_event_handler(Events.ITERATION_COMPLETED, self._end_step)
        engine.add_event_handler(Events.EPOCH_COMPLETED, self._save)

    @property
    def position(self) -> str:
        """The present epoch and step, for a message; empty before the first step."""
        if self._point is None:
            return ""
        return (
            f" in epoch {self._point['epoch'] + 1}, after batch {self._point['batches']} of "
            f"{self._point['epoch_length']}"
        )

    def save_within(self, engine: Trainer) -> bool:
        """Save the state after the last finished step; return False if everything is saved already.

        Raises:
            SegpipeError: the run's folder no longer exists.
        """
        if self._point is None or not is_main_process() or not _goes_on_within(engine):
            return False
        self._write(self._state(engine, self._point, _figures(engine)))
        self._point = None
        return True

    def save_aside(self, engine: Trainer, phase: Phase) -> bool:
        """Save the same state as `save_within`, from another thread while the training thread is busy.

        Args:
            engine: the trainer.
            phase: phase of the training thread. In a step, the copy from before the step is written, if there is one.

        Returns:
            whether a state was written.
        """
        if phase is not Phase.STEP:
            return self.save_within(engine)
        if self._copy is None:
            return False
        self._write(self._copy)
        return True

    def _begin_step(self, _: Engine) -> None:
        watch = current_watch()
        if watch is not None:
            watch.check()
            watch.phase = Phase.STEP
        if self._restored is not None:  # not earlier: the loader has drawn a random number at its start
            restore_random_state(self._restored["random"])
            self._restored = None
        self._step_began = time.perf_counter()

    def _end_step(self, engine: Trainer) -> None:
        done = engine.state.iteration - (engine.state.epoch - 1) * engine.state.epoch_length
        if done % engine.accumulation_steps and done < engine.state.epoch_length:
            return  # accumulated gradients are not part of a state
        self._point = self._now(engine, engine.state.epoch - 1, done)
        slow = time.perf_counter() - self._step_began > _LONG_STEP_S
        watch = current_watch()
        if watch is not None:
            can = slow and _goes_on_within(engine)
            self._copy = copy.deepcopy(self._state(engine, self._point, _figures(engine))) if can else None
            watch.free()

    def _now(self, engine: Trainer, epoch: int, batches: int) -> dict[str, Any]:
        """Return the values that change between two steps, beside the states of network and optimiser."""
        return {
            "epoch": epoch,
            "batches": batches,
            "epoch_length": engine.state.epoch_length,
            "stopped_early": bool(engine.should_terminate),
            "best_metric": float(self.evaluator.state.best_metric),
            "best_metric_epoch": int(self.evaluator.state.best_metric_epoch),
            "random": random_state(),
        }

    def _state(
        self, engine: Trainer, point: Mapping[str, Any], figures: Mapping[str, Any] | None
    ) -> dict[str, Any]:
        return {
            "version": STATE_VERSION,
            "experiment_sha256": self.run_folder.experiment_sha256,
            "data_sha256": _data_sha256(self.provenance),
            "max_epochs": engine.state.max_epochs,
            "cycle_began": self.cycle_began,
            "processes": _processes(),
            "network": self.network.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "lr_scheduler": self.lr_scheduler.state_dict(),
            "scaler": engine.scaler.state_dict() if engine.scaler is not None else None,
            "figures": figures,
            **point,
        }

    @property
    def _largest(self) -> int:
        """Largest bytes of a state, for writing and for reading."""
        network_bytes: int = sum(tensor.nbytes for tensor in self.network.state_dict().values())
        return _LARGEST_PER_NETWORK * network_bytes + _LARGEST_BESIDE

    def _write(self, state: Mapping[str, Any]) -> None:
        """Write a state to a temporary file; replace the earlier state once the new one can be read."""
        self.run_folder.require_there()
        path = self.run_folder.training_state
        with staging_folder(path) as folder:
            with (folder / path.name).open("wb") as file:
                torch.save(state, file)
            read_state(folder / path.name, largest=self._largest)

    @refusal_ends_run()
    def _save(self, engine: Trainer) -> None:
        if not is_main_process():
            return
        watch = current_watch()
        if watch is not None:
            watch.phase = Phase.SAVING
        self.run_folder.require_there()
        # weights first: a state of a finished run must not stand beside the weights of an earlier epoch
        save_weights(
            self.run_folder.last,
            self.network,
            self.identity,
            {**self.provenance, **self.run_folder.provenance, "epoch": engine.state.epoch},
        )
        self._write(self._state(engine, self._now(engine, engine.state.epoch, 0), None))
        self._point = self._copy = None
        finished = engine.should_terminate or engine.state.epoch >= engine.state.max_epochs
        if watch is not None and not finished:  # after a finished run there is nothing to resume
            watch.free()

    @refusal_ends_run()
    def _restore(self, engine: Trainer) -> None:
        if not self.run_folder.resumes:
            return
        path = self.run_folder.training_state
        state = read_state(path, largest=self._largest)
        self._require_fitting(path, state, engine)
        load_state(self.network, path, state["network"])
        self._restore_rates(engine, state)
        if engine.scaler is not None and state["scaler"] is not None:
            engine.scaler.load_state_dict(state["scaler"])
        self.evaluator.state.best_metric = state["best_metric"]
        self.evaluator.state.best_metric_epoch = state["best_metric_epoch"]
        batches = state.get("batches", 0)
        engine.state.epoch = state["epoch"]
        engine.state.iteration = state["epoch"] * state["epoch_length"] + batches
        restore_random_state(state["random"])
        self.run_folder.record_resume()
        if not state["epoch"]:
            self.run_folder.discard_log()
        within = f", batch {batches} of {state['epoch_length']} of the next" if batches else ""
        engine.logger.info(f"Resumed {self.run_folder.path} after epoch {state['epoch']}{within}")
        if cycle_of(state, engine.state.max_epochs).is_new:
            engine.logger.info(
                f"The run is made longer: a new cycle of the learning rate, epochs {self.cycle_began + 1} to "
                f"{engine.state.max_epochs}"
            )
        if batches == state["epoch_length"]:
            self._complete_epoch(engine, state)
        elif batches:
            self._restored = state
            engine.data_loader.sampler.skip = batches * engine.data_loader.batch_size

    def _restore_rates(self, engine: Trainer, state: Mapping[str, Any]) -> None:
        """Restore optimiser and schedule; where a finished run is made longer, the schedule begins again."""
        cycle, fresh = cycle_of(state, engine.state.max_epochs), rates_of(self.optimizer)
        self.cycle_began = cycle.began
        if cycle.began:
            require_own_cycle(
                self.lr_scheduler, self.run_folder.path, state["epoch_length"], engine.state.max_epochs
            )
        self.optimizer.load_state_dict(state["optimizer"])
        if cycle.is_new:
            restart_rates(self.optimizer, fresh)
        else:
            self.lr_scheduler.load_state_dict(state["lr_scheduler"])

    def _complete_epoch(self, engine: Trainer, state: dict[str, Any]) -> None:
        """Do the rest of an epoch whose steps are complete: log, validate, save."""
        engine.state.epoch += 1
        self._point = {name: state[name] for name in self._now(engine, 0, 0)}
        _load_figures(engine, state["figures"])
        engine.fire_event(Events.EPOCH_COMPLETED)

    def _restore_figures(self, engine: Trainer) -> None:
        """Restore an epoch's counts, after all handlers have set theirs to zero."""
        if self._restored is not None:
            _load_figures(engine, self._restored["figures"])

    def _require_fitting(self, path: Path, state: Mapping[str, Any], engine: Trainer) -> None:
        version = state.get("version") if isinstance(state, dict) else None
        if version not in _READ_VERSIONS:
            raise SegpipeError(
                f"{path}: training state version {version!s:.40}, this segpipe reads {STATE_VERSION}; "
                "finish the run with the segpipe that began it"
            )
        missing = [name for name in _NEEDED if name not in state]
        if missing:
            raise SegpipeError(
                f"{path}: is no whole training state: it has no {missing[0]}; restore the file, or start a new run"
            )
        hashes = [self.run_folder.experiment_sha256]
        if is_finished(state):  # it may be made longer
            hashes.append(self.run_folder.experiment_sha256_of(state["max_epochs"]))
        if state["experiment_sha256"] not in hashes:
            raise SegpipeError(f"{path}: belongs to another configuration; restore it, or start a new run")
        if state["data_sha256"] != _data_sha256(self.provenance):
            raise SegpipeError(
                f"{path}: the manifest or the files of the training cases changed since this run began; "
                "restore them, or start a new run"
            )
        began = state.get("processes", _processes())  # an earlier segpipe did not say it
        if began != _processes():
            raise SegpipeError(
                f"{path}: the run had {began!s:.40} processes, now there are {_processes()}; the batch of a step is "
                "that of all: resume with as many processes as it began with"
            )
        if state["epoch_length"] != engine.state.epoch_length:
            raise SegpipeError(
                f"{path}: the run had {state['epoch_length']} steps an epoch, now there are "
                f"{engine.state.epoch_length}; resume with as many processes as it began with"
            )
        refuse_finished(path.parent, state, engine.state.max_epochs)


def _processes() -> int:
    return dist.get_world_size() if dist.is_available() and dist.is_initialized() else 1


def _goes_on_within(engine: Trainer) -> bool:
    """Return whether a training can resume within an epoch: its sampler can skip the finished samples."""
    sampler = getattr(engine.data_loader, "sampler", None)
    return isinstance(sampler, EpochSampler) and engine.data_loader.batch_size is not None


def _figures(engine: Trainer) -> dict[str, Any] | None:
    """Return the counts of an epoch so far."""
    scalars = getattr(engine, "scalars", None)
    return None if scalars is None else scalars.state_dict()


def _load_figures(engine: Trainer, figures: Mapping[str, Any] | None) -> None:
    scalars = getattr(engine, "scalars", None)
    if scalars is not None and figures is not None:
        scalars.load_state_dict(figures, engine)


def _data_sha256(provenance: Mapping[str, Any]) -> str:
    """Return a hash of the training data; a manifest's name says nothing about the cases that it lists today."""
    return json_sha256({name: value for name, value in provenance.items() if name != "segpipe"})
