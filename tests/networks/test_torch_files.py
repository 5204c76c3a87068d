"""PyTorch's files are checked before they are read: sizes in the archive are compared with its content."""

import contextlib
import struct
import zipfile
from collections import OrderedDict

import pytest
import torch
from hostile_weights import Call, records_of, tensor_of, write_archive

from segpipe.errors import SegpipeError
from segpipe.networks import torch_files
from segpipe.networks.torch_files import UnreadWeightsError, check_archive, check_before_1_6
from segpipe.networks.weights_files import read_state


@pytest.fixture
def saved(tmp_path):
    """Return a file of two tensors: 12 bytes in data/0, 16 in data/1."""
    torch.save({"a": torch.ones(3), "b": torch.ones(2, 2)}, tmp_path / "model.pt")
    return tmp_path / "model.pt"


def refusal(path, check=check_archive):
    with pytest.raises(UnreadWeightsError) as raised:
        check(path)
    assert len(str(raised.value)) < 400
    return str(raised.value)


def test_what_torch_saves_passes(saved):
    check_archive(saved)


def test_an_archive_without_checksums_passes(saved):
    """PyTorch has an option to write 0 as checksum, which saves time."""
    torch.serialization.set_crc32_options(False)
    try:
        torch.save({"a": torch.ones(3)}, saved)
    finally:
        torch.serialization.set_crc32_options(True)

    check_archive(saved)


def test_an_archive_written_anew_passes(saved):
    """Other programs write no 64-bit end record, and add other records."""
    check_archive(write_archive(saved, records_of(saved) | {"notes.txt": b"made by hand"}))


def test_compressed_records_are_refused(saved):
    """A gigabyte of zeros compresses to a megabyte."""
    write_archive(saved, records_of(saved), zipfile.ZIP_DEFLATED)

    assert "is compressed, which torch.save does not do; save the state_dict again" in refusal(saved)


@pytest.mark.parametrize(("content", "state"), [(b"", "0 bytes"), (bytes(11), "11 bytes"), (None, "absent")])
def test_a_storage_is_as_long_as_the_pickle_says(saved, content, state):
    records = records_of(saved)
    del records["data/0"]
    write_archive(saved, records | ({} if content is None else {"data/0": content}))

    assert f"storage 0 has 12 bytes in its pickle and is {state} in the file" in refusal(saved)


def test_a_storage_of_which_the_pickle_says_more_is_refused(saved):
    records = records_of(saved)
    longer = records["data.pkl"].replace(b"cpuq\x06K\x03", b"cpuq\x06K\xff")
    assert longer != records["data.pkl"]

    assert "storage 0 has 1020 bytes" in refusal(write_archive(saved, records | {"data.pkl": longer}))


def test_a_changed_byte_is_found(saved):
    content = saved.read_bytes()
    at = content.index(struct.pack("<3f", 1, 1, 1))
    saved.write_bytes(content[:at] + b"\x01" + content[at + 1 :])

    assert "the checksum of its record archive/data/0 fails; copy the file again" in refusal(saved).replace(
        "model/", "archive/"
    )


def test_every_cut_is_found(saved):
    content = saved.read_bytes()
    for length in range(4, len(content), 7):
        saved.write_bytes(content[:length])
        assert "cut short" in refusal(saved)


@pytest.mark.parametrize("more", [b"\0", b"PK", bytes(70_000)])
def test_bytes_behind_the_end_are_refused(saved, more):
    """Programs look for the list of records in different places, so they would read different records."""
    saved.write_bytes(saved.read_bytes() + more)

    refusal(saved)


def test_bytes_before_the_archive_are_refused(saved):
    content = saved.read_bytes()
    saved.write_bytes(content[:40] + content)

    assert "whose list of records is not at its end" in refusal(saved) or "two ends" in refusal(saved)


@pytest.mark.parametrize("second", ["archive/data.pkl", "archive/DATA.PKL", "other/data.pkl"])
def test_a_second_pickle_is_refused(saved, second):
    """PyTorch looks names up without regard to case."""
    with zipfile.ZipFile(write_archive(saved, records_of(saved)), "a") as archive:
        if second == "archive/data.pkl":
            with pytest.warns(UserWarning, match="Duplicate name"):
                archive.writestr(second, b"")
        else:
            archive.writestr(second, b"")

    assert "records of one name, or outside its one folder" in refusal(saved)


def test_a_long_list_of_records_is_not_read(saved, monkeypatch):
    monkeypatch.setattr(torch_files, "LARGEST_DIRECTORY", 100)

    assert "list of records" in refusal(saved)


