"""Writes files atomically, checks folders before work, and computes checksums."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import shutil
import tempfile
import time
import unicodedata
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path, PurePath
from typing import Any, BinaryIO

from segpipe.documents import DocumentError, RepeatedKeyError, parse_json, read_document
from segpipe.errors import SegpipeError
from segpipe.regular_files import open_regular

_STAGED, _PARTIAL = ".segpipe-", ".partial"
_STALE_AFTER_S = 3600.0


def file_sha256(path: Path) -> str:
    """Return the SHA-256 of a file's bytes, in hex.

    Raises:
        SegpipeError: the file cannot be read, or is no regular file.
    """
    try:
        with open_regular(path) as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise SegpipeError(
            f"{path}: cannot be read ({error.strerror}); check path and permissions"
        ) from error


def json_sha256(value: Any) -> str:
    """Return the SHA-256 of a plain value's canonical JSON (sorted keys, no spaces), in hex."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()


def read_json(path: Path, what: str = "the file") -> Any:
    """Return the content of a JSON file of UTF-8 text, with or without a byte order mark.

    Args:
        path: of the file.
        what: kind of the file, for messages.

    Raises:
        SegpipeError: the file cannot be read, is not JSON, exceeds a bound of `segpipe.documents`, or repeats a key in
            an object; Python's json would silently keep the last value.
    """
    try:
        return parse_json(read_document(path), unique_keys=True)
    except DocumentError as error:
        subject = "" if isinstance(error, RepeatedKeyError) else f"{what} "
        raise SegpipeError(f"{path}: {subject}{error.reason}") from (error.__cause__ or error)


@contextmanager
def staging_folder(path: Path) -> Iterator[Path]:
    """Yield a hidden folder beside `path` for new files; move its files into place at the end of the block.

    A reader never gets half of a file: each file is synced to disk before it is renamed, the one named `path` last. A
    folder that a killed process left for the same `path` is removed once it is an hour old.

    Args:
        path: path of the finished file; its folder is made. Files of other names are placed beside it.

    Yields:
        The folder. If the block raises, no file is moved and the folder is removed.
    """
    with _hidden_folder(path) as folder:
        yield folder
        last = folder / path.name
        for file in [*sorted(set(folder.iterdir()) - {last}), last]:
            sync(file)
            file.replace(path.parent / file.name)
        sync(path.parent)


@contextmanager
def aside_folder(path: Path) -> Iterator[Path]:
    """Yield a hidden folder for new files, which is renamed to `path` at the end: an incomplete folder never appears.

    Args:
        path: path of the finished folder; the folder above it is made.

    Yields:
        The folder. If the block raises, it is removed.

    Raises:
        FileExistsError: at the end of the block `path` exists and is not an empty folder.
    """
    with _hidden_folder(path) as hidden:
        folder = hidden / path.name
        folder.mkdir()  # with the permissions of a normal folder; a temporary folder has fewer
        yield folder
        sync(folder)
        try:
            folder.rename(path)
        except OSError as error:
            if os.path.lexists(path):
                raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), str(path)) from error
            raise
        sync(path.parent)


@contextmanager
def _hidden_folder(path: Path) -> Iterator[Path]:
    """Yield a hidden folder beside `path`, which is removed at the end; also remove old ones of killed processes."""
    path.parent.mkdir(parents=True, exist_ok=True)
    prefix = f"{_STAGED}{hashlib.sha256(path.name.encode()).hexdigest()[:12]}-"
    for stale in path.parent.glob(f"{prefix}*{_PARTIAL}"):
        if _last_change(stale) < time.time() - _STALE_AFTER_S:
            shutil.rmtree(stale, ignore_errors=True)
    folder = Path(tempfile.mkdtemp(prefix=prefix, suffix=_PARTIAL, dir=path.parent))
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def half_written(folder: Path) -> list[Path]:
    """Return the hidden folders with unfinished files, of running or killed processes."""
    return sorted(folder.glob(f"{_STAGED}*{_PARTIAL}"))


