"""`segpipe train`: the check of a bundle, then MONAI's own run of it."""

from __future__ import annotations

import os
import shlex
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import typer

from segpipe.cli.check import FOUND, TRAIN, Bundle, Configs, Overrides
from segpipe.cli.imports import collecting_nothing
from segpipe.cli.overrides import parse_overrides
from segpipe.cli.printed import say


def train(bundle: Bundle, override: Overrides = None, config: Configs = None) -> None:
    """Check a bundle as `segpipe check` does, and if it is sound train it with `python -m monai.bundle run`.

    That command is printed, and takes this process's place. With torchrun, give it to torchrun yourself.
    """
    with collecting_nothing():
        from segpipe.bundle.checks.bundle import check_bundle
        from segpipe.bundle.checks.reading import configuration_files

    overrides = parse_overrides(override or ())
    files = configuration_files(bundle, config or (), TRAIN)
    found = check_bundle(bundle, files, overrides)
    for finding in found:
        say(finding, err=True)
    if found:
        mistakes = "1 mistake" if len(found) == 1 else f"{len(found)} mistakes"
        say(f"segpipe: {mistakes} found, nothing is started", err=True)
        raise typer.Exit(FOUND)
    command = ["-P", *run_command(bundle, files, overrides)]
    say(shlex.join(["python", *command]))
    sys.stdout.flush()
    os.execve(sys.executable, [sys.executable, *command], os.environ)  # noqa: S606


def run_command(bundle: Path, files: Sequence[Path], overrides: Mapping[str, Any]) -> list[str]:
    """Return the arguments that python runs a bundle with; every path is absolute, so that none begins with `$`.

    Args:
        bundle: its folder.
        files: of its configuration.
        overrides: id -> value.
    """
    from segpipe.bundle.importing import own_modules

    paths = [str(file.absolute()) for file in files]
    root = str(bundle.resolve())
    given = {
        "config_file": paths[0] if len(paths) == 1 else paths,
        "bundle_root": root,
        **{name: value for name, value in overrides.items() if value is not None},  # MONAI leaves those out
    }
    module = ["segpipe.cli.train_own_modules", root] if own_modules(bundle) else ["monai.bundle"]
    return ["-m", *module, "run", *(f"--{name}={_as_text(value)}" for name, value in given.items())]


def _as_text(value: Any) -> str:
    """Return what MONAI's command line reads as a value: bare words where that does, else Python."""
    from fire.parser import DefaultParseValue

    bare = isinstance(value, str) and DefaultParseValue(value) == value
    return value if bare else repr(value)
