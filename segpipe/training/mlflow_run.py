"""One training in MLflow, through MONAI's handler: parameters, figures by epoch, files."""

from __future__ import annotations

import logging
import os
import re
import shlex
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import segpipe
from segpipe.errors import SegpipeError
from segpipe.files import file_sha256, read_json, write_json
from segpipe.import_time import show_trackers
from segpipe.networks.weights import sidecar_path
from segpipe.training.run_folder import RunFolder
from segpipe.training.run_notes import hyper_parameters
from segpipe.training.tracking_settings import (
    DATABASE,
    RECORD,
    URI_VARIABLE,
    address_in,
    experiment_of,
    without_password,
)

_SOON = {  # of MLflow's requests, which otherwise hold a training up for minutes
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "10",
}
_QUIET = {  # what these say of each attempt that fails, the one warning says; alembic has a line for each new table
    "alembic": logging.WARNING,
    "mlflow.store.db.utils": logging.ERROR,
    "urllib3.connectionpool": logging.ERROR,
}
_CONNECTIONS = 3  # attempts to reach a database; MLflow's 10 take 100 s
_LONGEST_NAME = 250
_MOST_REASON = 200
_REST = (
    20  # after a failed attempt the next one waits for this many times its seconds: it costs 5 % of the time
)
_FIRST_FIGURE = "loss/train"


class MLflowRun:
    """A run of MLflow that follows a training.

    What MLflow does not take is kept and sent later, at the latest at the end. One warning says so.

    Args:
        run_folder: folder of the run. Its `mlflow.json` remembers the run of MLflow, with which a resume continues.
        address: of a server or a database.
    """

    def __init__(self, run_folder: RunFolder, address: str) -> None:
        for name, value in _SOON.items():
            os.environ.setdefault(name, value)
        self.run_folder = run_folder
        self.address = address
        self._handler: Any = None
        self._figures: dict[int, dict[str, float]] = {}  # not sent yet, by epoch
        self._names: dict[str, str] = {}  # tag -> name that MLflow takes
        self._known = 0  # last epoch that an earlier part of the run has sent
        self._warned = False
        self._not_before = 0.0

    def add(self, figures: Mapping[str, float], epoch: int) -> None:
        """Keep figures until `send`: tag -> value of an epoch."""
        named = {self._name(tag): float(value) for tag, value in figures.items()}
        self._figures.setdefault(epoch, {}).update(named)

    def begin(self, engine: Any) -> None:
        """Begin or continue the run of MLflow, at the first call."""
        if self._handler is None:
            self._try(engine, lambda: self._connected(engine))

    def send(self, engine: Any) -> None:
        """Send the figures that are not sent yet."""
        self._try(engine, lambda: self._send(engine))

    def end(self, engine: Any, status: str) -> None:
        """Send the rest, and close the run.

        Args:
            engine: the trainer.
            status: FINISHED, which also sends the files; FAILED or KILLED, after which a resume goes on.
        """
        self._not_before = 0.0
        if self._handler is not None or self._figures:  # else: refused before the first epoch
            self._try(engine, lambda: self._end(engine, status))

    def _end(self, engine: Any, status: str) -> None:
        handler = self._send(engine)
        if status == "FINISHED":
            for weights in self._weights():
                handler.client.set_tag(
                    handler.cur_run.info.run_id, f"sha256 {weights.name}", file_sha256(weights)
                )
            handler.artifacts = tuple(map(str, self._files()))
            handler.complete()
        else:
            handler.client.set_terminated(handler.cur_run.info.run_id, status)
            handler.cur_run = None  # else closing it would say that it is finished
        handler.close()
        self._handler = None

    def _send(self, engine: Any) -> Any:
        handler = self._connected(engine)
        for epoch in sorted(self._figures):
            if epoch > self._known:
                state = SimpleNamespace(epoch=epoch, metrics=self._figures[epoch])
                handler.epoch_completed(SimpleNamespace(state=state))
            del self._figures[epoch]
        return handler

    def _connected(self, engine: Any) -> Any:
        """Return MONAI's handler with the run of MLflow."""
        if self._handler is not None:
            return self._handler
        from monai.handlers import MLFlowHandler

        for library, level in _QUIET.items():
            logging.getLogger(library).setLevel(level)
        _try_databases_briefly()
        configuration = self.run_folder.configuration
        name, experiment = self.run_folder.path.name, experiment_of(configuration)
        handler = MLFlowHandler(self.address, iteration_log=False, experiment_name=experiment, run_name=name)
        parameters = hyper_parameters(self.run_folder.provenance["configuration"])
        handler.cur_run = self._former(handler.client)
        if handler.cur_run is None:
            handler.cur_run = self._made(handler, experiment, name)
        known = handler.cur_run.data.params
        handler.experiment_param = {key: value for key, value in parameters.items() if key not in known}
        handler.start(engine)
        self._handler = handler
        shown = without_password(self.address)
        engine.logger.info(f"MLflow:     {shown}, experiment {experiment}, run {name}")
        if shown.startswith("sqlite:"):
            watch = f"mlflow ui --backend-store-uri {shlex.quote(shown)}"
            # a program of its own, which segpipe cannot keep from sending usage statistics
            engine.logger.info(f"Watch it:   MLFLOW_DISABLE_TELEMETRY=true {watch}")
        return handler

    def _former(self, client: Any) -> Any:
        """Return the run of MLflow that an earlier part of this training has made; None if there is none."""
        from mlflow.exceptions import MlflowException

        path = self.run_folder.path / RECORD
        record = read_json(path) if path.is_file() else {}  # also of a run that begins its first epoch again
        if record.get("tracking_uri") != self._recorded_address:
            return None
        try:
            run = client.get_run(record["run_id"])
        except MlflowException as error:
            if error.error_code == "RESOURCE_DOES_NOT_EXIST":
                return None
            raise
        if run.info.lifecycle_stage != "active":
            return None
        client.update_run(run.info.run_id, status="RUNNING")
        steps = [one.step for one in client.get_metric_history(run.info.run_id, _FIRST_FIGURE)]
        self._known = max(steps, default=0)
        return run

    def _made(self, handler: Any, experiment: str, name: str) -> Any:
        """Make a run of MLflow, and remember it. MONAI's handler would continue another run of the same name."""
        client, environment = handler.client, self.run_folder.environment
        identifier = _experiment_id(client, experiment, handler.artifact_location)
        bundle = Path(str(self.run_folder.configuration.get("bundle_root", "."))).resolve().name
        tags = {"segpipe": segpipe.__version__, "bundle": bundle, "commit": str(environment.get("commit"))}
        run = client.create_run(identifier, run_name=name, tags=tags)
        write_json(
            self.run_folder.path / RECORD,
            {
                "tracking_uri": self._recorded_address,
                "experiment": experiment,
                "run_id": run.info.run_id,
            },
        )
        return run

    @property
    def _recorded_address(self) -> str:
        """The address; of the default, only the file's name: a folder of runs may be moved."""
        own = address_in(self.run_folder.output_dir)
        return DATABASE if self.address == own else without_password(self.address)

    def _try(self, engine: Any, action: Callable[[], object]) -> None:
        """Do what needs MLflow; if it fails, warn once, and wait before the next attempt."""
        began = time.monotonic()
        if began < self._not_before:
            return
        try:
            action()
        except errors_of_mlflow() as error:
            ended = time.monotonic()
            self._not_before = ended + _REST * (ended - began)
            if not self._warned:
                self._warned = True
                engine.logger.warning(
                    f"MLflow at {without_password(self.address)} cannot be used: {_reason(error)}; the training goes "
                    "on. Its figures are kept, and sent when MLflow can be used; TensorBoard has them, too."
                )

    def _name(self, tag: str) -> str:
        """Return a name for MLflow's metric: the tag, with an underscore for each character that MLflow refuses."""
        if tag not in self._names:
            parts = [re.sub(r"[^\w\-. ]", "_", part) for part in tag.split("/")]
            plain = "/".join("_" if part in ("", ".", "..") else part for part in parts)[:_LONGEST_NAME]
            name, number = plain, 1
            while name in self._names.values():
                number += 1
                name = f"{plain[: _LONGEST_NAME - 8]}_{number}"
            self._names[tag] = name
        return self._names[tag]

    def _weights(self) -> list[Path]:
        return [path for path in (self.run_folder.best, self.run_folder.last) if path.is_file()]

    def _files(self) -> list[Path]:
        """Return the records of the run, and the sidecars of its weights; weights may be too large to send."""
        folder = self.run_folder.path
        records = [*sorted(folder.glob("configuration*.yaml")), *sorted(folder.glob("environment*.json"))]
        return records + [path for path in map(sidecar_path, self._weights()) if path.is_file()]


