"""`segpipe train`: check a bundle, then train it with MONAI's run."""

from __future__ import annotations

import math
import os
import shlex
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import typer

from segpipe.bundle_names import is_installed
from segpipe.cli.bundle_options import Bundle, Trust
from segpipe.cli.check import FOUND, TRAIN, Configs, Overrides
from segpipe.cli.overrides import parse_overrides
from segpipe.cli.printed import say
from segpipe.errors import counted
from segpipe.import_time import collecting_nothing


def train(bundle: Bundle, override: Overrides = None, config: Configs = None, trust: Trust = False) -> None:
    """Check a bundle as `segpipe check` does. If no mistake is found, train it with `python -m monai.bundle run`.

    segpipe prints that command and runs it in its place. To use torchrun, give the printed command to torchrun.
    """
    with collecting_nothing():
        from segpipe.admission.gate import require_admitted
        from segpipe.bundle_check.check_bundle import RUN_ARGUMENTS, check_bundle
        from segpipe.configuration.reading import configuration_files

    overrides = parse_overrides(override or ())
    files = configuration_files(bundle, config or (), TRAIN)
    findings = check_bundle(bundle, files, overrides)
    for finding in findings:
        say(finding, err=True)
    if findings:  # a note, too: MONAI would end without the id to run
        mistakes = sum(not finding.is_note for finding in findings)
        found = f"{counted(mistakes, 'mistake')} found; " if mistakes else ""
        say(f"segpipe: {found}no training was started", err=True)
        raise typer.Exit(FOUND)
    given = {name: value for name, value in overrides.items() if value is not None}  # MONAI ignores None
    if is_installed(bundle) and "output_dir" not in given:
        given["output_dir"] = str(Path("runs").absolute())
        say(f"runs go to {given['output_dir']}: {bundle} came with segpipe, and stays as it is")
    logging_file = given.get("logging_file", files[0].parent / "logging.conf")
    copy = require_admitted(
        bundle,
        files,
        {name: value for name, value in given.items() if name not in RUN_ARGUMENTS},
        logging_file=Path(logging_file) if logging_file else None,
        trust=trust,
    )
    if copy is None:
        command = run_command(bundle, files, given)
    else:
        arguments = {name: value for name, value in given.items() if name in RUN_ARGUMENTS}
        command = copy_command(bundle, copy, arguments, _same_command(bundle, files, given, trust=trust))
    command = ["-P", "-X", "utf8", *command]  # MONAI reads YAML in the locale's encoding otherwise
    say(shlex.join(["python", *command]))
    sys.stdout.flush()
    os.execve(sys.executable, [sys.executable, *command], os.environ)  # noqa: S606


def run_command(bundle: Path, files: Sequence[Path], overrides: Mapping[str, Any]) -> list[str]:
    """Return Python's arguments to run a bundle; all paths are absolute, so that none begins with `$`.

    Args:
        bundle: its folder.
        files: of its configuration.
        overrides: id -> value.
    """
    paths = [str(file.absolute()) for file in files]
    given = {
        "config_file": paths[0] if len(paths) == 1 else paths,
        "bundle_root": str(bundle.resolve()),
        **overrides,
    }
    return ["-m", "monai.bundle", "run", *_options(given)]


def copy_command(
    bundle: Path, copy: Path, arguments: Mapping[str, Any], same_command: Sequence[str]
) -> list[str]:
    """Return Python's arguments to run the copy of a trusted bundle.

    Args:
        bundle: its folder.
        copy: from `segpipe.admission.gate.require_admitted`; overrides stand in its configuration.
        arguments: arguments of MONAI's run.
        same_command: command that starts this training, for the message on resuming.
    """
    from segpipe.admission.gate import MERGED

    given = {
        "config_file": str(copy / "bundle" / MERGED),
        "bundle_root": str(bundle.resolve()),
        **arguments,
    }
    return ["-m", "segpipe.cli.train_copy", str(copy), shlex.join(same_command), "run", *_options(given)]


def _same_command(
    bundle: Path, files: Sequence[Path], overrides: Mapping[str, Any], *, trust: bool
) -> list[str]:
    options = [f"--config={file.absolute()}" for file in files] + (["--trust"] if trust else [])
    ids = [f"{name}={_as_yaml(value)}" for name, value in overrides.items()]
    return ["segpipe", "train", str(bundle.resolve()), *options, *ids]


def _as_yaml(value: Any) -> str:
    """Return a value as one line of YAML, for `ID=VALUE`."""
    import yaml

    text: str = yaml.safe_dump(value, default_flow_style=True, width=math.inf, allow_unicode=True)
    return text.strip().removesuffix("...").strip()


def _options(given: Mapping[str, Any]) -> list[str]:
    return [f"--{name}={_as_text(value)}" for name, value in given.items()]


def _as_text(value: Any) -> str:
    """Return a value as text for MONAI's command line: bare words if MONAI reads them back, else Python."""
    from fire.parser import DefaultParseValue

    bare = isinstance(value, str) and DefaultParseValue(value) == value
    return value if bare else repr(value)
