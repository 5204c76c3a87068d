"""One message when a disk is full or outputs are deleted, and a log file that survives a full disk."""

from __future__ import annotations

import errno
import logging
import os
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from segpipe.errors import SegpipeError, counted, exception_chain, shown
from segpipe.files import folder_stamp
from segpipe.printable import PrintableFormatter

_FULL_OR_READ_ONLY = {errno.ENOSPC, errno.EDQUOT, errno.EROFS}


def disk_error(error: BaseException | None) -> OSError | None:
    """Return the OSError of a full or read-only disk that an exception is, or was raised from; else None."""
    for cause in exception_chain(error):
        if isinstance(cause, OSError) and cause.errno in _FULL_OR_READ_ONLY:
            return cause
    return None


@contextmanager
def disk_errors(folder: Path) -> Iterator[None]:
    """Turn the error of a full or read-only disk, or of an output that cannot be opened, into one message."""
    try:
        yield
    except SegpipeError as error:
        if disk_error(error) is None:
            raise
        raise SegpipeError(_disk_message(folder, error)) from error
    except OSError as error:
        if disk_error(error) is not None:
            raise SegpipeError(_disk_message(folder, error)) from error
        if Path(os.fsdecode(error.filename or "")).parent != folder:
            raise
        raise SegpipeError(
            f"{error.filename}: cannot be read and written ({error.strerror}); mend its permissions, or choose another "
            "--output"
        ) from error


@contextmanager
def kept_outputs(folder: Path) -> Iterator[Callable[[Iterable[Path]], None]]:
    """End a run if its output folder, or a file that it wrote, is deleted or moved during the run.

    Args:
        folder: output folder; it exists.

    Yields:
        a check of written files; call it during the run, and at the end for all files.

    Raises:
        SegpipeError: the folder or some of the files no longer exist.
    """
    stamp = folder_stamp(folder)

    def require(files: Iterable[Path]) -> None:
        if folder_stamp(folder) != stamp:
            raise SegpipeError(
                f"{folder}: was deleted or moved while segpipe wrote there, with all finished files; run the same "
                "command again"
            )
        gone = [file.name for file in files if not os.path.lexists(file)]
        if gone:
            raise SegpipeError(
                f"{folder}: {counted(len(gone), 'label map')} that segpipe wrote there did not stay: deleted or moved "
                f"while it ran: {shown(gone)}; run the same command again"
            )

    try:
        yield require
    except Exception:
        require(())  # a missing folder is the real reason
        raise


def _disk_message(folder: Path, error: Exception) -> str:
    known = disk_error(error)
    remedy = "make it writable" if known is not None and known.errno == errno.EROFS else "free some space"
    return (
        f"{folder}: cannot be written any more ({known.strerror if known else error}); finished files stay: "
        f"{remedy}, then run the same command to continue"
    )


class _LogFile(logging.FileHandler):
    """A log file that drops lines when the disk is full; another message reports the full disk."""

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802 - logging's name
        """Print nothing on the terminal."""

    def close(self) -> None:
        """Close the file, even if buffered lines cannot be written."""
        with suppress(OSError):
            super().close()


@contextmanager
def log_to(path: Path) -> Iterator[logging.Logger]:
    """Log to a file, appending; each record begins on a new line, and no name in a message can imitate a record."""
    log = logging.getLogger(f"segpipe.predict.{path}")
    log.setLevel(logging.INFO)
    log.propagate = False
    handler = _LogFile(path, encoding="utf-8", errors="backslashreplace")
    handler.setFormatter(PrintableFormatter("%(asctime)s %(levelname)s %(message)s"))
    log.addHandler(handler)
    try:
        yield log
    finally:
        log.removeHandler(handler)
        handler.close()
