"""Steps of label maps on drawn maps: a step is kept only where held-out cases gain."""

from dataclasses import replace

import numpy as np
import pytest
from label_tables import brain_tumours, table

from segpipe.errors import SegpipeError
from segpipe.evaluation.intervals import mean_intervals
from segpipe.model_evaluation.label_map_steps import HeldOutCase, applied, choose_steps
from segpipe.model_evaluation.label_map_trials import HOLES, LARGEST, SMALL, LabelMapStep
from segpipe.volumes import Grid

TABLE = table("background", "liver", "vessel")
GRID = Grid.from_affine((12, 12, 6), np.eye(4))


def reference():
    """Liver of 64 voxels and vessel of 36, in the middle of nothing."""
    drawn = np.zeros(GRID.size, np.uint8)
    drawn[1:5, 1:5, 1:5] = 1
    drawn[6:9, 1:5, 2:5] = 2
    return drawn


def cases(change, count=8, drawn=reference):
    """Return what `choose_steps` takes: predictions that a function makes from the reference and a number."""

    def made():
        for number in range(count):
            prediction = drawn()
            change(prediction, number)
            yield HeldOutCase(f"case_{number}", f"p{number}", prediction, drawn(), GRID)

    return made


def far_piece(prediction, number):
    prediction[10:12, 9:12, : 2 + number % 2] = 1


def kept(choice):
    return [(trial.step.kind, trial.step.index) for trial in choice.kept]


def test_a_far_false_piece_is_removed_once():
    """The false piece has 12 or 18 voxels: half of the smallest liver, 32, removes it, and nothing is left to gain."""
    choice = choose_steps(cases(far_piece), TABLE)

    (trial,) = choice.kept
    assert (trial.step.kind, trial.step.index, trial.step.min_volume) == (SMALL, 1, 32.0)
    # Dice 128 / 140 and 128 / 146 in turn become 1
    assert trial.difference.interval.mean == pytest.approx(1 - (128 / 140 + 128 / 146) / 2)
    assert trial.difference.interval.low > 0
    assert choice.unit == "mm3"
    assert {trial.step.kind for trial in choice.trials} == {HOLES, SMALL, LARGEST}


def test_holes_are_filled_before_pieces_are_judged():
    def with_hole(prediction, number):
        prediction[2:4, 2, 2] = 0
        far_piece(prediction, number)

    choice = choose_steps(cases(with_hole), TABLE)

    assert kept(choice) == [(HOLES, 1), (SMALL, 1)]
    case = next(iter(cases(with_hole)()))
    finished = applied(case.prediction, GRID, [trial.step for trial in choice.kept])
    np.testing.assert_array_equal(finished, case.reference)


def test_the_largest_piece_is_kept_where_no_volume_tells_pieces_apart():
    """The false piece has 46 to 48 voxels, above the volume that is tried, and the liver 64."""

    def drawn():
        one = reference()
        one[6:9, 1:5, 2:5] = 0
        return one

    def false_piece(prediction, number):
        prediction[8:12, 8:12, 0:3] = 1
        prediction[8, 8, 0 : number % 3] = 0

    choice = choose_steps(cases(false_piece, drawn=drawn), TABLE, volumes=[20.0])

    assert kept(choice) == [(LARGEST, 1)]


@pytest.mark.parametrize(
    "change",
    [
        lambda prediction, number: None,
        lambda prediction, number: far_piece(prediction, 0) if number < 2 else None,
    ],
    ids=["perfect", "two of eight"],
)
def test_steps_that_do_not_show_a_gain_are_not_kept(change):
    assert choose_steps(cases(change), TABLE).kept == ()


def test_a_step_that_loses_is_not_kept():
    """Every reference has two pieces of the liver; the largest alone would lose."""

    def drawn():
        one = reference()
        one[9:11, 9:12, 0:3] = 1
        return one

    choice = choose_steps(cases(lambda prediction, number: None, drawn=drawn), TABLE)

    assert choice.kept == ()
    lost = {(trial.step.kind, trial.step.index): trial for trial in choice.trials}[LARGEST, 1]
    assert lost.changed == 8
    assert lost.difference.interval.high < 0
    assert lost.reason == "no: no gain shown"


