"""A state dict fits its network, or is refused with the difference."""

from pathlib import Path

import pytest
import torch
from monai.data import MetaTensor
from monai.networks.nets import DynUNet

from segpipe.errors import SegpipeError
from segpipe.networks.state_fit import fitting_state, on_disk

PATH = Path("model.pt")


def network():
    return torch.nn.Sequential(torch.nn.Conv2d(1, 2, 3), torch.nn.BatchNorm2d(2))


def state(**changes):
    return {**network().state_dict(), **{name.replace("_", ".", 1): value for name, value in changes.items()}}


def refusal(content, of=None):
    with pytest.raises(SegpipeError) as raised:
        fitting_state(PATH, content, of or network())
    assert len(str(raised.value)) < 500
    return str(raised.value)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_floating_point_of_any_width_fits(dtype):
    content = {
        name: tensor.to(dtype) if tensor.is_floating_point() else tensor
        for name, tensor in network().state_dict().items()
    }

    assert fitting_state(PATH, content, network()) == content


@pytest.mark.parametrize("dtype", [torch.int64, torch.uint8, torch.bool, torch.complex64, torch.float8_e5m2])
def test_other_kinds_of_numbers_do_not(dtype):
    name = str(dtype).removeprefix("torch.")

    assert refusal(state(**{"1_weight": torch.ones(2).to(dtype)})) == (
        f"model.pt: weights of another network: 1 of 7 tensors differ, first 1.weight: (2,) of {name} in the file, "
        "(2,) of float32 in the network; use the bundle they were trained with"
    )


def test_an_index_does_not_become_a_fraction():
    """float16 has no 2049, so a table of indices in float16 is another table."""
    network = torch.nn.Module()
    network.register_buffer("index", torch.tensor([2049]))

    message = refusal({"index": torch.tensor([2049]).half()}, network)

    assert "(1,) of float16 in the file, (1,) of int64 in the network" in message


@pytest.mark.parametrize(
    ("stored", "loaded"),
    [
        (torch.tensor(3, dtype=torch.int32), 3),
        (torch.tensor(3.0).half(), 3),  # of a state dict that was halved as a whole
        (torch.tensor(70000.0).half(), 0),  # infinite
        (None, 0),  # PyTorch before 0.4.1
    ],
)
def test_a_count_of_batches_is_read_in_any_dtype_or_is_the_networks_own(stored, loaded):
    content = network().state_dict()
    del content["1.num_batches_tracked"]
    if stored is not None:
        content["1.num_batches_tracked"] = stored

    complete = fitting_state(PATH, content, network())

    assert complete["1.num_batches_tracked"].dtype == torch.int64
    assert complete["1.num_batches_tracked"].item() == loaded


@pytest.mark.parametrize("prefix", ["module.", "_orig_mod.", "module._orig_mod.", "model."])
def test_the_prefix_of_a_wrapper_is_left_out(prefix):
    content = network().state_dict()

    complete = fitting_state(PATH, {prefix + name: tensor for name, tensor in content.items()}, network())

    assert complete.keys() == content.keys()
    assert all(torch.equal(complete[name], content[name]) for name in content)


def test_a_prefix_of_some_names_stays():
    content = {f"module.{name}" if name == "1.bias" else name: tensor for name, tensor in state().items()}

    assert "2 of 8 tensors differ, first 1.bias: absent in the file" in refusal(content)


def test_averaged_weights_fit():
    """AveragedModel adds a prefix and a counter."""
    averaged = torch.optim.swa_utils.AveragedModel(network())
    with torch.no_grad():
        averaged.module[0].bias.fill_(7)

    assert fitting_state(PATH, averaged.state_dict(), network())["0.bias"].tolist() == [7, 7]


def test_a_metatensor_becomes_a_plain_tensor():
    content = {name: MetaTensor(tensor) for name, tensor in state().items()}

    assert {type(tensor) for tensor in fitting_state(PATH, content, network()).values()} == {torch.Tensor}


def test_the_keys_of_a_checkpoint_are_named():
    message = refusal({"network": state(), "optimizer": {}, "epoch": 3, "scaler": {}})

    assert message.endswith("; it has the keys network, optimizer, epoch, ...; save network.state_dict()")


def test_a_number_beyond_the_networks_dtype_is_infinite():
    """1e300 is finite in float64 and infinite in float32."""
    large = torch.tensor([1.0, 1e300], dtype=torch.float64)

    assert "1 of 2 weights in 1.bias are NaN or infinite" in refusal(state(**{"1_bias": large}))


def test_a_million_names_have_one_short_message():
    content = state() | {str(number) * 1000: torch.ones(0) for number in range(1000)}

    assert "1000 of 1007 tensors differ, first " in refusal(content)


@pytest.mark.parametrize("content", [{1: torch.ones(1)}, {"a": 1}, [torch.ones(1)], torch.ones(1), None, "a"])
def test_what_is_no_state_dict_is_refused(content):
    assert "is not a state_dict" in refusal(content)


def shared():
    return DynUNet(
        spatial_dims=2, in_channels=1, out_channels=2, filters=[4, 8, 16], kernel_size=[3, 3, 3],
        strides=[1, 2, 2], upsample_kernel_size=[2, 2],
    )  # fmt: skip


def test_one_name_of_a_tensor_is_enough():
    source = shared()
    whole = source.state_dict()
    kept = {tensor.data_ptr(): name for name, tensor in reversed(whole.items())}
    assert len(kept) < len(whole)

    complete = fitting_state(PATH, {name: whole[name] for name in kept.values()}, shared())

    assert complete.keys() == whole.keys()
    assert all(torch.equal(complete[name], whole[name]) for name in whole)


def test_two_names_of_a_tensor_have_one_value():
    """With two values, the order of loading would decide."""
    source = shared()
    content = {name: tensor.clone() for name, tensor in source.state_dict().items()}
    fitting_state(PATH, content, shared())
    name = next(reversed(content))
    content[name] = content[name] + 1

    assert f"{name} are one tensor in the network, and differ in the file" in refusal(content, shared())


def test_missing_tensors_of_equal_shape_are_not_filled_in():
    content = state()
    del content["1.weight"]  # of the shape of 1.bias

    assert "first 1.weight: absent in the file, (2,) in the network" in refusal(content)


def test_a_tensor_on_disk_is_the_whole_of_its_memory():
    """A view would save all of a large tensor; a tensor with strides of 0 would be refused on reading."""
    large = torch.arange(1000.0)
    written = on_disk(
        {"part": large[:3], "repeated": large[:1].expand(4), "turned": large[:4].view(2, 2).T}, None
    )

    assert [tensor.untyped_storage().nbytes() for tensor in written.values()] == [12, 16, 16]
    assert written["turned"].tolist() == [[0, 2], [1, 3]]
