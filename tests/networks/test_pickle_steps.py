"""A pickle is followed step by step: the content of weights and training states passes, all else is refused."""

import contextlib
import io
import zipfile
from collections import Counter, OrderedDict
from pathlib import Path

import numpy as np
import pytest
import torch
from hostile_weights import Call, tensor_of
from monai.data import MetaTensor

from segpipe.networks import pickle_steps, pickle_values
from segpipe.networks.pickle_steps import follow
from segpipe.networks.pickle_values import MoreThanTensorsError, PickleError


def pickled(value):
    """Return the bytes of torch.save for a value."""
    file = io.BytesIO()
    torch.save(value, file)
    return zipfile.ZipFile(file).read("archive/data.pkl")


def refusal(content, kind=PickleError):
    with pytest.raises(kind) as raised:
        follow(io.BytesIO(content))
    assert len(str(raised.value)) < 400
    return str(raised.value)


def test_the_storages_of_a_state_dict_are_counted():
    network = torch.nn.Sequential(torch.nn.Conv2d(1, 3, 2), torch.nn.BatchNorm2d(3).half())

    _, storages = follow(io.BytesIO(pickled(network.state_dict())))

    # 12 + 3 of the convolution in float32; 4 x 3 of the norm in float16; its counter in int64
    assert sum(storage.nbytes for storage in storages.values()) == 15 * 4 + 12 * 2 + 8


@pytest.mark.parametrize(
    "value",
    [
        {"epoch": 3, "best": 0.5, "name": "ä", "early": False, "none": None, "large": 2**70, "negative": -1},
        {"bytes": b"\x00\xff", "set": {1, "a"}, "tuple": (1, (2.0, ())), "list": [[], {}]},
        {"dtype": torch.float16, "device": torch.device("cuda", 1), "size": torch.Size([1, 2])},
        {"milestones": Counter([3, 3, 4]), "ordered": OrderedDict(a=1), 7: "a number as key"},
        {"parameter": torch.nn.Parameter(torch.ones(2, 3))},
        {"transposed": torch.ones(2, 3).T, "part": torch.arange(10)[3:5], "empty": torch.ones(0, 4)},
        {"repeated": torch.ones(1).expand(1000)},
        {
            "image": MetaTensor(torch.ones(2, 3), meta={"filename": "a.nii"}),
            "buffer": torch.nn.Buffer(torch.ones(2)),
        },
        {"betas": [(pair := (0.9, 0.99)), pair, pair]},
        {"of NumPy": [np.float64(1), np.float32(2), np.int64(3), np.uint8(4), np.bool_(True)]},
    ],
)
def test_what_training_states_hold_passes(value):
    follow(io.BytesIO(pickled(value)))


@pytest.mark.parametrize(
    "optimizer",
    [
        torch.optim.Adam,
        torch.optim.AdamW,
        lambda parameters: torch.optim.SGD(parameters, lr=1, momentum=0.9, nesterov=True),
        torch.optim.NAdam,
        torch.optim.RMSprop,
    ],
)
def test_states_of_optimisers_and_schedules_pass(optimizer):
    network = torch.nn.Linear(2, 2)
    used = optimizer(network.parameters())
    network(torch.ones(1, 2)).sum().backward()
    used.step()
    schedules = [
        torch.optim.lr_scheduler.MultiStepLR(used, [2, 4]),
        torch.optim.lr_scheduler.CosineAnnealingLR(used, 5),
        torch.optim.lr_scheduler.PolynomialLR(used, 5),
    ]

    follow(io.BytesIO(pickled([used.state_dict(), *(schedule.state_dict() for schedule in schedules)])))


def test_a_list_of_plain_values_is_returned():
    assert follow(io.BytesIO(pickled(["a", 1])))[0] == ["a", 1]


