"""`segpipe phantoms` writes volumes or slices with a manifest."""

import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from segpipe.cli import app
from segpipe.dataset import load_manifest
from segpipe.volumes import find_scans

SEGPIPE = Path(sys.executable).with_name("segpipe")  # of this environment, whatever PATH says


def test_dataset_prints_the_manifest(tmp_path):
    folder = tmp_path / "set"

    result = CliRunner().invoke(app, ["phantoms", "dataset", str(folder), "--cases", "4", "--seed", "2"])

    assert (result.exit_code, result.stdout) == (0, f"{folder / 'dataset.json'}\n")
    assert len(load_manifest(folder / "dataset.json").training) == 4


@pytest.mark.slow
def test_dataset_as_a_process_refuses_a_used_folder(tmp_path):
    (tmp_path / "mine").touch()

    result = subprocess.run([SEGPIPE, "phantoms", "dataset", tmp_path], capture_output=True, text=True)

    assert (result.returncode, result.stdout) == (2, "")
    assert result.stderr == (
        f"segpipe: {tmp_path}: exists and is not an empty folder; choose another, or remove it first\n"
    )


@pytest.mark.slow
def test_scans_as_a_process(tmp_path):
    scans, references = tmp_path / "scans", tmp_path / "references"

    result = subprocess.run(
        [SEGPIPE, "phantoms", "scans", scans, "--references", references, "--seed", "2"],
        capture_output=True,
        text=True,
        check=True,
    )

    assert len(result.stdout.splitlines()) == 4
    assert [scan.name for scan in find_scans(scans)] == [scan.name for scan in find_scans(references)]


def test_ct_is_another_modality(tmp_path, monkeypatch):
    from segpipe.phantoms import files as phantom_files

    small = phantom_files.ct(size=64, slices=2)
    monkeypatch.setattr(phantom_files, "ct", lambda: small)

    arguments = ["phantoms", "dataset", str(tmp_path / "set"), "--cases", "4", "--modality", "ct"]
    assert CliRunner().invoke(app, arguments).exit_code == 0
    assert load_manifest(tmp_path / "set" / "dataset.json").modality == ("CT",)
    folders = [str(tmp_path / "scans"), "--references", str(tmp_path / "references")]
    assert CliRunner().invoke(app, ["phantoms", "scans", *folders, "--modality", "ct"]).exit_code == 0
    assert len(find_scans(tmp_path / "scans")) == 4


@pytest.mark.parametrize(("modality", "target"), [("oct", "class"), ("x-ray", "findings")])
def test_dataset_of_labelled_images(tmp_path, modality, target):
    options = ["--modality", modality, "--cases", "24", "--test-cases", "2"]

    result = CliRunner().invoke(app, ["phantoms", "dataset", str(tmp_path / "set"), *options])

    assert (result.exit_code, result.stdout) == (0, f"{tmp_path / 'set' / 'dataset.json'}\n")
    manifest = load_manifest(tmp_path / "set" / "dataset.json")
    assert (manifest.target, len(manifest.training), len(manifest.test)) == (target, 24, 2)


def test_volumes_have_no_test_cases(tmp_path):
    result = CliRunner().invoke(app, ["phantoms", "dataset", str(tmp_path / "set"), "--test-cases", "2"])

    assert result.exit_code == 2
    assert "only oct and x-ray have test cases, the modality is mri; leave the option out" in result.stderr
