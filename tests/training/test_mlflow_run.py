"""What a training sends to MLflow, and what happens where MLflow cannot be used."""

import importlib.metadata
import json
import os
import shutil
import sqlite3
import subprocess
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace

import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from segpipe.phantoms.files import write_phantom_dataset
from segpipe.training import mlflow_run
from segpipe.training.mlflow_run import MLflowRun, errors_of_mlflow, send_files
from segpipe.training.run_folder import RunFolder

ROOT = Path(__file__).parents[2]
SMALL = [
    *("device=cpu", "precision=float32", "patch_size=[16, 16, 16]", "window_size=[16, 16, 16]", "seed=0"),
    *("filters=[2, 4, 8]", "kernel_size=[3, 3, 3]", "strides=[1, 2, 2]", "upsample_kernel_size=[2, 2]"),
    *("reference_ranges=false", "val_interval=1"),
]
NO_SOCKETS = (  # a process that asks for a socket of the network, or for a host's address, ends with status 7
    "import os, socket\n"
    "def refuse(*_, **__): os._exit(7)\n"
    "socket.socket.connect = socket.create_connection = socket.getaddrinfo = refuse\n"
)
REPORT = (  # the end of `segpipe evaluate`, whose process has hidden MLflow
    "from pathlib import Path\n"
    "from segpipe.cli.evaluate_bundle import _send_report\n"
    "from segpipe.report import EVALUATION_FILES\n"
    "Path('held_out').mkdir()\n"
    "for name in EVALUATION_FILES: Path('held_out', name).write_text(name)\n"
    "_send_report(['runs/first/best.pt'], Path('held_out'))\n"
)
INSTALLED = {one.name for one in importlib.metadata.distributions()}  # a command hides it from imports
needs_mlflow = pytest.mark.skipif("mlflow" not in INSTALLED, reason="needs the extra mlflow")


class Log:
    def __init__(self):
        self.warnings = []

    def warning(self, text):
        self.warnings.append(text)

    def info(self, text):
        pass


class Engine:
    def __init__(self):
        self.logger = Log()


class Unreachable(MLflowRun):
    """A run whose MLflow refuses every attempt until `there` is true; it takes epochs in place of the handler."""

    there = False
    attempts = 0

    def _connected(self, engine):
        self.attempts += 1
        if not self.there:
            raise ConnectionError("refused by me:secret@host")
        self.taken = getattr(self, "taken", {})
        return self

    def epoch_completed(self, engine):
        self.taken[engine.state.epoch] = engine.state.metrics


@pytest.fixture
def unreachable(tmp_path, monkeypatch):
    monkeypatch.setattr(mlflow_run, "errors_of_mlflow", lambda: (OSError,))
    monkeypatch.setattr(mlflow_run, "_REST", 0)
    monkeypatch.setattr(os, "environ", dict(os.environ))
    return Unreachable(RunFolder(tmp_path, "run"), "http://host")


def test_one_warning_and_later_all_figures(unreachable):
    engine = Engine()
    for epoch in (1, 2):
        unreachable.add({"loss/train": 1 / epoch}, epoch)
        unreachable.send(engine)
    unreachable.there = True
    unreachable.add({"loss/train": 0.25}, 3)
    unreachable.add({"dice/mean": 0.5}, 3)
    unreachable.send(engine)

    assert unreachable.taken == {
        1: {"loss/train": 1.0},
        2: {"loss/train": 0.5},
        3: {"loss/train": 0.25, "dice/mean": 0.5},
    }
    (warning,) = engine.logger.warnings
    assert warning.startswith("MLflow at http://host cannot be used: refused by")
    assert "the training goes on" in warning


def test_after_a_slow_failure_the_next_attempt_waits(unreachable, monkeypatch):
    """An attempt of 2 s, and a rest of 20 times as long: none at 41 s, the next at 42 s."""
    monkeypatch.setattr(mlflow_run, "_REST", 20)
    clock = iter([0.0, 2.0, 41.0, 42.0, 43.0])
    monkeypatch.setattr(mlflow_run.time, "monotonic", lambda: next(clock))
    engine = Engine()

    for expected in (1, 1, 2):
        unreachable.send(engine)
        assert unreachable.attempts == expected


