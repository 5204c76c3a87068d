"""Weights on disk: they load unchanged, shared tensors are stored once, and wrong files are refused."""

import json
import math
from pathlib import Path

import pytest
import torch
from monai.networks.nets import DynUNet

import segpipe.networks.weights as weights_module
from segpipe.errors import SegpipeError
from segpipe.files import file_sha256
from segpipe.networks import Identity, load_weights, read_sidecar, save_weights, sidecar_path

TRANSFORMS = [
    {"_target_": "monai.transforms.Orientationd", "axcodes": "RAS"},
    {"_target_": "monai.transforms.Spacingd", "pixdim": [1.0, 1.0, 1.0]},
]
LABELS = [
    {"index": 0, "name": "background", "color": [0, 0, 0], "value": 0},
    {"index": 1, "name": "anterior", "color": [230, 159, 0], "value": 85},
]
TRAINING = {"fold": 0, "cases": {"case_1": "ab12"}}


def network(channels=4, seed=0):
    torch.manual_seed(seed)
    return torch.nn.Sequential(
        torch.nn.Conv3d(1, channels, 3), torch.nn.BatchNorm3d(channels), torch.nn.Conv3d(channels, 2, 1)
    )


def identity(of=None, transforms=TRANSFORMS, labels=LABELS):
    return Identity.of(of or network(), transforms, labels)


@pytest.fixture
def saved(tmp_path):
    """Return the path of weights with a sidecar."""
    path = tmp_path / "run" / "best.pt"
    save_weights(path, network(), identity(), TRAINING)
    return path


def test_float32_comes_back_bit_for_bit(saved):
    target = network(seed=1)

    sidecar = load_weights(target, saved, identity())

    for name, tensor in network().state_dict().items():
        assert torch.equal(target.state_dict()[name], tensor), name
    assert sidecar.training == TRAINING


def test_half_rounds_floats_alone(tmp_path):
    source = network()
    source[1].num_batches_tracked += 100_003  # no float16 holds it
    save_weights(tmp_path / "half.pt", source, identity(), TRAINING, torch.float16)

    stored = torch.load(tmp_path / "half.pt", weights_only=True)
    assert stored["0.weight"].dtype == torch.float16
    target = network(seed=1)
    load_weights(target, tmp_path / "half.pt", identity())

    assert target[1].num_batches_tracked == 100_003
    assert target[0].weight.dtype == torch.float32
    assert torch.equal(target[0].weight, source[0].weight.half().float())


def dynunet():
    return DynUNet(
        spatial_dims=3, in_channels=1, out_channels=2, filters=[8, 16, 32], kernel_size=[3, 3, 3],
        strides=[1, 2, 2], upsample_kernel_size=[2, 2],
    )  # fmt: skip


@pytest.mark.parametrize(("dtype", "width"), [(None, 4), (torch.float16, 2)])
def test_a_tensor_of_two_names_is_stored_once(tmp_path, dtype, width):
    """DynUNet lists every layer under two names."""
    source = dynunet()
    save_weights(tmp_path / "model.pt", source, identity(source), {}, dtype)

    stored = torch.load(tmp_path / "model.pt", weights_only=True)
    memory = {
        tensor.untyped_storage().data_ptr(): tensor.untyped_storage().nbytes() for tensor in stored.values()
    }
    numbers = sum(parameter.numel() for parameter in source.parameters())
    assert sum(memory.values()) == width * numbers
    assert len(stored) > len(memory)


def test_a_view_of_a_tensor_is_not_taken_for_it(tmp_path):
    """A square matrix and its transpose share memory and shape, and differ."""
    source = torch.nn.Module()
    matrix = torch.tensor([[1.0, 2.0], [3.0, 4.0]])
    source.register_buffer("matrix", matrix)
    source.register_buffer("transposed", matrix.T)

    save_weights(tmp_path / "model.pt", source, identity(source), {}, torch.float16)

    stored = torch.load(tmp_path / "model.pt", weights_only=True)
    assert stored["matrix"].tolist() == [[1, 2], [3, 4]]
    assert stored["transposed"].tolist() == [[1, 3], [2, 4]]


def test_the_sidecar_says_what_the_weights_belong_to(saved):
    sidecar = json.loads(sidecar_path(saved).read_text())

    assert sidecar_path(saved) == saved.with_name("best.json")
    assert sidecar["weights_sha256"] == file_sha256(saved)
    assert sidecar["transforms"] == TRANSFORMS
    assert sidecar["labels"] == LABELS
    assert sidecar["training"] == TRAINING
    assert sidecar["hashes"] == identity().hashes()
    assert "/" not in sidecar_path(saved).read_text()


def test_identity_counts_names_and_shapes_not_values():
    assert identity(network(seed=0)).hashes() == identity(network(seed=1)).hashes()
    assert identity(network(4)).network != identity(network(5)).network


