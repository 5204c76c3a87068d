"""A data set from where it is published: downloaded, checked, unpacked, and nothing outside of its folder."""

from __future__ import annotations

import hashlib
import http.client
import shutil
import stat
import tarfile
import time
import urllib.error
import urllib.request
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import IO, Any

from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn

from segpipe.dataset.manifest import Download, Manifest
from segpipe.errors import SegpipeError, shown
from segpipe.files import file_sha256, sync

DOWNLOADS = ".segpipe-downloads"
_CHUNK = 1 << 20
_ATTEMPTS = 5  # in a row, without a byte more
_PAUSE_S = 1.0
_TIMEOUT_S = 60.0
_UNFINISHED = (
    urllib.error.URLError,
    http.client.HTTPException,
    ConnectionError,
    TimeoutError,
)
_DAMAGED = (tarfile.TarError, zipfile.BadZipFile, zlib.error, EOFError, OSError)
Advance = Callable[[int], object]


def fetch(manifest: Manifest, dataset_dir: str | Path, *, max_bytes: int) -> int:
    """Get the files of a data set that its manifest names by URL and SHA-256.

    What is there already and as it should be is left. A download that broke off is resumed, also by a later call. Of
    an archive only the files that the manifest lists are unpacked, each compared with its checksum before it gets its
    name.

    Args:
        manifest: with `downloads`.
        dataset_dir: where the manifest's paths begin; made if missing.
        max_bytes: that a download, and what it unpacks to, may have; for an archive that grows without end.

    Returns:
        how many files were written.

    Raises:
        SegpipeError: the manifest names no download; a server that cannot be reached, answers with an error or sends
            something else; an archive that is damaged, larger than `max_bytes`, or has a member that leads out of its
            folder; a file of the manifest that is in no download, or differs from its checksum.
    """
    folder = Path(dataset_dir)
    if not manifest.downloads:
        source = f": it is to be had from {manifest.source}" if manifest.source else ""
        raise SegpipeError(
            f"{manifest.name}: its manifest names no download{source}; put its files into {folder}"
        )
    wanted = _wanted(manifest)
    missing = {path for path in wanted if not _is_there(folder / path, wanted[path])}
    if not missing:
        return 0
    (folder / DOWNLOADS).mkdir(parents=True, exist_ok=True)
    written = 0
    for download in manifest.downloads:
        archive = folder / DOWNLOADS / f"{download.sha256[:16]}-{PurePosixPath(download.url).name}"
        _download(download, archive, max_bytes)
        written += _unpack(download, archive, folder, wanted, missing, max_bytes)
        archive.unlink()
    if missing:
        raise SegpipeError(
            f"{manifest.name}: {len(missing)} files of the manifest are in none of its downloads: "
            f"{shown(sorted(missing))}; the manifest is of another copy"
        )
    shutil.rmtree(folder / DOWNLOADS, ignore_errors=True)
    return written


def _wanted(manifest: Manifest) -> dict[str, str]:
    """Return path -> SHA-256 of every file that the manifest lists; empty where it has none."""
    wanted: dict[str, str] = {}
    for case in (*manifest.training, *manifest.test):
        wanted.update(dict.fromkeys(case.files, ""))
        wanted.update(case.sha256)
    return wanted


def _is_there(path: Path, sha256: str) -> bool:
    return path.is_file() and (not sha256 or file_sha256(path) == sha256)


def _download(download: Download, target: Path, max_bytes: int) -> None:
    """Download a file, going on after every interruption, and compare it with its checksum."""
    partial = target.with_name(f"{target.name}.part")
    if target.is_file():
        return
    fruitless = 0
    with _bar(download.url) as (grow, total):
        while True:
            before = partial.stat().st_size if partial.exists() else 0
            grow(before)
            try:
                done = _receive(download.url, partial, max_bytes, grow, total)
            except _UNFINISHED as error:
                done, reason = False, str(getattr(error, "reason", error) or type(error).__name__)
            else:
                reason = "the connection closed before all had come"
            if done:
                break
            fruitless = 0 if partial.exists() and partial.stat().st_size > before else fruitless + 1
            if fruitless >= _ATTEMPTS:
                raise SegpipeError(
                    f"{download.url}: cannot be downloaded: {reason}; run the same command again, it goes on from here"
                )
            time.sleep(_PAUSE_S * fruitless)
    sync(partial)
    found = file_sha256(partial)
    if found != download.sha256:
        partial.unlink()
        raise SegpipeError(
            f"{download.url}: SHA-256 is {found[:12]}..., the manifest says {download.sha256[:12]}...: the server "
            "sends something else, or it was changed on the way; nothing of it was unpacked"
        )
    partial.replace(target)


def _receive(url: str, partial: Path, max_bytes: int, grow: Advance, total: Advance) -> bool:
    """Append what a server still has to send; return whether that was all."""
    have = partial.stat().st_size if partial.exists() else 0
    request = urllib.request.Request(url, headers={"Range": f"bytes={have}-", "User-Agent": "segpipe"})  # noqa: S310
    try:
        response = urllib.request.urlopen(request, timeout=_TIMEOUT_S)  # noqa: S310 - the schema has https and http only
    except urllib.error.HTTPError as error:
        if error.code == http.client.REQUESTED_RANGE_NOT_SATISFIABLE and have:
            return True  # all was there; the checksum says whether it is
        if error.code >= http.client.INTERNAL_SERVER_ERROR:
            raise
        raise SegpipeError(
            f"{url}: the server answers {error.code} {error.reason}; look whether the data set has moved"
        ) from error
    with response:
        resumed = response.status == http.client.PARTIAL_CONTENT
        begins = _first_byte(response.headers.get("Content-Range", "")) if resumed else 0
        if begins not in (0, have):
            raise SegpipeError(
                f"{url}: the server sends bytes from {begins} on, {have} were asked for; try again later"
            )
        expected = response.headers.get("Content-Length")
        whole = None if expected is None or not expected.isdigit() else begins + int(expected)
        if whole is not None:
            total(whole)
            _require_size(url, whole, max_bytes)
            _require_space(url, whole - begins, partial.parent)
        size = begins
        with partial.open("ab" if begins else "wb") as file:
            while chunk := response.read(_CHUNK):
                size += len(chunk)
                _require_size(url, size, max_bytes)
                file.write(chunk)
                grow(size)
    return whole is None or size >= whole


