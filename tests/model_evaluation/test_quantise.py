"""`segpipe quantize` as a process that may open no socket, and what predict does with its files."""

import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from tiny_bundle import SIZE, write_bundle, write_scan
from without_sockets import WITHOUT_SOCKETS

import segpipe
from segpipe import PredictOptions
from segpipe.bundle.source import BundleSource
from segpipe.dataset import Case, Manifest, write_manifest
from segpipe.errors import SegpipeError
from segpipe.volumes import Grid, read_volume, write_label_map

needs_nncf = pytest.mark.skipif(importlib.util.find_spec("nncf") is None, reason="nncf is not installed")
GRID = Grid.from_affine(SIZE, np.eye(4))


def write_data(folder):
    """Write five scans in two folds. The references hold two voxels, so that no class can lose .002 of its Dice."""
    labels = np.zeros(SIZE, np.uint8)
    labels[0, 0, 0], labels[-1, -1, -1] = 1, 2
    cases = []
    for seed in range(5):
        write_scan(folder / f"scan_{seed}.nii.gz", seed)
        write_label_map(labels, GRID, folder / f"truth_{seed}.mha")
        cases.append(Case(f"scan_{seed}", (f"scan_{seed}.nii.gz",), f"truth_{seed}.mha", fold=int(seed < 3)))
    classes = {0: "background", 1: "anterior", 2: "posterior"}
    manifest = Manifest("noise", ("MRI",), classes, tuple(cases), dataset_dir=str(folder))
    write_manifest(manifest, folder.parent / "noise.json")
    return folder.parent / "noise.json"


@pytest.fixture(scope="module")
def quantised(tmp_path_factory):
    """Return a bundle that a process quantised, its scans, and what the process printed."""
    tmp_path = tmp_path_factory.mktemp("int8")
    bundle = write_bundle(tmp_path / "tiny")
    manifest = write_data(tmp_path / "data" / "scans")
    environment = {name: text for name, text in os.environ.items() if name != "CI"}
    environment |= {"HOME": str(tmp_path / "home"), "PYTHONPATH": str(Path(__file__).parents[2])}
    command = [
        sys.executable,
        "-c",
        WITHOUT_SOCKETS,
        "quantize",
        bundle,
        "--manifest",
        manifest,
        "--windows",
        "4",
    ]

    done = subprocess.run(command, env=environment, capture_output=True, text=True)

    assert done.returncode == 0, (done.stdout, done.stderr[-3000:])
    assert not list((tmp_path / "home").rglob("*ntel*"))
    return bundle, manifest, done


def entries_of(folder):
    return [json.loads(line) for line in (folder / "predictions.jsonl").read_text().splitlines()]


@pytest.mark.slow
@needs_nncf
def test_the_command_opens_no_socket_and_predict_computes_with_its_files(quantised, tmp_path):
    bundle, manifest, done = quantised
    record = json.loads((bundle / "models" / "model.int8.json").read_text())
    assert record["window"] == [1, 1, 16, 16, 16]
    assert record["cases"]["part"] == "fold 0"  # the weights do not say what they held out
    assert record["calibration"] == {"windows": 3, "cases": record["calibration"]["cases"], "seed": 0}
    assert set(record["calibration"]["cases"]) == {"scan_0", "scan_1", "scan_2"}  # not the scored ones
    assert record["warnings"] == [
        "The training cases of model.pt are not known: the scored cases may be among them."
    ]
    assert "nncf" in record["versions"]
    assert "Mean Dice of 2 cases, fold 0" in done.stdout
    assert "model.int8.bin" in done.stdout
    assert "INFO" not in done.stdout + done.stderr  # of NNCF
    scans = manifest.parent / "scans"

    def predicted(folder, **options):
        return segpipe.predict(
            [scans / "scan_0.nii.gz"], bundle, folder, options=PredictOptions(overlays=False, **options)
        )

    predicted(tmp_path / "int8", precision="int8")
    predicted(tmp_path / "torch", precision="float32", engine="torch")
    (last,) = [entry for entry in entries_of(tmp_path / "int8") if entry["state"] == "done"]
    assert (last["engine"], last["precision"]) == ("openvino", "int8")
    assert len(last["quantised"]) == 64
    ours, theirs = (read_volume(tmp_path / name / "scan_0.nii.gz").array for name in ("int8", "torch"))
    assert 0.8 < np.mean(ours == theirs) < 1  # noise through random weights

    network = bundle / "models" / "model.int8.bin"
    content = network.read_bytes()
    network.write_bytes(content[:-10])
    with pytest.raises(SegpipeError, match=r"model\.int8\.bin: was changed or cut short"):
        predicted(tmp_path / "cut", precision="int8")
    assert not list((tmp_path / "cut").glob("*.nii.gz"))
    network.write_bytes(content)
    other = BundleSource(bundle, overrides={"window_size": [16, 16, 24]})
    (failed,) = segpipe.predict(
        [scans / "scan_0.nii.gz"], other, tmp_path / "w", options=PredictOptions(precision="int8")
    )
    assert "was made for windows of [1, 16, 16, 16], these are of [1, 16, 16, 24]" in failed.reason