def refused(saved, pattern, of=None, **kwargs):
    target = of or network(seed=1)
    before = {name: tensor.clone() for name, tensor in target.state_dict().items()}
    with pytest.raises(SegpipeError, match=pattern) as raised:
        load_weights(target, saved, identity(target, **kwargs))
    assert str(saved.parent) in str(raised.value)
    assert "\n" not in str(raised.value)
    for name, tensor in target.state_dict().items():
        assert torch.equal(tensor, before[name]), "a network is left as it was"


def test_weights_of_another_shape_are_refused(saved):
    refused(
        saved,
        r"another network: 7 of 9 tensors differ, first 0.weight: \(4, 1, 3, 3, 3\) in the file, "
        r"\(5, 1, 3, 3, 3\) in the network",
        of=network(5),
    )


def test_weights_of_other_names_are_refused(saved):
    other = torch.nn.Sequential(torch.nn.Identity(), *network())

    refused(saved, "another network: .* first 1.weight: .*; use the bundle", of=other)


def test_weights_with_a_tensor_more_are_refused(saved):
    refused(
        saved,
        r"7 of 9 tensors differ, first 1.weight: \(4,\) in the file, absent in the network",
        of=torch.nn.Sequential(network()[0]),
    )


def test_other_transforms_are_refused(saved):
    other = [TRANSFORMS[0], {**TRANSFORMS[1], "pixdim": [2.0, 1.0, 1.0]}]

    refused(
        saved,
        r"other deterministic transforms: .*\[1.0, 1.0, 1.0\]} then, .*\[2.0, 1.0, 1.0\]} now",
        transforms=other,
    )


def test_a_transform_less_is_refused(saved):
    refused(saved, "2 transforms then, 1 now", transforms=TRANSFORMS[:1])


def test_the_same_transforms_in_another_order_are_refused(saved):
    refused(saved, "other deterministic transforms", transforms=TRANSFORMS[::-1])


@pytest.mark.parametrize(("key", "value"), [("name", "posterior"), ("value", 170)])
def test_other_labels_are_refused(saved, key, value):
    refused(
        saved,
        rf"another label table: trained for .*1 anterior \(stored 85\), the bundle has .*{value}",
        labels=[LABELS[0], {**LABELS[1], key: value}],
    )


def test_another_colour_is_no_other_label(saved):
    """Colours matter for pictures only."""
    load_weights(network(), saved, identity(labels=[LABELS[0], {**LABELS[1], "color": [1, 2, 3]}]))


def test_weights_that_are_not_the_sidecars_are_refused(saved):
    other = network(seed=5)
    torch.save(other.state_dict(), saved)

    refused(saved, "SHA-256 .* but best.json was written for .*; copy both files together")


