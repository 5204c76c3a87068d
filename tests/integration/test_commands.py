"""Each command on bad input, as a real process, fails with one message and no traceback."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from segpipe.phantoms.mri import mri_phantom
from segpipe.volumes import write_volume

# what MONAI says of every configuration it runs, and what its logger says
NOT_OURS = re.compile(
    r"UserWarning: parsing config_file|create_workflow|^\s*$|- INFO -|^\d{4}-\d\d-\d\d .* (INFO|ERROR) "
)


def run(*command, cwd):
    return subprocess.run(
        [*map(str, command)],
        cwd=cwd,
        capture_output=True,
        text=True,
        timeout=300,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )


def monai_run(bundle, tmp_path, *names, **overrides):
    arguments = [
        text for key, value in overrides.items() for text in (f"--{key}", str(value).replace(" ", ""))
    ]
    files = f"[{','.join(repr(file) for file in bundle.files(*names))}]"
    return run(sys.executable, "-m", "monai.bundle", "run", "--config_file", files, *arguments, cwd=tmp_path)


def assert_one_message(done, *expected, status=1):
    """Require that the process failed and printed one message with every expected part."""
    printed = done.stdout + done.stderr
    assert done.returncode == status, printed
    assert "Traceback" not in printed, printed
    messages = re.findall(r"^segpipe: (?!warning)", printed, flags=re.MULTILINE)
    assert len(messages) == 1, printed
    message = printed[printed.index("segpipe: ") :]
    for part in expected:
        assert part in message, f"{part!r} is not in: {printed}"
    # it stands once, not again in a log; and errors of the engine's log say no more than that it follows
    line = next(line for line in done.stderr.splitlines() if line.startswith("segpipe: "))
    assert printed.count(line.removeprefix("segpipe: ")) == 1, printed
    lines = [line for line in done.stderr.splitlines() if not NOT_OURS.search(line)]
    assert lines[0].startswith("segpipe: "), printed
    assert len(lines) <= len(message.splitlines()), printed


@pytest.fixture
def scans(tmp_path):
    """Return a folder with a good scan and a scan with NaN voxels."""
    image, _, grid = mri_phantom(5, 0)
    write_volume(image, grid, tmp_path / "scans" / "a_good.nii.gz")
    broken = image.astype(np.float32)
    broken[1, 2, 3] = np.nan
    write_volume(broken, grid, tmp_path / "scans" / "b_bad.nii.gz")
    return tmp_path / "scans"


def inference(run_folder, scans):
    return {
        "dataset_dir": scans,
        "output_dir": scans.parent / "out",
        "weights": f"['{run_folder / 'best.pt'}']",
        "device": "cpu",
    }


@pytest.mark.slow
def test_train_without_data(bundle, tmp_path):
    overrides = {**bundle.training, "output_dir": tmp_path / "runs", "dataset_dir": tmp_path / "nowhere"}

    done = monai_run(bundle, tmp_path, "train", **overrides)

    assert_one_message(done, str(tmp_path / "nowhere"))
    assert not (tmp_path / "runs").exists()


@pytest.mark.slow
def test_train_with_a_run_that_exists(bundle, finished_run, tmp_path):
    done = monai_run(bundle, tmp_path, "train", **bundle.training, run_name=finished_run.name)

    assert_one_message(done, str(finished_run), "--resume True")


@pytest.mark.slow
def test_resume_a_finished_run(bundle, finished_run, tmp_path):
    """The engine's loop refuses the resume, after the setup."""
    more = {"epochs": 2, "val_interval": 1, "resume": True}

    done = monai_run(bundle, tmp_path, "train", **bundle.training, run_name=finished_run.name, **more)

    assert_one_message(done, "finished", "epoch 2 of 2")


