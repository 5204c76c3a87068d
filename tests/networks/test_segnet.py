import itertools

import pytest
import torch
from torch import nn

from segpipe.errors import SegpipeError
from segpipe.networks import VGG16_STAGES, SegNet
from segpipe.networks.blocks import MaxPool, MaxUnpool


def parameters(network):
    return sum(parameter.numel() for parameter in network.parameters())


@pytest.mark.parametrize(("classes", "published"), [(4, 373_644), (2, 372_486)])
def test_the_papers_network(classes, published):
    network = SegNet(1, classes, norm_last=True)

    assert parameters(network) == published
    convolutions = [module for module in network.modules() if isinstance(module, nn.Conv2d)]
    assert [module.out_channels for module in convolutions] == [64] * 11 + [classes]
    assert sum(isinstance(module, nn.BatchNorm2d) for module in network.modules()) == 12


def test_the_original_on_vgg16():
    """The network has 13 convolutions and their mirror image; biases and batch norms are counted by hand."""
    network = SegNet(3, 11, VGG16_STAGES)

    widths = [3, 64, 64, 128, 128, 256, 256, 256, 512, 512, 512, 512, 512, 512]
    mirrored = [11, *widths[1:]][::-1]
    pairs = list(itertools.pairwise(widths)) + list(itertools.pairwise(mirrored))
    expected = sum(9 * a * b + b + 2 * b for a, b in pairs) - 2 * 11  # nothing follows the logits
    assert parameters(network) == expected
    assert len(network.encoder) == 5
    assert [stage[-1].conv.out_channels for stage in network.decoder] == [512, 256, 128, 64]


@pytest.mark.parametrize("size", [(8, 6), (7, 9), (6, 8, 4), (5, 7, 3)], ids=str)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_unpooling_is_bit_equal_to_torchs(size, dtype):
    features = torch.randn(2, 3, *size, generator=torch.Generator().manual_seed(0)).to(dtype)
    torchs = {2: nn.MaxUnpool2d, 3: nn.MaxUnpool3d}[len(size)](2)

    pooled, indices = MaxPool(len(size))(features)
    unpooled = MaxUnpool()(pooled, indices, features)

    assert torch.equal(unpooled, torchs(pooled, indices, output_size=features.shape))
    kept = unpooled != 0
    assert torch.equal(unpooled[kept], features[kept])
    assert kept.sum() == pooled.numel()


def test_the_gradient_of_unpooling_goes_to_the_maxima():
    features = torch.arange(16.0).reshape(1, 1, 4, 4).requires_grad_()

    pooled, indices = MaxPool(2)(features)
    (MaxUnpool()(pooled, indices, features) * torch.arange(16.0).reshape(4, 4)).sum().backward()

    expected = torch.zeros(16)
    expected[[5, 7, 13, 15]] = torch.tensor([5.0, 7.0, 13.0, 15.0])
    assert torch.equal(features.grad.flatten(), expected)


def test_the_decoder_sees_where_maxima_were():
    """The same pooled values from other places give other logits: the decoder uses the indices."""
    torch.manual_seed(0)
    network = SegNet(1, 2, ((4,),)).eval()
    features = torch.rand(1, 4, 4, 4)

    def decoded(features):
        pooled, indices = network.pools[0](features)
        return network.logits(network.unpool(pooled, indices, features))

    mirrored_in_windows = features.unflatten(3, (2, 2)).flip(4).flatten(3)
    assert torch.equal(network.pools[0](features)[0], network.pools[0](mirrored_in_windows)[0])
    assert not torch.allclose(decoded(features), decoded(mirrored_in_windows))


@pytest.mark.parametrize("stages", [(), ((64,), ())])
def test_empty_stages_are_refused(stages):
    with pytest.raises(SegpipeError, match="needs at least one, each a list with a width a convolution"):
        SegNet(1, 2, stages)


THICK = ((2, 2, 1), (2, 2, 2))


def test_pools_leave_out_an_axis_of_stride_1():
    torch.manual_seed(0)
    network = SegNet(1, 3, ((4,), (6,)), spatial_dims=3, strides=THICK).eval()
    seen = []
    for pool in network.pools:
        pool.register_forward_hook(lambda module, arguments, output: seen.append(tuple(output[0].shape[2:])))

    logits = network(torch.rand(1, 1, 13, 12, 5))

    assert seen == [(7, 6, 5), (4, 3, 3)]  # an odd voxel is pooled too
    assert logits.shape == (1, 3, 13, 12, 5)
    assert network.strides == list(THICK)


def test_strides_change_neither_names_nor_shapes_of_the_state():
    """Weights of a network of cubes fit a network of thick slices, and the default pools by 2."""
    cubes, thick = (SegNet(1, 2, ((4,), (6,)), 3, strides=strides).eval() for strides in (None, THICK))

    thick.load_state_dict(cubes.state_dict())

    image = torch.rand(1, 1, 8, 8, 4)
    twos = SegNet(1, 2, ((4,), (6,)), 3, strides=[2, [2, 2, 2]]).eval()
    twos.load_state_dict(cubes.state_dict())
    assert torch.equal(twos(image), cubes(image))
    assert not torch.equal(thick(image), cubes(image))


def test_thick_slices_train_and_script():
    network = SegNet(1, 2, ((4,), (6,)), 3, strides=THICK)

    network(torch.rand(1, 1, 8, 8, 4)).square().mean().backward()
    network.eval()
    image = torch.rand(1, 1, 9, 7, 5)

    assert all(parameter.grad.isfinite().all() for parameter in network.parameters())
    torch.testing.assert_close(torch.jit.script(network)(image), network(image))


@pytest.mark.parametrize("strides", [[2], [2, 0], [2, [2, 2]], [2, "2"], [2, 1.5], 2], ids=str)
def test_strides_that_do_not_fit_are_refused(strides):
    with pytest.raises(SegpipeError, match="needs 2, one a stage, each a whole number of at least 1 or 3"):
        SegNet(1, 2, ((4,), (6,)), 3, strides=strides)
