"""`segpipe quantize` as a process that may open no socket, and what predict does with its files."""

import hashlib
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from tiny_bundle import SIZE, write_bundle, write_scan

import segpipe
from segpipe import PredictOptions
from segpipe.dataset import Case, Manifest, write_manifest
from segpipe.errors import SegpipeError
from segpipe.inference.engines import choice
from segpipe.inference.engines.names import is_installed
from segpipe.volumes import Grid, read_volume, write_label_map

needs_nncf = pytest.mark.skipif(not is_installed("openvino"), reason="openvino is not installed")
GRID = Grid.from_affine(SIZE, np.eye(4))

_FORBIDDEN = (
    "import os, socket, sys\n"
    "def refuse(*_, **__): os._exit(7)\n"
    "socket.socket.connect = socket.create_connection = socket.getaddrinfo = refuse\n"
    "from segpipe.cli import main\n"
    "sys.argv = ['segpipe', *sys.argv[1:]]\n"
    "sys.exit(main())\n"
)


def write_data(folder, bundle):
    """Write five scans in two folds; the references are the bundle's own labels, so that its Dice is 1."""
    for seed in range(5):
        write_scan(folder / f"scan_{seed}.nii.gz", seed)
    segpipe.predict(
        folder, bundle, folder.parent / "truth", options=PredictOptions(overlays=False, engine="torch")
    )
    names = [f"scan_{seed}" for seed in range(5)]
    for name in names:
        labels = read_volume(folder.parent / "truth" / f"{name}.nii.gz").array
        write_label_map(labels, GRID, folder / f"{name}.mha")
    cases = [Case(name, (f"{name}.nii.gz",), f"{name}.mha", fold=int(name < "scan_2")) for name in names]
    labels = {0: "background", 1: "anterior", 2: "posterior"}
    write_manifest(
        Manifest("noise", ("MRI",), labels, tuple(cases), dataset_dir=str(folder)), folder.parent / "noise.json"
    )
    return folder.parent / "noise.json"


@pytest.mark.slow
@needs_nncf
def test_the_command_opens_no_socket_and_predict_uses_its_files(tmp_path):
    bundle = write_bundle(tmp_path / "tiny")
    manifest = write_data(tmp_path / "data" / "scans", bundle)
    environment = {name: text for name, text in os.environ.items() if name != "CI"}
    environment |= {"HOME": str(tmp_path / "home"), "PYTHONPATH": str(Path(__file__).parents[2])}
    command = [sys.executable, "-c", _FORBIDDEN, "quantize", bundle, "--manifest", manifest]
    command += ["--split", "0", "--windows", "4", "-o", tmp_path / "scores"]

    done = subprocess.run(command, env=environment, capture_output=True, text=True)

    print(done.stdout, done.stderr)
    assert done.returncode == 0, (done.stdout, done.stderr[-3000:])
    assert not list((tmp_path / "home").rglob("*ntel*"))
