"""The commands that follow a finished training."""

from __future__ import annotations

import os
import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from segpipe.bundle.given import are_given
from segpipe.bundle.task import Task, task_of
from segpipe.errors import SegpipeError
from segpipe.files import read_json
from segpipe.networks.weights import sidecar_path

_WORDS: Mapping[Task, tuple[str, str]] = {
    "segmentation": ("SCANS", "LABEL_MAPS"),
    "classification": ("IMAGES", "PREDICTIONS"),
}


def next_commands(run: Path, configuration: Mapping[str, Any]) -> list[str]:
    """Return the commands that score a run's weights on held-out cases, segment scans, and keep the weights.

    Args:
        run: folder of the run.
        configuration: of the run; `bundle_root`, `manifest`, `dataset_dir` and `fold` are used.

    Returns:
        Lines for a shell in the working directory; SCANS or IMAGES stands for the user's files. Empty if the
        configuration does not name its bundle.
    """
    root = configuration.get("bundle_root")
    if not isinstance(root, str) or root.startswith("$"):
        return []
    weights = weights_of(run)
    bundle = ["--bundle", short(root), "--weights", short(weights)]
    commands = []
    manifest, dataset_dir, fold = (
        str(configuration.get(name, "$")) for name in ("manifest", "dataset_dir", "fold")
    )
    held_out = _held_out(weights)
    fold = fold if held_out is None else str(held_out)  # where a fold stands in for a split's missing cases
    known = not are_given(configuration) and fold != "all"
    if known and not any(text.startswith("$") for text in (manifest, dataset_dir, fold)):
        of_data = ["--manifest", short(manifest), "--dataset-dir", short(dataset_dir), "--split", fold]
        output = ["--output", short(run / "held_out")]
        commands.append(shlex.join(["segpipe", "evaluate", *bundle, *of_data, *output]))
    scans, results = _WORDS[_task(Path(root))]
    commands.append(f"segpipe predict {scans} {shlex.join(bundle)} --output {results}")
    commands.append(shlex.join(["segpipe", "promote", short(weights), "--bundle", short(root)]))
    return commands


def _held_out(weights: Path) -> int | str | None:
    """Return the fold or split that the sidecar of weights names; None without one."""
    try:
        sidecar = read_json(sidecar_path(weights))
    except SegpipeError:
        return None
    fold = sidecar.get("training", {}).get("fold") if isinstance(sidecar, dict) else None
    return fold if isinstance(fold, int | str) else None


def _task(root: Path) -> Task:
    try:
        return task_of(root)
    except SegpipeError:  # the bundle was moved while its training ran
        return "segmentation"


def weights_of(run: Path) -> Path:
    """Return the weights of a finished run: of its best epoch, else of its last."""
    return next((run / name for name in ("best.pt", "last.pt") if (run / name).is_file()), run / "last.pt")


def short(path: str | Path) -> str:
    """Return a path below the working directory relative to it; other paths and names of manifests as they are."""
    if not Path(path).is_absolute():
        return str(path)
    relative = os.path.relpath(path)
    return str(path) if relative.startswith("..") else relative
