"""A header's voxel file lies in or below the header's folder, and is a regular file."""

from __future__ import annotations

import os

import numpy as np
import pytest

from segpipe.errors import SegpipeError
from segpipe.volumes import read_header, read_volume, voxel_file

VOXELS = np.arange(24, dtype=np.uint8)
MHD = (
    "ObjectType = Image\nNDims = 3\nDimSize = 2 3 4\nElementType = MET_UCHAR\nElementSpacing = 1 1 1\nOffset = 0 0 0\n"
    "TransformMatrix = 1 0 0 0 1 0 0 0 1\nElementDataFile = {}\n"
)
NRRD = (
    "NRRD0005\ntype: uint8\ndimension: 3\nspace: left-posterior-superior\nsizes: 2 3 4\n"
    "space directions: (1,0,0) (0,1,0) (0,0,1)\nencoding: raw\nspace origin: (0,0,0)\ndata file: {}\n"
)
HEADERS = pytest.mark.parametrize(("name", "text"), [("a.mhd", MHD), ("a.nrrd", NRRD)])


@pytest.fixture
def folder(tmp_path):
    """A folder for a header, with voxels above, beside and below it."""
    below = tmp_path / "scans" / "below"
    below.mkdir(parents=True)
    for place in (tmp_path, tmp_path / "scans", below):
        (place / "a.raw").write_bytes(VOXELS.tobytes())
    return tmp_path / "scans"


def is_read(path):
    return np.array_equal(read_volume(path).array, VOXELS.reshape((2, 3, 4), order="F"))


def refusal(path):
    with pytest.raises(SegpipeError) as refused:
        read_volume(path)
    with pytest.raises(SegpipeError):
        read_header(path)
    return str(refused.value)


@HEADERS
@pytest.mark.parametrize("named", ["a.raw", "./a.raw", "below/a.raw", "below/../a.raw", "absolute"])
def test_a_voxel_file_in_or_below_the_folder_is_read(name, text, named, folder):
    (folder / name).write_text(text.format(folder / "below/a.raw" if named == "absolute" else named))

    assert is_read(folder / name)


@HEADERS
@pytest.mark.parametrize(
    "named", ["../a.raw", "below/../../a.raw", "absolute", "/etc/passwd", "linked/a.raw"]
)
def test_the_text_of_a_header_reaches_no_file_elsewhere(name, text, named, folder):
    (folder / "linked").symlink_to("..")
    (folder / name).write_text(text.format(folder.parent / "a.raw" if named == "absolute" else named))

    message = refusal(folder / name)
    assert message.startswith(f"{folder / name}: {'ElementDataFile =' if name == 'a.mhd' else 'data file:'}")
    assert f"must lie in or below the folder of its header, {folder}" in message


@HEADERS
def test_a_link_out_of_the_folder_is_refused_beside_a_header_that_is_a_file(name, text, folder):
    (folder / "link.raw").symlink_to("../a.raw")
    (folder / name).write_text(text.format("link.raw"))

    assert "must lie in or below the folder" in refusal(folder / name)


@HEADERS
def test_header_and_voxel_file_may_be_links_into_one_store(name, text, folder):
    """DVC and git-annex link a data set this way; the store names files by their content."""
    store = folder.parent / "store"
    for key, content in (("ab/12", text.format("link.raw").encode()), ("cd/34", VOXELS.tobytes())):
        (store / key).parent.mkdir(parents=True)
        (store / key).write_bytes(content)
    (folder / name).symlink_to(store / "ab/12")
    (folder / "link.raw").symlink_to(store / "cd/34")

    assert is_read(folder / name)


@HEADERS
def test_links_that_share_no_more_than_a_folder_around_them_are_no_store(name, text, folder):
    (folder.parent / "header").mkdir()
    (folder.parent / "header" / name).write_text(text.format("link.raw"))
    (folder / name).symlink_to(f"../header/{name}")
    (folder / "link.raw").symlink_to("../a.raw")

    assert "must lie in or below the folder" in refusal(folder / name)


@HEADERS
@pytest.mark.parametrize(
    "store", [".git/annex/objects/X1/zz", ".git/modules/sub/annex/objects/X1", ".dvc/cache/files/md5/ab"]
)
def test_a_voxel_file_may_be_a_link_into_the_store_of_its_data_set(name, text, store, folder):
    """DataLad keeps small text files in git, and large files in git-annex."""
    (folder.parent / store).mkdir(parents=True)
    (folder.parent / store / "key").write_bytes(VOXELS.tobytes())
    (folder / "link.raw").symlink_to(f"../{store}/key")
    (folder / name).write_text(text.format("link.raw"))

    assert is_read(folder / name)


@HEADERS
def test_the_rest_of_a_repository_is_no_store(name, text, folder):
    (folder.parent / ".git").mkdir()
    (folder.parent / ".git" / "config").write_bytes(VOXELS.tobytes())
    (folder / "link.raw").symlink_to("../.git/config")
    (folder / name).write_text(text.format("link.raw"))

    assert "must lie in or below the folder" in refusal(folder / name)


@HEADERS
@pytest.mark.parametrize("kind", ["pipe", "device", "folder", "long name"])
def test_a_voxel_file_that_is_no_regular_file_is_refused_at_once(name, text, kind, folder):
    named = "x" * 300 if kind == "long name" else "odd"
    if kind == "pipe":
        os.mkfifo(folder / "odd")
    elif kind == "folder":
        (folder / "odd").mkdir()
    elif kind == "device":
        named = "/dev/zero"
    (folder / name).write_text(text.format(named))

    expected = {
        "pipe": "its voxel file odd is no regular file but a pipe or a device",
        "device": "must lie in or below",
        "folder": "its voxel file odd cannot be read (Is a directory)",
        "long name": "cannot be read (File name too long)",
    }
    assert expected[kind] in refusal(folder / name)


def test_no_checksum_is_taken_of_a_file_elsewhere(folder):
    (folder / "a.mhd").write_text(MHD.format("../a.raw"))

    with pytest.raises(SegpipeError, match="must lie in or below"):
        voxel_file(folder / "a.mhd")
