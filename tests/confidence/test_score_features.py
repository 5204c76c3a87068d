"""Features of scores made by hand."""

import math

import numpy as np
import pytest
import torch
from label_tables import table

from segpipe.confidence import FeatureMeter
from segpipe.inference.streaming import Band


def logits_of(probabilities):
    return torch.tensor(probabilities, dtype=torch.float32).log()


def measured(scores, labels):
    meter = FeatureMeter(labels)
    meter.add(scores)
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
    planes = scores.movedim(1, 0)
    meter = FeatureMeter(labels)

    passed = list(meter.bands([Band(0, 0, planes[:2]), Band(0, 2, planes[2:])]))

    assert [len(band.scores) for band in passed] == [2, 3]
    for one, whole in zip(meter.features, measured(scores, labels), strict=True):
        assert one.voxels == whole.voxels
        assert one.faces == whole.faces
        assert one.values == pytest.approx(whole.values)


def test_a_cube_has_the_faces_of_its_surface():
    inside = np.zeros((6, 6, 6), np.float32)
    inside[2:4, 2:4, 2:4] = 1

    (features,) = measured(torch.tensor(np.stack([1 - inside, inside])) * 9, table("background", "liver"))

    assert (features.voxels, features.faces) == (8, 24)


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