def test_a_step_that_empties_a_class_is_not_kept_even_if_the_mean_gains():
    """In one case the vessel has one voxel in the reference; elsewhere pieces of that size are false."""

    def made():
        for number in range(10):
            truth = reference()
            if number == 0:
                truth[truth == 2] = 0
                truth[6, 1, 2] = 2
            prediction = truth.copy()
            if number:
                prediction[10:12, 9:12, 0:2] = 2
            yield HeldOutCase(f"case_{number}", f"p{number}", prediction, truth, GRID)

    choice = choose_steps(made, TABLE, volumes=[20.0, 0.5])

    small = {
        trial.step.min_volume: trial
        for trial in choice.trials
        if trial.step.kind == SMALL and trial.step.index == 2
    }
    assert small[20.0].emptied == ("case_0",)
    assert small[20.0].reason == "no: empties the class in 1 case"
    assert kept(choice) == [(LARGEST, 2)]


def test_volumes_that_empty_every_class_are_refused():
    with pytest.raises(
        SegpipeError, match=r"each volume given \(1000 mm3\) would empty a class .* liver in case_0"
    ):
        choose_steps(cases(far_piece), TABLE, volumes=[1000.0])


def test_removing_a_structure_that_the_reference_lacks_is_a_gain():
    """Dice 0 becomes 1: neither map has the vessel."""

    def without_vessel(prediction, number):
        prediction[prediction == 2] = 0
        if number % 2:
            prediction[6, 1, 2] = 2

    def drawn():
        one = reference()
        one[one == 2] = 0
        return one

    choice = choose_steps(cases(without_vessel, count=16, drawn=drawn), TABLE, volumes=[5.0])

    (trial,) = choice.kept
    assert (trial.step.kind, trial.step.index) == (SMALL, 2)
    assert trial.difference.interval.mean == 1.0


def test_two_patients_are_too_few():
    """Bootstrap intervals of two patients are above 0; the sign-flip test does not agree."""
    of_two, of_one = (choose_steps(cases(far_piece, count=count), TABLE, volumes=[32.0]) for count in (2, 1))

    assert of_two.kept == of_one.kept == ()
    reasons = [
        next(trial.reason for trial in choice.trials if trial.step.kind == SMALL)
        for choice in (of_two, of_one)
    ]
    assert reasons == ["no: too few patients for 3 steps", "no: too few patients for an interval"]


def test_more_steps_tried_need_more_evidence():
    """Seven of eight patients gain, and one stays: of 256 combinations of signs, 4 are as far from 0."""

    def of_seven(prediction, number):
        if number:
            far_piece(prediction, number)

    several, one = choose_steps(cases(of_seven), TABLE), choose_steps(cases(of_seven), TABLE, volumes=[32.0])

    with_largest = [
        next(trial for trial in choice.trials if trial.step == LabelMapStep(SMALL, 1, 32.0))
        for choice in (several, one)
    ]
    assert [trial.tried for trial in with_largest] == [4, 3]  # holes, one or two volumes, largest piece
    assert [trial.difference.p_value for trial in with_largest] == [
        pytest.approx(4 * 4 / 256),  # above 0.05
        pytest.approx(3 * 4 / 256),
    ]
    assert [trial.confidence for trial in with_largest] == [
        pytest.approx(0.9875),
        pytest.approx(1 - 0.05 / 3),
    ]
    assert kept(several) == []
    assert with_largest[0].reason == "no: the test says p = 0.062"
    assert kept(one) == [(SMALL, 1)]


def test_the_interval_is_that_of_its_confidence():
    """The interval for four steps is wider than that of 95 %, and equals the bootstrap at 98.75 %."""

    def row_of_voxels(prediction, number):
        prediction[11, 2 : 3 + number, 5] = 1

    (trial,) = choose_steps(cases(row_of_voxels), TABLE).kept
    gains = np.array([[1 - 128 / (128 + 1 + number)] for number in range(8)])
    patients = [f"p{number}" for number in range(8)]

    wide, usual = (mean_intervals(gains, patients, confidence=level)[0] for level in (0.9875, 0.95))

    assert (trial.difference.interval.low, trial.difference.interval.high) == pytest.approx(
        (wide.low, wide.high)
    )
    assert wide.low < usual.low


def test_a_volume_that_is_given_twice_counts_once():
    trials = choose_steps(cases(far_piece), TABLE, volumes=[32.0, 32.0]).trials

    assert [trial.step.min_volume for trial in trials if trial.step.index == 1] == [None, 32.0, None]
    assert {trial.tried for trial in trials} == {3}


def of_folds(folds, change):
    """Return what `choose_steps` takes, with a fold for each case."""

    def made():
        for case, fold in zip(cases(change, count=len(folds))(), folds, strict=True):
            yield replace(case, fold=fold)

    return made


