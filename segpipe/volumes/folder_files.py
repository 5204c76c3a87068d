"""List the files below a folder; recognise companions of scans and files that cannot be opened."""

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
"""Name of a file whose folder, with all folders below it, is not searched for scans."""


def files_below(top: Path, onerror: Callable[[OSError], None] | None = None) -> Iterator[Path]:
    """Yield the files that are not hidden, sorted by folder; links are followed, but no folder is entered twice.

    Args:
        top: the folder to search.
        onerror: called for a folder that cannot be read; None raises an error instead.
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
    """Return why a path is no readable regular file; empty for a readable file."""
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
    """Return whether a file is a document, table, setting or index that often accompanies scans, by its name."""
    return path.suffix.lower() in _COMPANION_SUFFIXES or path.name.lower() in _COMPANION_NAMES
