"""Windows in a queue: their order, their mirror images, and slices."""

import pytest
import torch
from monai.inferers import SimpleInferer

from segpipe.errors import SegpipeError
from segpipe.inference import FlipInferer
from segpipe.inference.engines.engine import WindowQueue
from segpipe.inference.engines.mirrored import MirroredQueue
from segpipe.inference.streaming import ScoreStream, SlidingWindow


class Slow(WindowQueue):
    """Computes a window when its scores are asked for, and notes how many wait."""

    def __init__(self, network, at_once):
        self.network, self.at_once = network, at_once
        self.waiting = self.most = 0

    def start(self, window):
        self.waiting += 1
        self.most = max(self.most, self.waiting)

        def finish():
            self.waiting -= 1
            return self.network(window)

        return finish


@pytest.fixture
def network():
    torch.manual_seed(0)
    return torch.nn.Conv3d(2, 3, 3, padding=1).eval()


IMAGE = torch.randn(2, 14, 11, 9, generator=torch.Generator().manual_seed(0))


@torch.no_grad()
@pytest.mark.parametrize("flips", [(), (0,), (2, 0), (0, 1, 2)])
def test_scores_are_those_of_the_flip_inferer(network, flips):
    windows = IMAGE[None]

    scores = MirroredQueue(Slow(network, 3), flips, flat=False)(windows)

    assert torch.equal(scores, FlipInferer(SimpleInferer(), flips)(windows, network))


def test_an_axis_that_windows_lack_is_refused(network):
    with pytest.raises(
        SegpipeError, match=r"--mirror .* is \[3\], but the network's input has the axes 0 to 2"
    ):
        MirroredQueue(Slow(network, 3), (3,), flat=False).start(IMAGE[None])


@torch.no_grad()
def test_slices_lose_their_third_axis_and_get_it_back():
    network = torch.nn.Conv2d(1, 2, 3, padding=1)
    slices = torch.randn(2, 1, 8, 6, 1)

    scores = MirroredQueue(Slow(network, 2), (1,), flat=True)(slices)

    expected = FlipInferer(SimpleInferer(), (1,))(slices[..., 0], network)[..., None]
    torch.testing.assert_close(scores, expected)


@torch.no_grad()
@pytest.mark.parametrize("at_once", [1, 3])
@pytest.mark.parametrize("tissue", [None, IMAGE[0] > 1.5], ids=["all", "tissue"])
def test_bands_are_those_of_one_window_after_the_other(network, at_once, tissue):
    window = SlidingWindow((6, 6, 6), 2, (0.5,) * 3, "gaussian")
    queue = Slow(network, at_once)

    bands = [band.scores.clone() for band in ScoreStream(window, queue, 3).bands(IMAGE, tissue)]

    one_by_one = ScoreStream(window, lambda windows: torch.cat([network(w[None]) for w in windows]), 3)
    expected = [band.scores.clone() for band in one_by_one.bands(IMAGE, tissue)]
    assert len(bands) > 1
    assert all(torch.equal(one, other) for one, other in zip(bands, expected, strict=True))
    assert queue.most == at_once
    assert queue.waiting == 0


@torch.no_grad()
def test_the_middle_window_of_an_image_is_padded_as_the_image_is():
    window = SlidingWindow((6, 0, 12))

    middle = window.central(IMAGE)

    assert middle.shape == (1, 2, 6, 11, 12)
    assert torch.equal(middle[0, ..., 1:10], IMAGE[:, 4:10])  # 12 - 9 = 3 planes more: 1 before, 2 after
    assert not middle[0, ..., 0].any()
