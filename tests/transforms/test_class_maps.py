"""Class indices from the scores of regions and from one-hot maps."""

import numpy as np
import torch
from label_tables import brain_tumours
from monai.data import MetaTensor

from segpipe.transforms import RegionsToClassesd
from segpipe.transforms.class_maps import class_map, regions_to_classes


def test_a_later_region_replaces_an_earlier_one():
    """Columns: nothing, whole, whole and core, all three, enhancing alone."""
    inside = torch.tensor([[[0, 1, 1, 1, 0], [0, 0, 1, 1, 0], [0, 0, 0, 1, 1]]], dtype=torch.bool)

    assert regions_to_classes(inside, brain_tumours()).tolist() == [[0, 2, 1, 3, 3]]


def test_scores_above_one_half_are_inside():
    scores = MetaTensor(torch.tensor([[[0.5, 0.51]], [[0.2, 0.5]], [[0.0, 0.1]]]), affine=2 * torch.eye(4))

    written = RegionsToClassesd("pred", brain_tumours())({"pred": scores})["pred"]

    assert written.tolist() == [[[0, 2]]]
    assert torch.equal(written.affine, scores.affine)


def test_a_class_map_keeps_indices_and_takes_the_class_of_one_hot_maps():
    indices = torch.tensor([[0, 2], [1, 3]])

    np.testing.assert_array_equal(class_map(indices[None]), indices)
    np.testing.assert_array_equal(class_map(torch.nn.functional.one_hot(indices, 4).movedim(-1, 0)), indices)
    assert class_map(indices[None]).dtype == np.uint8
    assert class_map(300 * indices[None]).max() == 900
