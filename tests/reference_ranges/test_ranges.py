"""Ranges of invented training cases, and values of other cases outside these ranges."""

import json
import math

import numpy as np
import pytest
from scipy import stats

from segpipe.errors import SegpipeError
from segpipe.reference_ranges import (
    EarlierVersionError,
    Measures,
    ReferenceRanges,
    present_ranges_path,
    ranges_path,
)
from segpipe.reference_ranges.coarse_images import compared

RAMP = np.linspace(-1, 1, 144, dtype=np.float32).reshape(1, 1, 12, 12)
PICTURE = RAMP / np.sqrt(np.square(RAMP).sum())


def case(number=0, picture=PICTURE, **changes):
    """Return a case like the training cases; its values vary a little with its number."""
    values = {
        "spacing/x": 1.0,
        "normalised/median": 0.1 + 0.01 * number,
        "tone/median": 0.4 + 0.01 * number,
        "found": 1.0,
        "volume/liver": 1500.0 + 10 * number,
        "pieces/liver": 1.0,
        "uncertainty": 0.1 + 0.01 * number,
        "centre/x": 0.5,
    }
    return Measures(
        {**values, **{name.replace("__", "/"): value for name, value in changes.items()}}, picture
    )


@pytest.fixture
def ranges():
    return ReferenceRanges.of([case(number % 10) for number in range(30)], ["abc"], {"segpipe": "1"})


def test_a_file_of_version_1_is_not_used_and_the_log_says_so(tmp_path, caplog):
    (tmp_path / "best.limits.json").write_text("{}")

    assert present_ranges_path([tmp_path / "best.pt"], ["abc"]) is None

    assert "scans are not compared with it; write best.reference_ranges.json with" in caplog.text


@pytest.mark.parametrize("version", [1, 2])
def test_a_file_of_an_earlier_version_has_an_error_of_its_own(ranges, tmp_path, version):
    path = written(ranges, tmp_path)
    path.write_text(json.dumps({**json.loads(path.read_text()), "version": version}))

    with pytest.raises(EarlierVersionError, match="too narrow for few patients; write them anew with"):
        ReferenceRanges.read(path)


def written(ranges, folder):
    ranges.write(folder / "best.reference_ranges.json")
    return folder / "best.reference_ranges.json"


def test_training_cases_have_no_warnings(ranges):
    assert not [warning for number in range(10) for warning in ranges.warnings(case(number))]


@pytest.mark.parametrize(
    ("changes", "warning"),
    [
        ({"spacing__x": 3.0}, "the header's voxel spacing along x is 3 mm; training cases: 1 mm"),
        (
            {"normalised__median": -900.0},
            "median of the intensities, as the bundle normalises them, is -900; training cases: 0.1 to 0.19",
        ),
        ({"volume__liver": 12.0}, "volume of liver is 12 ml; training cases: 1.5e+03 to 1.59e+03 ml"),
        ({"pieces__liver": 30.0}, "number of pieces of liver is 30; training cases: 1"),
        (
            {"uncertainty": 0.7},
            "uncertainty where the label map has a class (entropy, 0 to 1) is 0.7; training cases: 0.1 to 0.19",
        ),
        (
            {"centre__x": 0.9},
            "centre of all classes along x, as a share of the scan, is 0.9; training cases: 0.5",
        ),
    ],
)
def test_what_lies_outside_is_told_with_the_training_cases(ranges, changes, warning):
    assert ranges.warnings(case(**changes)) == [warning]


def test_a_picture_unlike_the_others_is_told(ranges):
    warnings = ranges.warnings(case(picture=PICTURE[:, :, ::-1]))

    assert any(
        warning.startswith("likeness to the mean of the training cases (1: the same) is -")
        for warning in warnings
    )


@pytest.mark.parametrize("changes", [{"uncertainty": 0.0}, {"pieces__liver": 0.0}, {"spacing__x": 1.05}])
def test_lower_uncertainty_fewer_pieces_and_slight_excess_give_no_warning(ranges, changes):
    assert ranges.warnings(case(**changes)) == []


def test_the_farthest_outside_comes_first(ranges):
    warnings = ranges.warnings(case(spacing__x=1.3, uncertainty=1.0))

    assert [warning.split()[0] for warning in warnings] == ["uncertainty", "the"]


