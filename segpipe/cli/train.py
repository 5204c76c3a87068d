"""`segpipe train`: check a bundle, then train it with MONAI's run, in one process or in several by torchrun."""

from __future__ import annotations

import math
import os
import shlex
import sys
from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

import typer

from segpipe.bundle_names import is_installed
from segpipe.cli.bundle_options import Bundle, Trust
from segpipe.cli.check import FOUND, TRAIN, Configs, Overrides
from segpipe.cli.overrides import parse_overrides
from segpipe.cli.printed import say
from segpipe.cli.train_processes import (
    MULTI_GPU,
    Count,
    Endpoint,
    NodeRank,
    Nodes,
    Processes,
    Restarts,
    RunId,
    requested_processes,
)
from segpipe.errors import SegpipeError, counted
from segpipe.import_time import collecting_nothing
from segpipe.ranks import is_first_to_say, is_of_torchrun, rank


def train(
    bundle: Bundle,
    override: Overrides = None,
    config: Configs = None,
    trust: Trust = False,
    processes: Count = None,
    nnodes: Nodes = None,
    node_rank: NodeRank = None,
    rdzv_endpoint: Endpoint = None,
    rdzv_id: RunId = None,
    max_restarts: Restarts = None,
) -> None:
    """Check a bundle as `segpipe check` does. If no mistake is found, train it with `python -m monai.bundle run`.

    segpipe prints that command and runs it in its place. With --processes, torchrun runs it in several processes, with
    the bundle's multi_gpu_train.yaml. `torchrun ... -m segpipe train BUNDLE` does the same under a torchrun of yours.
    """
    try:
        several = requested_processes(processes, nnodes, node_rank, rdzv_endpoint, rdzv_id, max_restarts)
        command = _command(bundle, parse_overrides(override or ()), config or (), trust, several)
    except SegpipeError as error:
        if not is_first_to_say(str(error)):
            raise typer.Exit(FOUND) from None
        raise
    command = ["-P", "-X", "utf8", *command]  # MONAI reads YAML in the locale's encoding otherwise
    if not rank():
        say(shlex.join(["python", *command]))
    sys.stdout.flush()
    environment = {**os.environ, "PYTHONSAFEPATH": "1", "PYTHONUTF8": "1"} if several else os.environ
    os.execve(sys.executable, [sys.executable, *command], environment)  # noqa: S606


def _command(
    bundle: Path, overrides: dict[str, Any], config: Sequence[Path], trust: bool, several: Processes | None
) -> list[str]:
    """Return Python's arguments to train a bundle without mistakes; print the mistakes of another one, and exit."""
    with collecting_nothing():
        from segpipe.admission.gate import require_admitted
        from segpipe.bundle_check.check_bundle import RUN_ARGUMENTS, check_bundle
        from segpipe.configuration.reading import configuration_files

    files = configuration_files(bundle, config, TRAIN)
    if several or is_of_torchrun():
        files = _with_multi_gpu(bundle, files)
    findings = check_bundle(bundle, files, overrides)
    if findings:  # a note, too: MONAI would end without the id to run
        mistakes = sum(not finding.is_note for finding in findings)
        found = f"{counted(mistakes, 'mistake')} found; " if mistakes else ""
        lines = [*map(str, findings), f"segpipe: {found}no training was started"]
        if is_first_to_say("\n".join(lines)):
            say(*lines, err=True)
        raise typer.Exit(FOUND)
    given = {name: value for name, value in overrides.items() if value is not None}  # MONAI ignores None
    if is_installed(bundle) and "output_dir" not in given:
        given["output_dir"] = str(Path("runs").absolute())
        if not rank():
            say(f"runs go to {given['output_dir']}: {bundle} came with segpipe, and stays as it is")
    meeting = _name_run(bundle, files, given, several) if several else ""
    logging_file = given.get("logging_file", files[0].parent / "logging.conf")
    copy = require_admitted(
        bundle,
        files,
        {name: value for name, value in given.items() if name not in RUN_ARGUMENTS},
        logging_file=Path(logging_file) if logging_file else None,
        trust=trust,
    )
    same_command = _same_command(bundle, files, given, trust=trust, several=several)
    arguments = given if copy is None else {name: given[name] for name in given if name in RUN_ARGUMENTS}
    if several:
        run = (
            _run_arguments(bundle, files, arguments)
            if copy is None
            else _copy_arguments(bundle, copy, arguments)
        )
        options = several.torchrun_options(meeting)
        return [
            *("-m", "segpipe.cli.train_ranks", shlex.join(same_command), str(copy or ""), *options, "--"),
            *("run", *_options(run)),
        ]
    if copy is None:
        return run_command(bundle, files, arguments)
    return copy_command(bundle, copy, arguments, same_command)


