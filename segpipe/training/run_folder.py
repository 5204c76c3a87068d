"""The folder of one training run, `output_dir/run_name/`; a training writes nowhere else."""

from __future__ import annotations

import os
import platform
import shutil
from collections.abc import Callable, Mapping
from datetime import datetime
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
import yaml
from filelock import FileLock
from torch.utils.tensorboard import SummaryWriter

import segpipe
from segpipe.documents import DocumentError, parse_yaml, read_document
from segpipe.errors import SegpipeError, shown
from segpipe.files import (
    aside_folder,
    discard_remains,
    folder_stamp,
    half_written,
    is_folder,
    json_sha256,
    read_json,
    write_json,
    write_text,
)
from segpipe.provenance import commit, package_versions
from segpipe.ranks import has_refused, note_run, restarts, run_id
from segpipe.training.longer import present_epochs
from segpipe.training.result_ids import result_ids
from segpipe.training.run_lock import LOCK_FILE, lock_run, started_by

_NAME_TYPED = "--run_name NAME (segpipe train: run_name=NAME)"
_CONFIGURATION = "configuration.yaml"
_RESTORE = "restore the file, or start a new run"
_EPOCHS = "epochs"


def is_main_process() -> bool:
    """Return whether this process writes files: rank 0, or the only process."""
    return not (dist.is_available() and dist.is_initialized()) or dist.get_rank() == 0


