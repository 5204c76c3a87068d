"""Weights that a training starts from: where they are, and which are refused."""

import json
import re

import pytest
import torch
from hostile_weights import Call
from refusals import refusal_of

from segpipe.bundle.network_definition import network_definition
from segpipe.bundle.source_weights import SourceWeights, source_file, source_weights
from segpipe.networks import Identity, SegNet, UNet, save_weights

ROWS = [{"index": index, "name": name, "value": index} for index, name in enumerate(["background", "liver"])]
OUTPUTS = ("background", "liver")


def configuration(**arguments):
    return {"network_def": {"_target_": "segpipe.networks.SegNet", "strides": "@strides", **arguments}}


def saved(path, network, rows=ROWS, **training):
    save_weights(path, network, Identity.of(network, [], rows), training)
    return path


@pytest.fixture
def bundle(tmp_path):
    """Return the folder of a bundle without weights."""
    folder = tmp_path / "tiny"
    (folder / "configs").mkdir(parents=True)
    (folder / "models").mkdir()
    (folder / "configs" / "metadata.json").write_text(json.dumps({}))
    return folder


def test_a_bundle_stands_for_its_model(bundle):
    saved(bundle / "models" / "model.safetensors", UNet(1, 2, (2, 4)))

    assert source_file(bundle) == (bundle / "models" / "model.safetensors", "tiny")


def test_a_bundle_without_weights_is_refused(bundle):
    assert refusal_of(source_file, bundle) == (
        f"{bundle}: the bundle has no weights (no models/model.pt); train it and promote a run with segpipe promote, "
        "or name a file of weights"
    )


def test_of_several_weights_one_must_be_named(bundle):
    for name in ("a.pt", "b.pt"):
        (bundle / "models" / name).write_bytes(b"x")

    assert "but 2 other files of weights (a.pt, b.pt); a training starts from one network" in refusal_of(
        source_file, bundle
    )
    assert "a training starts from one file of weights or one bundle" in refusal_of(
        source_file, ["a.pt", "b.pt"]
    )


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("none.pt", "no such weights to start from; name a file of weights, or a bundle that has weights"),
        ("folder", "is no bundle (no configs/metadata.json), so there is nothing to start from"),
        ("run", "is a run; name its weights: from_weights="),
        ("a/b", "no such file, folder or bundle, so there is nothing to start from"),
    ],
)
def test_what_is_no_source_is_refused(tmp_path, name, message):
    (tmp_path / "folder").mkdir()
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "best.pt").write_bytes(b"x")

    assert message in refusal_of(source_file, tmp_path / name)


def test_weights_of_slices_are_not_for_volumes(tmp_path):
    source = source_weights(saved(tmp_path / "a.pt", UNet(1, 2, (2, 4))))

    assert refusal_of(source.match, UNet(1, 2, (2, 4), spatial_dims=3), None, OUTPUTS) == (
        f"{tmp_path / 'a.pt'}: weights of a 2D network, and this bundle's network is 3D: no layer of one fits the "
        "other; give weights of a 3D network"
    )


def test_other_strides_are_refused_with_both(tmp_path):
    """A SegNet's state has the same shapes for all strides."""
    network = SegNet(1, 2, stages=[[2], [2]], strides=[2, [2, 1]])
    then = {**configuration(), "strides": [2, [2, 1]]}
    source = source_weights(saved(tmp_path / "a.pt", network, configuration=then))
    now = network_definition({**configuration(), "strides": [2, 2]})

    assert refusal_of(source.match, network, now, OUTPUTS) == (
        f"{tmp_path / 'a.pt'}: its network has the strides [2, [2, 1]], this bundle's network [2, 2]: equal layers "
        "would see images of other resolutions; give weights of a network with these strides, or plan the bundle with "
        "segpipe plan --from"
    )
    assert source.match(network, source.form, OUTPUTS).fits