def _with_multi_gpu(bundle: Path, files: Sequence[Path]) -> list[Path]:
    """Return the files, and behind them the bundle's overrides for several processes.

    Raises:
        SegpipeError: the bundle has none.
    """
    if any(file.name in MULTI_GPU for file in files):
        return list(files)
    folder = bundle / "configs"
    found = [folder / name for name in MULTI_GPU if (folder / name).is_file()]
    if not found:
        raise SegpipeError(
            f"{bundle}: has no configs/{MULTI_GPU[0]}, so that it trains in one process; leave out --processes, or "
            "plan the bundle again with segpipe plan"
        )
    return [*files, found[0]]


def _name_run(bundle: Path, files: Sequence[Path], given: dict[str, Any], several: Processes) -> str:
    """Name the run before its processes start, so that they find it when they start again; return the name."""
    from segpipe.configuration.reading import read_configuration

    configuration = read_configuration(bundle, files, {"bundle_root": str(bundle.resolve()), **given})
    if "run_name" not in configuration.settings:  # of a bundle that segpipe did not make
        return bundle.resolve().name
    name = configuration.settings["run_name"]
    if name is None and several.nodes > 1:
        raise SegpipeError(
            f"--nnodes {several.nodes}: the machines must train one run; give all of them the same run_name=NAME"
        )
    if name is None:
        name = given["run_name"] = f"{datetime.now():%Y%m%d-%H%M%S}"
    return str(name)


def run_command(bundle: Path, files: Sequence[Path], overrides: Mapping[str, Any]) -> list[str]:
    """Return Python's arguments to run a bundle; all paths are absolute, so that none begins with `$`.

    Args:
        bundle: its folder.
        files: of its configuration.
        overrides: id -> value.
    """
    return ["-m", "monai.bundle", "run", *_options(_run_arguments(bundle, files, overrides))]


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
    options = _options(_copy_arguments(bundle, copy, arguments))
    return ["-m", "segpipe.cli.train_copy", str(copy), shlex.join(same_command), "run", *options]


def _run_arguments(bundle: Path, files: Sequence[Path], overrides: Mapping[str, Any]) -> dict[str, Any]:
    paths = [str(file.absolute()) for file in files]
    return {
        "config_file": paths[0] if len(paths) == 1 else paths,
        "bundle_root": str(bundle.resolve()),
        **overrides,
    }


def _copy_arguments(bundle: Path, copy: Path, arguments: Mapping[str, Any]) -> dict[str, Any]:
    from segpipe.admission.gate import MERGED

    return {
        "config_file": str(copy / "bundle" / MERGED),
        "bundle_root": str(bundle.resolve()),
        **arguments,
    }


def _same_command(
    bundle: Path,
    files: Sequence[Path],
    overrides: Mapping[str, Any],
    *,
    trust: bool,
    several: Processes | None,
) -> list[str]:
    options = [f"--config={file.absolute()}" for file in files] + (["--trust"] if trust else [])
    options += several.options if several else []
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
