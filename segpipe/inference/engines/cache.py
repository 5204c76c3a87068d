"""The user's cache of converted networks and of measured times; its content is checked, never trusted."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping
from hashlib import sha256
from pathlib import Path
from typing import Any

import platformdirs

from segpipe.errors import SegpipeError
from segpipe.files import aside_folder, json_sha256, read_json, write_json
from segpipe.regular_files import open_regular

_CONTENT = "content.json"


def default_cache_folder() -> Path:
    """Return the folder of converted networks in the user's cache folder."""
    return Path(platformdirs.user_cache_dir("segpipe", appauthor=False)) / "engines"


class EngineCache:
    """Keeps converted networks and measured times on disk, between runs.

    A folder that cannot be written is reported once; then nothing is kept.

    Args:
        folder: made when the first file is written; None: the user's cache folder.
        report: called with a message for the user.
    """

    def __init__(self, folder: Path | None = None, report: Callable[[str], None] = lambda _: None) -> None:
        self.folder = folder or default_cache_folder()
        self._report = report
        self._is_writable = True

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
        return found

    def keep(self, key: Mapping[str, Any], files: Mapping[str, bytes]) -> None:
        """Write files for a key, all or none; damaged files of the key are replaced."""
        place = self._place(key)

        def write() -> None:
            shutil.rmtree(place, ignore_errors=True)
            with aside_folder(place) as folder:
                for name, content in files.items():
                    (folder / name).write_bytes(content)
                hashes = {name: sha256(content).hexdigest() for name, content in files.items()}
                write_json(folder / _CONTENT, {"key": dict(key), "files": hashes})

        self._try(write)

    def forget(self, key: Mapping[str, Any]) -> None:
        """Remove the files of a key."""
        shutil.rmtree(self._place(key), ignore_errors=True)

    def noted(self, key: Mapping[str, Any]) -> Any:
        """Return the plain value that `note` wrote for a key; None if it is missing or damaged."""
        try:
            content = read_json(self._note(key))
        except SegpipeError:
            return None
        has_key = isinstance(content, dict) and content.get("key") == dict(key)
        return content.get("value") if has_key else None

    def note(self, key: Mapping[str, Any], value: Any) -> None:
        """Write a plain value for a key."""
        self._try(lambda: write_json(self._note(key), {"key": dict(key), "value": value}))

    def _try(self, write: Callable[[], None]) -> None:
        if not self._is_writable:
            return
        try:
            write()
        except FileExistsError:
            return  # another process has just written the same
        except OSError as error:
            self._is_writable = False
            self._report(
                f"{self.folder}: converted networks and measured times cannot be kept there ({error.strerror}); the "
                "next run makes them again"
            )

    def _place(self, key: Mapping[str, Any]) -> Path:
        return self.folder / "networks" / json_sha256(dict(key))

    def _note(self, key: Mapping[str, Any]) -> Path:
        return self.folder / "times" / f"{json_sha256(dict(key))}.json"
