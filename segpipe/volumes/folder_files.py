"""The files below a folder: which are looked at, which are companions of scans, and which cannot be opened."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NoReturn

from segpipe.errors import SegpipeError
from segpipe.regular_files import NO_REGULAR_FILE, require_regular

_COMPANION_SUFFIXES = frozenset(
    {".json", ".jsonl", ".log", ".txt", ".md", ".csv", ".tsv", ".yaml", ".yml", ".xml", ".pdf", ".html"}
    | {
        ".ini",
        ".label",
        ".ctbl",
        ".cfg",
        ".xls",
        ".xlsx",
        ".doc",
        ".docx",
        ".rtf",
        ".py",
        ".ipynb",
        ".m",
        ".sh",
        ".md5",
        ".sha256",
    }
)
_COMPANION_NAMES = frozenset(
    {"license", "licence", "readme", "changes", "dicomdir", "sha256sums", "thumbs.db"}
)
IGNORED_MARK = ".segpipe-ignore"
"""A file of this name says that no scans are to be looked for in its folder and below."""


def files_below(top: Path, onerror: Callable[[OSError], None] | None = None) -> Iterator[Path]:
    """Yield the files that are not hidden, sorted by folder, following links but entering no folder twice.

    Args:
        top: the folder to search.
        onerror: called for a folder that cannot be read; such a folder is an error where nothing is called.
    """
    entered: set[str] = set()
    for folder, folders, names in os.walk(top, followlinks=True, onerror=onerror or refuse_unreadable):
        real = os.path.realpath(folder)
        if real in entered:
            folders.clear()
            continue
        entered.add(real)
        if IGNORED_MARK in names:
            folders.clear()
            continue
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        yield from (Path(folder) / name for name in sorted(names) if not name.startswith("."))


def refuse_unreadable(error: OSError) -> NoReturn:
    """Raise the error of a folder that cannot be listed as a SegpipeError."""
    raise SegpipeError(
        f"{error.filename}: cannot be read ({error.strerror}); check the permissions"
    ) from error


def why_no_file(file: Path) -> str:
    """Say why a name in a folder is no file to read; empty where it is one."""
    try:
        require_regular(file)
    except SegpipeError:
        return NO_REGULAR_FILE
    except FileNotFoundError:
        return "is a link to a file that is not there; mend the link, or remove it"
    except OSError as error:
        return f"cannot be read ({error.strerror}); check the permissions"
    return ""


def is_companion(path: Path) -> bool:
    """Say whether a file is a document, table, setting or index, as often lies beside scans, by its name."""
    return path.suffix.lower() in _COMPANION_SUFFIXES or path.name.lower() in _COMPANION_NAMES
