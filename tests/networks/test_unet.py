import pytest
import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from segpipe.errors import SegpipeError
from segpipe.networks import UNet
from segpipe.networks.blocks import convolutions


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


def test_plain_convolutions_are_the_network_of_before():
    """The parts in the order in which they drew random numbers before there were other kinds: equal to the bit."""
    torch.manual_seed(0)
    parts = {
        "down.0": convolutions(2, [1, 4, 4], "instance"),
        "down.1": convolutions(2, [4, 6, 6], "instance"),
        "bottom": convolutions(2, [6, 8, 8], "instance", 0.2),
        "enlarge.0": nn.ConvTranspose2d(8, 6, 2, 2),
        "enlarge.1": nn.ConvTranspose2d(6, 4, 2, 2),
        "up.0": convolutions(2, [12, 6, 6], "instance"),
        "up.1": convolutions(2, [8, 4, 4], "instance"),
        "logits": nn.Conv2d(4, 3, 1),
    }
    before = {
        f"{part}.{name}": one for part, made in parts.items() for name, one in made.state_dict().items()
    }
    torch.manual_seed(0)
    state = UNet(1, 3, (4, 6, 8), norm="instance", dropout=0.2).state_dict()

    assert list(state) == list(before)
    assert all(torch.equal(state[name], before[name]) for name in state)


def parameters_of(pairs, kernel, dims=2):
    """Parameters of convolutions from so many channels to so many, and of their instance norms."""
    return sum(kernel(entry, width, 3**dims) + 2 * width for entry, width in pairs)


PAIRS = [(4, 4), (4, 6), (6, 6), (8, 4), (4, 4)]  # of widths (4, 6) without the first one, from the image


@pytest.mark.parametrize(
    ("conv", "kernel"),
    [
        ("plain", lambda entry, width, taps: entry * width * taps + width),
        ("separable", lambda entry, width, taps: entry * taps + entry * width + width),
        # two kernels; the attention's 4 units for 4 to 8 channels
        (
            "dynamic",
            lambda entry, width, taps: 2 * (entry * width * taps + width) + 4 * entry + 4 + 4 * 2 + 2,
        ),
    ],
)
@pytest.mark.parametrize("dims", [2, 3])
def test_parameters_of_each_kind(conv, kernel, dims):
    network = UNet(1, 3, (4, 6), dims, "instance", conv=conv, kernels=2)

    first = 4 * 3**dims + 4 + 8
    others = 6 * 4 * 2**dims + 4 + 4 * 3 + 3  # the enlarging one, and the logits
    counted = sum(parameter.numel() for parameter in network.parameters())
    assert counted == first + others + parameters_of(PAIRS, kernel, dims)


@pytest.mark.parametrize(
    ("conv", "products"),
    [
        ("plain", lambda entry, width: entry * width * 9),
        ("separable", lambda entry, width: entry * (9 + width)),
    ],
)
def test_operations_of_each_kind(conv, products):
    """8 x 8 pixels at the upper level, 4 x 4 at the bottom; a product and its addition are two operations."""
    upper = 4 * 9 + products(4, 4) + products(8, 4) + products(4, 4) + 4 * 3
    bottom = products(4, 6) + products(6, 6) + 6 * 4 * 4

    with FlopCounterMode(display=False) as counter:
        UNet(1, 3, (4, 6), norm="instance", conv=conv)(torch.rand(1, 1, 8, 8))

    assert counter.get_total_flops() == 2 * (64 * upper + 16 * bottom)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"conv": "depthwise"}, "UNet: conv is 'depthwise'; choose one of plain, separable, dynamic"),
        ({"conv": None}, "UNet: conv is None; choose one of"),
        ({"attention": "self"}, "UNet: attention is 'self'; choose one of none, multi_scale_context"),
        ({"conv": "dynamic", "kernels": 0}, "UNet: kernels is 0; must be a whole number of at least 1"),
        (
            {"conv": "separable", "slice_axis": 0, "spatial_dims": 3},
            "slice_axis is 0, and conv is separable; only",
        ),
    ],
    ids=str,
)
def test_kinds_that_do_not_exist_are_refused(arguments, message):
    with pytest.raises(SegpipeError, match=message):
        UNet(1, 2, **arguments)
