"""A bundle that is trained several times, and the checks before the first training."""

from __future__ import annotations

import math
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import yaml

from segpipe.admission.gate import admitted
from segpipe.bundle.running import in_one_message
from segpipe.bundle.task import Task, task_of
from segpipe.bundle_check.check_bundle import RUN_ARGUMENTS, check_bundle
from segpipe.configuration.files import configuration_files
from segpipe.configuration.reading import read_configuration
from segpipe.errors import SegpipeError, counted
from segpipe.training.result_ids import changed_ids
from segpipe.training.run_folder import RunFolder

TRAIN = ("train.yaml", "train.yml", "train.json")
SET_BY_SEGPIPE = ("fold", "output_dir", "resume", "run_name")
"""Ids of a run that a command with several runs chooses."""


@dataclass(frozen=True)
class RepeatedExperiment:
    """A bundle with everything that its trainings have in common.

    Attributes:
        bundle: the bundle's folder.
        configs: configuration files, by name in `configs/` or by path; empty: train.yaml.
        overrides: id -> value, for every training.
        trust: train the bundle whatever `segpipe audit` finds.
    """

    bundle: Path
    configs: Sequence[Path] = ()
    overrides: Mapping[str, Any] = field(default_factory=dict)
    trust: bool = False

    @property
    def files(self) -> list[Path]:
        """Paths of the configuration files.

        Raises:
            SegpipeError: the folder is no bundle, or a file does not exist.
        """
        return configuration_files(self.bundle, self.configs, TRAIN)

    @property
    def task(self) -> Task:
        """Task of the bundle."""
        return task_of(self.bundle)

    def with_overrides(self, overrides: Mapping[str, Any]) -> RepeatedExperiment:
        """Return the experiment with further overrides."""
        return replace(self, overrides={**self.overrides, **overrides})

    def settings(self, fold: int | str) -> dict[str, Any]:
        """Return the merged configuration of a training in plain types; nothing of the bundle runs.

        Args:
            fold: fold or split that the training holds out.
        """
        given = {name: value for name, value in self.overrides.items() if value is not None}
        ids = {"bundle_root": str(self.bundle.resolve()), **given, "fold": fold}
        return read_configuration(self.bundle, self.files, ids).settings

    def as_plain(self) -> dict[str, Any]:
        """Return bundle, files and overrides in plain types, for a record of a folder."""
        return {
            "bundle": str(self.bundle.resolve()),
            "configs": [str(path.resolve()) for path in self.files],
            "overrides": dict(self.overrides),
        }

    def command(self, output_dir: Path, run_name: str, fold: int | str, *, resume: bool) -> list[str]:
        """Return the words after `segpipe train` of one training; paths are absolute.

        Args:
            output_dir: folder of the runs.
            run_name: name of the run's folder.
            fold: fold or split that the training holds out.
            resume: whether a run of this name goes on.
        """
        chosen = {"fold": fold, "output_dir": str(output_dir.absolute()), "run_name": run_name}
        ids = {**self.overrides, **chosen, "resume": resume}
        return [
            str(self.bundle.absolute()),
            *(f"--config={path.absolute()}" for path in self.files),
            *(["--trust"] if self.trust else []),
            *(f"{name}={_yaml_line(value)}" for name, value in ids.items()),
        ]


@dataclass(frozen=True)
class ResolvedExperiment:
    """An experiment that was checked, with the values that the commands need.

    Attributes:
        experiment: the experiment.
        manifest: name or path of the manifest.
        dataset_dir: folder of the manifest's files.
        configuration: merged configuration of a training, in plain types.
        checksums: whether files are compared with the manifest's SHA-256.
    """

    experiment: RepeatedExperiment
    manifest: str
    dataset_dir: Path
    configuration: Mapping[str, Any]
    checksums: bool