def test_nothing_found_is_told_once(ranges):
    values = {"found": 0.0, "volume/liver": 0.0, "pieces/liver": 0.0, "spacing/x": 1.0}

    assert ranges.warnings(Measures(values, PICTURE)) == [
        "the label map is empty; no label map of a training case was"
    ]


def test_nothing_found_is_usual_where_training_cases_had_nothing():
    empty = Measures({"found": 0.0, "volume/liver": 0.0, "pieces/liver": 0.0}, PICTURE)
    ranges = ReferenceRanges.of([case(0), case(1), case(2), case(3), empty], ["abc"], {})

    assert ranges.warnings(empty) == []


def test_few_patients_allow_more():
    """The same values, of five patients and of fifty."""
    few, many = (ReferenceRanges.of([case(i % 5) for i in range(number)], ["abc"], {}) for number in (5, 50))
    beyond = case(tone__median=0.58)

    assert (few.warnings(beyond), len(many.warnings(beyond))) == ([], 1)


def test_fifty_scans_of_five_patients_allow_as_much_as_five():
    cases = [case(number % 5) for number in range(50)]
    of_five = ReferenceRanges.of(cases, ["abc"], {}, [str(number % 5) for number in range(50)])
    five = ReferenceRanges.of(cases[:5], ["abc"], {})

    assert (of_five.cases, of_five.patients) == (50, 5)
    assert of_five.limits["tone/median"] == pytest.approx(five.limits["tone/median"])


def test_the_limits_of_one_measure_by_hand():
    """Mean 0.445, sum of squares 0.00825, below the allowance; left-out values are inside: nothing is widened."""
    ranges = ReferenceRanges.of([case(number) for number in range(10)], ["abc"], {})
    measures = len(ranges.limits)

    t = stats.t.isf(0.01 / measures / 2, 9)
    half = t * max(np.sqrt(0.00825 / 9), 0.1 / stats.norm.isf(0.01 / measures / 2)) * np.sqrt(1.1)
    assert ranges.limits["tone/median"] == pytest.approx((0.445 - half, 0.445 + half), abs=1e-6)


@pytest.mark.parametrize(
    ("cases", "patients", "counted"),
    [
        (4, None, "4 training cases of 4 patients"),
        (8, "aabbccdd", "8 training cases of 4 patients"),
        (3, "aaa", "3 training cases of 1 patient;"),
    ],
)
def test_fewer_than_five_patients_are_refused(cases, patients, counted):
    with pytest.raises(
        SegpipeError, match=f"reference ranges: {counted}.* fewer than 5 patients do not show"
    ):
        ReferenceRanges.of([case(number) for number in range(cases)], ["abc"], {}, patients)


def test_what_is_not_known_is_not_compared(ranges):
    """A thin scan has no roughness along its short axis; a measure without training values has no range."""
    assert ranges.warnings(case(tone__median=float("nan"), area__spleen=7.0)) == []


