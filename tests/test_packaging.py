"""The content of an installation from the wheel, which needs no checkout."""

import json
import os
import subprocess
import sys
import zipfile
from email import message_from_bytes
from pathlib import Path

import pytest

import segpipe

SHARED_BY_ANYONE = {"CC BY 4.0", "CC BY-SA 4.0", "no restriction; attribution to the NIH Clinical Center"}


@pytest.fixture(scope="module")
def wheel(tmp_path_factory, pytestconfig):
    """Return the opened wheel of this checkout."""
    folder = tmp_path_factory.mktemp("wheel")
    command = [sys.executable, "-m", "hatchling", "build", "--target", "wheel", "--directory", str(folder)]
    subprocess.run(command, cwd=pytestconfig.rootpath, check=True, capture_output=True)
    (path,) = folder.glob("*.whl")
    with zipfile.ZipFile(path) as opened:
        yield opened


@pytest.mark.slow
def test_wheel_holds_every_module_and_manifest(wheel, pytestconfig):
    root = pytestconfig.rootpath
    expected = {path.relative_to(root).as_posix() for path in (root / "segpipe").rglob("*.py")}
    expected |= {f"segpipe/data_manifests/{path.name}" for path in (root / "data_manifests").glob("*.json")}
    expected |= {
        "segpipe/dataset/manifest.schema.json",
        *(f"segpipe/overview/{path.name}" for path in (root / "segpipe/overview").glob("*.html")),
        *(f"segpipe/report/{path.name}" for path in (root / "segpipe/report").glob("*.html")),
        "segpipe/report/niivue/niivue.umd.js.gz",
        "segpipe/report/niivue/LICENSE",
    }
    templates = (path for path in (root / "segpipe/planning/templates").rglob("*") if path.is_file())
    expected |= {path.relative_to(root).as_posix() for path in templates}

    assert expected <= set(wheel.namelist())


@pytest.mark.slow
def test_wheel_holds_nothing_else_but_its_description(wheel):
    folders = {name.split("/")[0] for name in wheel.namelist()}

    assert folders == {"segpipe", f"segpipe-{segpipe.__version__}.dist-info"}
    assert not [name for name in wheel.namelist() if "__pycache__" in name]


@pytest.mark.slow
def test_wheel_names_its_licence_and_command(wheel):
    information = f"segpipe-{segpipe.__version__}.dist-info"
    metadata = message_from_bytes(wheel.read(f"{information}/METADATA"))

    assert metadata["Version"] == segpipe.__version__
    assert metadata["License-Expression"] == "Apache-2.0 AND CC-BY-4.0 AND CC-BY-SA-4.0 AND BSD-2-Clause"
    licences = {path.partition("/licenses/")[2] for path in wheel.namelist() if "/licenses/" in path}
    assert licences >= {"LICENSE", "segpipe/report/niivue/LICENSE"}
    assert "segpipe = segpipe.cli:main" in wheel.read(f"{information}/entry_points.txt").decode()


@pytest.mark.slow
def test_wheel_holds_the_bundles_that_anyone_may_share(wheel, pytestconfig):
    """The licence is that in each bundle's metadata; a new one must be read before it is added here."""
    root = pytestconfig.rootpath
    tracked = subprocess.run(
        ["git", "ls-files", "bundles"], cwd=root, capture_output=True, text=True, check=True
    )
    licences = {
        path.parents[1].name: json.loads(path.read_text())["data_license"]
        for path in root.glob("bundles/*/configs/metadata.json")
    }
    free = {name for name, licence in licences.items() if licence in SHARED_BY_ANYONE}

    expected = {f"segpipe/{path}" for path in tracked.stdout.split() if path.split("/")[1] in free}
    assert {path for path in wheel.namelist() if path.startswith("segpipe/bundles/")} == expected
    assert free == {"cxr_findings_efficientnet", "mri_hippocampus_unet", "oct_retina_efficientnet"}


@pytest.mark.slow
def test_installed_wheel_finds_its_bundles(wheel, tmp_path):
    """The wheel is unpacked elsewhere; its bundles are listed, and are not written in."""
    installed = tmp_path / "installed"
    wheel.extractall(installed)
    command = [sys.executable, "-m", "segpipe"]
    environment = {**os.environ, "PYTHONPATH": str(installed)}
    environment.pop("SEGPIPE_BUNDLES", None)

    def run(*words):
        return subprocess.run(
            [*command, *words], cwd=tmp_path, env=environment, capture_output=True, text=True
        )

    listed = json.loads(run("bundles", "--json").stdout)
    assert [row["name"] for row in listed] == [
        "cxr_findings_efficientnet",
        "mri_hippocampus_unet",
        "oct_retina_efficientnet",
    ]
    assert Path(listed[1]["folder"]) == installed / "segpipe" / "bundles" / "mri_hippocampus_unet"
    refused = run("promote", "best.pt", "--bundle", "mri_hippocampus_unet")
    assert refused.returncode == 2
    assert "came with the installed segpipe" in " ".join(refused.stderr.split())


@pytest.mark.slow
def test_installed_wheel_finds_its_manifests(wheel, tmp_path):
    """The wheel is unpacked elsewhere; the shipped manifests and their schema are read."""
    wheel.extractall(tmp_path / "installed")
    code = (
        "import sys; sys.path.insert(0, sys.argv[1]); import segpipe\n"
        "from segpipe.dataset import load_manifest\n"
        "print(segpipe.__file__, load_manifest('hippocampus').name)"
    )

    command = [sys.executable, "-c", code, str(tmp_path / "installed")]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)

    assert done.returncode == 0, done.stderr
    assert str(tmp_path / "installed") in done.stdout
    assert "ippocampus" in done.stdout
