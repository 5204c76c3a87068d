"""`python -P -m segpipe.cli.train_own_modules BUNDLE run ...`: MONAI's command, with a bundle's modules to import.

The bundle's folder stands last on the import path. PYTHONPATH would put it first, and Python would run a
`sitecustomize.py` in it before anything else.
"""

from __future__ import annotations

import runpy
import sys


def main() -> None:
    """Run `python -m monai.bundle` in this process."""
    bundle, *arguments = sys.argv[1:]
    sys.path.append(bundle)
    sys.argv = ["monai.bundle", *arguments]
    runpy.run_module("monai.bundle", run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main()
