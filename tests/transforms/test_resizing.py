import pytest
import torch

from segpipe.errors import SegpipeError
from segpipe.transforms import ResizeShorterSided


@pytest.mark.parametrize(
    ("before", "after"),
    [((496, 512), (256, 264)), ((64, 64), (256, 256)), ((512, 256), (512, 256)), ((100, 31), (825, 256))],
)
def test_the_shorter_side_gets_the_size_and_the_ratio_stays(before, after):
    resized = ResizeShorterSided("image", 256)({"image": torch.zeros(3, *before)})["image"]

    assert tuple(resized.shape) == (3, *after)


def test_a_ramp_stays_a_ramp():
    """Columns 0 to 7 halved: the means of pairs, 0.5, 2.5, 4.5, 6.5, but for the ends, which antialiasing blurs."""
    ramp = torch.arange(8.0).expand(1, 8, 8)

    halved = ResizeShorterSided("image", 4)({"image": ramp})["image"]

    torch.testing.assert_close(halved[0, 0, 1:3], torch.tensor([2.5, 4.5]))


def test_a_size_that_is_no_number_of_pixels_is_refused():
    with pytest.raises(SegpipeError, match="size is 0"):
        ResizeShorterSided("image", 0)
