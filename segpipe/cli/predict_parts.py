"""`segpipe predict --part`, `--merge` and `--workers`: a cohort on many machines."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from segpipe.cli.cohort import print_failures
from segpipe.errors import SegpipeError
from segpipe.import_time import collecting_nothing

if TYPE_CHECKING:
    from segpipe.prediction.part import CohortPart
    from segpipe.prediction.worker_run import Workers


def parsed_part(text: str | None) -> CohortPart | None:
    """Return the part that --part names; None without the option.

    Raises:
        SegpipeError: there is no such part.
    """
    if text is None:
        return None
    with collecting_nothing():
        from segpipe.prediction.part import CohortPart

    return CohortPart.parse(text)


def parsed_workers(text: str | None, cores: int | None, *, dry_run: bool) -> Workers | None:
    """Return the workers that --workers and --cores-per-worker name; None without the options, and for a dry run.

    Raises:
        SegpipeError: there are no such workers, or they cannot be reached.
    """
    if text is None and cores is not None:
        raise SegpipeError("--cores-per-worker is for --workers ray; add that, or leave it out")
    if text not in (None, "ray"):
        raise SegpipeError(f"--workers is {text!r:.40}, must be ray")
    if text is None or dry_run:
        return None
    with collecting_nothing():
        from segpipe.prediction.ray_pool import ray_workers

    return ray_workers(1 if cores is None else cores)


def require_scans(scans: list[Path] | None, bundle: Path | None) -> list[Path]:
    """Return the scans of a command line; only --merge goes without scans and bundle.

    Raises:
        SegpipeError: scans or bundle are missing.
    """
    missing = [name for name, value in (("SCANS...", scans), ("--bundle BUNDLE", bundle)) if not value]
    if missing or not scans:
        raise SegpipeError(
            f"{' and '.join(missing)} missing; give segpipe predict SCANS... --bundle BUNDLE --output DIR"
        )
    return scans


def given_options(context: typer.Context) -> list[str]:
    """Return the names of the arguments and options that the user gave."""
    names = []
    for parameter in context.command.params:
        source = context.get_parameter_source(str(parameter.name))
        if source is not None and source.name == "COMMANDLINE":
            is_option = parameter.param_type_name == "option"
            names.append(parameter.opts[0] if is_option else str(parameter.name).upper())
    return names


def merge_parts(output: Path, given: list[str], *, quiet: bool) -> None:
    """Merge the parts in an output folder, and print what became of the scans.

    Args:
        output: output folder of the parts.
        given: names of what the user gave.
        quiet: print failures only.

    Raises:
        SegpipeError: the parts cannot be merged, or another option is given.
        typer.Exit: some scans failed.
    """
    wrong = [name for name in given if name not in ("--merge", "--output", "--quiet")]
    if wrong:
        raise SegpipeError(
            f"--merge only reads the output folder; leave out {', '.join(wrong)}: segpipe predict --merge --output "
            f"{output}"
        )
    with collecting_nothing():
        from segpipe.prediction.merge import merge

    found: Any = merge(output)
    failed = [prediction for prediction in found if prediction.outcome == "failed"]
    if not quiet:
        _print_merged(found, output)
    if failed:
        print_failures(failed)
        raise typer.Exit(1)


def _print_merged(found: Any, output: Path) -> None:
    from segpipe.cli.predict_images import print_image_summary
    from segpipe.cli.printed_predictions import print_summary
    from segpipe.prediction.options import Prediction

    show = print_summary if all(isinstance(one, Prediction) for one in found) else print_image_summary
    show(found, output)
