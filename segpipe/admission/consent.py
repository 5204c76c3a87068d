"""The user's consent to run a bundle: tied to the content of its files, stored in the user's configuration folder."""

from __future__ import annotations

import hashlib
import os
import shutil
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, BinaryIO

import platformdirs
from filelock import FileLock

from segpipe.configuration.bundle_modules import MODULE_SUFFIXES
from segpipe.documents import DocumentError, parse_json, read_document
from segpipe.errors import SegpipeError
from segpipe.files import json_sha256, write_json
from segpipe.regular_files import open_regular

UNHASHED = frozenset({"docs", "models", "runs", "predictions", "eval", "output", "outputs"})
"""Folders of a bundle with weights, documents and results: only data, except for modules in them."""
_NEVER = frozenset({".git", "__pycache__"})  # segpipe neither reads nor copies these folders
_MOST_FILES = 20_000
_MOST_BYTES = 2**31
_BLOCK = 2**20


@dataclass(frozen=True)
class Copy:
    """A copy of a bundle's files, each read once: the hashed bytes are the bytes that run.

    Attributes:
        root: folder with a copy of every hashed file, at its path in the bundle. Folders that are not hashed are links
            to the bundle's folders.
        sha256: hash of these files and their paths.
        beside: file outside the bundle -> its copy.
        beside_sha256: file outside the bundle -> hash of its copy.
    """

    root: Path
    sha256: str
    beside: Mapping[Path, Path]
    beside_sha256: Mapping[Path, str]

    def file(self, path: Path, bundle: Path) -> Path:
        """Return the copy of a file in the bundle, or of one outside."""
        whole = path.resolve()
        if whole in self.beside:
            return self.beside[whole]
        for place, folder in ((path.absolute(), bundle.absolute()), (whole, bundle.resolve())):
            if place.is_relative_to(folder) and ".." not in place.parts:
                return self.root / place.relative_to(folder)
        raise SegpipeError(f"{path}: was not there when {bundle} was read; run the command again")


@contextmanager
def copied(bundle: Path, beside: Sequence[Path] = (), into: Path | None = None) -> Iterator[Copy]:
    """Copy and hash the files of a bundle that could run, and configuration files outside; each file is read once.

    Args:
        bundle: the bundle's folder.
        beside: configuration files; those outside the bundle are copied, too.
        into: an empty folder that is kept; default: a temporary folder that is removed at the end.

    Raises:
        SegpipeError: a file cannot be read, is not a regular file, or there are too many files.
    """
    with tempfile.TemporaryDirectory(prefix="segpipe-") as temporary:
        folder = into or Path(temporary)
        hashes = {}
        for path in _hashed_files(bundle):
            relative = path.relative_to(bundle)
            hashes[relative.as_posix()] = _copy(path, folder / "bundle" / relative)
        (folder / "bundle").mkdir(exist_ok=True)
        for name in UNHASHED:
            if (bundle / name).is_dir() and not (folder / "bundle" / name).exists():
                (folder / "bundle" / name).symlink_to((bundle / name).absolute(), target_is_directory=True)
        copies, of_copies = {}, {}
        for number, path in enumerate(beside):
            whole = path.resolve()
            if not whole.is_relative_to(bundle.resolve()) or _is_unhashed(path.absolute(), bundle.absolute()):
                copies[whole] = folder / "beside" / str(number) / path.name
                of_copies[whole] = _copy(path, copies[whole])
        yield Copy(folder / "bundle", json_sha256(hashes), copies, of_copies)


def _is_unhashed(path: Path, bundle: Path) -> bool:
    return path.is_relative_to(bundle) and bool(UNHASHED.intersection(path.relative_to(bundle).parts[:1]))


