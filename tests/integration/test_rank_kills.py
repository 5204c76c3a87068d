"""A killed process of several: one line says so, and torchrun goes on from the last saved state by itself."""

import os
import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import psutil
import pytest
import torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from segpipe.phantoms.files import write_phantom_dataset

pytestmark = pytest.mark.slow

BUNDLE = Path(__file__).parents[2] / "bundles" / "mri_hippocampus_unet"
SEGPIPE = Path(sys.executable).with_name("segpipe")
TINY = [
    *(
        "precision=float32",
        "epochs=8",
        "batch_size=1",
        "fold=all",
        "patch_size=[16, 16, 16]",
        "window_size=[16, 16, 16]",
    ),
    *("filters=[2, 4, 8]", "kernel_size=[3, 3, 3]", "strides=[1, 2, 2]", "upsample_kernel_size=[2, 2]"),
    *("dataset_dir=phantoms", "manifest=phantoms/dataset.json", "output_dir=runs", "reference_ranges=false"),
]


def rank_of(process):
    """Return the rank of a process that torchrun started; None for another one."""
    try:
        of_rank = "segpipe.cli.train_rank" in process.cmdline()
        return int(process.environ()["RANK"]) if of_rank else None
    except (psutil.Error, KeyError):
        return None


def test_a_killed_rank_is_named_and_all_go_on_once(tmp_path):
    """Rank 1 is killed after an epoch, and rank 0 after the first resumed epoch: the second end is the run's."""
    shutil.copytree(BUNDLE, tmp_path / "tiny")
    write_phantom_dataset(tmp_path / "phantoms", num_cases=12, seed=0)
    victims, killed, lines = [1, 0], [], []
    with (
        (tmp_path / "stderr").open("w") as stderr,
        subprocess.Popen(
            [SEGPIPE, "train", "tiny", "--processes", "2", "--max-restarts", "1", *TINY, "run_name=killed"],
            cwd=tmp_path,
            stdout=subprocess.PIPE,
            stderr=stderr,
            text=True,
            env={**os.environ, "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""},
        ) as command,
    ):
        for line in command.stdout:
            lines.append(line)
            is_resumed = any(" INFO Resumed " in text for text in lines)
            if re.search(r"INFO Epoch\[\d\] Complete", line) and len(killed) == is_resumed:
                children = psutil.Process(command.pid).children(recursive=True)
                victim = next(child for child in children if rank_of(child) == victims[len(killed)])
                victim.send_signal(signal.SIGKILL)
                killed.append(victim.pid)

    errors = (tmp_path / "stderr").read_text()
    assert command.returncode == 1, errors
    hint = "was killed by SIGKILL, as Linux does where memory runs out"
    again, ended = [line for line in errors.splitlines() if line.startswith("segpipe: ")]
    assert again == f"segpipe: local rank 1 (process {killed[0]}) {hint}; all start again, 1 of 1"
    assert ended.startswith(
        f"segpipe: rank 0 (process {killed[1]}) {hint}; the training ended with it; resume with: "
    )
    assert ended.endswith("run_name=killed resume=true")
    assert "Traceback" not in errors
    run = tmp_path / "runs" / "killed"
    assert [path.name for path in run.parent.iterdir()] == [run.name]
    (resumed,) = [int(re.search(r"after epoch (\d)", line)[1]) for line in lines if " INFO Resumed " in line]
    saved = torch.load(run / "training_state.pt", weights_only=True)["epoch"]
    assert 1 <= resumed < saved < 8
    log = EventAccumulator(str(run / "tensorboard"))
    log.Reload()
    steps = [event.step for event in log.Scalars("loss/train")]
    assert steps == list(range(1, len(steps) + 1)), "each epoch once"
    assert len(steps) in (saved, saved + 1)
