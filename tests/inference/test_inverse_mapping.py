"""Bands of scores mapped to a scan's voxels, against MONAI's Invertd on the same scores."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from label_tables import brain_tumours
from monai.data import MetaTensor
from monai.transforms import (
    CenterSpatialCropd,
    Compose,
    CropForegroundd,
    DivisiblePadd,
    Flipd,
    Invertd,
    NormalizeIntensityd,
    Orientationd,
    Spacingd,
    SpatialPadd,
)

from segpipe.inference.decisions import ArgMax, Thresholds, arg_max
from segpipe.inference.inverse_mapping import AxisMap, InverseMapping
from segpipe.inference.restoring import restored_planes
from segpipe.inference.streaming import Band, CannotStreamError
from segpipe.transforms import CropNonzerod, RegionsToClassesd, ReorderAxesd, SplineSpacingd

KEY = "image"
TURNED = np.array([[0, -1.5, 0, 3], [2.0, 0, 0, 1], [0, 0, 0.7, -4], [0, 0, 0, 1]])
OBLIQUE = np.array([[1.2, -0.5, 0, 3], [0.6, 1.0, 0, 1], [0, 0, -2.2, -4], [0, 0, 0, 1]])


def scan(size, affine):
    voxels = torch.rand(1, *size, generator=torch.Generator().manual_seed(2)) + 0.1
    return MetaTensor(voxels, affine=torch.as_tensor(affine))


def smooth_scores(size, classes=4):
    """Return scores in blobs of a few voxels, similar to a network's."""
    coarse = torch.randn(
        1, classes, *[max(n // 4, 1) for n in size], generator=torch.Generator().manual_seed(3)
    )
    return 3 * torch.nn.functional.interpolate(coarse, size=size, mode="trilinear")[0]


def bands(scores, axis, depth):
    moved = scores.movedim(axis + 1, 0)
    memory = torch.empty_like(moved[:depth])  # each band overwrites the one before, as in a stream
    for first in range(0, len(moved), depth):
        band = memory[: len(moved) - first]
        yield Band(axis, first, band.copy_(moved[first : first + depth]))


def by_monai(chain, image, scores, softmax=True):
    """Return Invertd's probabilities on the scan's grid."""
    pred = MetaTensor(scores.softmax(0) if softmax else scores, meta=image.meta)
    record = {KEY: image, "pred": pred}
    return Invertd("pred", chain, KEY, nearest_interp=False)(record)["pred"]


def restored(image, scores, original, axis, depth, **kwargs):
    way = InverseMapping.of(image, original.shape[1:], np.asarray(original.affine))
    labels = torch.full(original.shape[1:], -1, dtype=torch.int64)
    probabilities = torch.full((len(scores), *original.shape[1:]), torch.nan)
    for plane in restored_planes(bands(scores, axis, depth), way, **kwargs):
        labels.movedim(plane.axis, 0)[plane.index] = plane.labels.long()
        if plane.probabilities is not None:
            probabilities.movedim(plane.axis + 1, 0)[plane.index] = plane.probabilities
    return labels, probabilities


CHAINS = {
    "nothing to undo": [DivisiblePadd(KEY, 1), NormalizeIntensityd(KEY)],
    "orientation": [Orientationd(KEY, "RAS", labels=None)],
    "spacing": [Spacingd(KEY, (1.1, 0.9, 1.3), dtype=torch.float32)],
    "spacing of zeros": [Spacingd(KEY, (0.8, 1.0, 1.0), padding_mode="zeros")],
    "all": [
        Orientationd(KEY, "PLS", labels=None),
        Spacingd(KEY, (1.0, 1.0, 1.0), dtype=torch.float32),
        SpatialPadd(KEY, (30, 30, 30)),
        NormalizeIntensityd(KEY),
        CenterSpatialCropd(KEY, (24, 20, 12)),
        DivisiblePadd(KEY, 8),
    ],
    "crop before spacing": [
        CropForegroundd(KEY, source_key=KEY, select_fn=lambda x: x > 1.05, allow_smaller=True),
        Spacingd(KEY, (1.5, 1.5, 1.5)),
        Orientationd(KEY, "LPI", labels=None),
    ],
}


@pytest.mark.parametrize("name", CHAINS)
@pytest.mark.parametrize("affine", [np.eye(4), TURNED, OBLIQUE], ids=["straight", "turned", "oblique"])
@given(size=st.tuples(*[st.integers(3, 25)] * 3), axis=st.integers(0, 2), depth=st.integers(1, 30))
@settings(max_examples=8, deadline=None)
def test_labels_and_probabilities_are_those_of_monai(name, affine, size, axis, depth):
    original, chain = scan(size, affine), Compose(CHAINS[name])
    image = chain({KEY: original})[KEY]
    scores = smooth_scores(image.shape[1:])

    expected = by_monai(chain, image, scores)
    labels, _ = restored(image, scores, original, axis, depth)
    dense, probabilities = restored(image, scores, original, axis, depth, probabilities=True)

    np.testing.assert_allclose(probabilities, expected.as_tensor(), atol=2e-5)
    top = expected.as_tensor().topk(2, dim=0).values
    clear = (top[0] - top[1] > 1e-4) | (top[0] == 0)
    assert torch.equal(labels[clear], expected.as_tensor().argmax(0)[clear])
    assert torch.equal(dense[clear], labels[clear])


def test_planes_that_the_image_does_not_reach_are_background():
    """The crop removed the scan's first and last slices along the axis of the bands."""
    original, chain = scan((15, 3, 3), TURNED), Compose(CHAINS["all"])
    image = chain({KEY: original})[KEY]
    scores = smooth_scores(image.shape[1:])

    labels, probabilities = restored(image, scores, original, 0, 1, probabilities=True)

    expected = by_monai(chain, image, scores)
    np.testing.assert_allclose(probabilities, expected.as_tensor(), atol=2e-5)
    assert (probabilities.sum(dim=0) == 0).any()
    assert labels[probabilities.sum(dim=0) == 0].eq(0).all()


def test_noise_at_every_voxel_is_interpolated_all_the_same():
    """The shortcut for voxels that agree with their neighbours applies nowhere."""
    original, chain = scan((20, 20, 20), np.eye(4)), Compose(CHAINS["spacing"])
    image = chain({KEY: original})[KEY]
    scores = 5 * torch.randn(3, *image.shape[1:], generator=torch.Generator().manual_seed(0))

    expected = by_monai(chain, image, scores).as_tensor()
    labels, _ = restored(image, scores, original, 2, 4)

    assert (labels == expected.argmax(0)).float().mean() > 0.9999


def test_softmax_follows_the_interpolation_where_the_chain_has_none_before():
    original, chain = scan((20, 20, 20), np.eye(4)), Compose(CHAINS["spacing"])
    image = chain({KEY: original})[KEY]
    scores = smooth_scores(image.shape[1:])

    _, interpolated = restored(
        image, scores, original, 0, 4, decision=ArgMax(softmax=False), probabilities=True
    )

    expected = by_monai(chain, image, scores, softmax=False).as_tensor().softmax(0)
    np.testing.assert_allclose(interpolated, expected, atol=2e-4)


def test_a_slice_is_a_volume_of_one_plane():
    original = MetaTensor(torch.rand(1, 20, 30), affine=torch.eye(4, dtype=torch.float64))
    chain = Compose([SpatialPadd(KEY, (32, 32)), CenterSpatialCropd(KEY, (32, 20))])
    image = chain({KEY: original})[KEY]
    scores = smooth_scores((*image.shape[1:], 1))

    way = InverseMapping.of(image, (20, 30), np.eye(4))
    (plane,) = restored_planes(bands(scores, 2, 1), way)

    expected = by_monai(chain, image, scores[..., 0]).as_tensor().argmax(0)
    assert torch.equal(plane.labels.long(), expected)


@pytest.mark.parametrize(
    ("steps", "reason"),
    [
        ([Flipd(KEY, 0)], "Flip"),
        ([Spacingd(KEY, (2, 2, 2)), Spacingd(KEY, (1.3, 1.3, 1.3))], "twice"),
        ([Spacingd(KEY, (2, 2, 2), mode="nearest")], "nearest"),
        ([Spacingd(KEY, (2, 2, 2), mode=3)], "with 3"),
        ([Spacingd(KEY, (2, 2, 2), align_corners=True)], "align_corners True"),
    ],
)
def test_transforms_without_a_streamed_inverse_are_left_to_monai(steps, reason):
    original = scan((12, 12, 12), np.eye(4))
    image = Compose(steps)({KEY: original})[KEY]

    with pytest.raises(CannotStreamError, match=reason):
        InverseMapping.of(image, (12, 12, 12), np.eye(4))


def test_a_grid_that_changed_without_a_trace_is_noticed():
    original = scan((12, 12, 12), np.eye(4))

    with pytest.raises(CannotStreamError, match="does not give the scan's grid"):
        InverseMapping.of(
            MetaTensor(original.as_tensor()[:, 1:], affine=original.affine), (12, 12, 12), np.eye(4)
        )
    with pytest.raises(CannotStreamError, match="does not give the scan's grid"):
        InverseMapping.of(original, (12, 12, 12), TURNED)


def test_planes_come_once_each_whichever_way_the_scan_lies():
    original, chain = scan((9, 14, 11), TURNED), Compose(CHAINS["all"])
    image = chain({KEY: original})[KEY]
    way = InverseMapping.of(image, original.shape[1:], np.asarray(original.affine))

    planes = list(restored_planes(bands(smooth_scores(image.shape[1:]), 1, 5), way))

    assert sorted(plane.index for plane in planes) == list(range(original.shape[1 + planes[0].axis]))
    assert {plane.axis for plane in planes} == {planes[0].axis}


@pytest.mark.parametrize(
    "affine", [np.eye(4), np.diag([-1.0, 1, -1, 1]), TURNED], ids=["same", "mirrored", "turned"]
)
def test_where_no_voxel_lies_between_voxels_labels_are_the_arg_max_in_its_place(affine, monkeypatch):
    """No score is looked at again: neither softmax nor interpolation is called, and padding is cut off."""
    original = scan((9, 14, 11), affine)
    chain = Compose([Orientationd(KEY, "RAS", labels=None), SpatialPadd(KEY, (16, 16, 12))])
    image = chain({KEY: original})[KEY]
    scores = smooth_scores(image.shape[1:])
    pred = MetaTensor(scores.argmax(0, keepdim=True).float(), meta=image.meta)
    wanted = Invertd("pred", chain, KEY)({KEY: image, "pred": pred})["pred"]
    monkeypatch.delattr(ArgMax, "activated")
    monkeypatch.delattr(ArgMax, "classes_of_interpolated")

    labels, _ = restored(image, scores, original, axis=1, depth=5)

    assert torch.equal(labels, wanted[0].as_tensor().long())


@pytest.mark.parametrize("classes", [1, 2, 7, 300])
def test_arg_max_is_that_of_torch(classes):
    scores = torch.randn(5, classes, 4, 3, generator=torch.Generator().manual_seed(0))

    assert torch.equal(arg_max(scores, dim=1).long(), scores.argmax(1))


def test_of_equal_scores_the_first_class_wins():
    assert arg_max(torch.ones(4, 2), dim=0).tolist() == [0, 0]


REGION_CHAINS = {name: CHAINS[name] for name in ("orientation", "spacing", "all")}


@pytest.mark.parametrize("depth", [1, 4])
@pytest.mark.parametrize("chain", REGION_CHAINS.values(), ids=REGION_CHAINS)
def test_regions_are_those_of_monais_chain(chain, depth):
    """The sigmoid, the inverse and the threshold of a bundle's chain, plane by plane."""
    labels, original, steps = brain_tumours(), scan((20, 18, 16), TURNED), Compose(chain)
    image = steps({KEY: original})[KEY]
    scores = smooth_scores(image.shape[1:], classes=3)
    decision = Thresholds(labels)

    classes, none = restored(image, scores, original, 1, depth, decision=decision)
    again, probabilities = restored(image, scores, original, 1, depth, decision=decision, probabilities=True)

    record = {KEY: image, "pred": MetaTensor(scores.sigmoid(), meta=image.meta)}
    pred = Invertd("pred", steps, KEY, nearest_interp=False)(record)
    expected = RegionsToClassesd("pred", labels)(pred)["pred"][0]
    assert torch.isnan(none).all()
    assert torch.equal(classes, again)
    assert (classes == expected).float().mean() > 0.9995
    np.testing.assert_allclose(probabilities, pred["pred"].as_tensor(), atol=2e-4)


def test_entropy_of_regions_by_hand():
    """Two certain answers and one that may be either: one third of the largest entropy."""
    entropy = Thresholds(brain_tumours()).entropy(torch.tensor([[1.0], [0.0], [0.5]]))

    np.testing.assert_allclose(entropy, [1 / 3], atol=1e-6)


def test_a_mapping_to_a_part_of_the_image_keeps_whole_planes_at_its_ends():
    """Six planes of a scan lie between the planes 0 to 3 of an image; the part is its planes 1 and 2."""
    whole = AxisMap.identity(0, 4).resampled(np.array([0.0, 0.5, 1.0, 1.5, 2.25, 3.0]), border=False)

    part = whole.within(1, 2)

    # outside; between 0 and 1: 1 alone; 1; between 1 and 2; between 2 and 3: 2 alone; outside
    assert (part.lower_weight + part.upper_weight).tolist() == [0, 1, 1, 1, 1, 0]
    places = part.lower * part.lower_weight + part.upper * part.upper_weight
    assert places[1:5].tolist() == [0, 0, 0.5, 1]
    assert part.lower.min() >= 0
    assert part.upper.max() <= 1


@pytest.mark.parametrize("spacing", [(1.1, 0.9, 1.3), (4.0, 0.8, 1.0)], ids=["whole", "by slice"])
@pytest.mark.parametrize("affine", [TURNED, OBLIQUE], ids=["turned", "oblique"])
def test_the_chain_of_an_nnunet_model_is_undone_as_monai_does(affine, spacing):
    """Axes in another order, a crop, and splines, whose scores come back linearly."""
    original = scan((9, 14, 12), affine)
    original[:, :2] = original[:, :, 12:] = 0
    chain = Compose([ReorderAxesd(KEY, [2, 1, 0]), CropNonzerod(KEY), SplineSpacingd(KEY, spacing)])
    image = chain({KEY: original.clone()})[KEY]
    scores = smooth_scores(image.shape[1:])

    labels, _ = restored(image, scores, original, 1, 3, decision=ArgMax(softmax=False))

    expected = by_monai(chain, image, scores, softmax=False)
    assert expected.shape[1:] == original.shape[1:]
    assert not labels[:2].any()
    assert (labels == expected.argmax(0)).float().mean() > 0.9995


def test_regions_may_be_decided_after_the_inverse():
    labels, original = brain_tumours(), scan((9, 14, 12), OBLIQUE)
    original[:, :2] = 0
    chain = Compose([CropNonzerod(KEY), SplineSpacingd(KEY, (1.4, 0.8, 2.0))])
    image = chain({KEY: original.clone()})[KEY]
    scores = smooth_scores(image.shape[1:], classes=3)
    decision = Thresholds(labels, sigmoid=False)

    classes, _ = restored(image, scores, original, 0, 4, decision=decision)
    again, probabilities = restored(image, scores, original, 0, 4, decision=decision, probabilities=True)

    inside = by_monai(chain, image, scores, softmax=False).sigmoid()
    expected = RegionsToClassesd("pred", labels)({"pred": inside})["pred"][0]
    assert torch.equal(classes, again)
    assert (classes == expected).float().mean() > 0.9995
    np.testing.assert_allclose(probabilities[:, 2:], inside[:, 2:], atol=2e-4)
    assert not probabilities[:, :2].any()


def test_scores_that_come_back_by_cubic_splines_are_left_to_monai():
    original = scan((9, 14, 12), np.eye(4))
    image = SplineSpacingd(KEY, (2.0, 2.0, 2.0), inverse_order=3)({KEY: original})[KEY]

    with pytest.raises(CannotStreamError, match="its scores come back with splines of order 3 and 0"):
        InverseMapping.of(image, original.shape[1:], np.eye(4))