def test_weights_of_which_nothing_fits_are_refused(tmp_path):
    torch.save({"other.weight": torch.zeros(3, 2, 3, 3)}, tmp_path / "a.pt")

    assert refusal_of(source_weights(tmp_path / "a.pt").match, UNet(1, 2, (2, 4)), None, OUTPUTS) == (
        f"{tmp_path / 'a.pt'}: no convolution of these weights fits the bundle's network: the first tensor is "
        "other.weight (3, 2, 3, 3) in the file, down.0.0.conv.weight (2, 1, 3, 3) in the network; give weights of a "
        "network of this form, or plan the bundle with segpipe plan --from"
    )


def test_classes_of_no_common_name_are_no_reason_to_refuse_the_other_layers(tmp_path):
    rows = [ROWS[0], {"index": 1, "name": "spleen", "value": 1}]
    source = source_weights(saved(tmp_path / "a.pt", UNet(1, 2, (2, 4)), rows))

    match = source.match(UNet(1, 2, (2, 4)), None, OUTPUTS)

    assert [(one.layer, one.action) for one in match.layers if one.action != "taken"] == [("logits", "new")]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"no weights", "cannot be read as PyTorch weights"),
        (
            Call(print, "ran"),
            "holds more than tensors and plain values, so it is not loaded (it could run code)",
        ),
        ({"epoch": 3}, "is not a state_dict"),
        (
            {name: tensor * torch.nan for name, tensor in UNet(1, 2, (2, 4)).state_dict().items()},
            "are NaN or infinite",
        ),
    ],
    ids=["no weights", "code", "no tensors", "NaN"],
)
def test_a_file_that_is_none_is_refused(tmp_path, content, message, capsys):
    path = tmp_path / "a.pt"
    if isinstance(content, bytes):
        path.write_bytes(content)
    else:
        torch.save(content, path)

    refusal = refusal_of(source_weights(path).match, UNet(1, 2, (2, 4)), None, OUTPUTS)

    assert refusal.startswith(f"{path}: ")
    assert message in refusal
    assert capsys.readouterr().out == ""


def test_the_network_of_a_checkpoint_is_found(tmp_path):
    network = UNet(1, 2, (2, 4))
    torch.save({"network": network.state_dict(), "epoch": 3}, tmp_path / "training_state.pt")

    match = source_weights(tmp_path / "training_state.pt").match(UNet(1, 2, (2, 4)), None, OUTPUTS)

    assert torch.equal(match.state["bottom.0.conv.weight"], network.state_dict()["bottom.0.conv.weight"])


def test_cases_of_an_earlier_start_are_known(tmp_path):
    earlier = {"cases": {"a": "11"}}
    path = saved(tmp_path / "a.pt", UNet(1, 2, (2, 4)), cases={"b": "22"}, from_weights=earlier)

    assert source_weights(path).cases == {"a": "11", "b": "22"}


def test_regions_are_the_outputs(tmp_path):
    regions = [{"index": 2, "name": "whole", "value": 1, "classes": [1]}]
    path = saved(tmp_path / "a.pt", UNet(1, 2, (2, 4)), [*ROWS, *regions])

    assert source_weights(path).outputs == ("whole",)
    assert SourceWeights(path, "a", None).outputs == ()


def test_the_form_of_a_network_follows_references():
    wrapped = {
        "network_def": {
            "_target_": "segpipe.bundle.start_from_vgg16",
            "network": {"_target_": "segpipe.networks.UNet", "widths": "@widths", "out_channels": "$1 + 1"},
        },
        "widths": "@other",
        "other": [8, 16, 32],
    }

    form = network_definition(wrapped)

    assert (form.name, form.dims, form.strides) == ("UNet", 2, ((2, 2), (2, 2)))
    assert form.shown_strides == "[2, 2]"
    assert "out_channels" not in form.arguments
    assert network_definition({"network_def": "$net()"}) is network_definition({}) is None
    assert re.fullmatch(r"\[\]", network_definition({"network_def": {"_target_": "a.B"}}).shown_strides)
