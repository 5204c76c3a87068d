"""`segpipe train` starts nothing where the check has a finding; else it starts MONAI's run."""

import shlex
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from fire.parser import DefaultParseValue
from typer.testing import CliRunner

from segpipe.cli import app
from segpipe.cli.train import run_command
from segpipe.phantoms.files import write_phantom_dataset

BUNDLES = Path(__file__).parents[2] / "bundles"
SEGPIPE = Path(sys.executable).with_name("segpipe")
SMALL = [
    *("device=cpu", "precision=float32", "epochs=1", "patch_size=[16, 16, 16]", "window_size=[16, 16, 16]"),
    *("filters=[2, 4, 8]", "kernel_size=[3, 3, 3]", "strides=[1, 2, 2]", "upsample_kernel_size=[2, 2]"),
]


@pytest.fixture
def folder(tmp_path):
    """Return a folder with the hippocampus bundle and phantoms for it."""
    shutil.copytree(BUNDLES / "mri_hippocampus_unet", tmp_path / "bundles" / "tiny")
    write_phantom_dataset(tmp_path / "phantoms", num_cases=8, seed=0)
    return tmp_path


def arguments(*options):
    """Return the command's arguments, with paths below the working directory."""
    data = ("manifest=phantoms/dataset.json", "dataset_dir=phantoms")
    return ["train", "bundles/tiny", *data, *SMALL, *options]


def finish(command, folder):
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=300)


def test_a_mistake_starts_nothing(folder, monkeypatch):
    monkeypatch.chdir(folder)
    monkeypatch.setattr("os.execve", lambda *_: pytest.fail("started"))

    result = CliRunner().invoke(app, arguments("epochz=3"), catch_exceptions=False)

    assert (result.exit_code, result.stdout) == (2, "")
    assert result.stderr.splitlines() == [
        "command line: epochz is no id of this configuration; did you mean epochs?",
        "segpipe: 1 mistake found; no training was started",
    ]


@pytest.mark.parametrize(
    "value",
    [
        3,
        -1,
        1.0e-5,
        True,
        "all",
        "12e5",
        "a b",
        "@epochs",
        "$2 * 3",
        "a#b",
        [1, 2.5],
        {"a": [None, "b"]},
        "it's",
        "",
    ],
    ids=repr,
)
def test_monais_command_line_reads_each_value_as_it_was_given(value):
    (*_, last) = run_command(Path("b"), [Path("b/configs/train.yaml")], {"some#id": value})

    name, _, text = last.partition("=")
    assert name == "--some#id"
    assert DefaultParseValue(text) == value
    assert type(DefaultParseValue(text)) is type(value)


def test_several_files_are_one_list():
    command = run_command(Path("b"), [Path("b/configs/train.yaml"), Path("b/configs/more.yaml")], {})

    configs = Path("b/configs").absolute()
    assert command[3] == f"--config_file=['{configs}/train.yaml', '{configs}/more.yaml']"
    assert command[4:] == [f"--bundle_root={Path('b').resolve()}"]


@pytest.mark.slow
def test_it_trains_as_the_printed_command_does(folder):
    done = finish([SEGPIPE, *arguments("run_name=first")], folder)

    assert done.returncode == 0, done.stdout + done.stderr
    assert (folder / "bundles" / "tiny" / "runs" / "first" / "best.pt").is_file()
    command = shlex.split(done.stdout.splitlines()[0])
    assert command[:7] == ["python", "-P", "-X", "utf8", "-m", "monai.bundle", "run"]

    again = finish([sys.executable, *(text.replace("first", "second") for text in command[1:])], folder)

    assert again.returncode == 0, again.stdout + again.stderr
    runs = folder / "bundles" / "tiny" / "runs"
    assert (runs / "first" / "best.pt").read_bytes() == (runs / "second" / "best.pt").read_bytes()


@pytest.mark.slow
def test_a_run_that_is_refused_keeps_its_message_and_status(folder):
    (folder / "bundles" / "tiny" / "runs" / "first").mkdir(parents=True)
    (folder / "bundles" / "tiny" / "runs" / "first" / "notes.txt").write_text("not of a run")

    done = finish([SEGPIPE, *arguments("run_name=first")], folder)

    assert done.returncode == 1, done.stdout + done.stderr
    assert "exists already, and is no run that can be resumed; choose another name" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.slow
def test_ctrl_c_ends_it_as_it_ends_monais_run(folder):
    with subprocess.Popen(
        [SEGPIPE, *arguments("epochs=999")],
        cwd=folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    ) as process:
        try:
            next(line for line in process.stdout if " INFO Cases:" in line)
            process.send_signal(signal.SIGINT)
            process.communicate(timeout=60)
        finally:
            process.kill()

    assert process.returncode == 128 + signal.SIGINT


@pytest.mark.slow
def test_a_bundle_of_an_odd_name_trains_where_no_language_is_set_and_its_modules_come_last(folder):
    name = "$@% ~é'\",x"
    root = (folder / "bundles" / "tiny").rename(folder / name)
    (root / "own_numbers.py").write_text(
        "import sys\nassert sys.path[-1] == __file__.rpartition('/')[0]\nSEED = 3\n"
    )
    train = root / "configs" / "train.yaml"
    text = train.read_text(encoding="utf-8").replace("seed: 0", "seed: $own_numbers.SEED")
    train.write_text(text.replace("imports:\n", "imports:\n  - $import own_numbers\n"), encoding="utf-8")
    data = ("manifest=phantoms/dataset.json", "dataset_dir=phantoms", *SMALL, "run_name=first")

    done = subprocess.run(
        [SEGPIPE, "train", name, "--trust", *data],
        cwd=folder,
        capture_output=True,
        timeout=300,
        env={"PATH": "/usr/bin:/bin", "LANG": "C", "HOME": str(folder)},
    )

    assert done.returncode == 0, done.stderr.decode()
    assert (root / "runs" / "first" / "best.pt").is_file()
    assert b"PYTHONPATH" not in done.stdout
    copy = Path(shlex.split(done.stdout.decode().splitlines()[0])[6])
    assert not copy.exists()
