"""The background is the class of that name, not the value 0: a wrong one is said."""

import pytest
from made_sets import write_labels

from segpipe.dataset.importing.found_cases import FoundCase
from segpipe.dataset.importing.stored_values import StoredValues, background_warnings, stored_values

ISBI = StoredValues(30, {0: 30, 255: 30}, {0: 22, 255: 78})
REMEDY = "The background gets no score. To score it, give its class a name and name another class background:"


def test_values_are_counted_by_maps_and_voxels(tmp_path):
    write_labels(tmp_path / "a.png", (0, 7), (2, 2))
    write_labels(tmp_path / "b.png", (0,), (4, 1))
    cases = [FoundCase(name, (f"{name}.jpg",), ("",), f"{name}.png") for name in "ab"]

    stored = stored_values(cases, tmp_path)

    assert stored == StoredValues(2, {0: 2, 7: 1}, {0: 6, 7: 2})
    assert stored.share(7) == 25


@pytest.mark.parametrize(
    ("classes", "says"),
    [
        (
            {0: "membrane", 255: "cell"},
            "the value 0 (membrane) counts as the background, since no class has the name background and covers 22 % "
            f"of the label maps, cell 78 %. {REMEDY} --class 0=membrane --class 255=background",
        ),
        (
            {0: "background", 255: "cell"},
            "the value 0 is the background and covers 22 % of the label maps, cell 78 %. "
            f"{REMEDY} --class 0=NAME --class 255=background",
        ),
        ({0: "membrane", 255: "background"}, None),
    ],
)
def test_a_background_by_position_or_a_small_one_is_said(classes, says):
    assert background_warnings(classes, ISBI, 30) == ([] if says is None else [says])


def test_a_large_background_without_the_name_is_said_without_shares():
    stored = StoredValues(1, {0: 1, 1: 1}, {0: 90, 1: 10})

    (warning,) = background_warnings({0: "nothing", 1: "liver"}, stored, 1)

    assert "the value 0 (nothing) counts as the background, since" in warning
    assert "covers" not in warning
    assert background_warnings({0: "Background", 1: "liver"}, stored, 1) == []


def test_sizes_are_not_compared_if_only_some_maps_were_read():
    assert background_warnings({0: "background", 255: "cell"}, ISBI, 31) == []
