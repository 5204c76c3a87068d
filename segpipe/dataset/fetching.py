"""Downloads a data set from its publisher, checks the files, and unpacks them into its folder alone."""

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
_LONGEST_NAME = 100  # of a file that is downloaded; a server's can be longer than a disk allows


def fetch(
    manifest: Manifest,
    dataset_dir: str | Path,
    *,
    max_bytes: int,
    max_hours: float = MAX_HOURS,
    overwrite: bool = False,
) -> int:
    """Get the files of a data set that its manifest names by URL and SHA-256.

    Files that are there already stay; one that differs from its checksum was changed by somebody, and is replaced only
    where `overwrite` says so. A download that broke off is resumed, also by a later call; a later call does not repeat
    a download whose files are all there. Of an archive only the files that the manifest lists are unpacked, each
    compared with its checksum before it gets its name.

    Args:
        manifest: with `downloads`.
        dataset_dir: where the manifest's paths begin; made if missing.
        max_bytes: that a download, and what it unpacks to, may have; for an archive that grows without end.
        max_hours: that a download may take; for a server that never comes to an end.
        overwrite: replace files that differ from their checksums.

    Returns:
        how many files were written.

    Raises:
        SegpipeError: the manifest names no download; a server that cannot be reached, answers with an error or sends
            something else, or too slowly; an archive that is damaged, larger than `max_bytes`, or has a member that
            leads out of its folder; a file of the manifest that is in no download, or differs from its checksum; files
            that were changed.
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
        listing = archive.with_name(f"{name}-{asked[:16]}.files")  # once its files are unpacked
        if missing.isdisjoint(_lines(listing) if listing.is_file() else missing):
            continue
        download_file(download, archive, max_bytes=max_bytes, max_hours=max_hours)
        held = _unpack(download, archive, folder, wanted, missing, max_bytes, overwrite=overwrite)
        write_text(listing, "\n".join(sorted(held)))
        archive.unlink()
    if missing:
        raise SegpipeError(
            f"{manifest.name}: {len(missing)} files of the manifest are in none of its downloads: "
            f"{shown(sorted(missing))}; the manifest is of another copy"
        )
    shutil.rmtree(folder / DOWNLOADS, ignore_errors=True)
    return count


def _lines(path: Path) -> list[str]:
    return path.read_text(encoding="utf-8").split("\n")


def _wanted(manifest: Manifest) -> dict[str, str]:
    """Return path -> SHA-256 of every file that the manifest lists; empty where it has none."""
    wanted: dict[str, str] = {}
    for case in (*manifest.training, *manifest.test):
        wanted.update(dict.fromkeys(case.files, ""))
        wanted.update(case.sha256)
    return wanted


def _is_there(path: Path, sha256: str) -> bool:
    return path.is_file() and (not sha256 or file_sha256(path) == sha256)


def _require_unchanged(folder: Path, missing: list[str]) -> None:
    """Refuse to replace files that are there, but are not those of the manifest."""
    changed = [path for path in missing if os.path.lexists(folder / path) and not (folder / path).is_dir()]
    if changed:
        raise SegpipeError(
            f"{folder}: {counted(len(changed), 'file')} there with another checksum than the manifest's, changed since "
            f"or of another copy: {shown(changed)}; move away what you want to keep, and add --overwrite to replace it"
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
    """Write the files of an archive that are missing; they leave `missing`. Return the manifest's files in it."""
    held, total = set(), 0
    try:
        for name, content in archive_files(archive, download.url, max_bytes):
            path = _below_root(name, download)
            if path in wanted:
                held.add(path)
            if path not in missing:
                continue
            if not overwrite:  # somebody may have made it since
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
    """Write a file aside, compare it with its checksum and give it its name; return its size."""
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
                f"{url}: its {path.name} has SHA-256 {digest.hexdigest()[:12]}..., the manifest says {sha256[:12]}...; "
                "the manifest is of another copy"
            )
        sync(aside)
        aside.replace(path)
    finally:
        aside.unlink(missing_ok=True)
    return size
