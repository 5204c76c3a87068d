"""The command that continues a run."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Sequence

from segpipe.monai_run import is_monai_run
from segpipe.training.run_folder import RunFolder


def resume_command(run_folder: RunFolder, **more: object) -> str:
    """Return the command that continues a run: the command that started it, with `resume` and the run's name.

    Args:
        run_folder: folder of the run, which has a name.
        **more: further ids and values to override.

    Returns:
        A line for a shell. If this process is not MONAI's run, the overrides alone.
    """
    wanted = {**({} if run_folder.name_given else {"run_name": run_folder.path.name}), "resume": True, **more}
    if not is_monai_run():
        wanted["run_name"] = run_folder.path.name
        return f"a resume ({', '.join(f'{name} {value!r}' for name, value in sorted(wanted.items()))})"
    dashes = "" if sys.orig_argv[0] == "segpipe" else "--"  # segpipe train takes ID=VALUE
    kept = _without(sys.orig_argv, list(wanted), dashes)
    return shlex.join([*kept, *(f"{dashes}{name}={value}" for name, value in wanted.items())])


def _without(arguments: Sequence[str], names: Sequence[str], dashes: str) -> list[str]:
    """Return a command line without these overrides: `name=value`, `--name=value`, `--name value`."""
    kept: list[str] = []
    value_follows = False
    for argument in arguments:
        name, equals, _ = argument.removeprefix(dashes).partition("=")
        if argument.startswith(dashes) and name in names and (dashes or equals):
            value_follows = not equals
        elif value_follows and not argument.startswith("--"):
            value_follows = False
        else:
            value_follows = False
            kept.append(argument)
    return kept