def test_a_long_pickle_is_not_read(saved, monkeypatch):
    monkeypatch.setattr(torch_files, "LARGEST_PICKLE", 100)

    assert "data.pkl has " in refusal(saved)


def test_an_encrypted_record_is_refused(saved):
    content = bytearray(write_archive(saved, records_of(saved)).read_bytes())
    content[content.index(b"PK\x01\x02") + 8] |= 1
    saved.write_bytes(content)

    assert "is encrypted" in refusal(saved)


def test_an_archive_of_something_else_is_refused(saved):
    assert "without data.pkl" in refusal(write_archive(saved, {"a.txt": b"text"}))


@pytest.mark.filterwarnings("ignore:.*torch.jit.*is deprecated:DeprecationWarning")
def test_torchscript_is_named(tmp_path):
    torch.jit.script(torch.nn.Linear(1, 1)).save(tmp_path / "model.ts")

    assert "is a TorchScript archive, which holds code; give the state_dict" in refusal(tmp_path / "model.ts")


def test_any_changed_byte_of_the_structure_is_read_or_refused(saved):
    """A changed file that passes still has all its values."""
    content = write_archive(saved, records_of(saved)).read_bytes()
    for place in range(0, len(content), 3):
        saved.write_bytes(content[:place] + bytes([content[place] ^ 0x81]) + content[place + 1 :])
        with contextlib.suppress(SegpipeError):
            assert read_state(saved)["a"].tolist() == [1, 1, 1]


@pytest.fixture
def old(tmp_path):
    """Return a file in the format of PyTorch before 1.6."""
    state = OrderedDict(a=torch.ones(3), b=torch.ones(2, 2))
    torch.save(state, tmp_path / "model.pth", _use_new_zipfile_serialization=False)
    return tmp_path / "model.pth"


def test_a_file_before_1_6_passes(old):
    check_before_1_6(old)


def test_a_file_before_1_6_is_not_cut_short(old):
    content = old.read_bytes()
    old.write_bytes(content[:-1])

    assert refusal(old, check_before_1_6) == (
        f"is cut short: it has {len(content) - 1} bytes and describes {len(content)}; copy the file again"
    )
    for length in range(1, len(content) - 50, 9):
        old.write_bytes(content[:length])
        refusal(old, check_before_1_6)


def test_a_storage_before_1_6_is_in_the_file(old):
    """PyTorch allocates the memory that the pickle names before it checks the file's length."""
    content = old.read_bytes()
    long = content.replace(b"K\x03Ntq", b"J\xff\xff\xff\x7fNtq")
    assert long != content
    old.write_bytes(long)

    assert "is cut short" in refusal(old, check_before_1_6)


def test_storages_before_1_6_are_all_listed(old):
    """PyTorch leaves the values of unlisted storages uninitialised."""
    content = old.read_bytes()
    key = content[content.rindex(b"(X") + 2 :][4:8]
    old.write_bytes(content[: content.rindex(key)] + b"0000" + content[content.rindex(key) + 4 :])

    assert "does not list its storages" in refusal(old, check_before_1_6)


@pytest.mark.parametrize("what", [Call(bytearray, 10**12), tensor_of(torch.ones(1), (10**12,), (1,))])
def test_a_pickle_before_1_6_is_followed(old, what):
    torch.save({"a": what}, old, _use_new_zipfile_serialization=False)

    refusal(old, check_before_1_6)


def test_a_large_file_before_1_6_is_not_read(old, monkeypatch):
    monkeypatch.setattr(torch_files, "LARGEST_BEFORE_1_6", 100)

    assert "of such files at most 100 are read; load it with a newer PyTorch" in refusal(
        old, check_before_1_6
    )


@pytest.mark.parametrize("content", [b"text", b"\x80\x02}.", b"\x80\x02K\x01.", bytes(1000)])
def test_a_file_of_something_else_is_refused(old, content):
    old.write_bytes(content)

    assert "cannot be read as PyTorch weights" in refusal(old, check_before_1_6)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "is empty; copy the file again"),
        (
            b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 4700000\n",
            "is a pointer of Git LFS in place of the weights; fetch the file itself with `git lfs pull`",
        ),
        (b"<!DOCTYPE html>", "it begins as neither a PyTorch nor a safetensors file does; give weights"),
    ],
    ids=["empty", "Git LFS", "page"],
)
def test_what_a_failed_download_leaves_has_its_message(tmp_path, content, message):
    (tmp_path / "model.pt").write_bytes(content)

    assert message in refusal(tmp_path / "model.pt", check_before_1_6)
