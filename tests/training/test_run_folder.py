"""A run's folder: its files, and names and resumes that are refused."""

import errno
import fcntl
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
import yaml

import segpipe
from segpipe.errors import SegpipeError
from segpipe.files import staging_folder
from segpipe.training import RunFolder
from segpipe.training.run_folder import environment

CONFIGURATION = {"seed": 0, "patch_size": [32, 32], "device": "cpu", "output_dir": "here", "resume": False}


class PowerCut(BaseException):
    """An exception that no handler catches."""


def test_making_the_object_touches_no_disk(tmp_path):
    folder = RunFolder(tmp_path / "runs", "a")

    assert folder.best == tmp_path / "runs" / "a" / "best.pt"
    assert not (tmp_path / "runs").exists()


def test_it_records_configuration_and_environment(tmp_path):
    folder = RunFolder(tmp_path / "runs", "a")

    folder.start(CONFIGURATION)

    assert yaml.safe_load((folder.path / "configuration.yaml").read_text()) == CONFIGURATION
    recorded = json.loads((folder.path / "environment.json").read_text())
    assert recorded == environment()
    assert recorded["segpipe"] == segpipe.__version__
    assert recorded["packages"]["torch"] == torch.__version__
    assert recorded["threads"] == torch.get_num_threads()
    assert {"monai", "numpy", "SimpleITK", "nibabel", "pytorch-ignite", "pydicom"} < set(recorded["packages"])
    assert {"python", "platform", "processor", "cpus", "cuda_device", "commit"} < set(recorded)


def test_a_run_that_exists_is_refused_and_left_alone(tmp_path):
    RunFolder(tmp_path, "a").start(CONFIGURATION)
    before = (tmp_path / "a" / "configuration.yaml").stat()

    with pytest.raises(
        SegpipeError, match=r"this run exists; resume it with --resume True .*, or choose another"
    ):
        RunFolder(tmp_path, "a").start({**CONFIGURATION, "seed": 1})

    assert (tmp_path / "a" / "configuration.yaml").stat().st_mtime_ns == before.st_mtime_ns


def leave_nothing(folder):
    """A start that was killed before it wrote anything."""


def leave_half_a_file(folder):
    (folder / ".segpipe-4100aa6a34f3-x.partial").mkdir()
    (folder / ".segpipe-4100aa6a34f3-x.partial" / "configuration.yaml").write_text("seed:")


def leave_a_lock(folder):
    (folder / ".segpipe-lock").write_text('{"process":')


@pytest.mark.parametrize("leave", [leave_nothing, leave_half_a_file, leave_a_lock])
def test_what_a_start_that_was_killed_left_is_no_dead_end(tmp_path, leave):
    (tmp_path / "a").mkdir()
    leave(tmp_path / "a")
    with pytest.raises(SegpipeError, match="no such run; leave out --resume"):
        RunFolder(tmp_path, "a", resume=True).start(CONFIGURATION)

    RunFolder(tmp_path, "a").start(CONFIGURATION)

    names = sorted(path.name for path in (tmp_path / "a").iterdir())
    assert names == [".segpipe-lock", "configuration.yaml", "environment.json"]
    assert [path.name for path in tmp_path.iterdir()] == ["a"]


@pytest.mark.parametrize("resume", [False, True])
def test_a_folder_of_something_else_is_left_alone_by_start_and_resume(tmp_path, resume):
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "thesis.tex").write_text("mine")

    with pytest.raises(SegpipeError, match=r"no run.*choose another name"):
        RunFolder(tmp_path, "a", resume=resume).start(CONFIGURATION)

    assert (tmp_path / "a" / "thesis.tex").read_text() == "mine"
    assert len(list((tmp_path / "a").iterdir())) == 1


@pytest.mark.parametrize("moment", ["environment.json", "configuration.yaml", "a"])
def test_a_start_that_is_cut_off_leaves_no_run(tmp_path, monkeypatch, moment):
    """The process is killed at each rename of a file or of the folder."""

    rename = Path.rename

    def cut(self, target):
        if self.name == moment:
            raise PowerCut
        rename(self, target)

    monkeypatch.setattr("pathlib.Path.rename", cut)
    monkeypatch.setattr("pathlib.Path.replace", cut)
    with pytest.raises(PowerCut):
        RunFolder(tmp_path, "a").start(CONFIGURATION)
    monkeypatch.undo()

    assert not (tmp_path / "a").exists()
    RunFolder(tmp_path, "a").start(CONFIGURATION)


def test_of_two_starts_of_one_name_one_is_refused(tmp_path, monkeypatch):
    """Both starts see a free name; the second renames its folder after the first."""
    record = RunFolder._record

    def start_another(self, folder, suffix=""):
        monkeypatch.undo()
        RunFolder(tmp_path, "a").start({**CONFIGURATION, "seed": 1})
        record(self, folder, suffix)

    monkeypatch.setattr(RunFolder, "_record", start_another)

    with pytest.raises(SegpipeError, match="this run exists"):
        RunFolder(tmp_path, "a").start(CONFIGURATION)

    assert yaml.safe_load((tmp_path / "a" / "configuration.yaml").read_text())["seed"] == 1
    assert [path.name for path in tmp_path.iterdir()] == ["a"]


