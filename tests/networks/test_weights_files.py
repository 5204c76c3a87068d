"""Both formats of weights give the same tensors; hostile files take no memory."""

import json
import os
import struct
import subprocess
import sys
import zipfile

import numpy as np
import pytest
import safetensors.torch
import torch
from hostile_weights import Call, records_of, tensor_of, write_archive
from monai.networks.nets import DynUNet

from segpipe.errors import SegpipeError
from segpipe.networks import Identity, load_weights, save_weights, weights_file
from segpipe.networks.weights_files import LARGEST_HEADER, read_state

FORMS = [".pt", ".safetensors"]


def dynunet(seed=0):
    torch.manual_seed(seed)
    return DynUNet(
        spatial_dims=2, in_channels=1, out_channels=2, filters=[4, 8, 16], kernel_size=[3, 3, 3],
        strides=[1, 2, 2], upsample_kernel_size=[2, 2], deep_supervision=True, deep_supr_num=1,
    )  # fmt: skip


def saved(path, network=None, dtype=None):
    network = network or dynunet()
    save_weights(path, network, Identity.of(network, [], []), {"epoch": 3}, dtype)
    return path


def refusal(path, **kwargs):
    with pytest.raises(SegpipeError) as raised:
        read_state(path, **kwargs)
    assert str(raised.value).startswith(f"{path}: ")
    assert "\n" not in str(raised.value)
    assert len(str(raised.value)) < 500
    return str(raised.value)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("dtype", [None, torch.float16])
def test_weights_come_back_with_their_sidecar(tmp_path, form, dtype):
    path = saved(tmp_path / f"model{form}", dtype=dtype)
    target = dynunet(seed=1)

    sidecar = load_weights(target, path, Identity.of(target, [], []))

    assert sidecar.training == {"epoch": 3}
    assert sorted(file.name for file in tmp_path.iterdir()) == ["model.json", f"model{form}"]
    for name, tensor in dynunet().state_dict().items():
        assert torch.equal(target.state_dict()[name], tensor.to(dtype or tensor.dtype).float()), name


def test_safetensors_stores_a_tensor_of_two_names_once(tmp_path):
    path = saved(tmp_path / "model.safetensors")

    stored = safetensors.torch.load_file(path)
    source = dynunet()
    assert sum(tensor.numel() for tensor in stored.values()) == sum(
        parameter.numel() for parameter in source.parameters()
    )
    assert len(stored) < len(source.state_dict())


def test_safetensors_own_functions_read_what_is_written_and_are_read(tmp_path):
    path = saved(tmp_path / "ours.safetensors")
    target = dynunet(seed=1)
    safetensors.torch.load_model(target, path)
    assert torch.equal(target.input_block.conv1.conv.weight, dynunet().input_block.conv1.conv.weight)

    safetensors.torch.save_model(dynunet(), str(tmp_path / "theirs.safetensors"))
    again = dynunet(seed=1)
    with pytest.warns(UserWarning, match="no sidecar"):
        load_weights(again, tmp_path / "theirs.safetensors", Identity.of(again, [], []))
    for name, tensor in dynunet().state_dict().items():
        assert torch.equal(again.state_dict()[name], tensor), name


def test_the_other_form_takes_the_place_of_a_file_that_is_not_there(tmp_path):
    named = tmp_path / "model.pt"
    assert weights_file(named) == named

    (tmp_path / "model.safetensors").touch()
    assert weights_file(named) == tmp_path / "model.safetensors"
    assert weights_file(tmp_path / "model.pth") == tmp_path / "model.pth"
    assert weights_file(tmp_path / "other.pt") == tmp_path / "other.pt"

    named.touch()
    assert weights_file(named) == named


def test_the_form_is_told_by_the_first_bytes(tmp_path):
    path = saved(tmp_path / "model.safetensors")
    path.rename(tmp_path / "model.pt")

    assert (
        read_state(tmp_path / "model.pt").keys() == safetensors.torch.load_file(tmp_path / "model.pt").keys()
    )
    torch.save(dynunet().state_dict(), path.with_suffix(".zip"))
    path.with_suffix(".zip").rename(path)
    assert "is no safetensors file" in refusal(path)


def test_a_file_before_1_6_is_read(tmp_path):
    torch.save({"a": torch.arange(3)}, tmp_path / "old.pth", _use_new_zipfile_serialization=False)

    assert read_state(tmp_path / "old.pth")["a"].tolist() == [0, 1, 2]


def write_header(path, header, data=b""):
    text = json.dumps(header).encode() if not isinstance(header, bytes) else header
    path.write_bytes(struct.pack("<Q", len(text)) + text + data)
    return path


def entry(dtype="F32", shape=(1,), offsets=(0, 4)):
    return {"dtype": dtype, "shape": list(shape), "data_offsets": list(offsets)}


SAFETENSORS = {
    "more than the file": {"a": entry(shape=(10**12,), offsets=(0, 4 * 10**12))},
    "a shape that the bytes are not": {"a": entry(shape=(10**12,))},
    "a product that overflows": {"a": entry(shape=(2**62, 2**62))},
    "no shape of counts": {"a": entry(shape=(-1,))},
    "a fraction": {"a": entry(shape=(0.5,))},
    "an unknown dtype": {"a": entry("F99")},
    "offsets turned round": {"a": entry(offsets=(4, 0))},
    "two on the same bytes": {"a": entry(), "b": entry()},
    "a hole": {"a": entry(offsets=(4, 8))},
    "no offsets": {"a": {"dtype": "F32", "shape": [1]}},
    "a list": [],
    "brackets": b'{"a":' + b"[" * 10_000,
    "no json": b"{",
    "metadata of numbers": {"__metadata__": {"a": 1}, "a": entry()},
    "no text": b"{\xff",
}


