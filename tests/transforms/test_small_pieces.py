"""Small pieces of classes: each class by itself, by volume, in 2D and 3D."""

import numpy as np
import pytest
import torch
from monai.data import MetaTensor
from skimage import measure

from segpipe.errors import SegpipeError
from segpipe.transforms import RemoveSmallPiecesd


def cleaned(indices, spacing, labels, volumes):
    affine = np.diag([*spacing, *[1.0] * (3 - len(spacing)), 1.0])
    label_map = MetaTensor(torch.as_tensor(indices)[None], affine=affine)
    return RemoveSmallPiecesd("pred", labels, volumes)({"pred": label_map})["pred"]


def test_pieces_below_their_class_volume_become_background():
    """Voxels of 2 mm3: class 1 has pieces of 8 and 2 mm3, class 2 touches the first with a piece of 2 mm3."""
    indices = np.zeros((4, 4, 1), np.uint8)
    indices[:2, :2] = 1
    indices[3, 3] = 1
    indices[2, 1] = 2

    of_first = cleaned(indices, (1, 1, 2), [1], [4.0])
    of_both = cleaned(indices, (1, 1, 2), [1, 2], [2.0, 4.0])

    assert of_first.dtype == torch.uint8
    assert (of_first[0, 3, 3], of_first[0, 0, 0], of_first[0, 2, 1]) == (0, 1, 2)
    assert (of_both[0, 3, 3], of_both[0, 2, 1]) == (1, 0)
    assert indices[3, 3] == 1


def test_voxels_that_touch_at_a_corner_are_one_piece():
    indices = np.eye(3, dtype=np.float32)

    np.testing.assert_array_equal(cleaned(indices, (1, 1), [1], [3.0])[0], indices)
    assert not cleaned(indices, (1, 1), [1], [3.5]).any()


def test_pieces_are_those_of_scikit_image():
    """Voxels of 3 mm3: pieces below 12 mm3 are those of fewer than four voxels."""
    indices = (np.random.default_rng(0).random((12, 10, 8)) > 0.9).astype(np.uint8)
    expected = np.zeros_like(indices)
    for piece in measure.regionprops(measure.label(indices, connectivity=3)):
        if piece.area >= 4:
            expected[tuple(piece.coords.T)] = 1

    ours = cleaned(indices, (2.0, 1, 1.5), [1], [12.0])

    assert 0 < expected.sum() < indices.sum()
    np.testing.assert_array_equal(ours[0], expected)


@pytest.mark.parametrize(
    ("labels", "volumes", "reason"),
    [
        ([1, 2], [3.0], "a volume for each"),
        ([0], [3.0], "class indices from 1 on"),
        ([1], [0.0], "must be above 0"),
        ([1], [float("nan")], "must be above 0"),
    ],
)
def test_arguments_that_do_not_fit_are_refused(labels, volumes, reason):
    with pytest.raises(SegpipeError, match=reason):
        RemoveSmallPiecesd("pred", labels, volumes)


def test_scores_of_classes_are_refused():
    with pytest.raises(SegpipeError, match="must be class indices"):
        RemoveSmallPiecesd("pred", [1], [2.0])({"pred": MetaTensor(torch.zeros(3, 4, 4, 4))})