MORE = {
    "a path": Path("x"),
    "a call": Call(print, "ran"),
    "memory": Call(bytearray, 10**12),
    "a tensor that is made": Call(torch.Tensor, 10**6, 10**6),
    "a storage that is made": Call(torch.FloatStorage, 10**12),
    "a sparse tensor": torch.ones(2, 2).to_sparse(),
    "a quantized tensor": Call(torch._utils._rebuild_qtensor, 1),
    "a meta tensor": torch.ones(2, device="meta"),
    "a tensor with attributes": setattr(tensor := torch.ones(2), "own", 1) or tensor,
    "a conjugated tensor": torch.ones(2, dtype=torch.complex64).conj(),
    "a module": torch.nn.Linear(1, 1),
    "hooks": tensor_of(torch.ones(1), (1,), (1,), hooks=OrderedDict(a=1)),
    "a size of texts": tensor_of(torch.ones(1), ("1",), (1,)),
    "a size of booleans": tensor_of(torch.ones(1), (True,), (1,)),
    "a negative size": tensor_of(torch.ones(1), (-1,), (1,)),
    "a negative stride": tensor_of(torch.ones(1), (1,), (-1,)),
    "a negative offset": tensor_of(torch.ones(1), (1,), (1,), -1),
    "more strides than sizes": tensor_of(torch.ones(1), (1,), (1, 1)),
    "a tensor without storage": Call(torch._utils._rebuild_tensor_v2, 1, 0, (1,), (1,), False, None),
    "a parameter of a list": Call(torch._utils._rebuild_parameter, [], True, OrderedDict()),
    "odd arguments": Call(OrderedDict, 1, 2),
    "pairs of three": Call(OrderedDict, [[1, 2, 3]]),
    "a key of tuples": {((1, 2), (3, 4)): 1},
    "a set of tuples": {(1, 2)},
    "a counter of a list": Call(Counter, [1]),
    "a device of a list": Call(torch.device, []),
    "an array of NumPy": np.ones(2),
    "a date of NumPy": np.datetime64("2020-01-01"),
    "an object of NumPy": Call(np.dtype, "O8", False, True),
    "a number of NumPy of odd length": Call(np.float64(0).__reduce__()[0], np.dtype("f8"), b"123"),
    "a record of NumPy": np.dtype([("a", "f8")]),
}


@pytest.mark.parametrize("kind", MORE)
def test_other_things_than_tensors_and_plain_values_are_refused(kind, capsys):
    refusal(pickled({"own": MORE[kind]}), MoreThanTensorsError)

    assert not capsys.readouterr().out


def test_a_tensor_ends_within_its_storage():
    """PyTorch would enlarge the storage, from one element to 4 TB."""
    content = pickled({"weight": tensor_of(torch.ones(1), (10**12,), (1,))})

    assert refusal(content) == (
        "a tensor of shape (1000000000000,) ends at element 1000000000000 of a storage of 1"
    )


@pytest.mark.parametrize(
    ("size", "stride", "offset"), [((2, 3), (3, 1), 1), ((2, 2), (5, 1), 0), ((1,), (1,), 6), ((), (), 6)]
)
def test_a_tensor_ends_within_its_storage_with_any_stride(size, stride, offset):
    """The storage has six elements: 1 + 5 is past the last one, and so are 5 + 1 and 6."""
    assert "of a storage of 6" in refusal(pickled([tensor_of(torch.ones(6), size, stride, offset)]))


def test_a_tensor_does_not_repeat_an_element_without_end():
    assert "more than it holds" in refusal(pickled({"weight": torch.ones(1).expand(10**6, 10**6)}))


def test_small_repetitions_are_counted_together(monkeypatch):
    monkeypatch.setattr(pickle_steps, "MOST_REPEATED", 1000)
    follow(io.BytesIO(pickled([torch.ones(1).expand(200)])))  # 796 bytes more than the 4 of the storage

    assert "1592 bytes more" in refusal(pickled([torch.ones(1).expand(200), torch.ones(1).expand(200)]))


def test_a_storage_is_described_in_one_way():
    content = pickled([tensor_of(torch.ones(1), (1,), (1,))])
    assert content.count(b"FloatStorage") == 1
    reference = content[content.index(b"(X\x07") : content.index(b"Q") + 1]
    other = reference.replace(b"FloatStorage", b"DoubleStorage")

    assert "described in two ways" in refusal(b"\x80\x02(" + reference + other + b"l.".replace(b"l", b"t"))


