"""Files are written completely or not at all; checksums."""

import hashlib
import os
import shutil
from pathlib import PurePath

import pytest

from segpipe.errors import SegpipeError
from segpipe.files import (
    distinct_names,
    file_sha256,
    json_sha256,
    read_json,
    staging_folder,
    write_atomically,
    write_json,
)


def test_a_write_that_fails_leaves_what_was_there(tmp_path):
    path = tmp_path / "state.pt"
    path.write_bytes(b"whole")

    def fail(file):
        file.write(b"half")
        raise OSError("No space left on device")

    with pytest.raises(OSError, match="No space"):
        write_atomically(path, fail)

    assert path.read_bytes() == b"whole"
    assert os.listdir(tmp_path) == ["state.pt"]  # noqa: PTH208  # hidden files too


def test_a_first_write_that_fails_leaves_nothing(tmp_path):
    def fail(file):
        file.write(b"half")
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_atomically(tmp_path / "deep" / "state.pt", fail)

    assert os.listdir(tmp_path / "deep") == []  # noqa: PTH208


def test_nobody_sees_half_of_a_file(tmp_path):
    path = tmp_path / "state.pt"
    path.write_bytes(b"old")

    def look(file):
        file.write(b"new")
        file.flush()
        assert path.read_bytes() == b"old"

    write_atomically(path, look)

    assert path.read_bytes() == b"new"


def test_content_is_on_disk_before_the_name_is(tmp_path, monkeypatch):
    """Without the sync a power cut may leave the new name with no content."""
    order = []  # the folder is synced last: a new name is on disk only then
    sync, replace = os.fsync, os.replace
    monkeypatch.setattr(os, "fsync", lambda file: (order.append("sync"), sync(file)))
    monkeypatch.setattr(
        "pathlib.Path.replace", lambda path, target: (order.append("rename"), replace(path, target))
    )

    write_atomically(tmp_path / "state.pt", lambda file: file.write(b"new"))

    assert order == ["sync", "rename", "sync"]


def test_what_a_killed_process_left_goes_once_it_is_old(tmp_path):
    """A new file may belong to a process that is still writing."""
    path = tmp_path / "state.pt"
    with staging_folder(path) as folder:
        (folder / "state.pt").write_bytes(b"whole")
        old = shutil.copytree(folder, folder.with_name(folder.name.replace(".partial", "old.partial")))
        new = shutil.copytree(folder, folder.with_name(folder.name.replace(".partial", "new.partial")))
        other = shutil.copytree(folder, tmp_path / ".segpipe-of-another-file.partial")
    for stale in (old, old / "state.pt", other, other / "state.pt"):
        os.utime(stale, (0, 0))

    write_atomically(path, lambda file: file.write(b"newer"))

    assert sorted(tmp_path.iterdir()) == sorted([new, other, path])


def test_a_long_name_can_be_written(tmp_path):
    write_json(tmp_path / ("n" * 250 + ".json"), 1)


def test_files_beside_the_last_are_moved_before_it(tmp_path):
    with staging_folder(tmp_path / "a.mhd") as folder:
        (folder / "a.mhd").write_text("header")
        (folder / "a.zraw").write_text("voxels")
        assert not (tmp_path / "a.mhd").exists()

    assert sorted(os.listdir(tmp_path)) == ["a.mhd", "a.zraw"]  # noqa: PTH208


def test_json_hash_is_of_the_value_not_of_its_writing():
    assert json_sha256({"b": [1, 2], "a": 0.5}) == json_sha256({"a": 0.5, "b": (1, 2)})
    assert json_sha256([1, 2]) != json_sha256([2, 1])
    assert json_sha256({"a": 1}) == hashlib.sha256(b'{"a":1}').hexdigest()
    with pytest.raises(ValueError, match="JSON"):
        json_sha256({"a": float("nan")})


def test_file_hash_is_sha256_of_the_bytes(tmp_path):
    write_json(tmp_path / "a.json", {"b": 1})

    assert file_sha256(tmp_path / "a.json") == hashlib.sha256(b'{\n  "b": 1\n}\n').hexdigest()


def test_json_is_read_with_a_byte_order_mark(tmp_path):
    (tmp_path / "a.json").write_text('{"b": 1}', encoding="utf-8-sig")

    assert read_json(tmp_path / "a.json") == {"b": 1}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b'{"b": 1, "b": 2}', "the key 'b' stands twice in one object"),
        (b"[" * 100_000, "the file is nested too deeply"),
        (b"\xff\xfe", "the file is not UTF-8 text"),
        (b'{"b"', "the file is not JSON: .* in line 1, column 5"),
    ],
)
def test_json_that_cannot_be_taken_is_refused(tmp_path, content, message):
    (tmp_path / "a.json").write_bytes(content)

    with pytest.raises(SegpipeError, match=f"a.json: {message}"):
        read_json(tmp_path / "a.json")


def test_a_file_that_cannot_be_read_is_named(tmp_path):
    for path, reason in ((tmp_path, "Is a directory"), (tmp_path / "none", "No such file or directory")):
        with pytest.raises(SegpipeError, match=rf"{path}: cannot be read \({reason}\); check path and perm"):
            file_sha256(path)


@pytest.mark.parametrize(
    ("first", "second", "names"),
    [
        ("set/a.nii.gz", "set/b.nii.gz", ("a.nii.gz", "b.nii.gz")),
        ("set/images/c0.nii.gz", "set/labels/c0.nii.gz", ("images/c0.nii.gz", "labels/c0.nii.gz")),
        ("images/p1/t1.nii", "labels/p1/t1.nii", ("images/p1/t1.nii", "labels/p1/t1.nii")),
        ("set/c0.nii.gz", "c0.nii.gz", ("set/c0.nii.gz", "c0.nii.gz")),
        ("/c0.nii.gz", "c0.nii.gz", ("/c0.nii.gz", "c0.nii.gz")),
        ("set/c0.nii.gz", "set/c0.nii.gz", ("set/c0.nii.gz", "set/c0.nii.gz")),
    ],
)
def test_two_files_of_one_name_are_named_with_the_folders_that_differ(first, second, names):
    assert distinct_names(PurePath(first), PurePath(second)) == names
