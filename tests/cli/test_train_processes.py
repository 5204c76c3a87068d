"""Options of `segpipe train` for several processes: torchrun's options, and what is refused before it starts."""

import os
import runpy
import shlex
import shutil
import signal
import socket
import sys
from pathlib import Path

import pytest
from torch.distributed import DistNetworkError
from torch.distributed.elastic.multiprocessing.errors import ChildFailedError, ProcessFailure
from torch.distributed.elastic.rendezvous import (
    RendezvousClosedError,
    RendezvousConnectionError,
    RendezvousTimeoutError,
)
from typer.testing import CliRunner

from segpipe.cli import app, train_rank, train_ranks
from segpipe.cli.train_processes import Processes
from segpipe.cli.train_ranks import reason_of
from segpipe.phantoms.files import write_phantom_dataset
from segpipe.ranks import LOST_PEER

BUNDLES = Path(__file__).parents[2] / "bundles"


class Started(Exception):
    """The command that would have replaced this process."""


@pytest.fixture(scope="module")
def phantoms(tmp_path_factory):
    """Return the folder of a data set with its manifest."""
    folder = tmp_path_factory.mktemp("phantoms")
    write_phantom_dataset(folder, num_cases=4, seed=0)
    return folder


@pytest.fixture
def train(monkeypatch, tmp_path, phantoms):
    """Return a function that gives the command's exit status, its lines on stderr and the arguments of Python."""

    def execute(_, command, environment):
        assert environment["PYTHONSAFEPATH"] == environment["PYTHONUTF8"] == "1"
        raise Started(command)

    monkeypatch.setattr("os.execve", execute)
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("TORCHELASTIC_RUN_ID", raising=False)

    def run(*options, bundle=BUNDLES / "mri_hippocampus_unet"):
        data = (f"dataset_dir={phantoms}", f"manifest={phantoms / 'dataset.json'}")
        result = CliRunner().invoke(app, ["train", str(bundle), *data, *options])
        command = result.exception.args[0] if isinstance(result.exception, Started) else []
        return result.exit_code, result.stderr, command

    return run


def test_torchrun_gets_the_bundle_with_its_file_for_several_processes(train):
    _, _, command = train("--processes", "2", "--max-restarts", "3", "run_name=two", "epochs=1")

    assert command[1:6] == ["-P", "-X", "utf8", "-m", "segpipe.cli.train_ranks"]
    same, copy, *options = command[6:]
    end = options.index("--")
    assert options[:end] == ["--nproc-per-node=2", "--nnodes=1", "--max-restarts=3", "--standalone"]
    configs = BUNDLES / "mri_hippocampus_unet" / "configs"
    assert options[end + 1 : end + 3] == [
        "run",
        f"--config_file=['{configs}/train.yaml', '{configs}/multi_gpu_train.yaml']",
    ]
    assert {"--run_name=two", "--epochs=1"} < set(options)
    assert copy == ""
    assert {"--processes=2", "--max-restarts=3", "run_name=two"} < set(shlex.split(same))


def test_a_run_without_a_name_is_named_before_its_processes_start(train):
    _, _, command = train("--processes", "2")

    (name,) = (text for text in command if text.startswith("--run_name="))
    assert len(name.removeprefix("--run_name=")) == len("20250131-235959")