def test_the_folder_has_the_rights_of_any_other(tmp_path):
    (tmp_path / "other").mkdir()

    RunFolder(tmp_path, "a").start(CONFIGURATION)

    assert (tmp_path / "a").stat().st_mode == (tmp_path / "other").stat().st_mode


HOLD = """
import sys, time
from segpipe.training.run_lock import lock_run
from pathlib import Path
lock = lock_run(Path(sys.argv[1]))
print("held", flush=True)
time.sleep(60)
"""


@pytest.fixture
def running(tmp_path):
    """Return a process that holds a run's folder."""
    RunFolder(tmp_path, "a").start(CONFIGURATION)
    command = [sys.executable, "-c", HOLD, str(tmp_path / "a")]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout.readline() == "held\n"
        yield process
        process.kill()


@pytest.mark.slow
def test_a_run_that_runs_is_not_resumed_until_its_process_is_gone(tmp_path, running):
    (tmp_path / "a" / ".segpipe-1-x.partial").mkdir()  # of the one that runs

    with pytest.raises(SegpipeError, match=rf"writes there now \(process {running.pid} on .+, since 20"):
        RunFolder(tmp_path, "a", resume=True).start(CONFIGURATION)
    assert (tmp_path / "a" / ".segpipe-1-x.partial").exists()
    running.kill()
    running.wait()

    RunFolder(tmp_path, "a", resume=True).start(CONFIGURATION)


def test_loader_workers_do_not_hold_the_folder(tmp_path):
    """Workers outlive a killed process by some seconds."""
    folder = RunFolder(tmp_path, "a")
    folder.start(CONFIGURATION)
    child = os.fork()
    if not child:
        time.sleep(30)
        os._exit(0)

    folder.release()
    other = os.open(tmp_path / "a" / ".segpipe-lock", os.O_RDONLY)
    fcntl.flock(other, fcntl.LOCK_EX | fcntl.LOCK_NB)

    os.close(other)
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)


def test_a_disk_without_locks_is_warned_of(tmp_path, monkeypatch):
    def no_locks(descriptor):
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr("filelock._unix.lock_fd_nonblocking", no_locks)

    with pytest.warns(UserWarning, match="has no locks"):
        RunFolder(tmp_path, "a").start(CONFIGURATION)


def test_a_place_that_cannot_be_written_is_refused(tmp_path):
    (tmp_path / "file").write_text("in the way")

    with pytest.raises(SegpipeError, match=r"cannot be made: Not a directory; choose another --output_dir"):
        RunFolder(tmp_path / "file", "a").start(CONFIGURATION)


@pytest.mark.parametrize("name", ["../outside", "/absolute", "a/b", "..", ".", ""])
def test_a_name_is_one_folders(tmp_path, name):
    """A run writes below its output folder only."""
    with pytest.raises(SegpipeError, match="must be the name of one folder below"):
        RunFolder(tmp_path / "runs", name).start(CONFIGURATION)

    assert list(tmp_path.iterdir()) == []


def test_a_name_may_be_a_number(tmp_path):
    """The command line reads `--run_name 7` as a number."""
    RunFolder(tmp_path, 7).start(CONFIGURATION)

    assert (tmp_path / "7" / "configuration.yaml").is_file()


def test_without_a_name_it_is_named_by_the_time(tmp_path):
    folder = RunFolder(tmp_path)
    assert not folder.named
    with pytest.raises(SegpipeError, match="give --run_name"):
        _ = folder.path

    folder.start(CONFIGURATION)

    assert folder.named
    assert [path.name for path in tmp_path.iterdir()] == [folder.path.name]
    assert len(folder.path.name) == len("20250131-235959")


def become_rank(monkeypatch, number, others, broadcast=lambda _: None):
    """Make this process a rank; the other ranks answer as given."""

    def gather(answers, own):
        answers[:] = [own, *others]

    monkeypatch.setattr("torch.distributed.is_initialized", lambda: True)
    monkeypatch.setattr("torch.distributed.get_rank", lambda: number)
    monkeypatch.setattr("torch.distributed.get_world_size", lambda: 1 + len(others))
    monkeypatch.setattr("torch.distributed.broadcast_object_list", broadcast)
    monkeypatch.setattr("torch.distributed.all_gather_object", gather)


def test_ranks_take_the_first_ones_name_and_write_nothing(tmp_path, monkeypatch):
    def broadcast(names):
        names[0] = "chosen"

    become_rank(monkeypatch, 1, others=[False], broadcast=broadcast)
    folder = RunFolder(tmp_path)

    folder.start(CONFIGURATION)

    assert folder.path == tmp_path / "chosen"
    assert folder.experiment_sha256
    assert list(tmp_path.iterdir()) == []


