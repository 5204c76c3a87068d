"""The Dockerfile without a container engine: its steps in a clean folder, and its program as the image would run it."""

import fnmatch
import json
import os
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path, PurePosixPath

import pytest

from segpipe.phantoms.mri import mri_phantom
from segpipe.volumes import read_volume, write_volume

ROOT = Path(__file__).parents[1]
LARGEST_BYTES = 2e9  # of environment and base
BASE_BYTES = 150e6  # of python:3.11-slim on disk
KNOWN = {"ARG", "FROM", "ENV", "COPY", "WORKDIR", "RUN", "USER", "ENTRYPOINT", "CMD", "STOPSIGNAL"}
NO_SOCKETS = (
    "import os, socket\n"
    "def refuse(*_, **__): os._exit(7)\n"
    "socket.socket.connect = socket.create_connection = socket.getaddrinfo = refuse\n"
)


def instructions(text):
    """Return (instruction, argument) of each instruction, with continued lines joined and comments left out."""
    lines = [line for line in text.splitlines() if not line.lstrip().startswith("#")]
    joined = re.sub(r"\\\n\s*", "", "\n".join(lines))
    return [tuple(line.split(maxsplit=1)) for line in joined.splitlines() if line.strip()]


@pytest.fixture(scope="module")
def stages():
    """Return the instructions of each stage; those before the first stage come first."""
    found = [[]]
    for instruction, argument in instructions((ROOT / "Dockerfile").read_text()):
        if instruction == "FROM":
            found.append([])
        found[-1].append((instruction, argument))
    return found


def is_ignored(path, patterns):
    """Return whether a path is left out of the build: the last pattern that fits it, or a folder above it, decides."""
    parts = PurePosixPath(path).parts
    ignored = False
    for pattern in patterns:
        keeps, pattern = pattern.startswith("!"), pattern.removeprefix("!")
        anywhere, pattern = pattern.startswith("**/"), pattern.removeprefix("**/")
        wanted = pattern.split("/")
        starts = range(len(parts)) if anywhere else (0,)
        if any(
            len(parts) - start >= len(wanted)
            and all(fnmatch.fnmatchcase(part, one) for part, one in zip(parts[start:], wanted, strict=False))
            for start in starts
        ):
            ignored = not keeps
    return ignored


@pytest.fixture(scope="module")
def context():
    """Return the files of this checkout that `COPY . /source` takes."""
    lines = (ROOT / ".dockerignore").read_text().splitlines()
    patterns = [line for line in lines if line and not line.startswith("#")]
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    if listed.returncode != 0:
        pytest.skip("no checkout of git")
    return [
        path
        for path in listed.stdout.splitlines()
        if (ROOT / path).is_file() and not is_ignored(path, patterns)
    ]


def test_patterns_are_read_as_docker_reads_them():
    patterns = ["*", "!kept", "kept/not_*", "**/__pycache__"]

    ignored = [
        path
        for path in ("other", "kept/a", "kept/not_b/c", "kept/__pycache__/d")
        if is_ignored(path, patterns)
    ]

    assert ignored == ["other", "kept/not_b/c", "kept/__pycache__/d"]


def test_the_program_runs_as_a_user_who_is_not_root(stages):
    last = dict(stages[-1])

    assert last["USER"] not in ("root", "0")
    assert json.loads(last["ENTRYPOINT"]) == ["segpipe"]
    assert {instruction for stage in stages for instruction, _ in stage} <= KNOWN


def test_no_package_index_is_named(stages):
    given = dict(
        argument.partition("=")[::2] for stage in stages for name, argument in stage if name == "ARG"
    )

    assert "://" not in (ROOT / "Dockerfile").read_text()
    assert {"TORCH_INDEX", "PIP_INDEX_URL"} <= {name for name, value in given.items() if not value}
    assert given["COMPUTE"] == "cpu"


def test_weights_for_research_alone_stay_outside(context):
    weights = {path.split("/")[1] for path in context if path.startswith("bundles/") and "/models/" in path}

    assert weights == {"cxr_findings_efficientnet", "mri_hippocampus_unet", "oct_retina_efficientnet"}
    assert not [path for path in context if path.startswith(("tests/", "docs/", "benchmarks/", ".git"))]


