"""Judges texts in a configuration that name code, an address, or a path outside the run."""

from __future__ import annotations

import importlib.util
import re
from functools import cache
from pathlib import PurePosixPath, PureWindowsPath

_DOTTED = re.compile(r"[^\W\d]\w*(\.[^\W\d]\w*)+")
_ADDRESS = re.compile(r"[A-Za-z][A-Za-z0-9+.-]{0,40}://|\b(?i:data|file|javascript):")
ANYWHERE = ("dataset_dir", "manifest")
"""Ids whose values are read only as scans, or as a list of scans."""
_FILES = frozenset(
    {"csv", "gz", "jpg", "json", "log", "nii", "npy", "npz", "png", "pt", "pth", "tif", "ts", "txt", "yaml"}
)
_LONGEST = 80


def text_problem(text: str, identifier: str) -> str | None:
    """Return why a text is not a plain value; None if it is one.

    Args:
        text: text of the configuration, or in one of its expressions.
        identifier: id of the text.

    Returns:
        the end of a sentence that begins with the id.
    """
    if _ADDRESS.search(text):
        return f"names the address {quoted(text)}"
    if _is_outside(text) and identifier.partition("::")[0] not in ANYWHERE:
        return f"names the path {quoted(text)}, which may lie outside the run's folders"
    first, _, last = text.partition(".")[0], *text.rpartition(".")[1:]
    if _DOTTED.fullmatch(text) and last not in _FILES and _is_installed(first):
        return f"names {quoted(text)}, which may be imported as code"
    return None


def quoted(text: str) -> str:
    """Return a text for a message: in quotes, escaped, and cut to one line."""
    whole = ascii(text) if not text.isprintable() else repr(text)
    return whole if len(whole) <= _LONGEST else f"{whole[: _LONGEST - 4]}...{whole[-1]}"


def _is_outside(text: str) -> bool:
    """Return whether a text reads as an absolute path, a home folder, or a path out of a folder."""
    posix, windows = PurePosixPath(text), PureWindowsPath(text)
    leaves = ".." in windows.parts or bool(windows.anchor) or posix.is_absolute()
    return text.startswith("~") or (leaves and text not in ("/", "\\"))


@cache
def _is_installed(name: str) -> bool:
    try:
        return importlib.util.find_spec(name) is not None
    except (ImportError, ValueError):  # a module without a specification
        return True
