"""Detects MONAI's own run of a bundle, and ends it with one message where segpipe refuses.

In MONAI's run, an exception passes through the config parser and the engine, and each prints a traceback. There a
refusal therefore ends the process with its one message. Any other program that makes or runs a bundle (a server, MONAI
Label, a notebook) gets the SegpipeError: MONAI's parser raises a RuntimeError from it, and
`segpipe.errors.segpipe_cause` returns it.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager

from segpipe.errors import segpipe_cause
from segpipe.ranks import is_first_to_say

_MAIN_PROGRAMS = (
    *("monai.bundle", "monai.bundle.__main__"),
    *("segpipe.cli.train_copy", "segpipe.cli.train_rank"),
)
_LABEL_CONFIGURATION = "monailabel_train.json"  # which MONAI Label writes for such a training


def is_monai_run() -> bool:
    """Return whether the main program is `python -m monai.bundle`; `segpipe train` starts it, too."""
    spec = getattr(sys.modules.get("__main__"), "__spec__", None)
    return spec is not None and spec.name in _MAIN_PROGRAMS


def is_monai_label() -> bool:
    """Return whether MONAI Label trains in this process, or started it for a training on several cards."""
    return "monailabel" in sys.modules or any(_LABEL_CONFIGURATION in argument for argument in sys.argv)


class RunEnded(SystemExit):
    """The end of MONAI's run with one message, which Python prints when the process ends.

    Ignite logs the text of an exception that passes through its loop. This text only says that the reason follows, so
    that users read the message once.
    """

    def __str__(self) -> str:
        """Return the text for a log."""
        return "refused, for the reason below"


@contextmanager
def refusal_ends_run() -> Iterator[None]:
    """In MONAI's run only, end the process with the message of a SegpipeError and exit status 1.

    Of several processes that refuse the same, one has the message. Also usable as a decorator. MONAI wraps the
    exceptions of transforms, so the chain of causes is searched. In any other program the exception passes unchanged.

    Raises:
        RunEnded: in MONAI's run, instead of a SegpipeError or of an exception that was raised from one.
    """
    try:
        yield
    except Exception as error:
        cause = segpipe_cause(error)
        if cause is None or not is_monai_run():
            raise
        message = f"segpipe: {cause}"
        raise RunEnded(message if is_first_to_say(message) else 1) from None