def test_a_cut_file_is_refused(saved):
    whole = saved.read_bytes()
    for length in (0, 10, len(whole) // 2, len(whole) - 1):
        saved.write_bytes(whole[:length])

        refused(saved, "best.pt: ")


def test_a_file_that_is_no_weights_is_refused(saved):
    saved.write_text("these are no weights")

    refused(saved, "best.pt: ")


def test_code_in_a_file_is_not_run(saved, tmp_path):
    class Hostile:
        def __reduce__(self):
            return (Path.touch, (tmp_path / "ran",))

    torch.save({"weight": Hostile()}, saved)

    refused(saved, "could run code")
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize("content", [[1, 2], {"epoch": 3}, {"network": {"0.weight": torch.ones(1)}}])
def test_what_is_no_state_dict_is_refused(saved, content):
    torch.save(content, saved)

    refused(saved, "is not a state_dict .*; save network.state_dict")


def test_missing_weights_are_refused(tmp_path):
    refused(tmp_path / "none.pt", "none.pt: no such weights; train first")


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_weights_that_diverged_are_neither_saved_nor_loaded(saved, value):
    """The arg max of NaN scores would look like a normal label map."""
    diverged, before = network(), saved.read_bytes()
    diverged[2].bias.data[1] = value

    with pytest.raises(SegpipeError, match=r"1 of 2 weights in 2.bias are NaN or infinite"):
        save_weights(saved, diverged, identity(), TRAINING)

    assert saved.read_bytes() == before
    assert read_sidecar(saved) is not None
    torch.save(diverged.state_dict(), saved)
    refused(saved, "1 of 2 weights in 2.bias are NaN or infinite")


def test_weights_too_large_for_half_are_not_saved(tmp_path):
    source = network()
    source[1].running_var[0] = 1e6  # float16 ends at 65504

    with pytest.raises(SegpipeError, match=r"1 of 4 weights in 1.running_var .* do not fit"):
        save_weights(tmp_path / "half.pt", source, identity(), TRAINING, torch.float16)

    assert not (tmp_path / "half.pt").exists()


@pytest.mark.parametrize(
    ("content", "pattern"),
    [
        ("not json", "is not a sidecar"),
        ("[]", "sidecar version None"),
        ('{"version": 9, "novelty": 1}', "sidecar version 9, this segpipe reads 1"),
        ('{"version": 1}', "is not a sidecar"),
    ],
)
def test_a_sidecar_that_cannot_be_read_is_refused(saved, content, pattern):
    sidecar_path(saved).write_text(content)

    refused(saved, pattern)


def test_foreign_weights_load_with_a_warning(tmp_path):
    torch.save(network().state_dict(), tmp_path / "foreign.pt")
    target = network(seed=1)

    with pytest.warns(UserWarning, match=r"foreign.pt has no sidecar \(foreign.json\)"):
        assert load_weights(target, tmp_path / "foreign.pt", identity()) is None

    assert torch.equal(target[0].weight, network()[0].weight)


def test_a_crash_between_weights_and_sidecar_leaves_no_lying_sidecar(saved, monkeypatch):
    """Weights without a sidecar give a warning; an old sidecar would describe other weights."""

    def crash(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(weights_module, "write_json", crash)
    with pytest.raises(KeyboardInterrupt):
        save_weights(saved, network(seed=7), identity(), {**TRAINING, "epoch": 2})

    assert not sidecar_path(saved).exists()
    assert torch.equal(torch.load(saved, weights_only=True)["0.weight"], network(seed=7)[0].weight)


def test_saving_again_replaces_both(saved):
    save_weights(saved, network(seed=7), identity(), {**TRAINING, "epoch": 2})

    assert load_weights(network(), saved, identity()).training["epoch"] == 2
    assert sorted(path.name for path in saved.parent.iterdir()) == ["best.json", "best.pt"]


TAMPERED = {
    "a row without keys": lambda sidecar: sidecar | {"labels": [{}]},
    "labels that are a text": lambda sidecar: sidecar | {"labels": "x"},
    "labels that are null": lambda sidecar: sidecar | {"labels": None},
    "a row of odd types": lambda sidecar: sidecar | {"labels": [{"index": "0", "name": 1, "value": None}]},
    "a name that would run": lambda sidecar: (
        sidecar | {"labels": [{"index": 0, "name": "$exit()", "value": 0}]}
    ),
    "hashes that are a list": lambda sidecar: sidecar | {"hashes": []},
    "hashes that are numbers": lambda sidecar: sidecar | {"hashes": {"transforms": 3}},
    "transforms that are null": lambda sidecar: sidecar | {"transforms": None},
    "transforms of numbers": lambda sidecar: sidecar | {"transforms": [1, 2]},
    "training that is a list": lambda sidecar: sidecar | {"training": []},
    "a configuration that is a list": lambda sidecar: sidecar | {"training": {"configuration": [1]}},
    "cases that are a list": lambda sidecar: sidecar | {"training": {"cases": ["a"]}},
    "a manifest that is null": lambda sidecar: sidecar | {"training": {"manifest": None}},
    "a hash that is a number": lambda sidecar: sidecar | {"weights_sha256": 3},
    "no hash": lambda sidecar: {key: value for key, value in sidecar.items() if key != "weights_sha256"},
    "more": lambda sidecar: sidecar | {"other": 1},
    "no version": lambda sidecar: {key: value for key, value in sidecar.items() if key != "version"},
    "a version that is a text": lambda sidecar: sidecar | {"version": "1"},
    "a list": lambda sidecar: [sidecar],
    "null": lambda _: None,
    "no number": lambda sidecar: sidecar | {"training": {"epoch": float("nan")}},
}


@pytest.mark.parametrize("kind", TAMPERED)
def test_a_sidecar_of_another_shape_has_one_message(kind, saved):
    path = saved.with_suffix(".json")
    path.write_text(json.dumps(TAMPERED[kind](json.loads(path.read_text()))))

    refused(saved, rf"{path.name}: ")


@pytest.mark.parametrize(
    "text",
    ["[" * 100_000, "9" * 10_000, '{"version": 1, "a": ' + "9" * 10_000 + "}", "", "{", '{"version": 1e999}'],
)
def test_a_sidecar_that_is_no_json_or_beyond_bounds_has_one_message(text, saved):
    path = saved.with_suffix(".json")
    path.write_text(text)

    refused(saved, r"is not a sidecar of segpipe weights: it .*; restore the file")


def test_a_long_sidecar_is_not_read(saved):
    """A list of empty lists takes twenty times its bytes in memory."""
    saved.with_suffix(".json").write_text("[" + "[]," * 12_000_000 + "[]]")

    refused(saved, r"it is larger than 33554432 bytes, the limit for such a file; .*; restore the file")


def test_a_message_quotes_the_beginning_of_what_differs(saved):
    path = saved.with_suffix(".json")
    sidecar = json.loads(path.read_text())
    sidecar["transforms"][0] = {"_target_": "a" * 10**6}
    sidecar["hashes"]["transforms"] = "0" * 64
    path.write_text(json.dumps(sidecar))

    refused(saved, r"other deterministic transforms: .{400,600} then, .{1,200} now; restore")