@pytest.mark.parametrize("kind", SAFETENSORS)
def test_hostile_headers_have_one_message(tmp_path, kind):
    path = write_header(tmp_path / "model.safetensors", SAFETENSORS[kind], bytes(4))

    refusal(path)


@pytest.mark.parametrize("length", [0, 1, LARGEST_HEADER + 1, 10**12, 2**64 - 1])
def test_the_length_of_a_header_is_bounded(tmp_path, length):
    (tmp_path / "model.safetensors").write_bytes(struct.pack("<Q", length) + b"{}" + bytes(100))

    refusal(tmp_path / "model.safetensors")


def test_cut_safetensors_are_refused(tmp_path):
    content = saved(tmp_path / "model.safetensors").read_bytes()
    for length in (0, 4, 8, 9, 100, len(content) - 1):
        (tmp_path / "model.safetensors").write_bytes(content[:length])
        refusal(tmp_path / "model.safetensors")


@pytest.mark.parametrize("form", FORMS)
def test_what_is_no_regular_file_is_refused(tmp_path, form):
    path = tmp_path / f"model{form}"
    assert "no such weights" in refusal(path)
    os.mkfifo(path)
    assert "pipe" in refusal(path)
    path.unlink()
    path.mkdir()
    assert "directory" in refusal(path)


@pytest.mark.parametrize("form", FORMS)
def test_the_size_of_a_file_that_is_read_into_memory_is_bounded(tmp_path, form):
    path = saved(tmp_path / f"model{form}")
    size = path.stat().st_size
    read_state(path, largest=size)

    assert f"has {size} bytes; at most {size - 1} are read" in refusal(path, largest=size - 1)


def write_pickle(path, content, compression=zipfile.ZIP_STORED):
    return write_archive(path, {"data.pkl": content, "version": b"3\n"}, compression)


def write_compressed_storage(path):
    torch.save({"0.weight": torch.zeros(10)}, path)
    write_archive(path, records_of(path) | {"data/0": bytes(5 * 10**8)}, zipfile.ZIP_DEFLATED)


def write_storage_before_1_6(path):
    torch.save({"a": torch.ones(3)}, path, _use_new_zipfile_serialization=False)
    content = path.read_bytes()
    assert b"K\x03Ntq" in content  # three numbers
    path.write_bytes(content.replace(b"K\x03Ntq", b"J\xff\xff\xff\x1fNtq"))


def write_zeros(path, save):
    save({"0.weight": torch.zeros(10**8)}, path)


HOSTILE = {
    "a stride of 0": lambda path: torch.save({"0.weight": torch.ones(1).expand(10**6, 10**6)}, path),
    "a view beyond its storage": lambda path: torch.save(
        {"0.weight": tensor_of(torch.ones(1), (10**9,), (1,))}, path
    ),
    "a bytearray": lambda path: torch.save({"0.weight": Call(bytearray, 10**9)}, path),
    "a compressed storage": write_compressed_storage,
    "a compressed pickle": lambda path: write_pickle(path, bytes(5 * 10**8), zipfile.ZIP_DEFLATED),
    "a storage before 1.6": write_storage_before_1_6,
    "a million lists": lambda path: write_pickle(path, b"\x80\x02(" + b"]" * 10**6 + b"t."),
    "half a million lists": lambda path: write_pickle(path, b"\x80\x02(" + b"]" * 499_990 + b"t."),
    "many records": lambda path: write_archive(path, {f"{number:0200}": b"" for number in range(20_000)}),
    "large, and of no network": lambda path: write_zeros(path, torch.save),
    "large safetensors of no network": lambda path: write_zeros(path, safetensors.torch.save_file),
    "a header of 60 000 tensors": lambda path: write_header(
        path, {str(number): entry(shape=(0,), offsets=(0, 0)) for number in range(60_000)}
    ),
    "a header of brackets": lambda path: write_header(path, b'{"a":' + b"[" * (2**22 - 5)),
}
MEASURED = """
import sys
from pathlib import Path
import torch
from segpipe.errors import SegpipeError
from segpipe.networks import Identity, load_weights

def status(name):
    return int(Path("/proc/self/status").read_text().partition(f"{name}:")[2].split()[0]) // 1024

network = torch.nn.Sequential(torch.nn.Linear(2, 2))
identity = Identity.of(network, [], [])
for path in map(Path, sys.argv[1:]):
    Path("/proc/self/clear_refs").write_text("5")  # the peak begins anew
    before = status("VmRSS")
    try:
        load_weights(network, path, identity)
    except SegpipeError as error:
        print(status("VmHWM") - before, error)
"""


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="reads the peak of memory from /proc")
def test_hostile_files_are_refused_in_little_memory(tmp_path):
    paths = [tmp_path / f"{kind}.pt" for kind in HOSTILE]
    for path, write in zip(paths, HOSTILE.values(), strict=True):
        write(path)

    result = subprocess.run(
        [sys.executable, "-c", MEASURED, *paths], capture_output=True, text=True, check=False
    )

    assert not result.returncode, result.stderr
    lines = result.stdout.splitlines()
    for path, line in zip(paths, lines, strict=True):
        peak_mib, _, message = line.partition(" ")
        assert message.startswith(f"{path}: ")
        assert int(peak_mib) < 256, line


def test_single_numbers_of_numpy_are_read(tmp_path):
    """Checkpoints of other programs hold their best scores so."""
    torch.save(
        {"best": np.float64(0.5), "losses": [np.float32(0.25)], "count": np.int64(3)}, tmp_path / "a.pt"
    )

    assert read_state(tmp_path / "a.pt") == {"best": 0.5, "losses": [0.25], "count": 3}
