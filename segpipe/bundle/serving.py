"""Puts the weights of a training in MONAI Label where MONAI Label serves them."""

from __future__ import annotations

import shutil
from pathlib import Path

from segpipe.bundle.next_commands import weights_of
from segpipe.bundle.promote import promote

FORMER = "before_monai_label"
"""Folder in `models/` with the weights that the first training in MONAI Label replaced."""


def serve_weights(run: Path, bundle: Path) -> Path:
    """Promote the weights of a run in place of the bundle's; the first time, keep a copy of the bundle's.

    MONAI Label starts a training to get better weights at once, and serves `models/model.pt` alone.

    Args:
        run: folder of the run; the weights of its best epoch are taken, else of its last.
        bundle: the bundle's folder, which is running already.

    Returns:
        path of the new weights.

    Raises:
        SegpipeError: the bundle's `inference.yaml` does not fit the run, see `segpipe.bundle.promote.promote`.
    """
    models = bundle / "models"
    former = models / FORMER
    if not former.exists():
        former.mkdir(parents=True)
        for path in models.glob("model*"):
            if path.is_file():
                shutil.copy2(path, former)
    return promote(weights_of(run), bundle, replace=True, trust=True)
