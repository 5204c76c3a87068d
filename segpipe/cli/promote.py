"""`segpipe promote`: copy a run's weights into a bundle."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from segpipe.cli.bundle_options import BundleOption, Trust
from segpipe.cli.printed import say

if TYPE_CHECKING:
    from segpipe.bundle.locator_margin import LocatorMargin
    from segpipe.bundle.task import Task


def promote(
    weights: Annotated[
        list[Path],
        typer.Argument(
            metavar="WEIGHTS...", help="best.pt or last.pt of a run; of several runs, for an ensemble."
        ),
    ],
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
    margin_run: Annotated[
        list[Path] | None,
        typer.Option(
            metavar="RUN",
            help="For a locator: a run that held out a fold; repeat for each fold. Their held-out cases give the "
            "margin. Default: the run of the weights.",
        ),
    ] = None,
    trust: Trust = False,
) -> None:
    """Copy a run's weights into a bundle's models/, after checking that they fit the bundle.

    The weights of several runs become an ensemble: `configs/inference.yaml` names all of them, and their scores are
    averaged. The weights of a locator also get their margin, measured on held-out cases.
    """
    from segpipe.bundle.promote import promote as promote_weights
    from segpipe.bundle.task import task_of

    if len(weights) > 1:
        runs = {"--calibration-run": calibration_run, "--margin-run": margin_run}
        _promote_several(
            weights, bundle, runs, half=half, replace=replace, safetensors=safetensors, trust=trust
        )
        return
    (only,) = weights
    margin = _margin(only, bundle, margin_run or (), trust=trust)
    quantised = sorted(path.name for path in (bundle / "models").glob("model.int8.*"))
    written = promote_weights(
        only,
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
    if margin is not None:
        _write_margin(margin, written)
        return
    _SIDE_FILES[task_of(bundle)](written, bundle)


def _promote_several(
    weights: Sequence[Path], bundle: Path, runs: Mapping[str, Sequence[Path] | None], **options: bool
) -> None:
    """Promote an ensemble, and say what it has not."""
    from segpipe.bundle.locator_margin import is_locator
    from segpipe.bundle.promote_ensemble import promote_ensemble
    from segpipe.bundle.task import task_of
    from segpipe.errors import SegpipeError

    given = [name for name, paths in runs.items() if paths]
    if given:
        raise SegpipeError(f"{given[0]}: is for one weights file, and {len(weights)} are given; leave it out")
    if is_locator(bundle):
        raise SegpipeError(f"{bundle}: is a locator, whose margin is of one network; give one weights file")
    for path in promote_ensemble(weights, bundle, **options):
        say(f"{path} ({path.stat().st_size / 1e6:.1f} MB)")
    say(f"{bundle / 'configs' / 'inference.yaml'}: names {len(weights)} files, whose scores are averaged")
    if task_of(bundle) == "classification":
        say("an ensemble has no calibration: its probabilities are the mean of the networks' own")
    else:
        _say_ranges(bundle / "models" / "model.pt", bundle)


def _margin(weights: Path, bundle: Path, runs: Sequence[Path], *, trust: bool) -> LocatorMargin | None:
    """Return the margin of a locator's weights; None if the bundle is no locator."""
    from segpipe.bundle.locator_margin import is_locator
    from segpipe.errors import SegpipeError

    if not is_locator(bundle):
        if runs:
            raise SegpipeError(f"{bundle}: is no locator, which --margin-run is for; leave the option out")
        return None
    from segpipe.prediction.measured_margin import measured_margin

    files = [run / weights.name for run in runs] or [weights]
    return measured_margin(bundle, files, trust=trust, report=say)


def _write_margin(margin: LocatorMargin, written: Path) -> None:
    from dataclasses import replace

    from segpipe.bundle.locator_margin import margin_path
    from segpipe.files import file_sha256

    path = margin_path(written)
    replace(margin, weights_sha256=file_sha256(written)).write(path)
    say(f"{path}: the margin of the locator")


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
