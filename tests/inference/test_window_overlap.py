"""Another overlap for an inferer: the scores are those of an inferer made with that overlap."""

import pytest
import torch
from monai.inferers import SimpleInferer, SlidingWindowInferer

from segpipe.errors import SegpipeError
from segpipe.inference import SliceInferer
from segpipe.inference.window_overlap import overlap_of, with_overlap


def window_means(windows):
    """Return a stand-in for a network whose scores depend on where its window lies."""
    return windows.mean(dim=tuple(range(2, windows.ndim)), keepdim=True) + 0 * windows


@pytest.mark.parametrize(
    ("inferer_type", "roi_size", "size"),
    [
        (SlidingWindowInferer, (4, 4, 4), (10, 6, 5)),
        (SliceInferer, (4, 4), (10, 6)),
        (SliceInferer, (4, 4), (10, 6, 2)),
    ],
    ids=["volume", "slice", "volume by slices"],
)
def test_scores_are_those_of_an_inferer_with_that_overlap(inferer_type, roi_size, size):
    image = torch.rand((1, 1, *size), generator=torch.Generator().manual_seed(0))
    bundles = inferer_type(roi_size, overlap=0.25, mode="gaussian")

    other = with_overlap(bundles, 0.75)

    made = inferer_type(roi_size, overlap=0.75, mode="gaussian")
    assert torch.equal(other(image, window_means), made(image, window_means))
    assert not torch.equal(other(image, window_means), bundles(image, window_means))
    assert (overlap_of(other), overlap_of(bundles)) == ((0.75,), (0.25,))


def test_an_overlap_an_axis_is_read_as_it_is():
    assert overlap_of(SlidingWindowInferer((4, 4, 4), overlap=(0.5, 0.5, 0.25))) == (0.5, 0.5, 0.25)


def test_an_inferer_without_windows_is_refused():
    assert overlap_of(SimpleInferer()) == ()
    with pytest.raises(
        SegpipeError, match="a SimpleInferer, whose windows do not overlap; leave out --overlap"
    ):
        with_overlap(SimpleInferer(), 0.5)
