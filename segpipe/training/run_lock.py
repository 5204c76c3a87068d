"""The lock on a run's folder, against a second training in it."""

from __future__ import annotations

import errno
import json
import os
import platform
import warnings
from datetime import datetime
from pathlib import Path

from filelock import FileLock, Timeout

from segpipe.errors import SegpipeError
from segpipe.ranks import run_id

LOCK_FILE = ".segpipe-lock"
WITHOUT_LOCKS = {errno.ENOSYS, errno.EOPNOTSUPP, errno.ENOTSUP, errno.ENOLCK}


def lock_run(folder: Path) -> FileLock:
    """Lock a run's folder for this process; the lock ends with the process in any case.

    If this process holds the lock already, it is taken again, for a resume within one program. Loader workers do not
    hold the lock.

    Args:
        folder: folder of the run; it exists.

    Returns:
        The lock; it ends at its `release`, or when the object is deleted.

    Raises:
        SegpipeError: another process holds the lock; the message names process and host if they are known. Or the
            folder is not writable.
    """
    path = folder / LOCK_FILE
    lock = FileLock(path, blocking=False, thread_local=False, is_singleton=True, fallback_to_soft=False)
    try:
        lock.acquire()
        name_holder(path)
    except Timeout:
        raise SegpipeError(
            f"{folder}: a training writes there now{lock_holder(path)}; wait for it or end it, or choose another name "
            "with --run_name NAME (segpipe train: run_name=NAME)"
        ) from None
    except OSError as error:
        if error.errno in WITHOUT_LOCKS:
            warnings.warn(
                f"{folder}: its disk has no locks ({error.strerror}), so a second training of this name would not be "
                "refused; start none",
                stacklevel=2,
            )
        elif isinstance(error, PermissionError):
            raise SegpipeError(
                f"{folder}: cannot be written ({error.strerror}); mend its permissions, or choose another --output_dir "
                "(segpipe train: output_dir=DIR)"
            ) from error
        else:
            raise
    return lock


def name_holder(path: Path) -> None:
    """Write into a lock file which process holds the lock, on which host and since when, and torchrun's name for it."""
    path.write_text(json.dumps(_this_process()), encoding="utf-8")


def started_by(folder: Path) -> str:
    """Return torchrun's name of the start that made or resumed a run; empty without torchrun.

    Args:
        folder: of the run.
    """
    try:
        holder = json.loads((folder / LOCK_FILE).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return ""
    return str(holder.get("torchrun", "")) if isinstance(holder, dict) else ""


def _this_process() -> dict[str, str | int]:
    about: dict[str, str | int] = {"process": os.getpid(), "host": platform.node()}
    about["since"] = f"{datetime.now():%Y-%m-%d %H:%M:%S}"
    if run_id():
        about["torchrun"] = run_id()
    return about


def lock_holder(path: Path) -> str:
    """Return who holds the lock, for a message; empty if the file does not say."""
    try:
        holder = json.loads(path.read_text(encoding="utf-8"))
        return f" (process {holder['process']} on {holder['host']}, since {holder['since']})"
    except (OSError, ValueError, KeyError, TypeError):
        return ""
