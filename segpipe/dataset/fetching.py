"""Download a data set from its publisher, check its files, and unpack them into the data set's folder only."""

from __future__ import annotations

import hashlib
import os
import shutil
from pathlib import Path, PurePosixPath
from typing import IO

from segpipe.dataset.downloading import download_file, require_size
from segpipe.dataset.manifest import Download, Manifest
from segpipe.dataset.unpacking import DAMAGED, archive_files
from segpipe.errors import SegpipeError, counted, shown
from segpipe.files import file_sha256, json_sha256, sync, write_text

DOWNLOADS = ".segpipe-downloads"
MAX_HOURS = 72.0
_CHUNK = 1 << 20
_LONGEST_NAME = 100  # characters kept of a server's file name, which may exceed the disk's limit


def fetch(
    manifest: Manifest,
    dataset_dir: str | Path,
    *,
    max_bytes: int,
    max_hours: float = MAX_HOURS,
    overwrite: bool = False,
) -> int:
    """Get the files of a data set from the downloads that its manifest names by URL and SHA-256.

    Existing files stay. A file that differs from its checksum was changed, and is replaced only with `overwrite`. A
    later call resumes an interrupted download, and does not repeat a download whose files are all present. From an
    archive only the files that the manifest lists are unpacked. Each file gets its name after its checksum was checked.

    Args:
        manifest: with `downloads`.
        dataset_dir: folder in which the manifest's paths begin; made if missing.
        max_bytes: largest size of a download, and of its unpacked files; a bound for archives that grow without end.
        max_hours: longest time of a download; a bound for servers that never finish.
        overwrite: replace files that differ from their checksums.

    Returns:
        the number of written files.

    Raises:
        SegpipeError: the manifest names no download; a server cannot be reached, answers with an error, sends another
            file or is too slow; an archive is damaged, larger than `max_bytes`, or has a member whose path leads out of
            the folder; a file of the manifest is in no download, or differs from its checksum; files were changed.
    """
    folder = Path(dataset_dir)
    if not manifest.downloads:
        source = f" from {manifest.source}" if manifest.source else ""
        raise SegpipeError(
            f"{manifest.name}: its manifest names no download; get its files{source} and put them into {folder}"
        )
    wanted = _wanted(manifest)
    missing = {path for path in wanted if not _is_there(folder / path, wanted[path])}
    if not missing:
        return 0
    if not overwrite:
        _require_unchanged(folder, sorted(missing))
    (folder / DOWNLOADS).mkdir(parents=True, exist_ok=True)
    count = len(missing)
    for download in manifest.downloads:
        name = f"{download.sha256[:16]}-{PurePosixPath(download.url).name[-_LONGEST_NAME:]}"
        archive = folder / DOWNLOADS / name
        asked = json_sha256([download.root, sorted(wanted)])
        listing = archive.with_name(f"{name}-{asked[:16]}.files")  # exists once the files are unpacked
        if missing.isdisjoint(_lines(listing) if listing.is_file() else missing):
            continue
        download_file(download, archive, max_bytes=max_bytes, max_hours=max_hours)
        held = _unpack(download, archive, folder, wanted, missing, max_bytes, overwrite=overwrite)
        write_text(listing, "\n".join(sorted(held)))
        archive.unlink()
    if missing:
        raise SegpipeError(
            f"{manifest.name}: {len(missing)} files of the manifest are in none of its downloads: "
            f"{shown(sorted(missing))}; the manifest describes another copy of the data"
        )
    shutil.rmtree(folder / DOWNLOADS, ignore_errors=True)
    return count


def _lines(path: Path) -> list[str]:
    return path.read_text(encoding="utf-8").split("\n")


def _wanted(manifest: Manifest) -> dict[str, str]:
    """Return path -> SHA-256 of every file that the manifest lists; an empty text where it has no checksum."""
    wanted: dict[str, str] = {}
    for case in (*manifest.training, *manifest.test):
        wanted.update(dict.fromkeys(case.files, ""))
        wanted.update(case.sha256)
    return wanted


def _is_there(path: Path, sha256: str) -> bool:
    return path.is_file() and (not sha256 or file_sha256(path) == sha256)


def _require_unchanged(folder: Path, missing: list[str]) -> None:
    """Refuse to replace existing files that differ from the manifest's files."""
    changed = [path for path in missing if os.path.lexists(folder / path) and not (folder / path).is_dir()]
    if changed:
        raise SegpipeError(
            f"{folder}: {counted(len(changed), 'file')} there with another checksum than the manifest's, changed "
            f"later or from another copy: {shown(changed)}; move away the files that you want to keep, and add "
            "--overwrite to replace the rest"
        )


def _unpack(
    download: Download,
    archive: Path,
    folder: Path,
    wanted: dict[str, str],
    missing: set[str],
    max_bytes: int,
    *,
    overwrite: bool,
) -> set[str]:
    """Write the missing files of an archive and remove them from `missing`; return the manifest's files in it."""
    held, total = set(), 0
    try:
        for name, content in archive_files(archive, download.url, max_bytes):
            path = _below_root(name, download)
            if path in wanted:
                held.add(path)
            if path not in missing:
                continue
            if not overwrite:  # the file may have been made meanwhile
                _require_unchanged(folder, [path])
            total += _write(folder / path, content, wanted[path], download.url, max_bytes - total)
            missing.discard(path)
    except DAMAGED as error:
        raise SegpipeError(f"{download.url}: cannot be unpacked: {error}") from error
    return held


def _below_root(name: str, download: Download) -> str:
    path = PurePosixPath(name)
    if download.root and path.is_relative_to(download.root):
        path = path.relative_to(download.root)
    return path.as_posix()


def _write(path: Path, content: IO[bytes], sha256: str, url: str, max_bytes: int) -> int:
    """Write a temporary file, compare its checksum and rename it to `path`; return its size in bytes."""
    path.parent.mkdir(parents=True, exist_ok=True)
    aside = path.with_name(f".{path.name}.part")
    size, digest = 0, hashlib.sha256()
    try:
        with aside.open("wb") as file:
            while chunk := content.read(_CHUNK):
                size += len(chunk)
                require_size(f"{url}, unpacked,", size, max_bytes)
                digest.update(chunk)
                file.write(chunk)
        if sha256 and digest.hexdigest() != sha256:
            raise SegpipeError(
                f"{url}: its {path.name} has SHA-256 {digest.hexdigest()[:12]}..., the manifest says "
                f"{sha256[:12]}...; the manifest describes another copy of the data"
            )
        sync(aside)
        aside.replace(path)
    finally:
        aside.unlink(missing_ok=True)
    return size