class RunFolder:
    """The folder of one run and the paths in it. Creating the object does not touch the disk.

    Args:
        output_dir: folder of all runs.
        run_name: name of one folder; a number, as the command line gives for `--run_name 7`, is one too. None takes the
            date and time, which rank 0 chooses for all ranks.
        resume: continue the run of this name; without `resume` an existing name is refused. Where torchrun starts all
            processes again, the run that they made is continued in any case.

    Attributes:
        name_given: whether `run_name` was given.
        followers: called with the figures of an epoch, tag -> value, and the epoch; for trackers beside TensorBoard.
    """

    def __init__(
        self, output_dir: str | Path, run_name: str | int | None = None, resume: bool = False
    ) -> None:
        self.output_dir = Path(output_dir)
        self.name_given = run_name is not None
        self.followers: list[Callable[[Mapping[str, float], int], None]] = []
        self._run_name = None if run_name is None else str(run_name)
        self.resume = resume or self._is_started_again()
        self._writer: SummaryWriter | None = None
        self._lock: FileLock | None = None
        self._stamp: tuple[int, int] | None = None
        self._configuration: dict[str, Any] = {}
        self._experiment: dict[str, Any] = {}
        self._environment: dict[str, Any] = {}
        self._class_voxels: dict[str, int] = {}

    def _is_started_again(self) -> bool:
        """Return whether torchrun has started this process again, in a run that it began and that nothing refused."""
        again = self.named and restarts() > 0 and bool(run_id()) and not has_refused()
        return again and started_by(self.path) == run_id()

    @property
    def named(self) -> bool:
        """Whether the run has a name yet: given, or chosen at `start`."""
        return self._run_name is not None

    @property
    def path(self) -> Path:
        """The folder of the run.

        Raises:
            SegpipeError: the run has no name yet, or the name is not a folder name.
        """
        if self._run_name is None:
            raise SegpipeError(f"the run has no name; give {_NAME_TYPED}")
        if Path(self._run_name).name != self._run_name or self._run_name in ("", ".."):
            raise SegpipeError(
                f"run_name is {self._run_name!r}, must be the name of one folder below {self.output_dir}; choose "
                "the folder above it with --output_dir (segpipe train: output_dir=DIR)"
            )
        return self.output_dir / self._run_name

    @property
    def is_run(self) -> bool:
        """Whether a training has begun in the folder."""
        return (self.path / _CONFIGURATION).is_file()

    @property
    def training_state(self) -> Path:
        """The file to resume from."""
        return self.path / "training_state.pt"

    @property
    def best(self) -> Path:
        """The weights of the best validation."""
        return self.path / "best.pt"

    @property
    def last(self) -> Path:
        """The weights of the last finished epoch."""
        return self.path / "last.pt"

    @property
    def tensorboard(self) -> Path:
        """The log folder for TensorBoard."""
        return self.path / "tensorboard"

    @property
    def experiment_sha256(self) -> str:
        """Hash of the configuration without the ids that only change where and how it runs; known from `start` on."""
        if not self._experiment:
            raise RuntimeError("the run is not started")
        return json_sha256(self._experiment)

    def experiment_sha256_of(self, epochs: int) -> str:
        """Return the hash that `experiment_sha256` has where the configuration has this number of epochs."""
        known = {_EPOCHS: epochs} if _EPOCHS in self._experiment else {}
        return json_sha256({**self._experiment, **known})

    @property
    def provenance(self) -> dict[str, Any]:
        """The run's part of the weights' sidecar: configuration and environment; known from `start` on."""
        return {"configuration": self._experiment, "environment": self._environment}

    @property
    def configuration(self) -> dict[str, Any]:
        """The configuration of the run with its overrides; known from `start` on."""
        return self._configuration

    @property
    def environment(self) -> dict[str, Any]:
        """The environment of the run, see `environment`; known from `start` on."""
        return self._environment

    @property
    def class_voxels(self) -> dict[str, int]:
        """Class name -> voxels of the training cases, by class index; empty if they were not counted."""
        return self._class_voxels

    def recorded_at_start(self) -> tuple[dict[str, Any], dict[str, Any]]:
        """Read the configuration and environment of the run's first start, before any resume.

        Raises:
            SegpipeError: one of the two files cannot be read, or segpipe did not write it.
        """
        path = self.path / "environment.json"
        return self._recorded_configuration(), _as_object(
            path, read_json(path, "the environment of this run")
        )

    def _recorded_configuration(self) -> dict[str, Any]:
        path = self.path / _CONFIGURATION
        try:
            _, content = parse_yaml(read_document(path))
        except DocumentError as error:
            raise SegpipeError(f"{path}: {error.reason}; {_RESTORE}") from error
        return _as_object(path, content)

    @property
    def resumes(self) -> bool:
        """Whether there is a saved state; a run interrupted in its first epoch begins again."""
        return self.resume and self.training_state.is_file()

    def start(self, configuration: Mapping[str, Any], class_voxels: Mapping[str, int] | None = None) -> None:
        """Make the folder, lock it, and record configuration and environment.

        Args:
            configuration: with its overrides, in plain YAML types.
            class_voxels: class name -> voxels of the training cases, by class index, if they were counted.

        Raises:
            SegpipeError: the name is not a folder name; it exists and `resume` is false; the folder cannot be written.
                For a resume: the run does not exist, another process trains in it, `run_name` is missing, or the
                configuration differs.
        """
        self._agree_on_name()
        self._configuration = dict(configuration)
        self._experiment = result_ids(configuration)
        self._environment = environment()
        self._class_voxels = dict(class_voxels or {})
        self._require_shared_disk()
        if not is_main_process():
            return
        if not self.resume:
            self._make_folder()
            self._hold()
            return
        self._require_run()
        self._hold()
        self._require_same_experiment()
        discard_remains(self.path)
        if not self.resumes:  # the first epoch is done again, and logs everything again
            shutil.rmtree(self.tensorboard, ignore_errors=True)
            self._record(self.path)

    def _hold(self) -> None:
        self._lock = lock_run(self.path)
        self._stamp = folder_stamp(self.path)
        note_run(self.path)

    def _require_shared_disk(self) -> None:
        """Refuse a resume of several processes of which only some see the training state."""
        if not self.resume:
            return
        seen = _of_all_ranks(self.resumes)
        if len(set(seen)) > 1:
            without = [str(rank) for rank, sees in enumerate(seen) if not sees]
            raise SegpipeError(
                f"{self.training_state}: {len(without)} of {len(seen)} processes cannot see this file (rank "
                f"{shown(without)}); give an output_dir on a disk that all machines share"
            )

    def record_resume(self) -> None:
        """Record the configuration and environment of a resume."""
        if is_main_process():
            self._record(self.path, f"-resumed-{datetime.now():%Y%m%d-%H%M%S}")

    def _record(self, folder: Path, suffix: str = "") -> None:
        text = yaml.safe_dump(self._configuration, sort_keys=False)
        write_json(folder / f"environment{suffix}.json", self._environment)
        write_text(folder / f"configuration{suffix}.yaml", text)

    def _make_folder(self) -> None:
        """Make the folder with its records under another name, then rename it: a kill leaves no incomplete run."""
        path = self.path
        if is_folder(path) and not _has_content(path):
            self._remove_remains()
        elif os.path.lexists(path):
            raise self._exists()
        try:
            with aside_folder(path) as aside:
                self._record(aside)
        except OSError as error:
            if isinstance(error, FileExistsError) and os.path.lexists(path):
                raise self._exists() from error
            reason = "Not a directory" if isinstance(error, FileExistsError) else error.strerror
            raise SegpipeError(
                f"{path}: cannot be made: {reason}; choose another --output_dir (segpipe train: output_dir=DIR)"
            ) from error

    def _exists(self) -> SegpipeError:
        if self.is_run:
            return SegpipeError(
                f"{self.path}: this run exists; resume it with --resume True (segpipe train: resume=true), or "
                f"choose another name with {_NAME_TYPED}"
            )
        return SegpipeError(
            f"{self.path}: exists already, and is no run that can be resumed; choose another name with {_NAME_TYPED}"
        )

    def _remove_remains(self) -> None:
        """Remove a folder that is empty, or that holds only files of a killed start."""
        lock = lock_run(self.path)  # refuses if that start still runs
        shutil.rmtree(self.path)
        lock.release()

    def _require_run(self) -> None:
        if self.is_run:
            return
        if os.path.lexists(self.path) and (not is_folder(self.path) or _has_content(self.path)):
            raise SegpipeError(
                f"{self.path}: nothing to resume: it has no {_CONFIGURATION}, so that it is no run; choose another "
                f"name with {_NAME_TYPED}"
            )
        raise SegpipeError(
            f"{self.path}: nothing to resume: no such run; leave out --resume (segpipe train: resume=true)"
        )

    def _require_same_experiment(self) -> None:
        then = result_ids(self._recorded_configuration())
        now = self._experiment
        if self.resumes and _EPOCHS in then and _EPOCHS in now:  # a finished run may be made longer
            then[_EPOCHS] = present_epochs(self.training_state, then[_EPOCHS], now[_EPOCHS])
        changed = sorted(name for name in {*then, *now} if then.get(name) != now.get(name))
        if changed:
            name = changed[0]
            raise SegpipeError(
                f"{self.path}: cannot resume with another configuration: {', '.join(changed)} changed, first "
                f"{name}: {then.get(name)} then, {now.get(name)} now; restore it, or start a new run"
            )

    def _agree_on_name(self) -> None:
        if self._run_name is None:
            if self.resume:
                raise SegpipeError(
                    f"--resume True (segpipe train: resume=true) needs the run's name; give {_NAME_TYPED}"
                )
            self._run_name = f"{datetime.now():%Y%m%d-%H%M%S}"
        if dist.is_available() and dist.is_initialized():
            names = [self._run_name]
            dist.broadcast_object_list(names)
            self._run_name = names[0]
            # torchrun starts the processes of another machine again without counting it
            self.resume = any(_of_all_ranks(self.resume))

    def writer(self, from_epoch: int = 0) -> SummaryWriter:
        """Return the run's TensorBoard writer, which is opened at its first use.

        Args:
            from_epoch: at the first use, hide what an interrupted run logged after this epoch.
        """
        if self._writer is None:
            purge_step = from_epoch + 1 if from_epoch else None
            self._writer = SummaryWriter(str(self.tensorboard), purge_step=purge_step)
        return self._writer

    def require_there(self) -> None:
        """Refuse to write if the folder was deleted or moved since the start: a new folder would not be a run.

        Raises:
            SegpipeError: the message says what to do.
        """
        if self._stamp is not None and folder_stamp(self.path) != self._stamp:
            raise SegpipeError(
                f"{self.path}: the run's folder was deleted or moved while its training ran, so that nothing can be "
                "saved; move it back and resume with --resume True (segpipe train: resume=true), or start again "
                f"with another {_NAME_TYPED}"
            )

    def discard_log(self) -> None:
        """Remove the TensorBoard log of a run that repeats its first epoch, which logs everything again."""
        if is_main_process():
            shutil.rmtree(self.tensorboard, ignore_errors=True)

    def release(self) -> None:
        """Release the lock on the folder; the end of the process releases it too."""
        if self._lock is not None:
            self._lock.release()
            self._lock = None

    def close(self) -> None:
        """Close the TensorBoard log."""
        if self._writer is not None:
            self._writer.close()
            self._writer = None


