"""Installed modules come before a bundle's modules, and a bundle's module may not have the name of one."""

import importlib
import subprocess
import sys

import pytest

from segpipe.configuration.bundle_modules import bundle_modules, importing_from, shadowing_modules
from segpipe.errors import SegpipeError


@pytest.mark.parametrize(
    ("path", "reason"),
    [
        ("yaml.py", "named like the installed module yaml"),
        ("torch/__init__.py", "named like the installed module torch"),
        ("monai/inner/deep.py", "named like the installed module monai"),
        ("typing.py", "named like Python's own module typing"),
        ("sys.pyc", "named like Python's own module sys"),
        ("numpy.so", "named like the installed module numpy"),
        ("sitecustomize.py", "runs when it starts"),
        ("usercustomize.py", "runs when it starts"),
    ],
)
def test_a_module_that_would_run_in_anothers_place_is_refused(path, reason, tmp_path):
    (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
    (tmp_path / path).write_text("raise SystemExit(0)\n")

    (what,) = shadowing_modules(tmp_path).values()
    assert reason in what
    with pytest.raises(SegpipeError, match=reason), importing_from(tmp_path):
        pass


def test_other_files_and_modules_with_unique_names_are_accepted(tmp_path):
    for path in (
        "scripts/net.py",
        "own_net.py",
        "configs/train.yaml",
        "yaml/README.md",
        "docs/README.md",
        "torch.txt",
    ):
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_text("")

    assert set(bundle_modules(tmp_path)) == {"scripts", "own_net"}
    assert shadowing_modules(tmp_path) == {}


def test_the_folder_stands_last(tmp_path):
    before = list(sys.path)

    with importing_from(tmp_path):
        assert sys.path == [*before, str(tmp_path)]

    assert sys.path == before


def test_another_bundles_folder_that_stands_before_gives_way(tmp_path, monkeypatch):
    for bundle in ("first", "second"):
        (tmp_path / bundle / "scripts").mkdir(parents=True)
        (tmp_path / bundle / "scripts" / "own_name.py").write_text(f"NAME = {bundle!r}\n")
    monkeypatch.syspath_prepend(tmp_path / "first")

    with importing_from(tmp_path / "second"):
        module = importlib.import_module("scripts.own_name")

    assert module.NAME == "second"
    assert sys.path[0] == str(tmp_path / "first")


def test_python_m_segpipe_imports_nothing_from_the_working_directory(tmp_path):
    for name in ("typing", "typer", "pathlib"):
        (tmp_path / f"{name}.py").write_text("open('RAN', 'w')\n")

    done = subprocess.run(
        [sys.executable, "-m", "segpipe", "--version"], cwd=tmp_path, capture_output=True, text=True
    )

    assert done.stdout.startswith("segpipe ")
    assert not (tmp_path / "RAN").exists()
