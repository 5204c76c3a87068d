"""Windows and weights as nnU-Net's: known places, known weights, and the same scores streamed and at once."""

import numpy as np
import pytest
import torch

from segpipe.errors import SegpipeError
from segpipe.inference import EvenSliceInferer, EvenWindowInferer
from segpipe.inference.even_windows import EvenWindow, even_starts, importance_map
from segpipe.inference.streaming import ScoreStream


def looks(windows):
    """Return a stand-in for a network whose scores depend on where a voxel lies in its window."""
    shape = windows.shape[2:]
    ramp = torch.arange(float(np.prod(shape))).reshape(shape) / np.prod(shape)
    return torch.cat((windows * ramp, windows - ramp), 1)


@pytest.mark.parametrize(
    ("length", "window", "overlap", "expected"),
    [
        (110, 64, 0.5, [0, 23, 46]),  # the example in nnU-Net's code
        (64, 64, 0.5, [0]),
        (65, 64, 0.5, [0, 1]),
        (96, 64, 0.5, [0, 32]),
        (59, 40, 0.5, [0, 19]),
        (45, 20, 0.5, [0, 8, 17, 25]),  # steps of 25/3: 8.33, 16.67
        (13, 8, 0.5, [0, 2, 5]),  # steps of 2.5, and 2.5 is rounded to even
        (4, 1, 0.0, [0, 1, 2, 3]),
        (4, 1, 0.5, [0, 1, 2, 3]),  # no window twice
    ],
)
def test_windows_are_the_fewest_and_evenly_spread(length, window, overlap, expected):
    assert even_starts(length, window, overlap) == expected


def test_the_largest_weight_is_behind_the_middle_of_an_even_window():
    """A Gaussian of sigma 4/8 = 0.5 around voxel 2: exp(-d^2 / (2 * 0.25)) at d = 2, 1, 0, 1, times 10."""
    weights = importance_map((4,))

    expected = np.float16(10 * np.exp(-2.0 * np.array([4, 1, 0, 1])))
    np.testing.assert_array_equal(weights.numpy(), expected.astype(np.float32))


def test_weights_that_half_precision_cannot_hold_get_its_smallest_number():
    """In a corner of 32^3 the weight is 10 * exp(-24) = 4e-10; the smallest number is 2^-24 = 6e-8."""
    weights = importance_map((32, 32, 32))

    assert weights[0, 0, 0] == weights.min() == 2.0**-24
    assert weights[16, 16, 16] == 10


@pytest.mark.parametrize("size", [(13, 9, 8), (5, 9, 11)], ids=["larger", "padded"])
def test_scores_are_the_weighted_mean_of_the_windows(size):
    image = torch.rand((1, 1, *size), generator=torch.Generator().manual_seed(0))
    roi = (6, 8, 4)

    scores = EvenWindowInferer(roi, sw_batch_size=3)(image, looks)

    missing = [max(length - have, 0) for length, have in zip(roi, size, strict=True)]
    padded = np.pad(image[0, 0].numpy(), [(m // 2, m - m // 2) for m in missing])
    sums, counts = np.zeros((2, *padded.shape)), np.zeros(padded.shape)
    weights = importance_map(roi).numpy()
    starts = [even_starts(length, window, 0.5) for length, window in zip(padded.shape, roi, strict=True)]
    for start in np.stack(np.meshgrid(*starts), -1).reshape(-1, 3):
        box = tuple(slice(begin, begin + side) for begin, side in zip(start, roi, strict=True))
        sums[(slice(None), *box)] += looks(torch.tensor(padded[box])[None, None])[0].numpy() * weights
        counts[box] += weights
    inside = tuple(slice(m // 2, m // 2 + have) for m, have in zip(missing, size, strict=True))
    np.testing.assert_allclose(scores[0], (sums / counts)[(slice(None), *inside)], atol=1e-5)


def test_a_stream_gives_the_same_scores():
    image = torch.rand((1, 11, 9, 14), generator=torch.Generator().manual_seed(0))
    stream = ScoreStream(EvenWindow((6, 8, 4), overlap=(0.5, 0.5, 0.5)), looks, 2)

    bands = [band.scores.clone() for band in stream.bands(image)]

    streamed = torch.cat(bands).permute(1, 0, 2, 3)
    axis = stream.axis(image.shape[1:])
    at_once = EvenWindowInferer((6, 8, 4))(image[None], looks)[0]
    torch.testing.assert_close(streamed, at_once.movedim(axis + 1, 1), atol=1e-5, rtol=1e-5)


def test_a_2d_network_gets_the_slices_of_a_volume():
    volume = torch.rand((1, 1, 9, 7, 3), generator=torch.Generator().manual_seed(0))
    inferer = EvenSliceInferer((6, 4), sw_batch_size=2)

    scores = inferer(volume, looks)

    for place in range(3):
        torch.testing.assert_close(scores[..., place], inferer(volume[..., place], looks))


def test_a_window_without_voxels_is_refused():
    with pytest.raises(
        SegpipeError, match=r"window_size is \[8, 0\], must be at least 1 voxel along each axis"
    ):
        EvenWindowInferer((8, 0))