def nested(depth):
    value = []
    for _ in range(depth):
        value = [value]
    return value


def test_depth_is_bounded():
    follow(io.BytesIO(pickled(nested(pickle_values.DEEPEST))))

    assert "64 levels" in refusal(pickled(nested(pickle_values.DEEPEST + 1)))
    assert "64 levels" in refusal(b"\x80\x02" + b"(" * 10_000 + b"t" * 10_000 + b".")


def test_steps_are_bounded(monkeypatch):
    monkeypatch.setattr(pickle_steps, "MOST_VALUES", 100)
    follow(io.BytesIO(b"\x80\x02(" + b"N" * 97 + b"t."))  # the end is no step

    assert "100 steps" in refusal(b"\x80\x02(" + b"N" * 98 + b"t.")


def test_values_are_counted_as_often_as_they_are_referred_to():
    """Twenty tuples, each with two references to the one before, expand to 2**20 values."""
    laughs = b"\x80\x02)q\x00" + b"".join(b"h%ch%c\x86q%c" % (n, n, n + 1) for n in range(20)) + b"."

    assert "500000 values" in refusal(laughs)


def test_a_list_does_not_hold_itself():
    endless = []
    endless.append(endless)

    assert "grows after" in refusal(pickled(endless))


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\x80",
        b"\x80\x02",
        b"\x80\x02}",
        b"\x80\x02.",
        b"\x80\x02t.",
        b"\x80\x02h\x00.",
        b"\x80\x02R.",
        b"\x80\x02K\x01K\x02s.",
        b"\x80\x02}(K\x01u.",
        b"\x80\x02X\xff\xff\xff\xff.",
        b"\x80\x02X\x01\x00\x00\x00\xff.",
        b"\x80\x02ctorch\nfloat32\n)R.",
        b"\x80\x02cposix\nsystem\n.",
        b"\x80\x02(S'ls'\nios\nsystem\n.",
        b"\x80\x04\x95\x00\x00\x00\x00\x00\x00\x00\x00.",
        b"\x80\x02B\xff\xff\xff\x7f.",
        b"\x80\x02L" + b"9" * 100_000 + b"L\n.",
        b"\x80\x02\x8b\xff\xff\xff\x7f.",
        b"\x80\x02r\xff\xff\xff\xff.",
        b"\xff\xfe",
        b"these are no weights",
    ],
)
def test_bytes_that_are_no_such_pickle_have_one_message(content):
    refusal(content)


@pytest.mark.filterwarnings(
    "ignore:invalid escape sequence:DeprecationWarning"
)  # pickletools, of a name with \\
def test_every_prefix_and_every_changed_byte_is_read_or_refused():
    content = pickled({"weight": torch.ones(2, 2), "epoch": 3, "list": [1, (2, "b")]})
    cut = [content[:place] for place in range(len(content))]
    changed = [
        content[:place] + bytes([value]) + content[place + 1 :]
        for place in range(len(content))
        for value in range(0, 256, 23)
    ]
    for damaged in cut + changed:
        with contextlib.suppress(PickleError):
            follow(io.BytesIO(damaged))


def test_a_tensor_with_attributes_that_hide_methods_is_refused():
    image = MetaTensor(torch.ones(2))
    image.isfinite = True

    assert refusal(pickled(image), MoreThanTensorsError) == "a tensor with the attribute isfinite"


def test_a_metatensor_lies_within_its_storage_too():
    content = pickled(MetaTensor(torch.arange(216.0)))
    assert content.count(b"K\xd8") == 2  # 216 as the storage's count, and as the tensor's size

    larger = b"K\xd9".join(content.rsplit(b"K\xd8", 1))

    assert "a tensor of shape (217,) ends at element 217 of a storage of 216" in refusal(larger)


@pytest.mark.parametrize("protocol", [4, 5])
def test_a_newer_protocol_has_its_remedy(protocol):
    file = io.BytesIO()
    torch.save({"a": torch.ones(3)}, file, pickle_protocol=protocol)

    message = refusal(zipfile.ZipFile(file).read("archive/data.pkl"))

    assert message.endswith("PyTorch's safe loader takes 2; leave pickle_protocol out")
