"""Scores in bands against MONAI's sliding window, and inverted bands against MONAI's inverted chain."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from monai.inferers import SlidingWindowInferer

from segpipe.errors import SegpipeError
from segpipe.inference.streaming import CannotStreamError, ScoreStream, SlidingWindow


def network(classes=3):
    """Return a network whose scores depend on a voxel's place in the window, so that padding and window shape count."""
    torch.manual_seed(0)
    return torch.nn.Sequential(torch.nn.Conv3d(1, classes, 3, padding=1), torch.nn.Tanh()).eval()


def collect(bands, size, classes):
    whole = torch.full((classes, *size), torch.nan)
    for band in bands:
        whole.movedim(band.axis + 1, 0)[band.first : band.first + len(band.scores)] = band.scores
    return whole


@given(
    size=st.tuples(*[st.integers(1, 23)] * 3),
    roi=st.tuples(*[st.integers(1, 11)] * 3),
    overlap=st.sampled_from([0.0, 0.25, 0.5, 0.8]),
    mode=st.sampled_from(["gaussian", "constant"]),
    batch=st.integers(1, 5),
)
@settings(max_examples=60, deadline=None)
def test_scores_are_those_of_monai(size, roi, overlap, mode, batch):
    image = torch.randn(1, *size, generator=torch.Generator().manual_seed(1))
    model = network()
    window = SlidingWindow(roi, batch, (overlap,) * 3, mode)

    with torch.no_grad():
        expected = SlidingWindowInferer(roi, batch, overlap, mode)(image[None], model)[0]
        scores = collect(ScoreStream(window, model, 3).bands(image), size, 3)

    torch.testing.assert_close(scores, expected, atol=1e-5, rtol=1e-5)