def test_machines_meet_as_torchrun_lets_them():
    meeting = Processes(4, nodes=2, endpoint="node1:29500")
    numbered = Processes(4, nodes=2, node_rank=1, endpoint="node1:29500", run_id="lung", max_restarts=1)

    several = ["--nproc-per-node=4", "--nnodes=2", "--max-restarts=0"]
    place = "--rdzv-endpoint=node1:29500"
    assert meeting.torchrun_options("a") == [*several, "--rdzv-backend=c10d", place, "--rdzv-id=a"]
    several[2] = "--max-restarts=1"
    assert numbered.torchrun_options("a") == [
        *(*several, "--rdzv-backend=static", "--node-rank=1", place, "--rdzv-id=lung"),
    ]
    assert numbered.options == [
        *("--processes=4", "--nnodes=2", "--node-rank=1", place, "--rdzv-id=lung", "--max-restarts=1"),
    ]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--processes", "0"], "Invalid value for '--processes'"),
        (["--nnodes", "2"], "--nnodes 2: is for a training with several processes; give --processes N, too"),
        (
            ["--max-restarts", "2"],
            "--max-restarts 2: is for a training with several processes; give --processes N",
        ),
        (
            ["--processes", "2", "--nnodes", "2"],
            "--nnodes 2: the machines have no place to meet; give all of them the same --rdzv-endpoint HOST:PORT",
        ),
        (
            ["--processes", "2", "--rdzv-id", "lung"],
            "--rdzv-id lung: the machines have no place to meet; give all of them the same --rdzv-endpoint HOST:PORT, "
            "one machine and a free port there, and --nnodes; or leave the option out",
        ),
        (
            ["--processes", "2", "--nnodes", "2", "--node-rank", "2", "--rdzv-endpoint", "node1:29500"],
            "--node-rank 2: the training has 2 machines (--nnodes), numbered 0 to 1",
        ),
        (
            ["--processes", "2", "--rdzv-endpoint", "node1"],
            "--rdzv-endpoint node1: must be HOST:PORT, a machine's name or address and a port to 65535, such as node1:",
        ),
        (
            ["--processes", "2", "--nnodes", "2", "--rdzv-endpoint", "node1:29500"],
            "--nnodes 2: the machines must train one run; give all of them the same run_name=NAME",
        ),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_options_that_fit_no_training_are_refused(train, options, message):
    status, lines, command = train(*options)

    assert (status, command) == (2, [])
    assert message in " ".join(lines.replace("│", " ").split())
    assert "Traceback" not in lines


def test_a_port_in_use_is_refused(train):
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        status, lines, _ = train("--processes", "2", "--rdzv-endpoint", f"127.0.0.1:{port}")

    assert status == 2
    assert lines == (
        f"segpipe: --rdzv-endpoint 127.0.0.1:{port}: port {port} is in use on this machine; choose another one, or "
        "leave the option out: then any free port is taken\n"
    )


def test_processes_under_a_torchrun_that_is_there_are_refused_once(train, monkeypatch, tmp_path):
    (tmp_path / "log" / "attempt_0" / "0").mkdir(parents=True)
    said = []
    for number in "01":
        monkeypatch.setenv("TORCHELASTIC_RUN_ID", "none")
        monkeypatch.setenv(
            "TORCHELASTIC_ERROR_FILE", str(tmp_path / "log" / "attempt_0" / number / "error.json")
        )
        monkeypatch.setenv("RANK", number)
        monkeypatch.setenv("WORLD_SIZE", "2")
        status, lines, _ = train("--processes", "2")
        assert status == 2
        said.append(lines)

    assert said == [
        "segpipe: --processes 2: torchrun has started this process already, one of 2; leave out --processes, or start "
        "segpipe train without torchrun\n",
        "",
    ]


def test_a_bundle_for_one_process_is_refused(train, tmp_path):
    shutil.copytree(BUNDLES / "mri_hippocampus_unet", tmp_path / "alone")
    (tmp_path / "alone" / "configs" / "multi_gpu_train.yaml").unlink()

    status, lines, _ = train("--processes", "2", bundle=tmp_path / "alone")

    assert status == 2
    assert "alone: has no configs/multi_gpu_train.yaml, so that it trains in one process; leave out" in lines


def failed(*exitcodes):
    """Return torchrun's error of ranks with these exit statuses, in the order in which it saw them end."""
    failures = {
        rank: ProcessFailure(local_rank=rank, pid=100 + rank, exitcode=code, error_file="none")
        for rank, code in exitcodes
    }
    return ChildFailedError("train", failures)


