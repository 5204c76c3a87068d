"""A bundle is planned from the weights of another, trained from them, and made longer."""

import json
import subprocess
import sys

import pytest
import torch
import yaml
from tiny_bundle import SMALL, write_bundle, write_weights
from typer.testing import CliRunner

from segpipe.cli import app
from segpipe.networks import read_sidecar
from segpipe.phantoms.files import write_phantom_dataset


@pytest.fixture
def manifest(tmp_path):
    """Return a manifest of phantoms whose first class has another name."""
    path = write_phantom_dataset(tmp_path / "data", num_cases=4, seed=0)
    content = json.loads(path.read_text())
    content["labels"] = {"0": "background", "1": "head", "2": "posterior"}
    path.write_text(json.dumps(content))
    return path


@pytest.fixture
def source(tmp_path):
    """Return a bundle with weights whose sidecar describes the network."""
    bundle = write_bundle(tmp_path / "source")
    training = yaml.safe_load((bundle / "configs" / "inference.yaml").read_text())
    configuration = {name: training[name] for name in ("network_def", *SMALL) if name in training}
    write_weights(bundle, bundle / "models" / "model.pt", 0, configuration=configuration)
    return bundle


@pytest.mark.slow
def test_from_a_plan_to_a_longer_run(source, manifest, tmp_path):
    root = tmp_path / "planned"
    where = ["--dataset-dir", str(manifest.parent), "-o", str(root), "--no-cuda", "--epochs", "1"]
    planned = CliRunner().invoke(app, ["plan", str(manifest), *where, "--from", str(source)])
    assert planned.exit_code == 0, planned.output
    said = "Training starts from the weights of source (models/start.pt): of "
    assert said in planned.stdout.replace("\n", " ")
    assert said in (root / "docs" / "README.md").read_text()
    assert "weights of source" in (root / "docs" / "data_license.txt").read_text()

    def train(epochs, **more):
        """Train in a process of its own; return the weights and what was printed."""
        given = {
            "dataset_dir": manifest.parent,
            "output_dir": tmp_path / "runs",
            "run_name": "run",
            "epochs": epochs,
            "patches_per_case": 1,
            "patch_size": [16, 16, 16],
            "window_size": [16, 16, 16],
            "freeze_epochs": 1,
            "taken_rate": 0.5,
            "reference_ranges": "false",
            "device": "cpu",
            "precision": "float32",
            **more,
        }
        words = [f"{name}={value}".replace(" ", "") for name, value in given.items()]
        done = subprocess.run(
            [sys.executable, "-m", "segpipe", "train", root, *words],
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return torch.load(tmp_path / "runs" / "run" / "last.pt", weights_only=True), done.stdout

    first, _ = train(1)

    record = json.loads((tmp_path / "runs" / "run" / "from_weights.json").read_text())
    starts = {one["layer"]: one["start"] for one in record["layers"]}
    assert starts.pop("output_block.conv.conv") == "adapted"
    assert set(starts.values()) == {"taken"}
    then = torch.load(source / "models" / "model.pt", weights_only=True)
    assert all(torch.equal(first[name], then[name]) for name in then if name.rpartition(".")[0] in starts)
    assert not torch.equal(first["output_block.conv.conv.weight"], then["output_block.conv.conv.weight"])
    of_sidecar = read_sidecar(tmp_path / "runs" / "run" / "last.pt").training["from_weights"]
    assert (of_sidecar["file"], of_sidecar["sha256"]) == ("start.pt", record["sha256"])

    (root / "models" / "start.pt").unlink()  # a run that resumes has its own weights
    longer, log = train(3, resume="true")

    assert "The run is made longer: a new cycle of the learning rate, epochs 2 to 3" in log
    assert "Start:      from start.pt (start.pt, SHA-256 " in log
    assert any(
        not torch.equal(longer[name], then[name]) for name in then if name.rpartition(".")[0] in starts
    )
    assert read_sidecar(tmp_path / "runs" / "run" / "last.pt").training["from_weights"] == of_sidecar
