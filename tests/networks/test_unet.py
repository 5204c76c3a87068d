import pytest
import torch

from segpipe.errors import SegpipeError
from segpipe.networks import UNet


def test_the_papers_network():
    network = UNet(1, 4)

    assert sum(parameter.numel() for parameter in network.parameters()) == 1_861_892


def test_an_odd_last_row_is_seen_at_every_level():
    """A change in the last row and column of 2^n + 1 voxels reaches the bottom: no level crops them."""
    torch.manual_seed(0)  # a ReLU may cut the change off
    network = UNet(1, 2, widths=(4, 4, 4))
    inputs = []
    network.bottom.register_forward_hook(lambda module, arguments, output: inputs.append(arguments[0]))
    image = torch.rand(1, 1, 9, 9)
    changed = image.clone()
    changed[..., -1, -1] += 1

    network(image), network(changed)

    assert inputs[0].shape[2:] == (3, 3)
    assert not torch.equal(inputs[0][..., 2, 2], inputs[1][..., 2, 2])


def test_less_than_two_levels_are_refused():
    with pytest.raises(SegpipeError, match=r"widths are \(16,\); needs at least 2 whole numbers"):
        UNet(1, 2, widths=(16,))