def _try_databases_briefly() -> None:
    with suppress(ImportError):  # of databases; a small MLflow has none
        from mlflow.store.db import utils

        utils.MAX_RETRY_COUNT = _CONNECTIONS


def _experiment_id(client: Any, name: str, artifact_location: str | None) -> str:
    from mlflow.exceptions import MlflowException

    found = client.get_experiment_by_name(name)
    if found is None:
        try:
            return str(client.create_experiment(name, artifact_location=artifact_location))
        except MlflowException:
            found = client.get_experiment_by_name(name)  # another training has just made it
            if found is None:
                raise
    return str(found.experiment_id)


def errors_of_mlflow() -> tuple[type[Exception], ...]:
    """Return the exceptions of a server or database that cannot be used.

    OSError has those of connections, ImportError that of a database whose driver is not installed.
    """
    from mlflow.exceptions import MlflowException
    from sqlalchemy.exc import SQLAlchemyError

    return MlflowException, SQLAlchemyError, OSError, ImportError


def send_files(weights: Path, files: Mapping[Path, str]) -> str:
    """Send files to the run of MLflow that followed the training of some weights.

    Args:
        weights: in the folder of their run, beside its `mlflow.json`.
        files: file -> folder among the run's artefacts.

    Returns:
        a line on where the files are now, or why they are not there.
    """
    path = weights.parent / RECORD
    try:
        record = read_json(path)
        run, address = str(record["run_id"]), str(record["tracking_uri"])
    except (SegpipeError, KeyError, TypeError):
        return f"MLflow has no report of this evaluation: {path} is not the record of a run; restore the file"
    if address == DATABASE:
        address = address_in(weights.parent.parent.absolute())
    address = os.environ.get(URI_VARIABLE) or address
    show_trackers()  # a command has hidden it
    try:
        from mlflow import MlflowClient
    except ImportError:
        return "MLflow has no report of this evaluation: mlflow is not installed; run: pip install 'segpipe[mlflow]'"
    for name, value in _SOON.items():
        os.environ.setdefault(name, value)
    shown = without_password(address)
    try:
        client = MlflowClient(address)
        for file, folder in files.items():
            client.log_artifact(run, str(file), folder)
    except errors_of_mlflow() as error:
        return f"MLflow at {shown} has no report of this evaluation: {_reason(error)}"
    return f"MLflow at {shown}: the report is with the run {weights.parent.name}"


def _reason(error: BaseException) -> str:
    return " ".join(str(error).split())[:_MOST_REASON] or type(error).__name__