def test_a_run_that_was_refused_before_its_first_epoch_is_not_sent(unreachable):
    unreachable.end(Engine(), "FAILED")

    assert unreachable.attempts == 0


@pytest.mark.parametrize(
    ("tag", "name"),
    [
        ("loss/train", "loss/train"),
        ("dice/ground-glass opacity", "dice/ground-glass opacity"),
        ("dice/心脏", "dice/心脏"),
        ("dice/left (2)", "dice/left _2_"),
        ("dice//..", "dice/_/_"),
        ("dice/" + "x" * 300, "dice/" + "x" * 245),
    ],
)
def test_a_name_is_one_that_mlflow_takes(unreachable, tag, name):
    assert unreachable._name(tag) == name


def test_two_tags_never_share_a_name(unreachable):
    assert [unreachable._name(tag) for tag in ("dice/a(b", "dice/a)b", "dice/a(b")] == [
        "dice/a_b",
        "dice/a_b_2",
        "dice/a_b",
    ]


@pytest.fixture
def stub(monkeypatch):
    """Stand in for MLflow, whose import takes seconds."""
    package, exceptions = ModuleType("mlflow"), ModuleType("mlflow.exceptions")
    exceptions.MlflowException = type("MlflowException", (Exception,), {})
    monkeypatch.setitem(sys.modules, "mlflow", package)
    monkeypatch.setitem(sys.modules, "mlflow.exceptions", exceptions)


def test_a_database_without_its_driver_is_one_that_cannot_be_used(stub):
    pytest.importorskip("sqlalchemy")
    assert issubclass(ModuleNotFoundError, errors_of_mlflow())


def test_a_run_that_was_killed_in_its_first_epoch_goes_on_in_its_run_of_mlflow(stub, tmp_path):
    """It has no state to resume from; a second run would leave the first one running for ever."""
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "mlflow.json").write_text('{"tracking_uri": "http://host", "run_id": "abc"}')
    known = SimpleNamespace(info=SimpleNamespace(run_id="abc", lifecycle_stage="active"))
    told = []
    client = SimpleNamespace(
        get_run={"abc": known}.get,
        update_run=lambda run, status: told.append((run, status)),
        get_metric_history=lambda run, figure: [],
    )

    run = MLflowRun(RunFolder(tmp_path, "run", resume=True), "http://host")

    assert run._former(client) is known
    assert told == [("abc", "RUNNING")]


@pytest.mark.parametrize("record", ["{", "[]", '{"tracking_uri": "mlruns.db"}'])
def test_a_report_goes_to_no_run_that_is_not_recorded(tmp_path, monkeypatch, record):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mlflow.json").write_text(record)

    said = send_files(tmp_path / "best.pt", {tmp_path / "report.html": "evaluation"})

    assert said.startswith("MLflow has no report of this evaluation: ")
    assert said.endswith("mlflow.json is not the record of a run; restore the file")
    assert [path.name for path in tmp_path.iterdir()] == ["mlflow.json"]


def command(folder, *arguments, program=("-m", "segpipe"), sockets=False):
    """Run a program in a folder without sockets, and as if it were no test: MLflow sends nothing from tests."""
    hooks = folder / "hooks"
    hooks.mkdir(exist_ok=True)
    (hooks / "sitecustomize.py").write_text("" if sockets else NO_SOCKETS)
    hidden = ("PYTEST_", "MLFLOW_", "DO_NOT_TRACK", "CI", "GITHUB_", "JENKINS_", "BUILD")
    environment = {name: value for name, value in os.environ.items() if not name.startswith(hidden)}
    environment |= {"PYTHONPATH": f"{hooks}:{ROOT}", "OMP_NUM_THREADS": "1"}
    words = [sys.executable, *program, *arguments]
    return subprocess.run(words, cwd=folder, env=environment, capture_output=True, text=True)


