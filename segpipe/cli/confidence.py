"""`segpipe confidence`: calibrate the predicted Dice of a bundle's label maps on the held-out cases of folds."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from segpipe.cli.bundle_options import Bundle, Device, Trust, Weights, bundle_source
from segpipe.cli.printed import print_table, say
from segpipe.import_time import collecting_nothing

if TYPE_CHECKING:
    from segpipe.confidence import Assessment
    from segpipe.model_evaluation.confidence import CalibratedConfidence


def confidence(
    bundle: Bundle,
    manifest: Annotated[
        str, typer.Option(metavar="MANIFEST", help="Name of a shipped manifest, or path of a JSON file.")
    ],
    fold_weights: Annotated[
        list[Path],
        typer.Option(
            metavar="FILE",
            help="Weights of the run of one fold; repeat for each fold. Each file segments the cases that its own "
            "training held out.",
        ),
    ],
    dataset_dir: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR",
            help="Folder in which the manifest's paths begin. Default: the folder that the manifest names.",
        ),
    ] = None,
    weights: Weights = None,
    device: Device = None,
    precision: Annotated[
        str,
        typer.Option(help="float32, bfloat16, float16, int8, or auto: the faster one, timed at the start."),
    ] = "auto",
    no_checksums: Annotated[
        bool, typer.Option("--no-checksums", help="Accept files that differ from the manifest's checksums.")
    ] = False,
    trust: Trust = False,
) -> None:
    """Let `segpipe predict` say how good each label map will be: a predicted Dice and volume with 90 % intervals.

    The command segments the cases that the weights of folds held out, and compares their scores with the references.
    The calibration is written beside the bundle's weights, which need the configuration of the folds. The table shows
    how good the prediction is on each fold, by a calibration on the others.
    """
    with collecting_nothing():
        from segpipe.inference.heap import keep_freed_memory
        from segpipe.model_evaluation.confidence import calibrate_confidence

    keep_freed_memory()
    result = calibrate_confidence(
        bundle_source(bundle, weights, None, None, device, trust),
        manifest,
        fold_weights,
        dataset_dir,
        precision=precision,
        checksums=not no_checksums,
        report=lambda message: say(f"segpipe: {message}", err=True),
    )
    _print(result)


def _print(result: CalibratedConfidence) -> None:
    known = {name: one for name, one in result.assessments.items() if one is not None}
    if known:
        print_table(
            [
                "class",
                "cases",
                "missed",
                "error",
                "constant's",
                "Spearman",
                "AUROC of failure",
                "Dice in",
                "volume in",
            ],
            [[name, *_cells(one)] for name, one in known.items()],
            title="Predicted Dice on each fold, calibrated on the others",
        )
        say(
            "error: mean absolute error of the predicted Dice, beside that of the other folds' median; failure: the "
            "tenth of the cases with the lowest Dice; in: share of the cases inside their 90 % interval; missed: cases "
            "whose label map lacks the class, of which nothing warns"
        )
    for name in result.assessments.keys() - known.keys():
        say(f"{name}: too few folds or patients to show how good the prediction is", err=True)
    for reason in result.left_out.values():
        say(f"nothing is predicted for {reason}", err=True)
    say(result.path)


def _cells(one: Assessment) -> list[str]:
    return [
        str(one.cases),
        str(one.missed),
        f"{one.error:.4f} ({-one.gain:+.0%})",
        f"{one.constant_error:.4f}",
        "-" if math.isnan(one.spearman) else f"{one.spearman:.2f}",
        f"{one.auroc:.2f} ({one.auroc_low:.2f} to {one.auroc_high:.2f})",
        f"{one.dice_coverage:.0%}",
        f"{one.volume_coverage:.0%}",
    ]
