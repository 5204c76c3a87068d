"""Typer's shell completion knows commands, options and names of bundles."""

import os
import subprocess
import sys

import pytest


def completed(shell, words, **variables):
    """Return what a shell shows for the last of some words."""
    environment = {
        **os.environ,
        "_SEGPIPE_COMPLETE": f"complete_{shell}",
        "COMP_WORDS": " ".join(words),
        "COMP_CWORD": str(len(words) - 1),
        "_TYPER_COMPLETE_ARGS": " ".join(words),
        "_TYPER_COMPLETE_FISH_ACTION": "get-args",
        **variables,
    }
    code = "from segpipe.cli import main; import sys; sys.argv = ['segpipe']; main()"
    return subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True
    ).stdout


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_names_of_bundles(shell):
    shown = completed(shell, ["segpipe", "predict", "--bundle", "mri_"])

    assert "mri_hippocampus_unet" in shown
    assert "ct_covid" not in shown


def test_commands():
    assert completed("bash", ["segpipe", "inf"]).split() == ["info"]


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_the_script_of_a_shell(shell):
    environment = {**os.environ, "_SEGPIPE_COMPLETE": f"source_{shell}"}
    code = "from segpipe.cli import main; import sys; sys.argv = ['segpipe']; main()"

    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True)

    assert f"complete_{shell}" in done.stdout
