"""Only regular files are opened, also through links; no read waits for a pipe."""

import os
import socket

import pytest

from segpipe import regular_files
from segpipe.errors import SegpipeError
from segpipe.files import file_sha256
from segpipe.regular_files import open_regular


def test_a_regular_file_is_opened_also_behind_a_link(tmp_path):
    (tmp_path / "a").write_bytes(b"voxels")
    (tmp_path / "link").symlink_to("a")

    with open_regular(tmp_path / "link") as file:
        assert file.read() == b"voxels"


@pytest.mark.parametrize("kind", ["pipe", "socket", "device", "link to a pipe"])
def test_what_is_no_regular_file_is_refused_at_once(kind, tmp_path):
    path = tmp_path / "a.nii.gz"
    if kind == "socket":
        with socket.socket(socket.AF_UNIX) as made:
            made.bind(os.path.relpath(path))
    elif kind == "device":
        path.symlink_to("/dev/zero")
    else:
        os.mkfifo(tmp_path / "pipe")
        path.symlink_to("pipe")

    with pytest.raises(SegpipeError, match=r"a\.nii\.gz: is no regular file but a pipe or a device; give a"):
        open_regular(path)
    with pytest.raises(SegpipeError, match="is no regular file"):
        file_sha256(path)


def test_a_pipe_that_takes_the_place_of_a_file_before_it_is_opened_is_refused(tmp_path, monkeypatch):
    os.mkfifo(tmp_path / "a")
    monkeypatch.setattr(regular_files, "require_regular", lambda path: None)

    with pytest.raises(SegpipeError, match="is no regular file"):
        open_regular(tmp_path / "a")


def test_a_folder_and_a_missing_file_are_errors_of_the_system(tmp_path):
    with pytest.raises(IsADirectoryError):
        open_regular(tmp_path)
    with pytest.raises(FileNotFoundError):
        open_regular(tmp_path / "a")
