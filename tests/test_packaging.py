"""The content of an installation from the wheel, which needs no checkout."""

import subprocess
import sys
import zipfile
from email import message_from_bytes

import pytest

import segpipe


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
    assert metadata["License-Expression"] == "Apache-2.0"
    assert "segpipe = segpipe.cli:main" in wheel.read(f"{information}/entry_points.txt").decode()


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
