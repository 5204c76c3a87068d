"""Uploads as files: a zip is unpacked within bounds, and what no scan needs is refused."""

import io
import stat
import struct
import warnings
import zipfile

import pytest

from segpipe.errors import SegpipeError
from segpipe.serving.options import ServeLimits
from segpipe.serving.upload_kinds import upload_suffix
from segpipe.serving.uploaded_files import lay_out

LIMITS = ServeLimits(unpacked_megabytes=1, files=3)


def zipped(*members, compression=zipfile.ZIP_DEFLATED):
    """Return a zip of names (or `ZipInfo`) and contents."""
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w", compression) as archive, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of a name that comes twice
        for name, data in members:
            archive.writestr(name, data)
    return content.getvalue()


def linked(target):
    link = zipfile.ZipInfo("scan.nii")
    link.external_attr = (stat.S_IFLNK | 0o777) << 16
    return link, target


def upload(folder, content, suffix=".zip"):
    """Lay an upload out; return name -> content of the scan's files."""
    folder = folder / "upload"
    folder.mkdir()
    (folder / f"upload{suffix}").write_bytes(content)
    target = lay_out(folder, LIMITS)
    return {path.relative_to(target).as_posix(): path for path in target.rglob("*") if path.is_file()}


def test_a_file_gets_a_name_that_is_not_the_clients(tmp_path):
    assert list(upload(tmp_path, b"voxels", ".nii.gz")) == ["scan.nii.gz"]


def test_a_zip_keeps_its_folders_and_is_removed(tmp_path):
    files = upload(tmp_path, zipped(("a/1.dcm", b"one"), ("a/2.dcm", b"two"), ("b\\c.txt", b"")))

    assert {name: path.read_bytes() for name, path in files.items()} == {
        "a/1.dcm": b"one",
        "a/2.dcm": b"two",
        "b/c.txt": b"",
    }
    assert sorted(path.name for path in (tmp_path / "upload").iterdir()) == ["scan"]


BOMB = zipped(("scan.nii", bytes(50 << 20)))  # 50 MiB in 50 KiB


def encrypted():
    """Return a zip whose member is marked as encrypted."""
    content = bytearray(zipped(("scan.nii", b"voxels")))
    for magic, flags_at in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        place = content.index(magic) + flags_at
        content[place : place + 2] = struct.pack("<H", 1)
    return bytes(content)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (BOMB, "holds more than 1 MiB unpacked; upload one scan, or raise --max-unpacked-megabytes"),
        (zipped(*((f"{i}.nii", bytes(300 << 10)) for i in range(4))), "more than 3 files|more than 1 MiB"),
        (zipped(*((f"{i}.dcm", b"") for i in range(4))), "more than 3 files"),
        (zipped(("../../escape.nii", b"")), "leads out of its folder"),
        (zipped(("/etc/escape.nii", b"")), "leads out of its folder"),
        (zipped(("C:\\escape.nii", b"")), "leads out of its folder"),
        (zipped(linked("/etc/passwd")), "is a link"),
        (zipped(("scans.zip", b"PK")), "holds another archive"),
        (zipped(("scan.nii", zipped(("inner.nii", b"")))), "holds another archive"),
        (zipped(("a", b"1"), ("a", b"2")), "cannot be unpacked \\(FileExistsError\\)"),
        (zipped(("a", b"1"), ("a/b", b"2")), "cannot be unpacked"),
        (zipped(("n" * 300, b"1")), "cannot be unpacked"),
        (encrypted(), "damaged, encrypted"),
        (zipped(), "damaged or truncated|empty"),
        (zipped(("a/", b"")), "the zip is empty"),
        (zipped(("a.nii", bytes(1000)))[:-30], "damaged or truncated"),
    ],
    ids=lambda value: "zip" if isinstance(value, bytes) else value,  # a zip holds the time
)
def test_a_zip_that_is_refused_writes_nothing_outside_its_folder(tmp_path, content, message):
    with pytest.raises(SegpipeError, match=message):
        upload(tmp_path, content)

    written = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert all(path.is_relative_to(tmp_path / "upload") for path in written)
    assert not any(path.is_symlink() for path in tmp_path.rglob("*"))
    assert sum(path.stat().st_size for path in written) <= (1 << 20) + len(content)


@pytest.mark.parametrize(
    ("start", "suffix"),
    [
        (b"PK\x03\x04rest", ".zip"),
        (b"\x1f\x8brest", ".nii.gz"),
        (b"NRRD0004\n", ".nrrd"),
        (b"\x89PNG\r\n\x1a\n", ".png"),
        (b"\xff\xd8\xff\xe0", ".jpg"),
        (bytes(128) + b"DICM", ".dcm"),
        ((348).to_bytes(4, "little") + bytes(400), ".nii"),
        ((540).to_bytes(4, "big") + bytes(400), ".nii"),
        (b"ObjectType = Image\nNDims = 3\n", ".mha"),
        (b"NDims=3\n", ".mha"),
        (b"PK\x05\x06", None),  # an empty zip
        (b"<html>", None),
        (b"", None),
    ],
)
def test_the_first_bytes_tell_what_an_upload_is(start, suffix):
    assert upload_suffix(start) == suffix
