"""What a bundle is for: segmentation or classification, from its metadata alone."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from segpipe.configuration.metadata import Task as Task
from segpipe.configuration.metadata import task_in as task_in
from segpipe.configuration.metadata import task_of as task_of
from segpipe.errors import SegpipeError


def require_task(root: Path, metadata: Mapping[str, Any], task: Task) -> None:
    """Refuse a bundle of another task.

    Args:
        root: the bundle's folder.
        metadata: of the bundle.
        task: the task that is needed.

    Raises:
        SegpipeError: the message has both tasks.
    """
    of_bundle = task_in(metadata, root)
    if of_bundle != task:
        raise SegpipeError(
            f"{root}: is a bundle for {of_bundle} (the task in its metadata.json), where a bundle for {task} is "
            "needed; choose another bundle, or another command"
        )