def prepared(folder):
    """Make a small bundle and phantoms in a folder; return the overrides that name the data."""
    shutil.copytree(ROOT / "bundles" / "mri_hippocampus_unet", folder / "tiny")
    write_phantom_dataset(folder / "phantoms", num_cases=8, seed=0)
    return ("manifest=phantoms/dataset.json", "dataset_dir=phantoms", "output_dir=runs")


def rows(database, query):
    with sqlite3.connect(database) as connection:
        return connection.execute(query).fetchall()


def figures(database):
    """Return tag -> step -> value."""
    found = {}
    for key, step, value in rows(database, "select key, step, value from metrics"):
        assert step not in found.setdefault(key, {}), (key, step)
        found[key][step] = value
    return found


def tensorboard_figures(run):
    log = EventAccumulator(str(run / "tensorboard"), size_guidance={"scalars": 0})
    log.Reload()
    return {tag: {one.step: one.value for one in log.Scalars(tag)} for tag in log.Tags()["scalars"]}


@needs_mlflow
@pytest.mark.slow
def test_a_tracked_run_and_its_resume_are_one_run_of_mlflow(tmp_path):
    """No process asks for the network."""
    data = prepared(tmp_path)
    train = ("train", "tiny", *data, *SMALL, "run_name=first", "tracking=mlflow")

    first = command(tmp_path, *train, "epochs=1")
    longer = command(tmp_path, *train, "epochs=2", "resume=true")

    assert first.returncode == 0, first.stderr[-3000:]
    assert longer.returncode == 0, longer.stderr[-3000:]
    run, database = tmp_path / "runs" / "first", tmp_path / "runs" / "mlruns.db"
    ((identifier, name, status),) = rows(database, "select run_uuid, name, status from runs")
    assert (identifier, name, status) == (
        json.loads((run / "mlflow.json").read_text())["run_id"],
        "first",
        "FINISHED",
    )
    assert rows(database, "select name from experiments where experiment_id > 0") == [("tiny",)]
    sent, logged = figures(database), tensorboard_figures(run)
    assert sent.keys() == logged.keys()
    for tag, values in logged.items():
        assert sent[tag] == pytest.approx(values, rel=1e-6), tag
    assert sent["dice/mean"].keys() == {1, 2}
    parameters = dict(rows(database, "select key, value from params"))
    assert (parameters["learning_rate"], parameters["batch_size"]) == ("0.003", "2")
    tags = dict(rows(database, "select key, value from tags"))
    assert tags["sha256 last.pt"] == json.loads((run / "last.json").read_text())["weights_sha256"]
    artefacts = {path.name for path in (tmp_path / "runs" / "mlruns").rglob("*") if path.is_file()}
    assert {"configuration.yaml", "environment.json", "last.json", "best.json"} <= artefacts

    evaluation = command(tmp_path, program=("-c", REPORT))

    assert evaluation.stdout.strip().endswith("the report is with the run first"), evaluation.stderr[-3000:]
    assert list((tmp_path / "runs" / "mlruns").glob("*/artifacts/evaluation/held_out/report.html"))


@needs_mlflow
@pytest.mark.slow
def test_monais_argument_has_the_same_effect_and_a_server_that_is_down_is_said_once(tmp_path):
    data = prepared(tmp_path)
    of_monai = ("--bundle_root", "tiny", "--config_file", "tiny/configs/train.yaml")
    texts = (
        *data,
        *SMALL,
        "epochs=2",
        "run_name=second",
        "tracking=mlflow",
        "tracking_uri=http://127.0.0.1:9",
    )
    overrides = [f"--{text.replace('=false', '=False')}" for text in texts]

    down = command(tmp_path, *of_monai, *overrides, program=("-m", "monai.bundle", "run"), sockets=True)

    assert down.returncode == 0, down.stderr[-3000:]
    printed = down.stdout + down.stderr
    assert printed.count("MLflow at http://127.0.0.1:9 cannot be used") == 1, printed[-3000:]
    assert "Retrying (" not in printed, "urllib3, at each attempt"
    assert tensorboard_figures(tmp_path / "runs" / "second")["loss/train"].keys() == {1, 2}
    assert not list((tmp_path / "runs").glob("config_*.json"))  # MONAI's copy of the configuration
