"""Transforms of label maps at the end of a streamed chain: on the box of the classes as on the whole map."""

import numpy as np
import pytest
import torch
from monai.data import MetaTensor
from monai.transforms import Compose, FillHolesd, KeepLargestConnectedComponentd, RemoveSmallObjectsd

from segpipe.prediction.streamable import StreamPlan
from segpipe.transforms import RemoveSmallPiecesd

AFFINE = np.diag([1.5, 1.0, 2.0, 1.0])
STEPS = {
    "holes": [FillHolesd("pred", applied_labels=[1, 2])],
    "holes by faces": [FillHolesd("pred", connectivity=1)],
    "pieces": [RemoveSmallPiecesd("pred", [1, 2], [9.0, 20.0])],
    "objects": [RemoveSmallObjectsd("pred", min_size=30, independent_channels=False)],
    "largest": [KeepLargestConnectedComponentd("pred", applied_labels=[1, 2])],
    "largest union": [KeepLargestConnectedComponentd("pred", [1, 2], independent=False)],
}
STEPS["all"] = [*STEPS["holes"], *STEPS["pieces"], *STEPS["largest"]]


def shells(random, place):
    """Return pieces of two classes with holes, inside the map or open at its edge."""
    labels = np.zeros((16, 14, 12), np.uint8)
    inside = labels[place]
    inside[:] = (random.random(inside.shape) > 0.9) * random.integers(1, 3, inside.shape)
    start = random.integers(2)
    inside[start : start + 5, 1:5, 1:5] = random.integers(1, 3)
    inside[start + 1 : start + 4, 2:4, 2:4] = 0
    inside[-1, -1, -1], inside[0, 3, 3] = 2, 0
    return labels


PLACES = {
    "inside": np.s_[4:11, 3:9, 2:9],
    "at an edge": np.s_[:7, 3:9, 6:],
    "everywhere": np.s_[:, :, :],
}


@pytest.mark.filterwarnings("ignore:.*min_size:FutureWarning")
@pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")
@pytest.mark.parametrize("place", PLACES.values(), ids=PLACES)
@pytest.mark.parametrize("steps", STEPS.values(), ids=STEPS)
def test_the_box_of_the_classes_gives_what_the_whole_map_gives(steps, place):
    random, changed = np.random.default_rng(0), 0
    plan = StreamPlan(None, False, None, tuple(steps))
    for _ in range(4):
        labels = shells(random, place)
        whole = MetaTensor(torch.from_numpy(labels[None].astype(np.float32)), affine=AFFINE)

        finished = plan.finished(labels.copy(), AFFINE)

        expected = Compose(steps)({"pred": whole})["pred"][0].numpy()
        np.testing.assert_array_equal(finished, expected)
        assert finished.dtype == np.uint8
        changed += not np.array_equal(finished, labels)
    assert changed


@pytest.mark.filterwarnings("ignore:.*min_size:FutureWarning")
@pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")
def test_a_piece_that_fills_its_box_is_removed_too():
    labels = np.zeros((6, 6, 6), np.uint8)
    labels[2:4, 2:4, 2:4] = 1

    finished = StreamPlan(None, False, None, tuple(STEPS["objects"])).finished(labels, AFFINE)

    assert not finished.any()
    assert labels.sum() == 8


def test_an_empty_map_stays_empty():
    labels = np.zeros((3, 4, 5), np.uint8)

    assert not StreamPlan(None, False, None, tuple(STEPS["all"])).finished(labels, AFFINE).any()
