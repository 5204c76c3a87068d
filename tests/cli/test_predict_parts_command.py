"""`segpipe predict --part` and `--merge` as commands: parts side by side, one of them killed, and what is refused."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from tiny_bundle import contents, write_scans
from typer.testing import CliRunner

from segpipe.cli import app

SEGPIPE = Path(sys.executable).with_name("segpipe")
WIDE = {"COLUMNS": "1000"}


@pytest.fixture
def invoke(bundle, out):
    """Return a function that runs the command in this process; options may replace scans and bundle."""

    def run(*options, scans=None, env=None):
        words = [str(scans), "--bundle", str(bundle)] if scans else []
        command = ["predict", *words, "--output", str(out), *options]
        return CliRunner(env={**WIDE, **(env or {})}).invoke(app, command, catch_exceptions=False)

    return run


@pytest.mark.parametrize(
    ("part", "message"),
    [
        ("9/8", "--part is 9/8, and there is no such part"),
        ("slurm", "SLURM_ARRAY_TASK_ID is not set, so this is no task of a Slurm array job"),
    ],
)
def test_a_part_that_there_is_not_is_refused(invoke, scans, out, part, message):
    result = invoke("--part", part, scans=scans, env={"SLURM_ARRAY_TASK_ID": None})

    assert result.exit_code == 2
    assert message in result.stderr
    assert not out.exists()


@pytest.mark.slow
def test_parts_are_predicted_and_merged(invoke, scans, out):
    first = invoke("--part", "1/2", scans=scans)
    assert first.exit_code == 0
    assert "1 of 2 parts absent or running: 2/2" in first.stderr
    assert f"{out}: label maps, overlays/, predictions.part1of2.jsonl, predict.part1of2.log" in first.stdout

    early = invoke("--merge")
    assert early.exit_code == 2
    assert "cannot be merged: part 2/2 is absent (0 of 1 scan, without scan_001)" in early.stderr

    task = {"ID": "5", "MIN": "0", "MAX": "5", "STEP": "5", "COUNT": "2"}
    slurm = {f"SLURM_ARRAY_TASK_{name}": value for name, value in task.items()}
    last = invoke("--part", "slurm", scans=scans, env=slurm)
    assert "all 2 parts finished: their ledgers and tables are merged" in last.stderr
    assert f"{out}: label maps, overlays/, volumes.csv, predictions.jsonl, predict.log" in last.stdout

    again = invoke("--merge")
    assert again.exit_code == 0
    assert "3 scans: 3 done" in again.stdout


@pytest.mark.parametrize(
    "options", [("--part", "1/2"), ("--dry-run",), ("--workers", "ray"), ("--no-overlays",)]
)
def test_merge_takes_the_output_folder_alone(invoke, scans, options):
    result = invoke("--merge", "-q", *options, scans=scans)

    assert result.exit_code == 2
    name = options[0].replace("no-", "")
    assert (
        f"--merge only reads the output folder; leave out SCANS, --bundle, {name}: segpipe predict"
        in result.stderr
    )


def test_scans_and_bundle_are_required_otherwise(invoke):
    result = invoke("--part", "1/2")

    assert result.exit_code == 2
    assert "SCANS... and --bundle BUNDLE missing; give segpipe predict SCANS..." in result.stderr


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--cores-per-worker", "2"], "--cores-per-worker is for --workers ray; add that, or leave it out"),
        (["--workers", "ray"], "RAY_ADDRESS is 10.0.0.1:6379, and RAY_AUTH_MODE is not set: without a token"),
    ],
)
def test_workers_that_there_are_not_are_refused(invoke, scans, options, message):
    result = invoke(*options, scans=scans, env={"RAY_ADDRESS": "10.0.0.1:6379", "RAY_AUTH_MODE": None})

    assert result.exit_code == 2
    assert message in result.stderr


@pytest.mark.slow
def test_parts_side_by_side_with_one_killed(bundle, tmp_path, out):
    """Three processes start at once; one is killed in the middle and started again."""
    scans = write_scans(tmp_path / "scans", 24)

    def start(folder, *options):
        command = [
            SEGPIPE,
            "predict",
            scans,
            "--bundle",
            bundle,
            "--output",
            folder,
            "--no-overlays",
            *options,
        ]
        return subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env={**os.environ, **WIDE})

    parts = {number: start(out, "--part", f"{number}/3") for number in (1, 2, 3)}
    ledger = out / "predictions.part2of3.jsonl"
    while not (ledger.exists() and ledger.read_bytes().count(b"\n") > 2):
        assert parts[2].poll() is None
        time.sleep(0.02)
    parts[2].send_signal(signal.SIGKILL)
    for process in parts.values():
        process.communicate()
    assert not (out / "volumes.csv").exists()

    again = start(out, "--part", "2/3")
    assert "all 3 parts finished" in again.communicate()[1]
    start(tmp_path / "whole").communicate()

    whole = contents(tmp_path / "whole")
    assert {name: content for name, content in contents(out).items() if name in whole} == whole
    assert len([name for name in whole if name.endswith(".nii.gz")]) == 24
    lines = map(json.loads, (out / "predictions.jsonl").read_text().splitlines())
    assert [entry["case"] for entry in lines] == [f"scan_{index:03d}" for index in range(24)]
