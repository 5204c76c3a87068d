"""The folder of uploads and results: for this user alone, and removed at the end, after a crash at the next start."""

from __future__ import annotations

import shutil
import stat
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from segpipe.errors import SegpipeError

_PREFIX = "segpipe-serve-"
_LOCK = ".lock"


@contextmanager
def scratch_folder(parent: Path | None = None) -> Iterator[Path]:
    """Make a folder that only this user can read, and remove it at the end.

    Folders of earlier servers that were killed are removed first: they hold scans.

    Args:
        parent: folder for it; None: the system's folder for temporary files.

    Raises:
        SegpipeError: the parent is no folder, or is not writable.
    """
    parent = Path(tempfile.gettempdir()) if parent is None else parent
    try:
        folder = Path(tempfile.mkdtemp(prefix=_PREFIX, dir=parent))  # with mode 0700
    except OSError as error:
        raise SegpipeError(
            f"{parent}: no folder for uploads can be made there ({error.strerror}); choose another --scratch"
        ) from error
    try:
        with FileLock(folder / _LOCK):
            for left in _left_behind(parent, folder):
                shutil.rmtree(left, ignore_errors=True)
            yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _left_behind(parent: Path, own: Path) -> Iterator[Path]:
    """Yield the folders of servers that no longer run; never a link, and never another user's folder."""
    for folder in sorted(parent.glob(f"{_PREFIX}*")):
        status = folder.lstat()
        if folder == own or not stat.S_ISDIR(status.st_mode) or status.st_uid != own.lstat().st_uid:
            continue
        if not (folder / _LOCK).is_file():
            continue  # its server starts just now
        try:
            with FileLock(folder / _LOCK, blocking=False):
                yield folder
        except Timeout:
            continue
