"""Weights that a classifier starts from, and the learning rates of its layers."""

import pytest
import torch
from refusals import refusal_of

import segpipe.bundle.pretrained as module
from segpipe.bundle import parameter_groups, peak_rates, start_from
from segpipe.networks import EfficientNetLite0, TileClassifier, VGG16Classifier

SMALL = {"num_classes": 2, "hidden": 4, "layout": [4, "M"], "width": 8}


@pytest.mark.parametrize("weights", [None, "none"])
def test_without_weights_a_warning_says_that_features_are_random(weights, caplog):
    network = TileClassifier(2, stages=[[4]])
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}

    assert start_from(network, weights) is network

    (record,) = caplog.records
    assert record.getMessage() == "The network starts from random numbers, not from ImageNet's weights"
    assert all(torch.equal(before[name], tensor) for name, tensor in network.state_dict().items())


@pytest.mark.parametrize(
    ("network", "after", "warned"),
    [
        (VGG16Classifier(**SMALL), 0, "; all layers but the last are FROZEN and stay random"),
        (TileClassifier(2, stages=[[4]]), "never", "; all layers but the last are FROZEN and stay random"),
        (
            TileClassifier(2, stages=[[4]]),
            3,
            "; all layers but the last are FROZEN and random for 3 epoch(s)",
        ),
    ],
    ids=["by its layers", "to the end", "for some epochs"],
)
def test_frozen_random_features_are_loud(network, after, warned, caplog):
    start_from(network, None, after)

    assert warned in caplog.text


def test_a_network_without_weights_of_imagenet_is_refused():
    assert refusal_of(start_from, TileClassifier(2), "imagenet") == (
        "pretrained is imagenet, but there are no weights of ImageNet for TileClassifier; set pretrained to none"
    )


def test_vgg16_needs_a_local_file(tmp_path):
    network = VGG16Classifier(**SMALL)

    assert "no package holds VGG16's weights; name a local file" in refusal_of(
        start_from, network, "imagenet"
    )
    assert "no such weights of VGG16" in refusal_of(start_from, network, str(tmp_path / "none.pth"))


def test_vgg16_starts_from_a_local_file(tmp_path):
    network, other = VGG16Classifier(**SMALL), VGG16Classifier(**{**SMALL, "num_classes": 5})
    torch.save(other.state_dict(), tmp_path / "vgg16.pth")
    last = {name: tensor.clone() for name, tensor in network.classifier[6].state_dict().items()}

    start_from(network, tmp_path / "vgg16.pth")

    torch.testing.assert_close(network.features[0].weight, other.features[0].weight, rtol=0, atol=0)
    assert all(torch.equal(last[name], tensor) for name, tensor in network.classifier[6].state_dict().items())


@pytest.mark.parametrize(("weights", "expected"), [("imagenet", None), ("lite0.pth", "lite0.pth")])
def test_efficientnet_takes_the_packages_file_or_a_local_one(monkeypatch, weights, expected):
    loaded = []
    monkeypatch.setattr(module, "load_imagenet_lite0", lambda network, path: loaded.append((network, path)))
    network = EfficientNetLite0(2)

    start_from(network, weights)

    ((given, path),) = loaded
    assert given is network
    assert (path if path is None else str(path)) == expected


def test_the_last_layer_has_its_own_rate():
    network = TileClassifier(2, stages=[[4]])

    backbone, last = parameter_groups(network, 0.1, 0.01)

    assert (backbone["lr"], last["lr"]) == (0.01, 0.1)
    assert [id(one) for one in last["params"]] == [id(one) for one in network.classifier.parameters()]
    every = {id(one) for group in (backbone, last) for one in group["params"]}
    assert every == {id(one) for one in network.parameters()}


def test_without_a_rate_of_the_backbone_or_a_last_layer():
    assert [group["lr"] for group in parameter_groups(TileClassifier(2), 0.1)] == [0.1, 0.1]
    (only,) = parameter_groups(torch.nn.Linear(2, 2), 0.1, 0.01)
    assert only["lr"] == 0.01


def test_peaks_are_the_rates_that_were_given_even_after_steps():
    optimizer = torch.optim.SGD(parameter_groups(TileClassifier(2, stages=[[4]]), 0.1, 0.01), lr=0.1)
    assert peak_rates(optimizer) == [0.01, 0.1]
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, max_lr=[0.01, 0.1], total_steps=10)
    optimizer.step()
    schedule.step()

    assert [group["max_lr"] for group in optimizer.param_groups] == pytest.approx([0.01, 0.1])