def discard_remains(folder: Path) -> None:
    """Remove unfinished files of killed processes in a folder that no other process writes to now."""
    for remains in half_written(folder):
        shutil.rmtree(remains, ignore_errors=True)


def write_atomically(path: Path, write: Callable[[BinaryIO], object]) -> None:
    """Write a file under a temporary name, sync it to disk and rename it, as `staging_folder` does.

    Args:
        path: path of the finished file; its folder is made.
        write: writes the content to an open binary file.
    """
    with staging_folder(path) as folder, (folder / path.name).open("wb") as file:
        write(file)


def sync(path: Path) -> None:
    """Return once the content of a file, or the list of names in a folder, is on disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _last_change(folder: Path) -> float:
    """Return when a folder or a file in it was last written, in seconds; the present time if it just disappears."""
    try:
        return max(path.stat().st_mtime for path in (folder, *folder.iterdir()))
    except FileNotFoundError:
        return time.time()


def composed_name(name: str) -> str:
    """Return a file name in composed Unicode form for comparison; macOS stores an accented letter as two characters."""
    return unicodedata.normalize("NFC", name)


def distinct_names(first: PurePath, second: PurePath) -> tuple[str, str]:
    """Return the shortest different endings of two paths, for messages that name both files.

    images/c0.nii.gz and labels/c0.nii.gz keep their folders, since their names are equal; for scans/a.nii.gz and
    scans/b.nii.gz the names are enough.

    Args:
        first: path of one file.
        second: path of the other file.

    Returns:
        The two endings with "/", with equally many parts; both whole paths if the paths are equal.
    """
    for count in range(1, max(len(first.parts), len(second.parts)) + 1):
        endings = [PurePath(*path.parts[-count:]).as_posix() for path in (first, second)]
        if endings[0] != endings[1]:
            return endings[0], endings[1]
    return first.as_posix(), second.as_posix()


def folder_stamp(folder: Path) -> tuple[int, int] | None:
    """Return disk and inode of a folder, which identify it even after another folder has its name; None if missing."""
    try:
        status = folder.stat()
    except OSError:
        return None
    return status.st_dev, status.st_ino


def is_folder(path: Path) -> bool:
    """Return whether there is a folder; also False if permissions hide it."""
    try:
        return path.is_dir()
    except OSError:
        return False


def require_writable(folder: Path) -> None:
    """Refuse a folder in which no file can be created, before work whose result would go there.

    No file is left behind: if the folder does not exist yet, the nearest existing folder above it is tested.

    Raises:
        SegpipeError: the folder or one above it is a file, or it is not writable.
    """
    place = folder
    while not os.path.lexists(place) and place != place.parent:
        place = place.parent
    try:
        with tempfile.TemporaryFile(dir=place):
            pass
    except OSError as error:
        raise SegpipeError(
            f"{folder}: nothing can be written there: {place} is "
            f"{f'not writable ({error.strerror})' if place.is_dir() else 'no folder'}; "
            "choose another output folder, or mend the permissions"
        ) from error


def require_writable_file(path: Path) -> None:
    """Refuse a path where no file can be written, before work whose result would go there.

    Raises:
        SegpipeError: the path is a folder, or its folder is not writable.
    """
    if is_folder(path):
        raise SegpipeError(f"{path}: is a folder; give the name of a file")
    require_writable(path.parent)


def require_writable_files(folder: Path, names: Iterable[str]) -> None:
    """Refuse a folder in which files of these names cannot be written, before the work whose results they hold.

    Raises:
        SegpipeError: the folder is not writable, or contains a folder of such a name.
    """
    require_writable(folder)
    for name in names:
        if is_folder(folder / name):
            raise SegpipeError(
                f"{folder / name}: is a folder, where a file of this name is to be written; move it away, or choose "
                "another output folder"
            )


def write_text(path: Path, text: str) -> None:
    """Write UTF-8 text atomically."""
    write_atomically(path, lambda file: file.write(text.encode()))


def write_json(path: Path, value: Any) -> None:
    """Write a plain value as indented JSON with sorted keys, atomically."""
    write_text(path, json.dumps(value, indent=2, sort_keys=True, allow_nan=False) + "\n")