def build(stages, context, folder):
    """Do the steps of the first stage below a folder; return the seconds of each step."""
    source, environment = (
        folder / "source",
        {name: os.environ[name] for name in ("PATH", "LANG") if name in os.environ},
    )
    for path in context:
        (source / path).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(ROOT / path, source / path)
    environment |= {"HOME": str(folder), "TMPDIR": str(folder)}
    given = {"TORCH_INDEX": os.environ.get("SEGPIPE_TORCH_INDEX", "")}
    of_pip = {
        name: value for name, value in os.environ.items() if name.startswith("PIP_")
    }  # where packages are
    environment, given = environment | of_pip, given | of_pip
    base = str(Path(sys.base_prefix) / "bin")
    environment["PATH"] = f"{base}:{environment['PATH']}"
    seconds = {}
    for instruction, argument in stages[1]:
        name, _, value = argument.partition("=")
        if instruction == "ARG":
            environment[name] = given.get(name, value)
        elif instruction == "ENV":
            environment[name] = value
        elif instruction == "RUN":
            command = argument.replace("/opt/segpipe", str(folder / "opt"))
            since = time.monotonic()
            ran = subprocess.run(
                ["sh", "-c", command], cwd=source, env=environment, capture_output=True, text=True
            )
            if "PyTorch was built for cuda" in ran.stderr and not given["TORCH_INDEX"]:
                pytest.skip(
                    "the index has PyTorch for CUDA alone; name one for processors in SEGPIPE_TORCH_INDEX"
                )
            assert ran.returncode == 0, (command, ran.stdout[-1000:], ran.stderr[-3000:])
            seconds[command[:60]] = round(time.monotonic() - since, 1)
    return seconds


def size_of(folder):
    """Return the bytes of all files, each counted once, as a layer of an image has them."""
    return sum(
        {file.stat().st_ino: file.stat().st_size for file in folder.rglob("*") if file.is_file()}.values()
    )


@pytest.mark.slow  # 3 to 6 minutes: it installs PyTorch and all else into a new environment
def test_the_steps_make_an_environment_that_predicts_without_a_network(
    stages, context, tmp_path, record_property
):
    seconds = build(stages, context, tmp_path)
    size = size_of(tmp_path / "opt")
    record_property("environment_bytes", size)
    record_property("seconds", seconds)
    print(f"environment: {size / 1e9:.2f} GB; steps, in seconds: {seconds}")

    assert size <= LARGEST_BYTES - BASE_BYTES

    home, data = tmp_path / "home", tmp_path / "data"
    for folder in (home, data / "scans", tmp_path / "hooks"):
        folder.mkdir(parents=True)
    (tmp_path / "hooks" / "sitecustomize.py").write_text(NO_SOCKETS)
    image, _, grid = mri_phantom(0, 0)
    write_volume(image, grid, data / "scans" / "phantom.nii.gz")
    entry = json.loads(dict(stages[-1])["ENTRYPOINT"])
    environment = {"HOME": str(home), "PATH": f"{tmp_path / 'opt' / 'bin'}:/usr/bin:/bin"}
    environment |= {
        "PYTHONPATH": str(tmp_path / "hooks"),
        "OMP_NUM_THREADS": "1",
        "PYTHONDONTWRITEBYTECODE": "1",
    }

    def run(*arguments):
        command = [shutil.which(entry[0], path=environment["PATH"]), *arguments]
        done = subprocess.run(command, cwd=data, env=environment, capture_output=True, text=True)
        assert done.returncode == 0, (arguments, done.stdout[-1000:], done.stderr[-2000:])
        return done.stdout

    assert "predict" in run("--help")
    assert "ct_covid" not in run("bundles")
    run("predict", "scans", "--bundle", "mri_hippocampus_unet", "--output", "labels")

    assert read_volume(data / "labels" / "phantom.nii.gz").array.shape == image.shape
