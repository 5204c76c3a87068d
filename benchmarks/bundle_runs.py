"""Trainings of a bundle with overrides, each scored on the fold that it held out; what several benchmarks share.

A finished training is one line in a file; one that broke off resumes. Not run by itself.
"""

from __future__ import annotations

import json
import os
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from monai.bundle import ConfigParser

from segpipe.files import json_sha256
from segpipe.provenance import commit
from segpipe.training.run_folder import processor_name

ROOT = Path(__file__).resolve().parents[1]
_BYTES_OF_RSS = 1024  # as Linux counts it


@dataclass(frozen=True)
class Training:
    """One configuration of a bundle, trained on all folds but one.

    Attributes:
        bundle: name of its folder in `bundles/`, or the path of another.
        files: configuration files, the first `train`.
        overrides: id -> value, as the command line takes them.
        fold: that is held out.
        seed: of the run.
    """

    bundle: str
    overrides: Mapping[str, Any]
    fold: int
    seed: int = 0
    files: Sequence[str] = field(default=("train",))

    def __post_init__(self) -> None:
        """Refuse None as an override: MONAI's bundle run drops it in silence."""
        nothing = [name for name, value in self.overrides.items() if value is None]
        if nothing:
            raise ValueError(f"overrides of None do not reach the training: {', '.join(nothing)}")

    @property
    def configuration(self) -> str:
        """A hash of the files with the overrides: results of another configuration are others."""
        return json_sha256(self._parser().get())[:12]

    def setting(self, name: str) -> Any:
        """Return what the configuration has under an id."""
        parser = self._parser()
        parser.read_meta(str(self._root / "configs" / "metadata.json"))
        return parser.get_parsed_content(name)

    def _parser(self) -> ConfigParser:
        parser = ConfigParser()
        parser.read_config([str(self._root / "configs" / f"{name}.yaml") for name in self.files])
        parser.update(dict(self.overrides))
        return parser

    @property
    def _root(self) -> Path:
        return ROOT / "bundles" / self.bundle

    def run(self, dataset_dir: Path, output_dir: Path, name: str) -> tuple[dict[str, Any], Path]:
        """Train, or go on with what broke off, and score the last epoch's weights.

        Args:
            dataset_dir: where the data set lies.
            output_dir: of the runs.
            name: of this one.

        Returns:
            what every line of results holds, and the folder with the scores. Minutes are those of this call: of a
            training that was `resumed`, the last part's.

        Raises:
            RuntimeError: code or configuration changed meanwhile.
        """
        folder = output_dir / name
        configuration, code = self.configuration, _code()
        where = {"dataset_dir": str(dataset_dir), "output_dir": str(output_dir), "run_name": name}
        where["reference_ranges"] = "False"  # they would count as time of the training
        experiment = {
            **self.overrides,
            "fold": self.fold,
            "seed": self.seed,
            "val_interval": 1000,  # the last epoch alone
            "patience": 0,
        }
        resumed = folder.exists()
        before, began = processor_seconds(), time.perf_counter()
        peak = 0
        if not self._finished(folder):
            peak = self._command([], {**where, **experiment, "resume": resumed})
        minutes, wall = (processor_seconds() - before) / 60, (time.perf_counter() - began) / 60
        self._command(["evaluate"], {**where, **experiment, "weights": [str(folder / "last.pt")]})
        if (configuration, code) != (self.configuration, _code()):
            raise RuntimeError(
                f"{name}: code or configuration changed during the training; its result is of neither"
            )
        line = {
            "configuration": configuration,
            "overrides": dict(self.overrides),
            "fold": self.fold,
            "seed": self.seed,
            "wall_minutes": round(wall, 2),
            "cpu_minutes": round(minutes, 2),
            "resumed": resumed,
            "peak_gb": round(peak / 1e9, 3),
            "threads": int(os.environ.get("OMP_NUM_THREADS", os.cpu_count() or 1)),
            "machine": processor_name(),
        }
        return line, folder / "evaluation" / f"last-fold{self.fold}"

    def _finished(self, folder: Path) -> bool:
        state = folder / "training_state.pt"
        epochs: int = self.setting("epochs")
        return state.exists() and torch.load(state, weights_only=True)["epoch"] >= epochs

    def _command(self, more_files: Sequence[str], overrides: Mapping[str, Any]) -> int:
        """Do what the bundle's command does, in a process of its own; its log goes to stderr.

        Returns:
            the most bytes of memory that it held.
        """
        arguments = [part for name, value in overrides.items() for part in (f"--{name}", _as_text(value))]
        configs = str([f"configs/{name}.yaml" for name in (*self.files, *more_files)])
        command = [sys.executable, "-m", "monai.bundle", "run", "--config_file", configs, *arguments]
        process = subprocess.Popen(command, cwd=self._root, stdout=sys.stderr)
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode:
            raise subprocess.CalledProcessError(process.returncode, command)
        return usage.ru_maxrss * _BYTES_OF_RSS


def _code() -> str | None:
    """Return the commit, whether or not results were added to it."""
    version = commit(ROOT / "segpipe")
    return None if version is None else version.removesuffix("-dirty")


def _as_text(value: Any) -> str:
    return value if isinstance(value, str) else repr(value)


def processor_seconds() -> float:
    """Return what the processes that this one has waited for have used."""
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def read_lines(results: Path) -> list[dict[str, Any]]:
    """Return the lines of a results file; none where there is no file."""
    return [json.loads(line) for line in results.read_text().splitlines()] if results.exists() else []


def whole_minutes(runs: Sequence[Mapping[str, Any]]) -> str:
    """Return the mean processor minutes of the runs that were not broken off and resumed, - where all were."""
    whole = [run["cpu_minutes"] for run in runs if not run["resumed"]]
    return f"{statistics.fmean(whole):.1f}" if whole else "-"


def source(folder: Path) -> str:
    """Return the commit of the folder that holds the bundles; empty where it is no repository."""
    command = ["git", "-C", str(folder), "rev-parse", "HEAD"]
    return subprocess.run(command, capture_output=True, text=True, check=False).stdout.strip()[:12]


def append_line(results: Path, line: Mapping[str, Any]) -> None:
    """Add a line to a results file."""
    results.parent.mkdir(exist_ok=True)
    with results.open("a") as file:
        file.write(json.dumps(line) + "\n")
