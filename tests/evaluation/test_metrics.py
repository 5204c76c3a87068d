"""Dice and pooled scores equal values by hand and of independent implementations."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from segpipe.errors import SegpipeError
from segpipe.evaluation.metrics import METRICS, CaseMetrics, PooledScores, confusion_matrix, dice_per_class


def test_dice_by_hand():
    reference = np.array([[0, 1, 1], [2, 2, 0]])
    prediction = np.array([[0, 1, 0], [2, 2, 2]])

    # class 1: 2 * 1 / (1 + 2); class 2: 2 * 2 / (3 + 2)
    np.testing.assert_allclose(dice_per_class(prediction, reference, 3), [2 / 3, 4 / 5])


def test_class_in_neither_map_is_nan():
    """An absent class that was not predicted has no score, so that means are not inflated."""
    np.testing.assert_array_equal(dice_per_class(np.array([0, 1]), np.array([0, 1]), 3), [1, np.nan])


@pytest.mark.parametrize(("prediction", "reference"), [([0, 1], [0, 0]), ([0, 0], [0, 1])])
def test_class_in_one_map_only_is_zero(prediction, reference):
    assert dice_per_class(np.array(prediction), np.array(reference), 2) == [0]


def test_empty_maps_are_nan():
    assert np.isnan(dice_per_class(np.zeros(0, int), np.zeros(0, int), 2)).all()


def test_shapes_must_agree():
    with pytest.raises(SegpipeError, match=r"shapes \(2,\) and \(3,\); both must lie on one grid"):
        dice_per_class(np.zeros(2, int), np.zeros(3, int), 2)


@pytest.mark.parametrize(
    ("prediction", "name"), [([0, 2], "prediction has classes 0 to 2"), ([-1, 0], "-1 to 0")]
)
def test_index_of_no_class(prediction, name):
    with pytest.raises(SegpipeError, match=f"{name}; needs 0 to 1"):
        dice_per_class(np.array(prediction), np.zeros(2, int), 2)


label_maps = hnp.arrays(np.uint8, (3, 4), elements=st.integers(0, 3))


@given(label_maps, label_maps)
def test_agrees_with_sets_of_voxels(prediction, reference):
    result = dice_per_class(prediction, reference, 4)

    for index in (1, 2, 3):
        p = {tuple(place) for place in np.argwhere(prediction == index)}
        r = {tuple(place) for place in np.argwhere(reference == index)}
        if p or r:
            assert result[index - 1] == pytest.approx(2 * len(p & r) / (len(p) + len(r)))
        else:
            assert np.isnan(result[index - 1])


def test_agrees_with_monai():
    import torch
    from monai.metrics import compute_dice

    random = np.random.default_rng(0)
    prediction, reference = random.integers(0, 3, (2, 6, 7, 8))

    one_hot = [
        torch.nn.functional.one_hot(torch.from_numpy(indices), 3).movedim(-1, 0)[None]
        for indices in (prediction, reference)
    ]
    np.testing.assert_allclose(
        dice_per_class(prediction, reference, 3),
        compute_dice(*one_hot, include_background=False)[0].numpy(),
        rtol=1e-6,
    )


def test_confusion_by_hand():
    reference, prediction = np.array([[0, 1, 1], [2, 2, 0]]), np.array([[0, 1, 0], [2, 2, 2]])

    result = confusion_matrix(prediction.astype(np.uint8), reference.astype(np.uint8), 3)

    np.testing.assert_array_equal(result, [[1, 0, 1], [1, 1, 0], [0, 0, 2]])


def test_a_confusion_of_many_classes_does_not_overflow():
    last = np.full(3, 255, np.uint8)

    result = confusion_matrix(last, last, 256)

    assert result[255, 255] == result.sum() == 3


def test_pooled_scores_by_hand():
    scores = PooledScores.of(np.array([[80, 4, 0], [6, 8, 0], [2, 0, 0]]))

    np.testing.assert_allclose(scores.dice, [2 * 8 / (14 + 12), 0])
    np.testing.assert_allclose(scores.sensitivity, [8 / 14, 0])
    np.testing.assert_allclose(scores.specificity, [82 / 86, 1])
    assert scores.accuracy == pytest.approx(0.88)
    assert scores.background_accuracy == pytest.approx(0.84)


def test_a_division_by_zero_is_nan():
    scores = PooledScores.of(np.array([[0, 0, 0], [0, 5, 0], [0, 0, 0]]))

    np.testing.assert_array_equal(scores.dice, [1, np.nan])
    np.testing.assert_array_equal(scores.sensitivity, [1, np.nan])
    np.testing.assert_array_equal(scores.specificity, [np.nan, 1])
    assert np.isnan(PooledScores.of(np.zeros((2, 2), int)).accuracy)


@given(label_maps, label_maps)
def test_pooled_scores_agree_with_ignite(prediction, reference):
    import torch
    from ignite.metrics import ConfusionMatrix
    from ignite.metrics.confusion_matrix import DiceCoefficient, cmAccuracy, cmRecall

    counted = ConfusionMatrix(num_classes=4)
    one_hot = torch.nn.functional.one_hot(torch.from_numpy(prediction).long(), 4).movedim(-1, 0)
    output = (one_hot[None], torch.from_numpy(reference).long()[None])

    def theirs(metric):
        counted.reset()
        counted.update(output)
        return metric.compute().numpy()

    scores = PooledScores.of(confusion_matrix(prediction, reference, 4))
    in_reference = np.isin([1, 2, 3], reference)
    in_one = in_reference | np.isin([1, 2, 3], prediction)
    np.testing.assert_allclose(scores.dice[in_one], theirs(DiceCoefficient(counted))[1:][in_one], atol=1e-12)
    np.testing.assert_allclose(
        scores.sensitivity[in_reference],
        theirs(cmRecall(counted, average=False))[1:][in_reference],
        atol=1e-12,
    )
    assert scores.accuracy == pytest.approx(float(theirs(cmAccuracy(counted))))


def drawn(*rows):
    return np.array([[".123".index(voxel) for voxel in row] for row in rows])


def test_a_case_by_hand():
    reference = drawn("11..", "11..", "...2", "....")
    prediction = drawn(".11.", ".11.", "...2", "....")

    result = CaseMetrics.of(prediction, reference, 3, (0.5, 2.0), tolerance_mm=1.0)

    # class 1: 2 voxels agree of 4 and 4; 10 of the 12 outside stay outside
    assert result.dice.tolist() == [1 / 2, 1]
    assert result.iou.tolist() == pytest.approx([2 / 6, 1])
    assert result.sensitivity.tolist() == result.precision.tolist() == [1 / 2, 1]
    assert result.specificity.tolist() == pytest.approx([10 / 12, 1])
    # one column lies 2 mm outside, the other on the reference, both ways
    assert result.hd95_mm.tolist() == pytest.approx([2, 0])
    assert result.asd_mm.tolist() == [1, 0]
    assert result.surface_dice.tolist() == [1 / 2, 1]
    assert result.volume_error_percent.tolist() == [0, 0]
    assert np.isnan(result.volume_error_ml).all()  # pictures have no volume
    assert result.lesion_f1.tolist() == [1, 1]


@pytest.mark.parametrize(
    "axes_mm", [(2.0, 5.0, 10.0), np.array([[0.0, 5, 0], [-2, 0, 0], [0, 3, 10]])], ids=["spacing", "sheared"]
)
def test_volumes_by_hand(axes_mm):
    """A voxel of 2 x 5 x 10 mm is 0.1 ml."""
    reference = np.zeros((4, 4, 4), int)
    prediction = reference.copy()
    reference[0, 0, :2] = 1
    prediction[0, 0, :] = 1

    result = CaseMetrics.of(prediction, reference, 2, axes_mm)

    assert result.reference_ml.tolist() == pytest.approx([0.2])
    assert result.volume_error_ml.tolist() == pytest.approx([0.2])
    assert result.volume_error_percent.tolist() == pytest.approx([100])


CONVENTIONS = {
    "missed": ("....", "11..", [0, 0, 0, np.nan, 1, np.inf, np.inf, 0, 0.002, -0.002, -100, 0]),
    "invented": ("11..", "....", [0, 0, np.nan, 0, 0.5, np.inf, np.inf, 0, 0, 0.002, np.nan, 0]),
    "neither": ("....", "....", [np.nan] * 4 + [1] + [np.nan] * 3 + [0, 0, np.nan, np.nan]),
    "everywhere": ("1111", "1111", [1, 1, 1, 1, np.nan, 0, 0, 1, 0.004, 0, 0, np.nan]),
}


@pytest.mark.parametrize("name", CONVENTIONS)
def test_a_class_that_is_missing(name):
    """Values are in the order of `METRICS`."""
    prediction, reference, expected = CONVENTIONS[name]

    result = CaseMetrics.of(drawn(prediction)[..., None], drawn(reference)[..., None], 2, (1.0, 1.0, 1.0))

    np.testing.assert_allclose([getattr(result, metric)[0] for metric in METRICS], expected)


def test_a_class_score_does_not_depend_on_other_classes():
    """Each class is measured in its own bounding box."""
    random = np.random.default_rng(3)
    prediction, reference = (random.integers(0, 4, (9, 8, 7)) for _ in range(2))
    together = CaseMetrics.of(prediction, reference, 4, (1.0, 2.0, 3.0))

    for index in (1, 2, 3):
        alone = CaseMetrics.of(prediction == index, reference == index, 2, (1.0, 2.0, 3.0))
        for name in METRICS:
            np.testing.assert_equal(getattr(alone, name)[0], getattr(together, name)[index - 1], name)


@given(label_maps, label_maps)
def test_agrees_with_true_and_false_positives_and_negatives(prediction, reference):
    result = CaseMetrics.of(prediction, reference, 4, (1.0, 1.0))

    for index in (1, 2, 3):
        p, r = prediction == index, reference == index
        tp, fp, fn, tn = (int(x.sum()) for x in (p & r, p & ~r, ~p & r, ~p & ~r))
        expected = {
            "dice": (2 * tp, 2 * tp + fp + fn),
            "iou": (tp, tp + fp + fn),
            "sensitivity": (tp, tp + fn),
            "precision": (tp, tp + fp),
            "specificity": (tn, tn + fp),
        }
        for name, (part, whole) in expected.items():
            value = vars(result)[name][index - 1]
            np.testing.assert_allclose(value, part / whole if whole else np.nan, rtol=1e-12)


REGIONS = ((1, 2, 3), (2, 3), (3,))
maps_of_four = hnp.arrays(np.uint8, (3, 4, 2), elements=st.integers(0, 3))
pairs = st.tuples(maps_of_four, maps_of_four)


@settings(max_examples=20, deadline=None)
@given(pairs)
def test_a_region_scores_as_the_mask_of_its_classes(maps):
    """Every score of a region is that of two masks with one class, drawn without the other regions."""
    prediction, reference = maps
    scored = CaseMetrics.of(prediction, reference, 4, (1.0, 2.0, 3.0), targets=REGIONS)

    for place, region in enumerate(REGIONS):
        masks = (np.isin(indices, region).astype(np.uint8) for indices in (prediction, reference))
        alone = CaseMetrics.of(*masks, 2, (1.0, 2.0, 3.0))
        for name in METRICS:
            np.testing.assert_allclose(getattr(scored, name)[place], getattr(alone, name)[0], err_msg=name)


@settings(max_examples=20, deadline=None)
@given(pairs)
def test_voxels_that_nobody_looked_at_change_no_score_of_the_overlap(maps):
    prediction, reference = maps
    ignored = np.zeros(reference.shape, bool)
    ignored[1:] = True

    scored = CaseMetrics.of(prediction, np.where(ignored, 4, reference), 4, (1.0, 2.0, 3.0))

    rest = CaseMetrics.of(prediction[:1], reference[:1], 4, (1.0, 2.0, 3.0))
    np.testing.assert_array_equal(scored.confusion, rest.confusion)
    for name in ("dice", "iou", "sensitivity", "precision", "specificity"):
        np.testing.assert_array_equal(getattr(scored, name), getattr(rest, name))
    for name in set(METRICS) - {"dice", "iou", "sensitivity", "precision", "specificity"}:
        assert np.isnan(getattr(scored, name)).all(), name


def test_pooled_scores_of_regions_by_hand():
    """Of five voxels of the core three are found, one as the wrong class; one more is invented in the oedema."""
    confusion = np.array([[10, 0, 0, 0], [0, 2, 1, 0], [1, 0, 2, 1], [1, 0, 0, 1]])

    pooled = PooledScores.of(confusion, ((1, 2, 3), (2, 3)))

    np.testing.assert_allclose(pooled.sensitivity, [7 / 9, 4 / 6])
    np.testing.assert_allclose(pooled.dice, [2 * 7 / (9 + 7), 2 * 4 / (6 + 5)])
    np.testing.assert_allclose(pooled.specificity, [1, 12 / 13])
    assert pooled.accuracy == 15 / 19


def test_a_class_that_fills_the_picture_has_no_lesions():
    """A frame round the picture is one component: one predicted voxel would find it, and F1 would be 1."""
    frame = np.ones((10, 10), int)
    frame[1:-1, 1:-1] = 0
    blob = np.zeros((10, 10), int)
    blob[2:5, 2:5] = 1
    touching = np.zeros((10, 10), int)
    touching[0, 0] = 1

    assert np.isnan(CaseMetrics.of(touching, frame, 2, None).lesion_f1[0])
    assert np.isnan(CaseMetrics.of(0 * frame, frame, 2, None).lesion_f1[0])  # missed
    assert CaseMetrics.of(frame, blob, 2, None).lesion_f1[0] == 0  # found none, and one is false
    assert CaseMetrics.of(blob, blob, 2, None).lesion_f1[0] == 1


def test_two_lesions_that_span_the_picture_together_are_counted():
    two = np.zeros((10, 10), int)
    two[0, 0] = two[-1, -1] = 1

    assert CaseMetrics.of(two, two, 2, None).lesion_f1[0] == 1
