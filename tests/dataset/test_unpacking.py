"""archive_files on archives with false sizes: nothing takes endless memory or time."""

import bz2
import gzip
import io
import lzma
import tarfile
import tracemalloc
import zipfile

import pytest

from segpipe.dataset import unpacking
from segpipe.dataset.unpacking import DAMAGED, archive_files
from segpipe.errors import SegpipeError

LIMIT = 10**9
BLOCK = tarfile.BLOCKSIZE


def header(name=b"a", size=0, kind=tarfile.REGTYPE):
    """Return a tar header; a negative size is in base 256."""
    member = tarfile.TarInfo(name.decode())
    member.size, member.type = max(size, 0), kind
    block = bytearray(member.tobuf(tarfile.GNU_FORMAT)[-BLOCK:])
    if size < 0:
        block[124:136] = b"\xff" + size.to_bytes(11, "big", signed=True)
    block[148:156] = b"        "
    block[148:156] = b"%06o\0 " % sum(block)
    return bytes(block)


def padded(content):
    return content + bytes(-len(content) % BLOCK)


def pax(text, kind=tarfile.XHDTYPE):
    return header(b"pax", len(text), kind) + padded(text)


def record(key, value):
    body = f" {key}={value}\n"
    size = len(body)
    while len(f"{size}{body}") != size:
        size = len(f"{size}{body}")
    return f"{size}{body}".encode()


MEMBER = header(b"a.nii", 4) + padded(b"scan")
END = bytes(2 * BLOCK)


def names_in(path, content, max_bytes=LIMIT):
    path.write_bytes(content)
    return [(name, file.read()) for name, file in archive_files(path, "http://x/a.nii", max_bytes)]


@pytest.mark.parametrize("pack", [bytes, gzip.compress, bz2.compress, lzma.compress])
def test_tars_are_read_in_every_compression(tmp_path, pack):
    assert names_in(tmp_path / "a", pack(MEMBER + END)) == [("a.nii", b"scan")]


@pytest.mark.parametrize(
    "content",
    [b"scan", gzip.compress(b"scan", mtime=0), b"", b"PK"],
    ids=["text", "gzip", "nothing", "two letters"],
)
def test_what_is_no_archive_is_one_file(tmp_path, content):
    assert names_in(tmp_path / "a", content) == [("a.nii", content)]


def zipped(name):
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as packed:
        packed.writestr(zipfile.ZipInfo(name), b"scan")
    return file.getvalue()


def test_a_tar_that_ends_with_a_zip_is_a_tar(tmp_path):
    inner = zipped("b.nii")

    members = names_in(tmp_path / "a", MEMBER + header(b"more.zip", len(inner)) + padded(inner) + END)

    assert members == [("a.nii", b"scan"), ("more.zip", inner)]


def test_a_zip_of_windows_has_the_same_names(tmp_path):
    assert names_in(tmp_path / "a", zipped("scans\\a.nii")) == [("scans/a.nii", b"scan")]


def test_long_names_and_attributes_are_no_bomb(tmp_path):
    long = "b" * 3000
    attributes = pax(record("path", long) + record("SCHILY.xattr.user", "x" * 60_000))
    content = attributes + MEMBER + pax((long + "\0").encode(), tarfile.GNUTYPE_LONGNAME) + MEMBER + END

    assert names_in(tmp_path / "a", content) == [(long, b"scan")] * 2


BOMBS = {
    "PAX header": tarfile.XHDTYPE,
    "PAX header of all": tarfile.XGLTYPE,
    "Solaris": tarfile.SOLARIS_XHDTYPE,
    "long name": tarfile.GNUTYPE_LONGNAME,
    "long link": tarfile.GNUTYPE_LONGLINK,
}


