"""The user's cache of converted networks and of measured times; its content is checked, never trusted."""

from __future__ import annotations

import os
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

import platformdirs

from segpipe.errors import SegpipeError
from segpipe.files import aside_folder, json_sha256, read_json, write_json
from segpipe.inference.engines.names import engine_versions, is_installed
from segpipe.regular_files import open_regular

_CONTENT = "content.json"
_NETWORKS, _TIMES = "networks", "times"
_MOST_NETWORKS, _MOST_BYTES, _MOST_TIMES = 50, 2 * 10**9, 500
_STALE_AFTER_S = 3600.0
_HEX_DIGITS = 64  # of a SHA-256, the name of each folder and note


def default_cache_folder() -> Path:
    """Return the folder of converted networks in the user's cache folder."""
    return Path(platformdirs.user_cache_dir("segpipe", appauthor=False)) / "engines"


class EngineCache:
    """Keeps converted networks and measured times on disk, between runs.

    At most 50 networks of 2 GB together are kept, and 500 notes of times. Networks of another version of their engine
    are removed first, then those that were not used for the longest time. A folder that cannot be written is reported
    once; then nothing is kept.

    Args:
        folder: made when the first file is written; None: the user's cache folder.
        report: called with a message for the user.
        writes: whether files may be written and removed.
    """

    def __init__(
        self,
        folder: Path | None = None,
        report: Callable[[str], None] = lambda _: None,
        *,
        writes: bool = True,
    ) -> None:
        self.folder = folder or default_cache_folder()
        self._report = report
        self._is_writable = writes

    def files(self, key: Mapping[str, Any]) -> dict[str, bytes] | None:
        """Return name -> bytes of the files that `keep` wrote for a key; None if they are missing or damaged."""
        place = self._place(key)
        try:
            content = read_json(place / _CONTENT)
            if not isinstance(content, dict) or content.get("key") != dict(key):
                return None
            found = {}
            for name, digest in dict(content["files"]).items():
                if Path(name).name != name:
                    return None
                with open_regular(place / name) as file:
                    found[name] = file.read()
                if sha256(found[name]).hexdigest() != digest:
                    return None
        except (OSError, SegpipeError, KeyError, TypeError, ValueError):
            return None
        if self._is_writable:
            with suppress(OSError):
                os.utime(place / _CONTENT)  # the time of the last use
        return found

    def keep(self, key: Mapping[str, Any], files: Mapping[str, bytes]) -> None:
        """Write files for a key, all or none; damaged files of the key are replaced, and old networks removed."""
        place = self._place(key)

        def write() -> None:
            _remove(place)
            with aside_folder(place) as folder:
                for name, content in files.items():
                    (folder / name).write_bytes(content)
                hashes = {name: sha256(content).hexdigest() for name, content in files.items()}
                write_json(folder / _CONTENT, {"key": dict(key), "files": hashes})

        if self._try(write):
            self._prune(place)

    def forget(self, key: Mapping[str, Any]) -> None:
        """Remove the files of a key."""
        if self._is_writable:
            _remove(self._place(key))

    def noted(self, key: Mapping[str, Any]) -> Any:
        """Return the plain value that `note` wrote for a key; None if it is missing or damaged."""
        try:
            content = read_json(self._note(key))
        except SegpipeError:
            return None
        has_key = isinstance(content, dict) and content.get("key") == dict(key)
        return content.get("value") if has_key else None

    def note(self, key: Mapping[str, Any], value: Any) -> None:
        """Write a plain value for a key; the oldest values are removed."""
        if not self._try(lambda: write_json(self._note(key), {"key": dict(key), "value": value})):
            return
        notes = sorted(
            ((_seconds(path), path) for path in _ours(self.folder / _TIMES, ".json")), reverse=True
        )
        for _, path in notes[_MOST_TIMES:]:
            with suppress(OSError):
                path.unlink()

    def networks(self) -> list[KeptNetwork]:
        """Return the kept networks, the last used one first; those of another version of their engine come last."""
        kept = [KeptNetwork.of(place) for place in _ours(self.folder / _NETWORKS)]
        return sorted(kept, key=lambda one: (one.is_current, one.last_use), reverse=True)

    def _prune(self, newest: Path) -> None:
        """Remove networks until number and bytes are within their limits; the newest one stays in any case."""
        size = count = 0
        for one in sorted(self.networks(), key=lambda one: one.place != newest):
            size, count = size + one.size, count + 1
            if one.place != newest and (count > _MOST_NETWORKS or size > _MOST_BYTES):
                _remove(one.place)
        for remains in _inside(newest.parent):  # of killed processes
            if remains.name.startswith(".") and _seconds(remains) < time.time() - _STALE_AFTER_S:
                shutil.rmtree(remains, ignore_errors=True)

    def _try(self, write: Callable[[], None]) -> bool:
        """Write, and return whether it is done."""
        if not self._is_writable:
            return False
        try:
            write()
        except FileExistsError:
            return False  # another process has just written the same
        except OSError as error:
            self._is_writable = False
            self._report(
                f"{self.folder}: converted networks and measured times cannot be kept there ({error.strerror}); the "
                "next run makes them again"
            )
            return False
        return True

    def _place(self, key: Mapping[str, Any]) -> Path:
        return self.folder / _NETWORKS / json_sha256(dict(key))

    def _note(self, key: Mapping[str, Any]) -> Path:
        return self.folder / _TIMES / f"{json_sha256(dict(key))}.json"


@dataclass(frozen=True)
class KeptNetwork:
    """A converted network in the cache.

    Attributes:
        place: its folder.
        size: bytes of its files.
        last_use: in seconds since 1970.
        is_current: whether the installed versions of its engine can use it.
    """

    place: Path
    size: int
    last_use: float
    is_current: bool

    @classmethod
    def of(cls, place: Path) -> KeptNetwork:
        """Return what is known of a folder; a damaged one has no current network."""
        try:
            key = read_json(place / _CONTENT)["key"]
            is_current = is_installed(key["engine"]) and key["versions"] == engine_versions(key["engine"])
        except (SegpipeError, KeyError, TypeError):
            is_current = False
        size = sum(_size(path) for path in _inside(place))
        return cls(place, size, _seconds(place / _CONTENT), is_current)


def _ours(folder: Path, suffix: str = "") -> Iterator[Path]:
    """Yield the entries of a folder that have names as segpipe gives them."""
    for path in _inside(folder):
        digits = path.name.removesuffix(suffix)
        if (
            path.name.endswith(suffix)
            and len(digits) == _HEX_DIGITS
            and not set(digits) - set("0123456789abcdef")
        ):
            yield path


def _inside(folder: Path) -> list[Path]:
    try:
        return list(folder.iterdir())
    except OSError:
        return []


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return 0  # another process has just removed it


def _seconds(path: Path) -> float:
    try:
        return path.stat().st_mtime
    except OSError:
        return 0.0


def _remove(place: Path) -> None:
    """Remove a folder: it vanishes at once, so that no process finds a half of it."""
    try:
        aside = Path(tempfile.mkdtemp(prefix=".removed-", dir=place.parent))
    except OSError:
        return
    with suppress(OSError):  # it is not there, or another process holds or removes it
        place.rename(aside / place.name)
    shutil.rmtree(aside, ignore_errors=True)
