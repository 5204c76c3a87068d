"""`python -m segpipe.cli.train_rank COMMAND COPY run ...`: MONAI's command in one of several processes.

torchrun starts it, see `segpipe.cli.train_ranks`, which also removes the copy of a trusted bundle.
"""

from __future__ import annotations

import logging
import runpy
import shlex
import signal
import sys
import warnings
from pathlib import Path

from segpipe.import_time import show_trackers
from segpipe.ranks import has_refused, rank


def main() -> None:
    """Run `python -m monai.bundle` in this process."""
    command, copy, *arguments = sys.argv[1:]
    if has_refused():  # torchrun starts again after any end; the reason of a refusal is still there
        raise SystemExit(1)
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # Ctrl-C reaches all processes; one of them reports it
    show_trackers()  # this process trains
    if rank():  # the log is that of rank 0
        logging.disable(logging.INFO)
        warnings.simplefilter("ignore")
    if copy:
        sys.path.append(str(Path(copy) / "bundle"))
    sys.orig_argv[:] = shlex.split(command)  # the command that resumes after an interruption
    sys.argv = ["monai.bundle", *arguments]
    runpy.run_module("monai.bundle", run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main()