def test_limits_come_back_as_they_were(ranges, tmp_path):
    path = tmp_path / "model.reference_ranges.json"
    ranges.write(path)

    read = ReferenceRanges.read(path)

    assert (read.cases, read.weights_sha256, read.about) == (30, ("abc",), {"segpipe": "1"})
    assert read.sha256 == ranges.sha256
    odd = case(spacing__x=2.0, picture=-PICTURE)
    assert read.warnings(odd) == ranges.warnings(odd) != []
    assert read.mahalanobis.distance(odd) == pytest.approx(ranges.mahalanobis.distance(odd), rel=1e-3)


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"version": 4}, "version 4, must be 3"),
        ({"version": 0}, "version 0, must be 3"),
        ({"ranges": {"colour/x": [0, 1]}}, "no measure is colour/x"),
        ({"ranges": {"spacing/x": [1]}}, "not enough values"),
        ({"ranges": {"spacing/x": [2, 1]}}, "spacing/x is from 2 to 1"),
        ({"ranges": {"spacing/x": [1, math.nan]}}, "spacing/x is from 1 to nan"),
        ({"cases": None}, "it is of None cases of 30 patients"),
        ({"patients": 4}, "it is of 30 cases of 4 patients"),
        ({"limits": {"colour/x": [0, 1]}}, "no measure is colour/x"),
        ({"limits": {"spacing/x": [1, 1]}}, "the limits of spacing/x are equal"),
        ({"limits": {"area/liver": [1, 2]}}, "area/liver has limits and no range"),
        ({"coarse_image": 0}, "its coarse image is not one"),
        ({"coarse_image": [[math.inf] * 12] * 12}, "its coarse image is not one"),
        ({"mahalanobis": {"names": []}}, "differ in number"),
        ({"mahalanobis": {"names": ["colour"]}}, "no measure is colour"),
        ({"mahalanobis": {"mean": "1 2"}}, "differ in number"),
        ({"mahalanobis": {"usual": math.nan}}, "Mahalanobis distance is nan"),
        ({"mahalanobis": {"spread": " ".join(["0"] * 43)}}, "are not all finite numbers"),
    ],
)
def test_a_file_that_is_none_of_ours_is_refused(ranges, tmp_path, change, why):
    path = tmp_path / "model.reference_ranges.json"
    ranges.write(path)
    content = json.loads(path.read_text())
    for key, value in change.items():
        content[key] = {**content[key], **value} if key == "mahalanobis" else value
    path.write_text(json.dumps(content))

    with pytest.raises(SegpipeError, match=why) as refused:
        ReferenceRanges.read(path)
    assert str(refused.value).startswith(f"{path}: is no file of reference ranges")
    assert str(refused.value).endswith("write it anew with `segpipe reference-ranges`")


def test_reference_ranges_lie_beside_the_weights(tmp_path):
    one, other = tmp_path / "best.pt", tmp_path / "other.pt"

    assert ranges_path([one], ["a"]) == tmp_path / "best.reference_ranges.json"
    both = ranges_path([one, other], ["a", "b"])
    assert both.parent == tmp_path
    assert both != ranges_path([one, other], ["a", "c"])


def spread_out(seed, tie=True):
    """Return a case with correlated darkest and brightest values, unless `tie` is false."""
    random = np.random.default_rng(seed)
    median = float(random.normal())
    other = median + float(random.normal(0, 0.05)) if tie else -median
    return case(tone__median=median, centre__x=other, uncertainty=float(random.uniform(0.1, 0.2)))


def test_measures_that_are_usual_each_and_odd_together_are_told():
    """Each value is inside the range of the training cases, where the two values were always correlated."""
    ranges = ReferenceRanges.of([spread_out(seed) for seed in range(80)], ["abc"], {})
    odd = next(
        measures
        for seed in range(100, 600)
        if 2.5 < (measures := spread_out(seed, tie=False)).values["tone/median"] < 3.2
    )

    (warning,) = ranges.warnings(odd)

    assert warning.startswith("each measure is like the training cases', but all together are not")


def test_fewer_than_thirty_patients_give_no_mahalanobis_distance(tmp_path):
    ranges = ReferenceRanges.of([spread_out(seed) for seed in range(29)], ["abc"], {})

    assert ranges.mahalanobis is None
    assert ReferenceRanges.read(written(ranges, tmp_path)).mahalanobis is None


def test_few_others_of_the_same_kind_are_odd_together():
    ranges = ReferenceRanges.of([spread_out(seed) for seed in range(80)], ["abc"], {})

    assert sum(bool(ranges.warnings(spread_out(seed))) for seed in range(1000, 1200)) <= 10


def lying(seed, turn=lambda picture: picture):
    """Return a case whose image is a ramp along both axes, with noise."""
    random = np.random.default_rng(seed)
    noisy = turn(PICTURE + random.normal(0, 0.05, PICTURE.shape).astype(np.float32))
    return case(seed % 5, picture=np.ascontiguousarray(noisy / np.sqrt(np.square(noisy).sum())))


def test_a_case_that_lies_upside_down_is_told():
    ranges = ReferenceRanges.of([lying(seed) for seed in range(30)], ["abc"], {})

    warnings = ranges.warnings(lying(100, lambda picture: picture[:, :, ::-1]))

    assert any(
        warning.startswith("likeness to the training cases, less that when mirrored along x, is -")
        for warning in warnings
    )
    assert ranges.warnings(lying(101)) == []
    assert 0 < ranges.ranges["facing/mirrored along x"][0] < ranges.ranges["facing/mirrored along x"][1]


