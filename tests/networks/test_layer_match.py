"""Which layers of a network start from the weights of another network."""

import pytest
import torch
from monai.networks.nets import DynUNet

from segpipe.networks import SegNet, UNet
from segpipe.networks.layer_match import match_layers

NAMES = ("background", "anterior", "posterior")


def unet(in_channels=1, out_channels=3, seed=0, **more):
    torch.manual_seed(seed)
    return UNet(in_channels, out_channels, widths=(2, 4), norm="instance", **more)


def actions(match):
    return {one.layer: one.action for one in match.layers}


def test_an_equal_network_is_taken_whole():
    there, here = unet(seed=0), unet(seed=1)

    match = match_layers(here, there.state_dict(), NAMES, NAMES)

    assert set(actions(match).values()) == {"taken"}
    for name, tensor in there.state_dict().items():
        assert torch.equal(match.state[name], tensor)
    assert sum(one.parameters for one in match.layers) == sum(p.numel() for p in here.parameters())
    assert match.fits


def test_a_head_is_matched_by_the_names_of_its_classes():
    there, here = unet(out_channels=3, seed=0), unet(out_channels=4, seed=1)
    head = here.state_dict()["logits.weight"].clone()

    match = match_layers(here, there.state_dict(), NAMES, ("Background", " posterior", "lesion", "ANTERIOR"))

    (start,) = [one for one in match.layers if one.layer == "logits"]
    assert (start.action, start.why) == ("adapted", "by name:  posterior, ANTERIOR; new: lesion")
    old = there.state_dict()["logits.weight"]
    expected = torch.stack([old[0], old[2], head[2], old[1]])
    assert torch.equal(match.state["logits.weight"], expected)
    assert match.state["logits.bias"][1] == there.state_dict()["logits.bias"][2]
    assert start.parameters == 4 * 2 + 4


@pytest.mark.parametrize(
    ("then", "why"),
    [
        (("background", "a", "b"), "no class has a name of the weights' classes: background, a, b"),
        ((), "the weights do not name their classes"),
    ],
    ids=["the background alone", "no names"],
)
def test_a_head_without_a_common_class_is_new(then, why):
    there, here = unet(seed=0), unet(seed=1)
    before = here.state_dict()["logits.weight"].clone()

    match = match_layers(here, there.state_dict(), then, NAMES)

    (start,) = [one for one in match.layers if one.action != "taken"]
    assert (start.layer, start.action, start.why) == ("logits", "new", why)
    assert torch.equal(match.state["logits.weight"], before)


@pytest.mark.parametrize(("then", "now"), [(1, 3), (4, 2)])
def test_a_first_convolution_answers_equal_channels_as_before(then, now):
    there, here = unet(in_channels=then, seed=0), unet(in_channels=now, seed=1)
    image = torch.randn(1, 1, 8, 8)

    match = match_layers(here, there.state_dict(), NAMES, NAMES)
    here.load_state_dict(match.state)

    (start,) = [one for one in match.layers if one.action != "taken"]
    assert (start.action, start.why) == ("adapted", f"mean of {then} input channel(s), for {now}")
    before, after = there(image.expand(1, then, 8, 8)), here(image.expand(1, now, 8, 8))
    torch.testing.assert_close(after, before)


def test_other_widths_are_new_with_both_shapes():
    there = UNet(1, 3, widths=(2, 4))
    here = UNet(1, 3, widths=(2, 8))

    match = match_layers(here, there.state_dict(), NAMES, NAMES)

    by_layer = {one.layer: one for one in match.layers}
    assert by_layer["down.0.0.conv"].action == "taken"
    bottom = by_layer["bottom.0.conv"]
    assert (bottom.action, bottom.why) == ("new", "weight is (4, 2, 3, 3) in the weights, (8, 2, 3, 3) here")


def test_names_of_one_tensor_are_one_layer():
    """MONAI's DynUNet has each of its layers under two names."""

    def network(seed, classes):
        torch.manual_seed(seed)
        return DynUNet(3, 1, classes, [3] * 3, [1, 2, 2], [2, 2], filters=[2, 4, 8], deep_supervision=True)

    there, here = network(0, 3), network(1, 2)

    match = match_layers(here, there.state_dict(), NAMES, NAMES[:2])

    assert sum(one.parameters for one in match.layers) == sum(p.numel() for p in here.parameters()) > 0
    heads = [one.layer for one in match.layers if one.is_head]
    assert heads == ["output_block.conv.conv", "deep_supervision_heads.0.conv.conv"]
    assert all(one.action == ("adapted" if one.is_head else "taken") for one in match.layers)
    here.load_state_dict(match.state)
    others = [name for name in here.state_dict() if name.startswith("skip_layers.") and "head" not in name]
    assert others
    assert all(torch.equal(here.state_dict()[name], there.state_dict()[name]) for name in others)


def test_batch_norms_bring_their_statistics():
    there, here = SegNet(1, 3, stages=[[2], [4]]), SegNet(1, 3, stages=[[2], [4]])
    there(torch.randn(4, 1, 8, 8))  # a training step changes the statistics

    match = match_layers(here, there.state_dict(), NAMES, NAMES)

    assert set(actions(match).values()) == {"taken"}
    name = next(name for name in there.state_dict() if name.endswith("running_mean"))
    assert there.state_dict()[name].any()
    assert torch.equal(match.state[name], there.state_dict()[name])


def test_norms_alone_do_not_fit():
    here = unet()
    norms = {name: tensor for name, tensor in here.state_dict().items() if ".N." in name}
    assert norms

    match = match_layers(here, norms, NAMES, NAMES)

    assert "taken" in actions(match).values()
    assert not match.fits
