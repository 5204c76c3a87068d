"""Pictures written to a TensorBoard log and read back."""

import io

import numpy as np
import pytest
from PIL import Image
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from torch.utils.tensorboard import SummaryWriter

from segpipe.training.tensorboard import add_picture

COLORS = np.array([[0, 0, 0], [255, 0, 0], [0, 255, 0], [0, 0, 255]], np.uint8)


def read_back(folder, picture, *, small):
    with SummaryWriter(folder) as writer:
        add_picture(writer, "a", picture, 3, small=small)
    (event,) = EventAccumulator(str(folder), {"images": 0}).Reload().Images("a")
    assert (event.step, event.height, event.width) == (3, *picture.shape[:2])
    return np.asarray(Image.open(io.BytesIO(event.encoded_image_string)))


@pytest.mark.parametrize("small", [True, False])
@pytest.mark.parametrize("length", [64, 512, 1024])
def test_a_picture_of_nothing_but_outlines_is_written(tmp_path, small, length):
    """An untrained network gives such pictures, which must not end a training."""
    picture = COLORS[np.random.default_rng(0).integers(len(COLORS), size=(length, length))]

    read = read_back(tmp_path, picture, small=small)

    assert read.shape == picture.shape
    if not small:
        np.testing.assert_array_equal(read, picture)


def test_a_small_picture_shows_the_same(tmp_path):
    picture = np.repeat(np.repeat(COLORS[None], 40, axis=0), 40, axis=1)

    assert np.abs(read_back(tmp_path, picture, small=True).astype(int) - picture).mean() < 5
