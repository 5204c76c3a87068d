"""What a bundle is for: segmentation or classification, from its metadata alone."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from segpipe.errors import SegpipeError
from segpipe.files import read_json

Task = Literal["segmentation", "classification"]
"""What a bundle's network is for."""


def task_of(root: Path) -> Task:
    """Return the task that a bundle's metadata.json names; any text but "classification" means segmentation.

    Nothing of the bundle runs.

    Raises:
        SegpipeError: the folder has no readable metadata.json.
    """
    metadata = root / "configs" / "metadata.json"
    if not metadata.is_file():
        raise SegpipeError(f"{root}: is not a bundle: no configs/metadata.json; give a bundle's folder")
    content = read_json(metadata, "the metadata")
    return task_in(content if isinstance(content, dict) else {})


def task_in(metadata: Mapping[str, Any]) -> Task:
    """Return the task that a bundle's metadata names, see `task_of`."""
    return "classification" if metadata.get("task") == "classification" else "segmentation"
