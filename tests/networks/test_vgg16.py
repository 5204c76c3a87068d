import pytest
import torch
from torch import nn

from segpipe.errors import SegpipeError
from segpipe.networks import VGG16_STAGES, SegNet, load_vgg16_bn

WIDTHS = [width for stage in VGG16_STAGES for width in stage]


@pytest.fixture(scope="module")
def vgg16():
    """Return a `vgg16_bn.features` in torchvision's form, with random weights."""
    torch.manual_seed(1)
    layers, channels = [], 3
    for stage in VGG16_STAGES:
        for width in stage:
            layers += [nn.Conv2d(channels, width, 3, padding=1), nn.BatchNorm2d(width), nn.ReLU()]
            channels = width
        layers.append(nn.MaxPool2d(2))
    for layer in layers:
        if isinstance(layer, nn.BatchNorm2d):
            nn.init.uniform_(layer.running_mean, -0.1, 0.1)
            nn.init.uniform_(layer.running_var, 0.5, 2)
            nn.init.uniform_(layer.weight, 0.5, 2)
    return nn.Sequential(*layers).eval()


@pytest.fixture
def weights(vgg16, tmp_path):
    state = {f"features.{name}": tensor for name, tensor in vgg16.state_dict().items()}
    state["classifier.0.weight"] = torch.zeros(2, 2)
    torch.save(state, tmp_path / "vgg16_bn.pth")
    return tmp_path / "vgg16_bn.pth"


def encoded(network, image):
    for stage in network.encoder:
        image, _ = network.pools[0](stage(image))
    return image


def test_a_grey_image_is_encoded_as_vgg16_would(vgg16, weights):
    network = SegNet(1, 4, VGG16_STAGES).eval()
    image = torch.rand(1, 1, 64, 32)

    load_vgg16_bn(network, weights)

    with torch.no_grad():
        torch.testing.assert_close(
            encoded(network, image), vgg16(image.expand(1, 3, 64, 32)), atol=1e-4, rtol=1e-3
        )


def test_an_rgb_encoder_takes_the_weights_as_they_are(vgg16, weights):
    network = SegNet(3, 4, VGG16_STAGES)

    load_vgg16_bn(network, weights)

    assert torch.equal(network.encoder[0][0].conv.weight, vgg16[0].weight)


def test_a_file_without_batch_counters_is_taken(weights):
    """torchvision's file has no batch counters."""
    state = {k: v for k, v in torch.load(weights).items() if "num_batches_tracked" not in k}
    torch.save(state, weights)

    load_vgg16_bn(SegNet(1, 2, VGG16_STAGES), weights)


def test_the_order_in_a_file_says_nothing(vgg16, weights):
    """The four tensors of a batch norm have one shape, so that swapped tensors would load."""
    state = torch.load(weights)
    torch.save({name: state[name] for name in sorted(state, reverse=True)}, weights)
    network = SegNet(3, 2, VGG16_STAGES)

    load_vgg16_bn(network, weights)

    last = network.encoder[4][2]
    for name in ("weight", "bias", "running_mean", "running_var"):
        assert torch.equal(getattr(last.adn.N, name), getattr(vgg16[41], name)), name
    assert torch.equal(last.conv.weight, vgg16[40].weight)


def test_a_file_that_is_not_there_is_named(tmp_path):
    with pytest.raises(SegpipeError, match=r"no such weights of VGG16; name a local file"):
        load_vgg16_bn(SegNet(1, 2, VGG16_STAGES), tmp_path / "none.pth")


def test_weights_of_another_shape_are_refused_and_change_nothing(weights):
    network = SegNet(1, 2, ((64, 64), (128, 128), (256,) * 3, (512,) * 3, (512, 512, 256)))
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}

    with pytest.raises(
        SegpipeError, match=r"features\.40\.weight is of shape \(512, 512, 3, 3\).*\(256, 512"
    ):
        load_vgg16_bn(network, weights)

    assert all(torch.equal(before[name], tensor) for name, tensor in network.state_dict().items())


def test_another_depth_is_refused(weights):
    with pytest.raises(
        SegpipeError, match="its 78 tensors of convolutions and batch norms are not the encoder's 36"
    ):
        load_vgg16_bn(SegNet(1, 2), weights)


def test_a_file_of_anything_else_is_refused(tmp_path):
    torch.save([1, 2], tmp_path / "list.pth")

    with pytest.raises(SegpipeError, match="is not a state_dict"):
        load_vgg16_bn(SegNet(1, 2), tmp_path / "list.pth")
