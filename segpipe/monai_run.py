"""MONAI's own run of a bundle: whether this process is one, and how a refusal ends it.

There an ordinary exception passes through the config parser and the engine, each of which prints it again with a
traceback. A refusal therefore ends such a process with its one message. Every other program that makes or runs a bundle
(a server, MONAI Label, a notebook) gets the SegpipeError: MONAI's parser raises a RuntimeError from it, of which
`segpipe.errors.segpipe_cause` returns it.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager

from segpipe.errors import segpipe_cause

_MAIN_PROGRAMS = ("monai.bundle", "monai.bundle.__main__", "segpipe.cli.train_copy")


def is_monai_run() -> bool:
    """Return whether the main program is `python -m monai.bundle`, which `segpipe train` starts, too."""
    spec = getattr(sys.modules.get("__main__"), "__spec__", None)
    return spec is not None and spec.name in _MAIN_PROGRAMS


class RunEnded(SystemExit):
    """The end of MONAI's run with one message, which Python prints when the process ends.

    Ignite logs the text of what passes through its loop; this text says only that the reason follows, so that the
    message is read once.
    """

    def __str__(self) -> str:
        """Return what a log shows."""
        return "refused, for the reason below"


@contextmanager
def refusal_ends_run() -> Iterator[None]:
    """End the process with the one message of a SegpipeError and exit status 1, in MONAI's own run only.

    Also usable as a decorator. MONAI wraps what a transform raises, so the chain of causes is searched. In any other
    program the exception passes as it is.

    Raises:
        RunEnded: in MONAI's run, in place of a SegpipeError, or of an exception that was raised from one.
    """
    try:
        yield
    except Exception as error:
        cause = segpipe_cause(error)
        if cause is None or not is_monai_run():
            raise
        raise RunEnded(f"segpipe: {cause}") from None
