"""Read the files of an archive one by one in bounded memory; refuse links and names that lead out of the folder."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import stat
import struct
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import IO, Any, cast

from segpipe.dataset.downloading import require_size
from segpipe.errors import SegpipeError

DAMAGED = (
    tarfile.TarError,
    zipfile.BadZipFile,
    zlib.error,
    lzma.LZMAError,
    struct.error,
    EOFError,
    OSError,
    # tarfile and zipfile raise these for odd fields, headers within headers, passwords and unknown compression
    ValueError,
    LookupError,
    RuntimeError,
)
"""Exceptions that a damaged or unsupported archive may raise."""

_MOST_HEADER_BYTES = 1 << 20  # of a tar member: names and attributes; a few hundred bytes are usual
_MOST_DIRECTORY_BYTES = 1 << 27  # of a zip: a million files
_COMPRESSED: tuple[tuple[bytes, Callable[[Path], Any]], ...] = (
    (b"\x1f\x8b", gzip.open),
    (b"BZh", bz2.open),
    (b"\xfd7zXZ\x00", lzma.open),
    (b"]\x00\x00", lzma.open),
)


def archive_files(archive: Path, url: str, max_bytes: int) -> Iterator[tuple[str, IO[bytes]]]:
    """Yield name and content of every file in a zip or tar; for any other file yield the file itself.

    Args:
        archive: path of the archive.
        url: source of the archive, for messages; a file that is no archive is named after the last part of the URL.
        max_bytes: largest size of all members of a tar and their headers, since skipped members are read, too.

    Raises:
        SegpipeError: a member is a link or a device, or its name leads out of the folder; the archive has more bytes
            than `max_bytes`; a header is larger than names and attributes are.
        DAMAGED: the archive is damaged.
    """
    # is_zipfile also accepts a tar that ends with a zip
    if _start(archive).startswith(b"PK") and zipfile.is_zipfile(archive):
        yield from _files_of_zip(archive, url)
        return
    with _decompressed(archive) as opened:
        reader = _BoundedReader(opened, url)
        packed = _tar(reader)
        if packed is not None:
            with packed:
                yield from _files_of_tar(packed, reader, url, max_bytes)
            return
    with archive.open("rb") as plain:
        yield PurePosixPath(url).name, plain


class _BoundedReader(io.BufferedIOBase):
    """A file that refuses to read more bytes than `bound` allows; unbounded at first.

    tarfile and zipfile allocate as much memory as a header gives as its length.
    """

    def __init__(self, file: Any, url: str) -> None:
        self._file, self._url = file, url
        self._most = 0
        self._left: int | None = None

    def bound(self, most: int | None) -> None:
        """Allow at most this number of bytes from here on; None: any number."""
        self._most, self._left = most or 0, most

    def read(self, size: int | None = -1) -> bytes:
        """Return up to `size` bytes.

        Raises:
            SegpipeError: the read exceeds the bound.
        """
        if self._left is None:
            return cast(bytes, self._file.read(size))
        wanted = self._left + 1 if size is None or size < 0 else size
        if wanted <= self._left + 1:
            content = cast(bytes, self._file.read(wanted))
            if len(content) <= self._left:
                self._left -= len(content)
                return content
        raise SegpipeError(
            f"{self._url}: a header in the archive has more than {self._most} bytes; an archive of scans has no such "
            "thing: nothing more of it is unpacked"
        )

    def seek(self, offset: int, whence: int = 0) -> int:
        """Set the position and return it."""
        return cast(int, self._file.seek(offset, whence))

    def tell(self) -> int:
        """Return the position."""
        return cast(int, self._file.tell())

    def seekable(self) -> bool:
        """Return True."""
        return True

    def readable(self) -> bool:
        """Return True."""
        return True


def _start(archive: Path) -> bytes:
    with archive.open("rb") as file:
        return file.read(8)


def _decompressed(archive: Path) -> Any:
    start = _start(archive)
    opens = (opens for magic, opens in _COMPRESSED if start.startswith(magic))
    return next(opens, lambda path: path.open("rb"))(archive)


def _tar(reader: _BoundedReader) -> tarfile.TarFile | None:
    """Return the tar; None where the file is no tar."""
    reader.bound(_MOST_HEADER_BYTES)
    try:
        return tarfile.TarFile(fileobj=reader)
    except DAMAGED:
        return None


def _files_of_tar(
    packed: tarfile.TarFile, reader: _BoundedReader, url: str, max_bytes: int
) -> Iterator[tuple[str, IO[bytes]]]:
    end = 0
    while True:
        reader.bound(_MOST_HEADER_BYTES)
        member = packed.next()
        if member is None:
            return
        reader.bound(None)
        packed.members.clear()  # type: ignore[attr-defined]  # tarfile keeps every member
        shared = sum(len(key) + len(str(value)) for key, value in packed.pax_headers.items())
        if member.size < 0 or packed.offset <= end or shared > _MOST_HEADER_BYTES:
            raise tarfile.ReadError("a header has a size or a place that cannot be")
        end = packed.offset
        require_size(f"{url}, unpacked,", end, max_bytes)
        _require_harmless(member.name, url, ok=member.isreg() or member.isdir())
        require_size(f"{url}, unpacked,", member.size, max_bytes)  # of a file with holes
        file = packed.extractfile(member) if member.isreg() else None
        if file is not None:
            yield member.name, file


def _files_of_zip(archive: Path, url: str) -> Iterator[tuple[str, IO[bytes]]]:
    with archive.open("rb") as opened:
        reader = _BoundedReader(opened, url)
        reader.bound(_MOST_DIRECTORY_BYTES)
        with zipfile.ZipFile(cast(IO[bytes], reader)) as packed:
            reader.bound(None)
            for entry in packed.infolist():
                kind = stat.S_IFMT(entry.external_attr >> 16)
                _require_harmless(entry.filename, url, ok=kind in (0, stat.S_IFREG, stat.S_IFDIR))
                if not entry.is_dir():
                    with packed.open(entry) as content:
                        yield (
                            entry.filename.replace("\\", "/"),
                            content,
                        )  # as some programs on Windows write names


def _require_harmless(name: str, url: str, *, ok: bool) -> None:
    windows = PureWindowsPath(name)
    if not ok or windows.drive or windows.root or ".." in windows.parts or "\0" in name:
        raise SegpipeError(
            f"{url}: holds {name!r}, which is a link, a device or leads out of its folder; an archive of scans has no "
            "such thing: nothing more of it is unpacked"
        )
