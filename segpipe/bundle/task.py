"""What a bundle is for: segmentation or classification, from its metadata alone."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, get_args

from segpipe.configuration.metadata import read_metadata
from segpipe.errors import SegpipeError

Task = Literal["segmentation", "classification"]
"""What a bundle's network is for."""


def task_of(root: Path) -> Task:
    """Return the task that a bundle's metadata.json names, see `task_in`.

    Nothing of the bundle runs.

    Raises:
        SegpipeError: the folder has no readable metadata.json, or the bundle has another task.
    """
    metadata = root / "configs" / "metadata.json"
    if not metadata.is_file():
        raise SegpipeError(f"{root}: is not a bundle: no configs/metadata.json; give a bundle's folder")
    return task_in(read_metadata(metadata), root)


def task_in(metadata: Mapping[str, Any], where: Path | str = "metadata.json") -> Task:
    """Return the task that metadata name, or that their outputs show.

    The texts "segmentation" and "classification" are taken as they are. Bundles of the model zoo have other texts, such
    as "Decathlon spleen segmentation"; the type and format of their outputs count. Without such entries the task is
    segmentation.

    Args:
        metadata: of the bundle.
        where: what the metadata belong to, for the message.

    Raises:
        SegpipeError: the outputs are something else, such as boxes, points or images.
    """
    named = metadata.get("task")
    kinds = [str(named)] if named in get_args(Task) else [_kind(output) for output in _outputs(metadata)]
    if not kinds or "segmentation" in kinds:
        return "segmentation"
    if set(kinds) == {"classification"}:
        return "classification"
    other = next(kind for kind in kinds if kind != "classification")
    raise SegpipeError(
        f"{where}: is no bundle for segmentation or classification: by its metadata.json the network's output is "
        f"{other} (task: {str(named)[:80]!r}); use MONAI's own run"
    )


def _outputs(metadata: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """Return the entries of MONAI's metadata about the network's outputs."""
    described = metadata.get("network_data_format")
    outputs = described.get("outputs") if isinstance(described, Mapping) else None
    entries = outputs.values() if isinstance(outputs, Mapping) else ()
    return [output for output in entries if isinstance(output, Mapping)]


def _kind(output: Mapping[str, Any]) -> str:
    """Return what an output is, from its type and format in the words of MONAI's metadata."""
    kind, form = (str(output.get(name, "")).lower() for name in ("type", "format"))
    if form == "segmentation":
        return "segmentation"
    if kind == "object" or form in ("dict", "boxes"):
        return "a set of boxes (detection)"
    if form in ("points", "landmarks"):
        return "a set of points (landmarks)"
    if form in ("classes", "classification") or output.get("spatial_shape") == [
        1,
        output.get("num_channels"),
    ]:
        return "classification"
    if form in ("image", "magnitude", "hounsfield", "kspace", "raw"):
        return "an image"
    return "segmentation"


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