@pytest.mark.parametrize(
    ("exitcodes", "several", "reason"),
    [
        (
            [(1, -signal.SIGKILL), (0, -signal.SIGTERM)],
            False,
            "rank 1 (process 101) was killed by SIGKILL, as Linux does where memory runs out; the training ended "
            "with it",
        ),
        (
            [(0, LOST_PEER), (1, -signal.SIGSEGV)],
            False,
            "rank 1 (process 101) was killed by SIGSEGV; the training ended with it",
        ),
        (
            [(1, -signal.SIGTERM), (0, -signal.SIGTERM)],
            False,
            "rank 1 (process 101) was killed by SIGTERM; the training ended with it",
        ),
        (
            [(0, 3), (1, -signal.SIGTERM)],
            False,
            "rank 0 (process 100) ended with exit status 3, for the reason above; the training ended with it",
        ),
        (
            [(0, LOST_PEER), (1, LOST_PEER)],
            True,
            "a process on another machine ended, whose log has the reason",
        ),
        ([(0, LOST_PEER), (1, LOST_PEER)], False, "the processes lost each other, for the reason above"),
    ],
)
def test_the_process_that_ended_first_is_named(exitcodes, several, reason):
    assert reason_of(failed(*exitcodes), several) == reason


@pytest.mark.parametrize(
    ("nodes", "ends", "said"),
    [
        (1, failed((1, 3)), "nothing was written; run the same command to start again"),
        (
            2,
            failed((1, 3)),
            "the training ended with it; the log of the machine with rank 0 says how to go on",
        ),
        (
            2,
            RendezvousClosedError(),
            "the training has ended on another machine, whose log has the reason; the log of",
        ),
        (
            2,
            RendezvousTimeoutError(),
            "the machines did not meet at node1:29500 (RendezvousTimeoutError); start the",
        ),
        (
            2,
            DistNetworkError("no route\n to host"),
            "did not meet at node1:29500 (no route to host); start the same",
        ),
    ],
)
def test_the_end_on_a_machine_is_one_line(monkeypatch, tmp_path, capfd, nodes, ends, said):
    def run(_):
        raise ends

    monkeypatch.setattr("torch.distributed.run.run", run)
    monkeypatch.setattr("os.environ", {**os.environ})
    monkeypatch.setattr(train_ranks, "_shorten_logs", lambda *_: None)
    options = Processes(2, nodes, endpoint="node1:29500").torchrun_options("a")

    status = train_ranks._run([*options, "-m", "any"], tmp_path, "segpipe train lung")

    (line,) = capfd.readouterr().err.splitlines()
    assert status == 1
    assert line.startswith("segpipe: ")
    assert said in line


def test_machines_that_have_met_are_not_said_to_have_missed_each_other(monkeypatch, tmp_path, capfd):
    def run(_):
        (tmp_path / "a_xyz" / "attempt_0" / "0").mkdir(parents=True)
        raise RendezvousConnectionError("The connection to the C10d store has failed.")

    monkeypatch.setattr("torch.distributed.run.run", run)
    monkeypatch.setattr("os.environ", {**os.environ})
    monkeypatch.setattr(train_ranks, "_shorten_logs", lambda *_: None)
    options = Processes(2, 2, endpoint="node1:29500").torchrun_options("a")

    assert train_ranks._run([*options, "-m", "any"], tmp_path, "segpipe train lung") == 1

    assert capfd.readouterr().err == (
        "segpipe: the training has ended on another machine, whose log has the reason; the log of the machine with "
        "rank 0 says how to go on\n"
    )


def test_a_rank_can_import_the_tracker_that_the_command_has_hidden(monkeypatch):
    monkeypatch.setitem(sys.modules, "mlflow", None)
    for name in ("argv", "orig_argv"):
        monkeypatch.setattr(sys, name, ["train_rank", "segpipe train lung", "", "run"])
    monkeypatch.setattr(signal, "signal", lambda *_: None)
    monkeypatch.setattr(runpy, "run_module", lambda *_, **__: None)
    train_rank.main()

    assert "mlflow" not in sys.modules