@pytest.mark.parametrize("kind", BOMBS.values(), ids=BOMBS)
@pytest.mark.parametrize("before", [b"", MEMBER], ids=["first", "later"])
def test_a_header_takes_no_memory(tmp_path, kind, before):
    """The header claims 2 GB; 64 MB follow in 64 kB of gzip, and are not read."""
    bomb = gzip.compress(before + header(b"x", 2 * 10**9, kind) + bytes(1 << 26), 1)
    path = tmp_path / "a.tar.gz"
    path.write_bytes(bomb)

    tracemalloc.start()
    with pytest.raises(SegpipeError, match="a header in the archive has more than 1048576 bytes"):
        list(archive_files(path, "http://x/a.nii", 10**10))
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()

    assert peak < 4 * 10**6


def test_many_headers_of_one_file_are_a_bomb_too(tmp_path):
    small = pax(record("comment", "x" * 400))
    with pytest.raises((SegpipeError, *DAMAGED)):
        names_in(tmp_path / "a", MEMBER + small * 3000 + MEMBER)


def test_headers_of_all_files_together_are_bounded(tmp_path):
    parts = (pax(record(f"key{n}", "x" * 400_000), tarfile.XGLTYPE) + MEMBER for n in range(5))
    with pytest.raises(DAMAGED):
        names_in(tmp_path / "a", b"".join(parts) + END)


def test_a_map_of_holes_is_bounded(tmp_path, monkeypatch):
    """A sparse file stores its map in its data, one number a line."""
    monkeypatch.setattr(unpacking, "_MOST_HEADER_BYTES", 10_000)
    sparse = record("GNU.sparse.major", 1) + record("GNU.sparse.minor", 0) + record("GNU.sparse.name", "a")
    voxels = b"30000\n" + b"0\n" * 60_000
    content = pax(sparse) + header(b"a", len(voxels)) + padded(voxels) + END

    with pytest.raises(SegpipeError, match="a header in the archive has more than 10000 bytes"):
        names_in(tmp_path / "a", content)


@pytest.mark.parametrize("kind", [tarfile.REGTYPE, tarfile.XHDTYPE, tarfile.GNUTYPE_LONGNAME])
def test_a_negative_size_does_not_lead_back(tmp_path, kind):
    with pytest.raises((SegpipeError, *DAMAGED)):
        names_in(tmp_path / "a", MEMBER + header(b"b", -2 * BLOCK, kind) + MEMBER + END)


def test_a_negative_size_in_attributes_does_not_lead_back(tmp_path):
    with pytest.raises((SegpipeError, *DAMAGED)):
        names_in(tmp_path / "a", MEMBER + pax(record("size", -4096)) + MEMBER + END)


def test_headers_count_as_what_is_unpacked(tmp_path):
    """A million empty files are 512 MB of headers: a bound of 100 kB refuses them after 195 files."""
    with pytest.raises(SegpipeError, match=r"unpacked,: has more than 0\.0001 GB"):
        names_in(tmp_path / "a", gzip.compress(header(b"a") * 1000), max_bytes=10**5)


def test_holes_count_as_what_is_unpacked(tmp_path):
    sparse = record("GNU.sparse.major", 1) + record("GNU.sparse.minor", 0) + record("GNU.sparse.name", "a")
    content = pax(sparse + record("GNU.sparse.realsize", 10**12)) + header(b"a", BLOCK) + padded(b"0\n") + END

    with pytest.raises(SegpipeError, match="has more than 1 GB"):
        names_in(tmp_path / "a", content)


def test_the_directory_of_a_zip_is_bounded(tmp_path, monkeypatch):
    monkeypatch.setattr(unpacking, "_MOST_DIRECTORY_BYTES", 10_000)
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as packed:
        for number in range(300):
            packed.writestr(f"{number}.nii", b"scan")

    with pytest.raises(SegpipeError, match="a header in the archive has more than 10000 bytes"):
        names_in(tmp_path / "a", buffer.getvalue())


def test_a_zip_with_a_password_is_damaged(tmp_path):
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as packed:
        packed.writestr("a.nii", b"scan")
    content = bytearray(buffer.getvalue())
    for place in (6, content.index(b"PK\x01\x02") + 8):
        content[place] |= 1  # the flag that it is encrypted

    with pytest.raises(DAMAGED, match="password"):
        names_in(tmp_path / "a", bytes(content))