@pytest.mark.slow
def test_train_with_a_broken_label(copied_dataset, tmp_path):
    manifest = json.loads(copied_dataset.manifest.read_text())
    for entry in manifest["training"]:
        entry.pop("sha256", None)
    copied_dataset.manifest.write_text(json.dumps(manifest))
    first = manifest["training"][0]
    path = copied_dataset.manifest.parent / first["label"]
    label = nib.load(path)
    nib.save(nib.Nifti1Image(np.asarray(label.dataobj) * 5, label.affine), path)

    done = monai_run(copied_dataset, tmp_path, "train", **copied_dataset.training)

    assert_one_message(done, first["case"], first["label"], "allowed are 0, 1, 2")


@pytest.mark.slow
def test_evaluate_a_run_that_is_not_there(bundle, tmp_path):
    overrides = {**bundle.training, "output_dir": tmp_path / "runs", "run_name": "never"}

    done = monai_run(bundle, tmp_path, "train", "evaluate", **overrides)

    assert_one_message(done, "never/best.pt", "train first")


@pytest.mark.slow
def test_evaluate_without_a_name(bundle, tmp_path):
    overrides = {**bundle.training, "output_dir": tmp_path / "runs"}

    done = monai_run(bundle, tmp_path, "train", "evaluate", **overrides)

    assert_one_message(done, "--run_name NAME")


@pytest.mark.slow
def test_inference_without_scans(bundle, finished_run, tmp_path):
    (tmp_path / "scans").mkdir()

    done = monai_run(bundle, tmp_path, "inference", **inference(finished_run, tmp_path / "scans"))

    assert_one_message(done, str(tmp_path / "scans"))


@pytest.mark.slow
def test_inference_of_a_scan_that_is_no_numbers(bundle, finished_run, scans, tmp_path):
    done = monai_run(bundle, tmp_path, "inference", **inference(finished_run, scans))

    assert_one_message(done, "b_bad.nii.gz", "NaN")
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [
        "a_good.nii.gz",
        "labels.ctbl",
        "labels.label",
    ]


@pytest.mark.slow
def test_a_loader_worker_prints_no_traceback(bundle, finished_run, scans, tmp_path):
    more = {"dataloader#num_workers": 2}

    done = monai_run(bundle, tmp_path, "inference", **inference(finished_run, scans), **more)

    assert_one_message(done, "b_bad.nii.gz", "NaN")


SEGPIPE_COMMANDS = {
    "check": (["./nowhere"], "nowhere: has no configs/train.yaml"),
    "train": (["nowhere"], "nowhere: no folder and no bundle has this name"),
    "data check": (["none.json", "--dataset-dir", "."], "none.json"),
    "data create": (["nowhere", "-o", "mine.json"], "nowhere: no such folder"),
    "data fetch": (["hippocampus", "--dataset-dir", "set"], "names no download"),
    "data split": (["none.json", "--folds", "3"], "none.json"),
    "evaluate": (["--predictions", "nowhere", "--references", "nothing"], "nowhere"),
    "promote": (["best.pt", "--bundle", "."], "is not a bundle"),
    "phantoms dataset": (["phantoms", "--cases", "2"], "2 cases"),
    "phantoms scans": (["scans", "--references", "scans/in"], "must not lie among the scans"),
}


SEEN_FAST = ("data create", "phantoms dataset")
"""Commands that the fast tests run as a process; the others are slow, since each start takes seconds."""


@pytest.mark.parametrize(
    "command",
    [pytest.param(one, marks=[] if one in SEEN_FAST else pytest.mark.slow) for one in SEGPIPE_COMMANDS],
)
def test_a_segpipe_command(command, tmp_path):
    arguments, expected = SEGPIPE_COMMANDS[command]

    done = run(Path(sys.executable).with_name("segpipe"), *command.split(), *arguments, cwd=tmp_path)

    assert done.returncode == 2, done.stdout + done.stderr
    assert "Traceback" not in done.stdout + done.stderr
    assert done.stderr.startswith("segpipe: ")
    assert done.stderr.count("segpipe: ") == 1
    assert expected in done.stderr
