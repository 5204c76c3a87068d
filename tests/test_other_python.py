"""The wheel with another Python, 3.12 or newer, whatever interpreter is at hand.

The interpreter is SEGPIPE_OTHER_PYTHON, or the first of python3.14, python3.13 and python3.12 on PATH or of pyenv. An
environment with the few packages that need no torch is made for it. A label map is computed where torch is at hand: in
the environment of SEGPIPE_OTHER_PYTHON, or where the index has torch for processors alone; the usual wheel and what it
needs are 3 GB.
"""

import json
import os
import shutil
import subprocess
import sys
import zipfile
from functools import cache
from importlib.metadata import version
from pathlib import Path

import pytest
from tiny_bundle import write_scan

import segpipe

ROOT = Path(__file__).parents[1]
NEWER = ("3.14", "3.13", "3.12")
ASK = "import sys, venv, ensurepip; print('.'.join(map(str, sys.version_info[:2])))"
pytestmark = pytest.mark.slow


def run(*command, folder=None):
    """Run a command without this checkout and this user's bundles on its paths."""
    hidden = ("PYTHONPATH", "SEGPIPE_BUNDLES", "PYTHONWARNINGS")
    environment = {name: value for name, value in os.environ.items() if name not in hidden}
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True)


@cache
def other_python():
    """Return the interpreter; None if there is none."""
    pyenv = Path(os.environ.get("PYENV_ROOT") or Path.home() / ".pyenv") / "versions"
    candidates = [os.environ.get("SEGPIPE_OTHER_PYTHON")]
    for number in NEWER:
        candidates.append(shutil.which(f"python{number}"))
        candidates += sorted(map(str, pyenv.glob(f"{number}.*/bin/python")))
    here = f"{sys.version_info.major}.{sys.version_info.minor}"
    for candidate in filter(None, candidates):
        asked = run(candidate, "-c", ASK)
        if asked.returncode == 0 and asked.stdout.strip() in set(NEWER) - {here}:
            return candidate
    return None


@pytest.fixture(scope="module")
def other():
    found = other_python()
    if found is None:
        pytest.skip(f"no Python {', '.join(NEWER)} with venv and ensurepip other than this one")
    return found


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    folder = tmp_path_factory.mktemp("wheel")
    command = [sys.executable, "-m", "hatchling", "build", "--target", "wheel", "--directory", str(folder)]
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True)
    (path,) = folder.glob("*.whl")
    return path


@pytest.fixture(scope="module")
def environment(other, wheel, tmp_path_factory):
    """Return the Python of an environment with the wheel, and with packages for what needs no torch."""
    folder = tmp_path_factory.mktemp("other") / "environment"
    made = run(other, "-m", "venv", folder)
    assert made.returncode == 0, made.stderr
    python = folder / "bin" / "python"
    pip = [python, "-m", "pip", "install", "--quiet", "--constraint", ROOT / "constraints.txt"]
    for given in (["typer", "pyyaml"], ["--no-deps", wheel]):
        installed = run(*pip, *given)
        if installed.returncode != 0:
            pytest.skip(f"no packages for {other}: {installed.stderr.strip().splitlines()[-1]}")
    return python


def test_every_module_compiles_without_a_warning(environment):
    package = run(environment, "-c", "import segpipe; print(segpipe.__path__[0])", folder="/").stdout.strip()

    done = run(environment, "-W", "error", "-m", "compileall", "-f", "-q", package)

    assert (done.returncode, done.stdout + done.stderr) == (0, "")


def test_bundles_are_listed_and_described_by_name_without_torch(environment, tmp_path):
    def told(*words):
        done = run(environment, "-m", "segpipe", *words, folder=tmp_path)
        assert done.returncode == 0, done.stderr
        return done.stdout

    assert told("-V").split() == ["segpipe", segpipe.__version__]
    assert "mri_hippocampus_unet" in [row["name"] for row in json.loads(told("bundles", "--json"))]
    about = json.loads(told("info", "mri_hippocampus_unet", "--json"))
    assert about["classes"][-2:] == ["anterior", "posterior"]
    assert "--dicom-seg" in told("predict", "--help")


def test_a_scan_is_segmented_by_the_name_of_a_bundle(other, wheel, environment, tmp_path):
    """With torch at hand in the other Python; otherwise only where its CPU wheel can be had."""
    installed = tmp_path / "installed"
    if run(other, "-c", "import torch, monai, SimpleITK, highdicom").returncode == 0:
        with zipfile.ZipFile(wheel) as opened:
            opened.extractall(installed)
        command = [
            other,
            "-c",
            f"import sys; sys.path.insert(0, {str(installed)!r}); import segpipe.cli as c; c.main()",
        ]
    else:
        pip = [environment, "-m", "pip", "install", "--constraint", ROOT / "constraints.txt"]
        torch = f"torch=={version('torch').partition('+')[0]}+cpu"
        if run(*pip, "--dry-run", "--no-deps", torch).returncode != 0:
            pytest.skip(f"{other} has no torch, and the package index no {torch} for it")
        made = run(*pip, "--quiet", torch, wheel)
        assert made.returncode == 0, made.stderr
        command = [environment, "-m", "segpipe"]
    scan = write_scan(tmp_path / "scan.nii.gz", size=(40, 48, 36))

    done = run(
        *command, "predict", scan, "--bundle", "mri_hippocampus_unet", "-o", tmp_path / "out", folder=tmp_path
    )

    assert done.returncode == 0, done.stdout + done.stderr
    assert (tmp_path / "out" / "scan.nii.gz").is_file()
    assert "labels.label" in done.stdout + done.stderr