def _hashed_files(bundle: Path) -> list[Path]:
    hashed: list[Path] = []
    for folder, folders, files in os.walk(bundle):
        place = Path(folder)
        folders[:] = sorted(set(folders) - _NEVER)
        is_data = _is_unhashed(place, bundle)
        for name in folders:
            is_plain = is_data or _is_unhashed(place / name, bundle)
            if (place / name).is_symlink() and not (is_plain and _holds_data_alone(place / name)):
                raise SegpipeError(
                    f"{place / name}: is a link to a folder, whose files may change unnoticed; put a copy of the "
                    "folder there"
                )
        hashed += [place / name for name in files if not is_data or name.endswith(MODULE_SUFFIXES)]
        if len(hashed) > _MOST_FILES:
            raise SegpipeError(
                f"{bundle}: has more than {_MOST_FILES} files beside weights and results; is it a bundle?"
            )
    return sorted(hashed)


def _holds_data_alone(folder: Path) -> bool:
    """Return whether no module can be imported from a linked folder of weights or results."""
    paths = (path for path, _ in zip(folder.resolve().rglob("*"), range(_MOST_FILES), strict=False))
    return not any(
        path.name.endswith(MODULE_SUFFIXES) or (path.is_symlink() and path.is_dir()) for path in paths
    )


def _copy(path: Path, copy: Path) -> str:
    """Copy a file, and return the hash of the copied bytes."""
    copy.parent.mkdir(parents=True, exist_ok=True)
    digest = hashlib.sha256()
    with _opened(path) as source, copy.open("xb") as target:
        size = 0
        while block := source.read(_BLOCK):
            size += len(block)
            if size > _MOST_BYTES:
                raise SegpipeError(f"{path}: is larger than {_MOST_BYTES} bytes; move it out of the bundle")
            digest.update(block)
            target.write(block)
    return digest.hexdigest()


def _opened(path: Path) -> BinaryIO:
    try:
        return open_regular(path)
    except OSError as error:
        raise SegpipeError(f"{path}: cannot be read ({error.strerror}); check the permissions") from error


def consents_file() -> Path:
    """Return the path of the file with the user's consents."""
    return Path(platformdirs.user_config_dir("segpipe", appauthor=False)) / "trusted.json"


def is_trusted(copy: Copy) -> bool:
    """Return whether the user has trusted exactly these files."""
    known = {entry["sha256"] for entry in _consents()}
    return copy.sha256 in known and known.issuperset(copy.beside_sha256.values())


def keep_consent(copy: Copy, bundle: Path) -> Path:
    """Store the user's consent to run these files; return the path of the file with the consents.

    Raises:
        SegpipeError: the file cannot be read or written.
    """
    path, now = consents_file(), datetime.now(UTC).isoformat(timespec="seconds")
    new = {copy.sha256: bundle.resolve(), **{sha256: file for file, sha256 in copy.beside_sha256.items()}}
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(f"{path}.lock"):
            kept = [entry for entry in _consents() if entry["sha256"] not in new]
            added = [{"sha256": sha256, "path": str(place), "time": now} for sha256, place in new.items()]
            write_json(path, {"version": 1, "trusted": [*kept, *added]})
    except OSError as error:
        raise SegpipeError(
            f"{path}: cannot be written ({error.strerror}); use --trust, which keeps nothing"
        ) from error
    return path


def _consents() -> list[dict[str, Any]]:
    path = consents_file()
    if not path.exists():
        return []
    try:
        content = parse_json(read_document(path))
        entries = content["trusted"]
        if content["version"] != 1 or not all(isinstance(entry["sha256"], str) for entry in entries):
            raise KeyError("version")
    except (DocumentError, KeyError, TypeError) as error:
        reason = (
            error.reason if isinstance(error, DocumentError) else "is not segpipe's list of trusted bundles"
        )
        raise SegpipeError(f"{path}: {reason}; remove the file, and trust your bundles again") from error
    return list(entries)


def discard(folder: Path) -> None:
    """Remove the folder of a copy that was kept."""
    shutil.rmtree(folder, ignore_errors=True)