@pytest.mark.parametrize(("patients", "others", "told"), [(60, 1, True), (60, 3, False), (40, 0, False)])
def test_many_patients_that_agree_tell_which_way_up_is_right(patients, others, told):
    """The likeness to the mirrored image varies much: only by the number of cases that agree it tells anything."""

    def upright(seed, sign=1.0):
        ends = np.linspace(-1, 1, 12)[:, None] * sign * np.random.default_rng(seed).uniform(0.2, 1)
        noisy = (ends**2 + 0.2 * ends + np.zeros((12, 12)))[None, None].astype(np.float32)
        noisy -= noisy.mean()
        return case(seed % 5, picture=noisy / np.sqrt(np.square(noisy).sum()))

    ranges = ReferenceRanges.of(
        [upright(seed, 1.0 if seed >= others else -1.0) for seed in range(patients)], ["abc"], {}
    )
    low, _ = ranges.limits["facing/mirrored along x"]

    assert (low >= -0.02) == told


def test_a_case_with_a_less_certain_orientation_gives_no_warning():
    ranges = ReferenceRanges.of([lying(seed) for seed in range(30)], ["abc"], {})
    sure, _ = ranges.ranges["facing/mirrored along x"]
    dull = lying(100, lambda picture: picture + 0.8 * np.abs(picture))

    assert compared(dull.coarse_images, ranges.coarse_image)["facing/mirrored along x"] < sure
    assert not [warning for warning in ranges.warnings(dull) if "mirrored" in warning]


def test_a_scan_of_other_dimensions_is_told(ranges):
    odd = case(picture=np.zeros((1, 1, 6, 6, 6), np.float32))

    assert ranges.warnings(odd) == ["it has other dimensions or channels than the training cases"]


def test_training_cases_of_both_orientations_give_no_warning_of_orientation():
    cases = [lying(seed, lambda p, seed=seed: p[:, :, :: 1 - 2 * (seed % 2)]) for seed in range(30)]

    ranges = ReferenceRanges.of(cases, ["abc"], {})

    for turn in (1, -1):
        warnings = ranges.warnings(lying(100, lambda picture, turn=turn: picture[:, :, ::turn]))
        assert not [warning for warning in warnings if "mirrored along x" in warning]


class TestSwappedChannels:
    @staticmethod
    def channels(medians, number=0):
        """Return a case with the medians of its channels."""
        values = {
            f"{kind}, channel {channel}": factor * (median + number)
            for channel, median in enumerate(medians)
            for kind, factor in (
                ("normalised/median", 1),
                ("normalised/99.5th percentile", 2),
                ("tone/median", 1e-3),
                ("ends/lowest", 1e-4),
            )
        }
        picture = np.concatenate([PICTURE] * len(medians), axis=1)
        return Measures({"spacing/x": 1.0, "found": 1.0, **values}, picture)

    def ranges(self, medians):
        return ReferenceRanges.of([self.channels(medians, number) for number in range(10)], ["abc"], {})

    def test_two_swapped_channels_are_the_first_warning(self):
        first, *others = self.ranges((100, 900)).warnings(self.channels((900, 100), 3), ["FLAIR", "T1c"])

        assert first == (
            "its channels look swapped: taken as FLAIR, T1c, their measures lie 124 times as far from the training "
            "cases' as taken as T1c, FLAIR"
        )
        assert any("channel FLAIR" in text for text in others)

    def test_of_three_in_a_circle_each_gets_its_right_name(self):
        (first, *_) = self.ranges((100, 500, 900)).warnings(self.channels((500, 900, 100)), ["A", "B", "C"])

        assert "taken as A, B, C" in first
        assert "taken as B, C, A" in first

    def test_the_right_order_and_an_odd_scan_give_no_such_warning(self):
        ranges = self.ranges((100, 900))

        assert not ranges.warnings(self.channels((100, 900), 3))
        assert not [text for text in ranges.warnings(self.channels((5000, 7000))) if "swapped" in text]
