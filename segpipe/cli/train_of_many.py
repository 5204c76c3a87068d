"""`python -P -m segpipe.cli.train_of_many PARENT BUNDLE ...`: `segpipe train` as one of several trainings.

The training gets SIGTERM when the process that started it ends, however that ends: it then saves its state. Linux alone
has such a signal; elsewhere the training goes on, and its lock keeps a second one out of its folder.
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys

_PR_SET_PDEATHSIG = 1  # of linux/prctl.h; it stays when the process becomes MONAI's run


def main() -> None:
    """Run `segpipe train` in this process."""
    parent, *words = sys.argv[1:]
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
        if os.getppid() != int(parent):  # it has ended already
            sys.exit(128 + signal.SIGTERM)
    from segpipe.cli import main as run_command

    sys.argv = ["segpipe", "train", *words]
    run_command()


if __name__ == "__main__":
    main()