def _first_byte(content_range: str) -> int:
    """Return where `bytes 100-199/200` begins."""
    first = content_range.removeprefix("bytes ").partition("-")[0]
    return int(first) if first.isdigit() else 0


def _require_size(url: str, size: int, max_bytes: int) -> None:
    if size > max_bytes:
        raise SegpipeError(
            f"{url}: has more than {max_bytes / 1e9:.3g} GB; if that is right, allow more with --max-gb"
        )


def _require_space(url: str, size: int, folder: Path) -> None:
    free = shutil.disk_usage(folder).free
    if size > free:
        raise SegpipeError(
            f"{url}: {size / 1e9:.3g} GB are to come, {free / 1e9:.3g} GB are free in {folder}; choose another folder"
        )


def _unpack(
    download: Download, archive: Path, folder: Path, wanted: dict[str, str], missing: set[str], max_bytes: int
) -> int:
    """Write the files of an archive that are missing; they leave `missing`."""
    written, total = 0, 0
    try:
        for name, content in _members(archive, download.url, max_bytes):
            path = _below_root(name, download)
            if path not in missing:
                continue
            total += _write(folder / path, content, wanted[path], download.url, max_bytes - total)
            missing.discard(path)
            written += 1
    except _DAMAGED as error:
        raise SegpipeError(f"{download.url}: cannot be unpacked: {error}") from error
    return written


def _members(archive: Path, url: str, max_bytes: int) -> Iterator[tuple[str, IO[bytes]]]:
    """Yield name and content of every file in an archive, or of the one file that is none.

    Raises:
        SegpipeError: a member that is a link or a device, or whose name leads out of the folder.
    """
    size = 0
    if zipfile.is_zipfile(archive):
        with zipfile.ZipFile(archive) as packed:
            for entry in packed.infolist():
                kind = stat.S_IFMT(entry.external_attr >> 16)
                _require_harmless(entry.filename, url, ok=kind in (0, stat.S_IFREG, stat.S_IFDIR))
                if not entry.is_dir():
                    with packed.open(entry) as content:
                        yield entry.filename, content
    elif tarfile.is_tarfile(archive):
        with tarfile.open(archive) as packed_tar:
            for member in packed_tar:
                size += member.size  # what is passed over has to be read, too
                _require_size(f"{url}, unpacked,", size, max_bytes)
                _require_harmless(member.name, url, ok=member.isreg() or member.isdir())
                file = packed_tar.extractfile(member) if member.isreg() else None
                if file is not None:
                    yield member.name, file
    else:
        with archive.open("rb") as plain:
            yield PurePosixPath(url).name, plain


def _require_harmless(name: str, url: str, *, ok: bool) -> None:
    windows = PureWindowsPath(name)
    if not ok or windows.drive or windows.root or ".." in windows.parts or "\0" in name:
        raise SegpipeError(
            f"{url}: holds {name!r}, which is a link, a device or leads out of its folder; an archive of scans has no "
            "such thing: nothing more of it is unpacked"
        )


def _below_root(name: str, download: Download) -> str:
    path = PurePosixPath(name)
    if download.root and path.is_relative_to(download.root):
        path = path.relative_to(download.root)
    return path.as_posix()


def _write(path: Path, content: IO[bytes], sha256: str, url: str, max_bytes: int) -> int:
    """Write a file aside, compare it with its checksum and give it its name; return its size."""
    path.parent.mkdir(parents=True, exist_ok=True)
    aside = path.with_name(f".{path.name}.part")
    size, digest = 0, hashlib.sha256()
    try:
        with aside.open("wb") as file:
            while chunk := content.read(_CHUNK):
                size += len(chunk)
                _require_size(f"{url}, unpacked,", size, max_bytes)
                digest.update(chunk)
                file.write(chunk)
        if sha256 and digest.hexdigest() != sha256:
            raise SegpipeError(
                f"{url}: its {path.name} has SHA-256 {digest.hexdigest()[:12]}..., the manifest says {sha256[:12]}...; "
                "the manifest is of another copy"
            )
        sync(aside)
        aside.replace(path)
    finally:
        aside.unlink(missing_ok=True)
    return size


@contextmanager
def _bar(url: str) -> Iterator[tuple[Advance, Advance]]:
    """Show how far a download is, on stderr where that is a terminal."""
    console = Console(stderr=True)
    columns: tuple[Any, ...] = (TextColumn("{task.description}", markup=False), BarColumn(), DownloadColumn())
    with Progress(
        *columns, TimeRemainingColumn(), console=console, transient=True, disable=not console.is_terminal
    ) as bar:
        task = bar.add_task(PurePosixPath(url).name, total=None)
        yield (lambda size: bar.update(task, completed=size)), (lambda size: bar.update(task, total=size))