@given(size=st.tuples(*[st.integers(1, 9)] * 3), batch=st.integers(1, 4))
@settings(max_examples=20, deadline=None)
def test_slices_go_through_in_batches_across_planes(size, batch):
    """A 2D network segments a volume: each window lies in one slice, and a batch has several slices."""
    torch.manual_seed(0)
    flat = torch.nn.Conv2d(1, 3, 3, padding=1).eval()
    image = torch.randn(1, *size, generator=torch.Generator().manual_seed(1))
    batches = []

    def predictor(windows):
        batches.append(len(windows))
        return flat(windows.squeeze(-1)).unsqueeze(-1)

    stream = ScoreStream(SlidingWindow((0, 0, 1), batch), predictor, 3)
    with torch.no_grad():
        scores = collect(stream.bands(image), size, 3)
        expected = torch.stack([flat(image[..., z]) for z in range(size[2])], dim=-1)

    assert stream.axis(size) == 2 or size[2] == 1
    assert batches == [batch] * (size[2] // batch) + [size[2] % batch] * (size[2] % batch > 0)
    torch.testing.assert_close(scores, expected, atol=1e-5, rtol=1e-5)


def test_only_planes_that_windows_still_touch_are_held():
    """A scan ten times as long needs no more memory for scores."""
    held = []
    for length in (32, 320):
        stream = ScoreStream(SlidingWindow((8, 8, 8), 1, (0.5,) * 3, "gaussian"), network(), 3)
        with torch.no_grad():
            sizes = [
                band.scores.untyped_storage().nbytes()
                for band in stream.bands(torch.zeros(1, 16, 16, length))
            ]
        held.append(max(sizes))

    assert held[0] == held[1] == 8 * 3 * 16 * 16 * 4


def test_windows_without_tissue_are_left_out_and_counted():
    """Windows of 4 cover an image of 16 without overlap; only the second has tissue."""
    image, tissue = torch.randn(1, 16, 4, 4), torch.zeros(16, 4, 4, dtype=torch.bool)
    tissue[5] = True
    model = network()
    stream = ScoreStream(SlidingWindow((4, 4, 4), 2, (0.0,) * 3), model, 3)

    with torch.no_grad():
        scores = collect(stream.bands(image, tissue), (16, 4, 4), 3)
        expected = model(image[None, :, 4:8])[0]

    assert (stream.statistics.windows, stream.statistics.skipped) == (4, 3)
    torch.testing.assert_close(scores[:, 4:8], expected)
    assert scores.argmax(0)[:4].eq(0).all()
    assert scores.argmax(0)[8:].eq(0).all()
    assert scores.softmax(0)[0, 8:].gt(0.999999).all()


def test_an_answer_of_another_size_is_left_to_monai():
    stream = ScoreStream(SlidingWindow((8, 8, 8)), torch.nn.MaxPool3d(2), 1)

    with pytest.raises(CannotStreamError, match=r"\(8, 8, 8\) voxels with \(4, 4, 4\)"):
        next(stream.bands(torch.zeros(1, 16, 16, 16)))


def test_several_answers_are_left_to_monai():
    stream = ScoreStream(SlidingWindow((8, 8, 8)), lambda windows: [windows, windows], 1)

    with pytest.raises(CannotStreamError, match="a list"):
        next(stream.bands(torch.zeros(1, 16, 16, 16)))


def test_another_number_of_classes_is_refused():
    stream = ScoreStream(SlidingWindow((8, 8, 8)), network(classes=3), 4)

    with pytest.raises(SegpipeError, match="scores 3 classes, the bundle's label table has 4"):
        next(stream.bands(torch.zeros(1, 8, 8, 8)))


@pytest.mark.parametrize("bad", [torch.nan, torch.inf])
def test_scores_that_are_no_numbers_are_refused(bad):
    """The arg max of NaN would be background."""

    def overflowing(windows):
        scores = torch.zeros(len(windows), 3, *windows.shape[2:])
        scores[0, 1, 2, 3, 4] = bad
        return scores

    stream = ScoreStream(SlidingWindow((8, 8, 8)), overflowing, 3)

    with pytest.raises(SegpipeError, match="no numbers"):
        next(stream.bands(torch.zeros(1, 8, 8, 8)))


class SmallCard:
    """A predictor on a card with memory for few windows, and for scores or not."""

    def __init__(self, most):
        self.most = most
        self.network = network()

    def __call__(self, windows):
        if len(windows) > self.most:
            raise torch.OutOfMemoryError
        return self.network(windows)


def test_a_card_out_of_memory_gets_fewer_windows_at_a_time_and_gives_the_same_scores():
    image = torch.randn(1, 16, 12, 12, generator=torch.Generator().manual_seed(1))
    messages = []
    with torch.no_grad():
        window = SlidingWindow((8, 8, 8), 8, (0.5,) * 3, "gaussian")
        expected = collect(ScoreStream(window, network(), 3).bands(image), (16, 12, 12), 3)
        stream = ScoreStream(window, SmallCard(2), 3, report=messages.append)
        scores = collect(stream.bands(image), (16, 12, 12), 3)
        again = collect(stream.bands(image), (16, 12, 12), 3)

    torch.testing.assert_close(scores, expected)
    torch.testing.assert_close(again, expected)
    assert messages == [
        "cpu is out of memory: going on with 4 windows in one batch",
        "cpu is out of memory: going on with 2 windows in one batch",
    ]


def test_too_little_memory_for_one_window_is_an_error():
    with pytest.raises(torch.OutOfMemoryError), torch.no_grad():
        list(ScoreStream(SlidingWindow((8, 8, 8), 4), SmallCard(0), 3).bands(torch.zeros(1, 8, 8, 8)))


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_scores_move_to_the_cpu_where_the_card_is_too_small_for_them():
    image = torch.randn(1, 8, 8, 24, generator=torch.Generator().manual_seed(1)).cuda()
    window = SlidingWindow((8, 8, 8), 1, (0.5,) * 3, "gaussian")
    model, calls, messages = network().cuda(), [], []

    def predictor(windows):
        calls.append(len(windows))
        if len(calls) == 3:
            raise torch.OutOfMemoryError
        return model(windows)

    with torch.no_grad():
        expected = collect(ScoreStream(window, model, 3, "cuda").bands(image), (8, 8, 24), 3)
        scores = collect(
            ScoreStream(window, predictor, 3, "cuda", messages.append).bands(image), (8, 8, 24), 3
        )

    torch.testing.assert_close(scores, expected)
    assert messages == ["cuda is out of memory: going on with the scores on the CPU"]
