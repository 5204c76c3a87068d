"""`segpipe predict` with a bundle that classifies: a table of all images."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from typer.core import TyperCommand

from segpipe.cli.cohort import Progress, end_estimates, run_cohort
from segpipe.cli.printed import print_table, say
from segpipe.errors import SegpipeError, counted
from segpipe.import_time import collecting_nothing

if TYPE_CHECKING:
    from segpipe.prediction.estimate import Estimate
    from segpipe.prediction.image_options import ImagePrediction
    from segpipe.prediction.part import CohortPart

_HEATMAPS = "--heatmaps"
_KINDS = ("gradcam", "occlusion")
_MOST_CLASSES = 20


class PredictCommand(TyperCommand):
    """The command whose option --heatmaps stands alone or with a kind; Typer knows no options of both forms."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Read the arguments; --heatmaps alone means Grad-CAM."""
        given: list[str] = []
        for place, argument in enumerate(args):
            given.append(argument)
            if argument == "--":
                given += args[place + 1 :]
                break
            if argument == _HEATMAPS and (args[place + 1 : place + 2] or [""])[0] not in _KINDS:
                given.append(_KINDS[0])
        return super().parse_args(ctx, given)


def predict_images(arguments: dict[str, Any], *, dry_run: bool, quiet: bool) -> None:
    """Classify images and print a summary.

    Args:
        arguments: of `segpipe.prediction.classify.classify`.
        dry_run: only estimate.
        quiet: print failures only.

    Raises:
        typer.Exit: some images fail or are refused, or the user interrupts.
    """
    from segpipe.prediction.classify import classify

    if dry_run:
        with collecting_nothing():
            from segpipe.prediction.image_estimate import estimate_images

        rows = estimate_images(**arguments, report=Progress.report)
        _print_estimates(rows)
        return
    run_cohort(
        partial(classify, **arguments),
        partial(print_image_summary, output=arguments["output"], part=arguments["part"]),
        doing="Classifying",
        cases="images",
        quiet=quiet,
    )


def refuse_options(given: dict[str, bool], bundle: Path, does: str, others: str) -> None:
    """Refuse options that belong to bundles of another task.

    Args:
        given: option -> whether the user gave it.
        bundle: the bundle's folder.
        does: what the bundle does, such as "classifies images".
        others: what bundles with these options do.

    Raises:
        SegpipeError: one message for all options.
    """
    wrong = [option for option, is_given in given.items() if is_given]
    if wrong:
        raise SegpipeError(
            f"{', '.join(wrong)}: only for bundles that {others}, and {bundle} {does}; leave "
            f"{'it' if len(wrong) == 1 else 'them'} out"
        )


def print_image_summary(
    predictions: Sequence[ImagePrediction], output: Path, part: CohortPart | None = None
) -> None:
    """Print what became of the images, and the names of the files.

    Args:
        predictions: of a run.
        output: its output folder.
        part: of the run; None for a whole run.
    """
    counts = Counter(prediction.outcome.value for prediction in predictions)
    outcomes = ", ".join(f"{count} {outcome}" for outcome, count in sorted(counts.items()))
    say(f"{counted(len(predictions), 'image')}: {outcomes}")
    decided = Counter(one.decision for one in predictions if one.outcome != "failed")
    if decided:
        print_table(
            ["decision", "images"],
            [(name, str(count)) for name, count in decided.most_common(_MOST_CLASSES)],
        )
    if len(decided) > _MOST_CLASSES:
        say(f"and {len(decided) - _MOST_CLASSES} more decisions, in predictions.csv")
    if any(one.heatmap is not None for one in predictions):
        say(f"{output / 'heatmaps'}: where the network looked, not where the disease is")
    files = "predictions.csv, predictions.jsonl, predict.log"
    if part is not None and (output / part.ledger_file).exists():  # not merged yet
        files = f"{part.ledger_file}, {part.log_file}"
    say(f"{output}: {files}")


def _print_estimates(rows: Sequence[Estimate]) -> None:
    from rich.table import Column

    print_table(
        [Column("image", overflow="fold"), "what", "seconds"],
        [(row.case, row.action, _seconds(row.seconds) if row.action == "classify" else "") for row in rows],
    )
    end_estimates(rows, "classify", "images")


def _seconds(seconds: float) -> str:
    return "?" if math.isnan(seconds) else f"{seconds:.3f}"