def test_a_resume_needs_a_disk_that_all_ranks_see(tmp_path, monkeypatch):
    """Rank 0 sees the state, rank 2 does not: it would train on with new weights."""
    started(tmp_path).release()
    become_rank(monkeypatch, 0, others=[True, False])

    with pytest.raises(
        SegpipeError, match=r"1 of 3 processes cannot see this file \(rank 2\); give an output_dir on"
    ):
        RunFolder(tmp_path, "a", resume=True).start(CONFIGURATION)


def test_a_start_again_by_torchrun_continues_the_run_that_it_began_and_no_other(tmp_path, monkeypatch):
    monkeypatch.setenv("TORCHELASTIC_RUN_ID", "first")
    started(tmp_path).release()

    def resumes(run_id, restarts, name="a"):
        monkeypatch.setenv("TORCHELASTIC_RUN_ID", run_id)
        monkeypatch.setenv("TORCHELASTIC_RESTART_COUNT", restarts)
        return RunFolder(tmp_path, name).resume

    assert [resumes("first", "0"), resumes("first", "1"), resumes("second", "1")] == [False, True, False]
    assert not resumes("first", "1", "other")
    assert not resumes("first", "1", None)
    (tmp_path / "log" / "attempt_0").mkdir(parents=True)
    monkeypatch.setenv("TORCHELASTIC_ERROR_FILE", str(tmp_path / "log" / "attempt_0" / "0" / "error.json"))
    assert resumes("first", "1")
    (tmp_path / "log" / "said-refusal").touch()  # such as that a run of this name exists
    assert not resumes("first", "1")
    monkeypatch.delenv("TORCHELASTIC_RUN_ID")
    assert not RunFolder(tmp_path, "a").resume


def test_all_ranks_resume_where_one_was_started_again(tmp_path, monkeypatch):
    """torchrun counts a restart on the machine of the process that ended, not on the others."""
    started(tmp_path).release()
    become_rank(monkeypatch, 0, others=[True])
    folder = RunFolder(tmp_path, "a")
    assert not folder.resume

    folder.start(CONFIGURATION)

    assert folder.resumes


def started(tmp_path):
    folder = RunFolder(tmp_path, "a")
    folder.start(CONFIGURATION)
    folder.training_state.write_bytes(b"state")
    return folder


def test_a_resume_needs_a_name(tmp_path):
    with pytest.raises(SegpipeError, match="give --run_name NAME"):
        RunFolder(tmp_path, resume=True).start(CONFIGURATION)


def test_a_resume_needs_a_run(tmp_path):
    with pytest.raises(SegpipeError, match="nothing to resume: no such run; leave out --resume"):
        RunFolder(tmp_path, "a", resume=True).start(CONFIGURATION)


def test_a_run_broken_off_in_its_first_epoch_begins_anew(tmp_path):
    RunFolder(tmp_path, "a").start(CONFIGURATION)
    again = RunFolder(tmp_path, "a", resume=True)

    again.start(CONFIGURATION)

    assert not again.resumes
    again.training_state.write_bytes(b"state")
    assert again.resumes


@pytest.mark.parametrize(
    ("change", "pattern"),
    [
        ({"seed": 1}, "seed changed, first seed: 0 then, 1 now"),
        ({"patch_size": [32, 48]}, r"patch_size: \[32, 32\] then, \[32, 48\] now"),
        ({"new": 3}, "new: None then, 3 now"),
    ],
)
def test_a_resume_with_another_configuration_is_refused(tmp_path, change, pattern):
    started(tmp_path)

    with pytest.raises(SegpipeError, match=pattern):
        RunFolder(tmp_path, "a", resume=True).start({**CONFIGURATION, **change})


def test_a_resume_may_run_elsewhere_and_is_recorded_beside_the_start(tmp_path):
    first = started(tmp_path)
    elsewhere = {
        **CONFIGURATION,
        "device": "cuda:1",
        "num_workers": 4,
        "dataset_dir": "/copy",
        "resume": True,
    }
    again = RunFolder(tmp_path, "a", resume=True)

    again.start(elsewhere)
    assert not list(again.path.glob("*-resumed-*"))  # not before the state is found to be good
    again.record_resume()

    assert again.experiment_sha256 == first.experiment_sha256
    assert yaml.safe_load((again.path / "configuration.yaml").read_text()) == CONFIGURATION
    (resumed,) = again.path.glob("configuration-resumed-*.yaml")
    assert yaml.safe_load(resumed.read_text()) == elsewhere
    assert len(list(again.path.glob("environment-resumed-*.json"))) == 1


def test_a_resume_removes_what_a_killed_process_left_half_written(tmp_path):
    folder = started(tmp_path)
    with staging_folder(folder.last) as staging:
        (staging / "last.pt").write_bytes(b"half")
        shutil.copytree(staging, folder.path / f"{staging.name.removesuffix('.partial')}killed.partial")
    assert list(folder.path.glob("*.partial"))

    RunFolder(tmp_path, "a", resume=True).start(CONFIGURATION)

    assert not list(folder.path.glob("*.partial"))
    assert folder.training_state.read_bytes() == b"state"