def _of_all_ranks(value: bool) -> list[Any]:
    if not (dist.is_available() and dist.is_initialized()):
        return [value]
    values: list[Any] = [None] * dist.get_world_size()
    dist.all_gather_object(values, value)
    return values


def _has_content(folder: Path) -> bool:
    """Return whether a folder holds more than the lock and the half-written files of a killed start."""
    remains = set(half_written(folder))
    return any(path not in remains and path.name != LOCK_FILE for path in folder.iterdir())


def _as_object(path: Path, content: Any) -> dict[str, Any]:
    if not isinstance(content, dict):
        raise SegpipeError(f"{path}: is a {type(content).__name__}, must be an object; {_RESTORE}")
    return content


def environment() -> dict[str, Any]:
    """Return what a result depends on beside the configuration: versions, machine, threads, commit."""
    return {
        "segpipe": segpipe.__version__,
        "python": platform.python_version(),
        "packages": package_versions(),
        "platform": platform.platform(),
        "processor": processor_name(),
        "threads": torch.get_num_threads(),
        "cpus": os.cpu_count(),
        "cuda_device": torch.cuda.get_device_name() if torch.cuda.is_available() else None,
        "commit": commit(),
    }


def processor_name() -> str:
    """Return the processor's model name; if it is not known, the platform's text."""
    capabilities = torch.cpu.get_capabilities()
    return str(capabilities.get("cpu_name") or platform.processor() or platform.machine())
