import pytest
import torch

from segpipe.errors import SegpipeError
from segpipe.networks import ResidualEncoderUNet

# Counts and logits are those of ResidualEncoderUNet in the package dynamic-network-architectures 0.4.4, with biases,
# affine instance norms, leaky ReLUs, one convolution a level of the decoder and deep supervision.
THIN = {"in_channels": 2, "out_channels": 3, "widths": (4, 6, 8), "deep_supervision": True}


def waved(**arguments):
    """Return a network whose parameters are the same on every machine: sines of their positions."""
    network = ResidualEncoderUNet(**THIN, **arguments)
    with torch.no_grad():
        for parameter in network.parameters():
            sines = torch.sin(1.0 + torch.arange(parameter.numel(), dtype=torch.float64))
            parameter.copy_(0.2 * sines.view_as(parameter))
    return network


def waves(*shape):
    """Return an image that is the same on every machine."""
    return torch.cos(torch.arange(torch.Size(shape).numel(), dtype=torch.float64)).float().view(shape)


@pytest.mark.parametrize(
    ("num_classes", "widths", "blocks", "dims", "count"),
    [
        (3, (32, 64, 128, 256, 320, 320), (1, 3, 4, 6, 6, 6), 3, 102_350_575),
        (4, (32, 64, 128, 256, 512, 512, 512), (1, 3, 4, 6, 6, 6, 6), 2, 105_919_832),
    ],
)
def test_it_has_as_many_parameters_as_nnunets(num_classes, widths, blocks, dims, count):
    with torch.device("meta"):
        network = ResidualEncoderUNet(1, num_classes, widths, blocks, dims, deep_supervision=True)

    assert sum(parameter.numel() for parameter in network.parameters()) == count


@pytest.mark.parametrize(
    ("arguments", "shape", "full", "half"),
    [
        (
            {
                "blocks": (1, 2, 1),
                "strides": [[1, 1, 1], [1, 2, 2], [2, 2, 2]],
                "kernel_size": [[1, 3, 3], 3, 3],
            },
            (1, 2, 8, 16, 12),
            [0.218680456, 0.240080252, 0.035369754],
            [0.245937705, 0.232609540, 0.095665805],
        ),
        (
            {"blocks": (1, 1, 2), "spatial_dims": 2},
            (1, 2, 16, 24),
            [0.224139079, 0.305635482, -0.038531356],
            [0.211361185, 0.260566115, 0.090312779],
        ),
    ],
    ids=["volumes", "slices"],
)
def test_its_logits_are_nnunets(arguments, shape, full, half):
    """The first, eighteenth and last number of both heads; in evaluation the head of full resolution alone."""
    network = waved(**arguments)

    heads = network.train()(waves(*shape))

    for head, expected in zip(heads, (full, half), strict=True):
        torch.testing.assert_close(head.flatten()[[0, 17, -1]], torch.tensor(expected), atol=1e-5, rtol=0)
    torch.testing.assert_close(network.eval()(waves(*shape)), heads[0])


def test_a_training_begins_with_blocks_that_pass_on_their_input():
    torch.manual_seed(0)
    network = ResidualEncoderUNet(1, 2, (4, 4), (1, 2), spatial_dims=2)
    features = torch.rand(1, 4, 6, 6)

    torch.testing.assert_close(network.encoder[1][1](features), features)
    assert network.encoder[1][1].second.conv.weight.std() > 0


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"widths": (8,), "blocks": (1,)}, r"widths are \(8,\); needs at least 2 whole numbers"),
        ({"blocks": (1, 2)}, r"blocks are \(1, 2\); needs 3 whole numbers, one a level"),
        ({"blocks": 2}, "blocks are 2; needs 3"),
        ({"blocks": (1, 0, 1)}, "each at least 1"),
        (
            {"strides": [1, 2]},
            r"strides is \[1, 2\]; needs 3, one a level, each a whole number of at least 1",
        ),
        ({"strides": [1, 2, [2, 2]]}, "or 3 of them"),
        ({"kernel_size": [3, 3, 2]}, "each an odd whole number or 3 of them"),
    ],
)
def test_impossible_levels_are_refused(arguments, message):
    with pytest.raises(SegpipeError, match=message):
        ResidualEncoderUNet(
            **{"in_channels": 1, "out_channels": 2, "widths": (4, 6, 8), "blocks": (1, 1, 1)} | arguments
        )
