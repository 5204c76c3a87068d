"""`python -P -m segpipe.cli.train_copy COPY COMMAND run ...`: MONAI's command on the copy of a trusted bundle.

The copy's folder stands last on the import path. PYTHONPATH would put it first, and Python would run a
`sitecustomize.py` in it before anything else. The copy is removed at the end.
"""

from __future__ import annotations

import atexit
import os
import runpy
import shlex
import shutil
import sys
from pathlib import Path

from segpipe.import_time import show_trackers


def main() -> None:
    """Run `python -m monai.bundle` in this process."""
    show_trackers()  # this process trains
    copy, command, *arguments = sys.argv[1:]
    atexit.register(_remove, Path(copy), os.getpid())
    sys.path.append(str(Path(copy) / "bundle"))
    sys.orig_argv[:] = shlex.split(command)  # the command that resumes after an interruption
    sys.argv = ["monai.bundle", *arguments]
    runpy.run_module("monai.bundle", run_name="__main__", alter_sys=True)


def _remove(copy: Path, process: int) -> None:
    """Remove the copy at the end of the training process, but not at the end of a data loader's worker."""
    if os.getpid() == process:
        shutil.rmtree(copy, ignore_errors=True)


if __name__ == "__main__":
    main()