def checked(experiment: RepeatedExperiment, fold: int | str = 0) -> ResolvedExperiment:
    """Check an experiment as `segpipe train` does, before anything is written.

    Args:
        experiment: the experiment.
        fold: fold or split that one of the trainings holds out.

    Raises:
        SegpipeError: the configuration has a mistake, or lacks an id that the command sets; an override sets such an
            id; or the bundle could run code and the user has not trusted it.
    """
    _require_free_ids(experiment.overrides)
    files = experiment.files
    ids = {**experiment.overrides, "fold": fold}
    findings = check_bundle(experiment.bundle, files, ids)
    if findings:
        mistakes = sum(not finding.is_note for finding in findings)
        found = f"{counted(mistakes, 'mistake')} found; " if mistakes else ""
        raise SegpipeError(*map(str, findings), f"{found}no training was started")
    given = {name: value for name, value in ids.items() if value is not None}
    with admitted(experiment.bundle, files, given, trust=experiment.trust) as admission:
        values = {}
        for name in ("manifest", "dataset_dir", "checksums"):
            with in_one_message(experiment.bundle, name):
                values[name] = admission.parser.get_parsed_content(name) if name in admission.parser else None
    for name in ("manifest", "dataset_dir"):
        if not isinstance(values[name], str | Path):
            raise SegpipeError(
                f"{experiment.bundle}: its {name} is {values[name]!r:.80}, must be a path; folds need a manifest"
            )
    return ResolvedExperiment(
        experiment,
        str(values["manifest"]),
        Path(str(values["dataset_dir"])),
        experiment.settings(fold),
        checksums=values["checksums"] is not False,
    )


def require_same_run(run: RunFolder, resolved: ResolvedExperiment, what: str) -> None:
    """Refuse to go on with a run of another bundle, or of other overrides.

    Args:
        run: folder of the run, which may not exist.
        resolved: the experiment.
        what: the option that names another folder, for the message.

    Raises:
        SegpipeError: the message has the first id that differs, with both values.
    """
    if not run.is_run:
        return
    then, _ = run.recorded_at_start()
    root = str(resolved.experiment.bundle.resolve())
    if then.get("bundle_root", root) != root:
        raise SegpipeError(
            f"{run.path}: is a run of the bundle {then['bundle_root']}, and {root} is given; give that bundle, or "
            f"another folder with {what}"
        )
    changed = [name for name in changed_ids(then, resolved.configuration) if name not in SET_BY_SEGPIPE]
    if changed:
        name = changed[0]
        raise SegpipeError(
            f"{run.path}: is a run of another configuration: {', '.join(changed)} changed, first {name}: "
            f"{then.get(name)!s:.80} then, {resolved.configuration.get(name)!s:.80} now; give the same overrides, or "
            f"another folder with {what}"
        )


def _require_free_ids(overrides: Mapping[str, Any]) -> None:
    for name in overrides:
        if name in SET_BY_SEGPIPE:
            instead = {"fold": "give --folds", "output_dir": "give --output"}.get(name, "leave it out")
            raise SegpipeError(f"{name}: each run of this command gets its own {name}; {instead}")
        if name in RUN_ARGUMENTS:
            raise SegpipeError(
                f"{name}: is an argument of MONAI's run, not an id of the bundle; leave it out"
            )


def _yaml_line(value: Any) -> str:
    """Return a value as one line of YAML, for `ID=VALUE`."""
    text: str = yaml.safe_dump(value, default_flow_style=True, width=math.inf, allow_unicode=True)
    return text.strip().removesuffix("...").strip()


def python_command(words: Sequence[str], parent: int) -> list[str]:
    """Return the command that runs `segpipe train` with these words in a process of its own.

    Args:
        words: see `RepeatedExperiment.command`.
        parent: number of this process; the training gets SIGTERM when the process ends, where the system can do so.
    """
    return [sys.executable, "-P", "-X", "utf8", "-m", "segpipe.cli.train_of_many", str(parent), *words]
