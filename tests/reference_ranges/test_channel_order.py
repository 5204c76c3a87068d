"""Measures of channels in an order that fits the limits, and in others."""

import numpy as np
import pytest

from segpipe.reference_ranges.channel_order import swapped_channels

KINDS = ("tone/median", "tone/75th percentile", "ends/lowest")
LIMITS = {
    f"{kind}, channel {channel}": (place - 0.4, place + 0.4)
    for kind in KINDS
    for channel, place in enumerate((0.2, 0.8))
}


def scan(first, second):
    return {
        f"{kind}, channel {channel}": value for kind in KINDS for channel, value in enumerate((first, second))
    }


def test_the_distances_by_hand():
    """As given each measure lies 0.5 from the middle, 1.25 half widths; swapped 0.1, a quarter: five times nearer."""
    assert swapped_channels(scan(0.7, 0.3), LIMITS, ["T1", "T2"]) == [
        "its channels look swapped: taken as T1, T2, their measures lie 5 times as far from the training cases' as "
        "taken as T2, T1"
    ]


@pytest.mark.parametrize(
    ("first", "second"),
    [
        (0.2, 0.8),  # in the middle of their limits
        (0.45, 0.55),  # 0.625 half widths away; in the other order 0.875
        (0.55, 0.45),  # a little nearer in the other order
        (5.0, 9.0),  # odd in either order
        (float("nan"), float("nan")),
    ],
)
def test_other_scans_give_no_warning(first, second):
    assert swapped_channels(scan(first, second), LIMITS, []) == []


def test_channels_that_are_alike_give_no_warning():
    """Both channels have one distribution, so that the other order fits as well, and by chance better."""
    random = np.random.default_rng(0)
    limits = dict.fromkeys(LIMITS, (-4.0, 4.0))  # of a standard deviation of 1

    scans = ({name: float(random.normal()) for name in limits} for _ in range(500))

    assert not [warning for values in scans for warning in swapped_channels(values, limits, [])]


def test_one_channel_has_no_order():
    assert swapped_channels({"tone/median": 9.0}, {"tone/median": (0.0, 1.0)}, []) == []