def test_the_gain_of_each_fold():
    """Even cases have a false piece of 12 voxels, odd ones of 18; the last fold has none of the odd."""
    folds = ["fold 0", "fold 0", "fold 1", "fold 1", "fold 0", "fold 0", "fold 2", "fold 0"]

    choice = choose_steps(of_folds(folds, far_piece), TABLE, volumes=[32.0])

    even, odd = 1 - 128 / 140, 1 - 128 / 146
    (trial,) = choice.kept
    assert choice.folds == ("fold 0", "fold 1", "fold 2")
    assert [(one.fold, one.cases) for one in trial.by_fold] == [("fold 0", 5), ("fold 1", 2), ("fold 2", 1)]
    assert [one.gain for one in trial.by_fold] == pytest.approx(
        [(2 * even + 3 * odd) / 5, (even + odd) / 2, even]
    )


def test_a_step_that_lowers_one_fold_is_not_kept():
    """In the two cases of fold 1 the far piece is true; in the 18 of fold 0 it is false."""

    def made():
        for number in range(20):
            truth = reference()
            far_piece(truth, number)
            case = HeldOutCase(f"case_{number}", f"p{number}", truth, truth, GRID, "fold 1")
            yield case if number < 2 else replace(case, reference=reference(), fold="fold 0")

    apart = choose_steps(made, TABLE, volumes=[20.0])
    together = choose_steps(lambda: (replace(case, fold="fold 0") for case in made()), TABLE, volumes=[20.0])

    small = next(trial for trial in apart.trials if trial.step == LabelMapStep(SMALL, 1, 20.0))
    # Dice of 64 of 76 or 82 voxels: without the piece the true ones lose what the false ones gain
    assert small.by_fold[0].gain == pytest.approx(((2 * 64) / (64 + 76) + (2 * 64) / (64 + 82)) / 2 - 1)
    assert small.losing_folds == ("fold 1",)
    assert small.reason == "no: loses in fold 1"
    assert small.difference.better == 0
    assert kept(apart) == []
    assert kept(together) == [(SMALL, 1)]


def test_a_step_that_gains_for_its_class_but_lowers_a_region_is_not_kept():
    """Pieces of enhancing tumour lie where the reference has oedema: wrong class, but right for the whole tumour."""
    tumours = brain_tumours()
    names = tumours.names
    oedema, enhancing = names.index("oedema"), names.index("enhancing")

    def drawn():
        one = np.zeros(GRID.size, np.uint8)
        one[1:5, 1:5, 1:5] = enhancing
        one[7:12, 7:12, 1:5] = oedema
        return one

    def wrong_class(prediction, number):
        prediction[9, 9, 1 : 3 + number % 2] = enhancing

    choice = choose_steps(cases(wrong_class, drawn=drawn), tumours)

    largest = {(trial.step.kind, trial.step.index): trial for trial in choice.trials}[LARGEST, enhancing]
    assert largest.difference.interval.low > 0
    assert "whole" in largest.harmed[0]
    assert kept(choice) == []


def test_no_volume_is_tried_above_half_the_smallest_structure():
    """The liver has 64 voxels and the vessel 36, each in one piece: a tenth and a half of them are tried."""
    tried = [trial.step for trial in choose_steps(cases(far_piece), TABLE).trials]

    assert [(step.index, step.min_volume) for step in tried if step.kind == SMALL] == [
        *((1, 6.4), (1, 32.0)),
        *((2, 3.6), (2, 18.0)),
    ]


def test_no_case_and_mixed_dimensions_are_refused():
    flat = Grid.from_affine((12, 12), np.eye(4))

    def mixed():
        yield from cases(far_piece, count=1)()
        yield HeldOutCase("slice", "p", reference()[..., 2], reference()[..., 2], flat)

    with pytest.raises(SegpipeError, match="no held-out case"):
        choose_steps(lambda: iter(()), TABLE)
    with pytest.raises(SegpipeError, match="2D and 3D"):
        choose_steps(mixed, TABLE)


@pytest.mark.parametrize("kind", [HOLES, LARGEST])
def test_a_step_leaves_the_given_map_as_it_is(kind):
    given = reference()
    given[2, 2, 2] = 0
    given[11, 11, 5] = 1
    before = given.copy()

    finished = applied(given, GRID, [LabelMapStep(kind, 1)])

    np.testing.assert_array_equal(given, before)
    assert not np.array_equal(finished, before)
