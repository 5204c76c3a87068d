"""`segpipe promote`: copy a run's weights into a bundle."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from segpipe.cli.bundle_options import BundleOption, Trust
from segpipe.cli.printed import say

if TYPE_CHECKING:
    from segpipe.bundle.task import Task


def promote(
    weights: Annotated[Path, typer.Argument(metavar="WEIGHTS", help="best.pt or last.pt of a run.")],
    bundle: BundleOption,
    half: Annotated[bool, typer.Option(help="Store float16 numbers, half the file size.")] = True,
    replace: Annotated[bool, typer.Option(help="Replace the bundle's weights.")] = False,
    safetensors: Annotated[
        bool, typer.Option("--safetensors", help="Write models/model.safetensors in place of model.pt.")
    ] = False,
    calibration_run: Annotated[
        list[Path] | None,
        typer.Option(
            metavar="RUN",
            help="A run that held out a fold; repeat for each fold. Their held-out images give the calibration of a "
            "classifier that was trained on every image.",
        ),
    ] = None,
    trust: Trust = False,
) -> None:
    """Copy a run's weights into a bundle's models/, after checking that they fit the bundle."""
    from segpipe.bundle.promote import promote as promote_weights
    from segpipe.bundle.task import task_of

    quantised = sorted(path.name for path in (bundle / "models").glob("model.int8.*"))
    written = promote_weights(
        weights,
        bundle,
        half=half,
        replace=replace,
        safetensors=safetensors,
        trust=trust,
        calibration_runs=calibration_run or (),
    )
    say(f"{written} ({written.stat().st_size / 1e6:.1f} MB)")
    if quantised:
        say(
            f"{', '.join(quantised)}: removed, since these files were made of the replaced weights; `segpipe quantize` "
            "makes them again"
        )
    _SIDE_FILES[task_of(bundle)](written, bundle)


def _say_ranges(written: Path, bundle: Path) -> None:
    from segpipe.reference_ranges import ranges_path

    path = ranges_path([written], [])
    if path.is_file():
        say(f"{path}: the reference ranges of the run's weights")
        return
    say(
        f"`segpipe reference-ranges {bundle} --manifest ...` measures its training cases, so that predict can warn"
    )


def _say_calibration(written: Path, _: Path) -> None:
    from segpipe.calibration import calibration_path

    path = calibration_path(written)
    if path.is_file():
        say(f"{path}: the calibration of the run's weights")
        return
    say(
        "the run's weights have no calibration: probabilities are the network's own, and every threshold is one half; "
        "best.pt of a run with a held-out fold has one, and --calibration-run fits one on several such runs"
    )


_SIDE_FILES: Mapping[Task, Callable[[Path, Path], None]] = {
    "segmentation": _say_ranges,
    "classification": _say_calibration,
}
