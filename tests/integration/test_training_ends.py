"""A signal ends a training process with an exit status and one line that holds the command to resume."""

import os
import re
import shlex
import signal
import subprocess
import sys

import pytest
import torch

from segpipe.reference_ranges import ReferenceRanges

SMALL = {
    "epochs": 16,
    "val_interval": 16,
    "patch_size": [16, 16, 16],
    "window_size": [32, 32, 32],
    "filters": [4, 8, 16],
    "kernel_size": [3, 3, 3],
    "strides": [1, 2, 2],
    "upsample_kernel_size": [2, 2],
    "batch_size": 1,
}


def train(bundle, *more):
    """Start `segpipe train` in a group of processes of its own, as a shell does."""
    overrides = {**bundle.training, **SMALL}
    del overrides["bundle_root"]
    command = [sys.executable, "-m", "segpipe", "train", str(bundle.root)]
    return subprocess.Popen(
        [*command, *(f"{name}={value}" for name, value in overrides.items()), *more],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )


@pytest.fixture(scope="module")
def whole(bundle, tmp_path_factory):
    """Return the folder of an uninterrupted run, apart from the runs of other modules."""
    return bundle.train("whole", **SMALL, output_dir=str(tmp_path_factory.mktemp("ends")))


@pytest.mark.slow
@pytest.mark.parametrize(("number", "workers"), [(signal.SIGTERM, 0), (signal.SIGINT, 2)])
def test_a_signal_ends_a_training_with_the_command_that_goes_on(bundle, whole, number, workers):
    """Ctrl-C also reaches the loader processes."""
    process = train(bundle, f"num_workers={workers}")
    log = ""
    while "Epoch 2/" not in log:
        line = process.stdout.readline()
        assert line, log
        log += line

    os.killpg(process.pid, number)

    log += process.communicate(timeout=10)[0]
    assert process.returncode == 128 + number, log
    assert "Traceback" not in log
    (line,) = (line for line in log.splitlines() if line.startswith("segpipe: "))
    stopped, command = line.split("; resume with: ")
    assert re.fullmatch(rf"segpipe: stopped by {number.name}( in epoch \d+, after batch \d of 6)?", stopped)
    run = next(path for path in bundle.output_dir.iterdir() if f"--run_name={path.name} " in command)
    assert torch.load(run / "training_state.pt", weights_only=True)["epoch"] < SMALL["epochs"]

    resumed = subprocess.run(shlex.split(command), capture_output=True, text=True, timeout=300)

    assert resumed.returncode == 0, resumed.stderr
    one, other = (torch.load(path / "last.pt", weights_only=True) for path in (whole, run))
    assert all(torch.equal(one[name], other[name]) for name in one)


@pytest.mark.slow
def test_a_training_measures_the_ranges_of_its_weights(bundle, tmp_path):
    """The network is the bundle's own, as in inference.yaml; the patches are small."""
    small = (
        "filters=[16,32,64,128]",
        "kernel_size=[3,3,3,3]",
        "strides=[1,2,2,2]",
        "upsample_kernel_size=[2,2,2]",
    )
    short = (
        "epochs=1",
        "val_interval=1",
        "run_name=ranges",
        f"output_dir={tmp_path}",
        "reference_ranges=true",
    )

    process = train(bundle, *small, *short)
    log = process.communicate(timeout=300)[0]

    assert process.returncode == 0, log
    assert re.search(r"Reference ranges: .*best.reference_ranges.json, measured in \d+ s\n", log), log
    assert log.index("Reference ranges: ") < log.index("next: segpipe predict")
    assert ReferenceRanges.read(tmp_path / "ranges" / "best.reference_ranges.json").patients >= 5
