"""The label maps of a cohort that are expected to be the worst."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from segpipe.cli.printed import print_table, say
from segpipe.errors import counted, shown

if TYPE_CHECKING:
    from segpipe.inference.class_volume import Expected
    from segpipe.prediction.options import Prediction

_MOST = 5  # rows


def print_expected(predictions: Sequence[Prediction]) -> None:
    """Print the lowest expected Dice of a cohort, and how many label maps have none.

    Args:
        predictions: of all scans; nothing is printed where the weights have no calibration.
    """
    named = [
        (one.case, volume.label, volume.expected)
        for one in predictions
        for volume in one.volumes
        if volume.expected is not None
    ]
    known = sorted(
        (
            (expected.dice, case, label, expected)
            for case, label, expected in named
            if expected.dice is not None
        ),
        key=lambda row: row[:3],
    )
    if known:
        print_table(
            ["case", "class", "expected Dice", "90 % interval"],
            [
                [case, label, f"{dice:.3f}", _interval(expected)]
                for dice, case, label, expected in known[:_MOST]
            ],
            title="Lowest expected Dice: look at these label maps first",
        )
    without = [expected.note for _, _, expected in named if expected.dice is None]
    if without:
        reasons = shown(dict.fromkeys(without), "; ")
        say(f"{counted(len(without), 'row')} of volumes.csv without expected Dice: {reasons}")


def _interval(expected: Expected) -> str:
    if expected.dice_low is None or expected.dice_high is None:
        return expected.note
    return f"{expected.dice_low:.3f} to {expected.dice_high:.3f}"
