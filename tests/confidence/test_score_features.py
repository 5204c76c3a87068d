"""Features of scores made by hand."""

import math

import numpy as np
import pytest
import torch
from label_tables import table

from segpipe.confidence import FeatureMeter
from segpipe.confidence.smoothing import smoothed
from segpipe.inference.streaming import Band


def logits_of(probabilities):
    return torch.tensor(probabilities, dtype=torch.float32).log()


def measured(scores, labels, image=None):
    meter = FeatureMeter(labels)
    meter.add(scores, torch.zeros((1, *scores.shape[1:])) if image is None else image)
    return meter.features


def test_expected_dice_and_certainty_of_one_row():
    """Three voxels with liver probabilities 0.8, 0.5 + a bit, 0.1: two are labelled."""
    liver = np.array([[0.8, 0.6, 0.1]])
    (features,) = measured(logits_of(np.stack([1 - liver, liver])), table("background", "liver"))

    assert features.voxels == 2
    # 2 * (0.8 + 0.6) / ((0.8 + 0.6 + 0.1) + 2)
    assert features.expected_dice == pytest.approx(2 * 1.4 / 3.5)
    entropy = -sum(p * math.log2(p) + (1 - p) * math.log2(1 - p) for p in (0.8, 0.6)) / 2
    assert features.certainty == pytest.approx(1 - entropy, abs=1e-6)
    assert features.compactness == -1 / 2  # one face, between the second and the third voxel
    assert features.log_voxels == pytest.approx(math.log(2))
    assert features.log_expected_ratio == pytest.approx(math.log(1.5 / 2))


def test_planes_of_bands_give_the_features_of_the_whole_image():
    """Faces between planes count too, whatever bands the planes come in."""
    scores = torch.randn((3, 5, 4, 6), generator=torch.Generator().manual_seed(0)) * 3
    labels = table("background", "liver", "tumour")
    image = torch.randn((2, 5, 4, 6), generator=torch.Generator().manual_seed(1))
    planes = scores.movedim(1, 0)
    meter = FeatureMeter(labels)

    passed = list(meter.bands([Band(0, 0, planes[:2]), Band(0, 2, planes[2:])], image))

    assert [len(band.scores) for band in passed] == [2, 3]
    for one, whole in zip(meter.features, measured(scores, labels, image), strict=True):
        assert one.voxels == whole.voxels
        assert one.faces == whole.faces
        assert one.values == pytest.approx(whole.values, nan_ok=True)


def test_the_input_s_mean_and_spread_over_the_labelled_voxels():
    """Two channels: 1, 3 with a variance of 1, and 5, 5 with none; the third voxel is background."""
    liver = np.array([[0.8, 0.6, 0.1]])
    image = torch.tensor([[[1.0, 3.0, 90.0]], [[5.0, 5.0, 90.0]]])

    (features,) = measured(logits_of(np.stack([1 - liver, liver])), table("background", "liver"), image)

    assert features.intensity == pytest.approx((2 + 5) / 2)
    assert features.intensity_spread == pytest.approx(math.sqrt((1 + 0) / 2))


def test_the_foreground_is_sure_where_only_its_classes_are_not():
    """Liver and tumour share 0.9 and 1.0 of two voxels: between them the network is unsure, of the two it is not."""
    liver, tumour = np.array([[0.5, 0.45]]), np.array([[0.4, 0.55]])
    scores = logits_of(np.stack([1 - liver - tumour + 1e-7, liver, tumour]))

    first, second = measured(scores, table("background", "liver", "tumour"))

    assert first.foreground_dice == second.foreground_dice == pytest.approx(2 * 1.9 / (1.9 + 2), abs=1e-5)
    assert first.expected_dice == pytest.approx(2 * 0.5 / (0.95 + 1), abs=1e-5)


def test_a_cube_has_the_faces_of_its_surface():
    inside = np.zeros((6, 6, 6), np.float32)
    inside[2:4, 2:4, 2:4] = 1

    (features,) = measured(torch.tensor(np.stack([1 - inside, inside])) * 9, table("background", "liver"))

    assert (features.voxels, features.faces) == (8, 24)


def test_stability_is_the_dice_of_two_foregrounds():
    """Voxels 1 to 3 against 2 to 5: two are common, and 2 * 2 / (3 + 4)."""
    labels = table("background", "liver", "tumour")
    scores = torch.zeros((3, 6, 1, 1))
    scores[1, 1:3] = scores[2, 3:4] = 9
    other = torch.zeros((3, 6, 1, 1))
    other[2, 2:6] = 9
    image = torch.zeros((1, 6, 1, 1))
    by_bands, whole = FeatureMeter(labels), FeatureMeter(labels)

    list(by_bands.bands([Band(0, 0, scores.movedim(1, 0))], image))
    by_bands.compare([Band(0, 0, other.movedim(1, 0)[:4]), Band(0, 4, other.movedim(1, 0)[4:])])
    whole.add(scores, image)
    whole.compare_whole(other)

    for meter in (by_bands, whole):
        assert [one.stability for one in meter.features] == pytest.approx([4 / 7, 4 / 7])


def test_smoothing_keeps_mean_and_spread():
    image = torch.randn((2, 8, 9, 7), generator=torch.Generator().manual_seed(0)) * 3 + 5

    made = smoothed(image)

    for before, after in zip(image, made, strict=True):
        assert float(after.mean()) == pytest.approx(float(before.mean()), abs=1e-4)
        assert float(after.std()) == pytest.approx(float(before.std()), rel=1e-4)
        assert float(after.diff(dim=0).abs().mean()) < 0.9 * float(before.diff(dim=0).abs().mean())
    assert torch.equal(smoothed(torch.ones((1, 4, 4, 1))), torch.ones((1, 4, 4, 1)))


def test_an_absent_target_has_no_features():
    scores = torch.stack([torch.ones(2, 2), -torch.ones(2, 2)])

    (features,) = measured(scores, table("background", "liver"))

    assert features.voxels == 0
    assert features.probability > 0
    assert all(map(math.isnan, (features.expected_dice, features.certainty, features.log_voxels)))


def test_regions_have_features_of_their_own_outputs():
    """The whole covers both classes; its probability is the first output's sigmoid."""
    regions = {"whole": ["oedema", "core"], "core part": ["core"]}
    labels = table("background", "oedema", "core", regions=regions)
    scores = torch.tensor([[[4.0, 4.0, -4.0]], [[-4.0, 4.0, -4.0]]])

    whole, core = measured(scores, labels)

    sure = 1 / (1 + math.exp(-4))
    assert (whole.voxels, core.voxels) == (2, 1)
    assert whole.inside == pytest.approx(2 * sure)
    assert core.probability == pytest.approx(sure + 2 * (1 - sure))
