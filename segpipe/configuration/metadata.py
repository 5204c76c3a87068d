"""Reads a bundle's metadata as data only: MONAI must not evaluate its texts."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Literal, get_args

from segpipe.documents import LARGEST_CONFIGURATION, DocumentError, parse_json, read_document
from segpipe.errors import SegpipeError
from segpipe.names import name_problem

Task = Literal["segmentation", "classification"]
"""What a bundle's network is for."""
_INSTRUCTIONS = ("$", "%")


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


def read_metadata(path: Path) -> dict[str, Any]:
    """Return the metadata of a bundle.

    Args:
        path: path of its metadata.json.

    Raises:
        SegpipeError: the file cannot be read, or holds texts that are not data, see `metadata_problems`.
    """
    try:
        content = parse_json(read_document(path, LARGEST_CONFIGURATION))
    except DocumentError as error:
        raise SegpipeError(f"{path}: {error.reason}") from error
    if not isinstance(content, dict):
        raise SegpipeError(
            f"{path}: the metadata is a {type(content).__name__}, must be an object {{...}}; give a bundle's own"
        )
    for place, what in metadata_problems(content):
        raise SegpipeError(f"{path}: {place.replace('::', '#')} {what}")
    return content


def metadata_problems(metadata: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Find texts that MONAI does not take as data: it evaluates a text `$...` that is referred to, and replaces `%...`.

    Args:
        metadata: content of the file.

    Yields:
        the place, with `::` between its parts, and the end of a sentence that begins with it. Names of classes and
        channels must pass `segpipe.names.name_problem`; other texts are checked only for MONAI's evaluation.
    """
    for place, text in _texts(metadata):
        problem = name_problem(text) if _is_name(place) else None
        if problem is None and text.startswith(_INSTRUCTIONS):
            problem = (
                f"begins with {text[0]}, which MONAI reads as an instruction; metadata must be plain values: "
                "rewrite it"
            )
        if problem is not None:
            yield "::".join(place), f"is {text!r}: it {problem}"


def _is_name(place: tuple[str, ...]) -> bool:
    in_table = place[0] in {"label_table", "regions"} and place[-1] == "name"
    return in_table or (len(place) > 1 and place[-2] == "channel_def")


def _texts(content: Any) -> Iterator[tuple[tuple[str, ...], str]]:
    """Yield every text with its place; the place of a key is the key itself."""
    waiting: list[tuple[tuple[str, ...], Any]] = [((), content)]
    while waiting:
        place, value = waiting.pop()
        if isinstance(value, str):
            yield place, value
        elif isinstance(value, Mapping):
            waiting += [((*place, str(key)), key) for key in value if isinstance(key, str)]
            waiting += [((*place, str(key)), item) for key, item in value.items()]
        elif isinstance(value, list):
            waiting += [((*place, str(number)), item) for number, item in enumerate(value)]
