"""What the classes of a bundle of the model zoo's layout are: its label table, and the chain that decides on them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from monai.transforms import AsDiscreted, Compose, EnsureTyped, Invertd, Lambdad

from segpipe.bundle.opening import foreign_names
from segpipe.configuration.chains import INTERPOLATES
from segpipe.errors import SegpipeError
from segpipe.labels import LabelTable, class_color, same_name
from segpipe.transforms import RegionsToClassesd
from segpipe.transforms.class_maps import THRESHOLD

_BACKGROUND = "background"


@dataclass(frozen=True)
class ChainDecision:
    """How the scores of a bundle become classes.

    Attributes:
        labels: label table; with regions for a network that scores each of its outputs by itself.
        postprocessing: from scores to class indices.
        order: number of the network's output channel for each of the table's outputs; None: their own order.
    """

    labels: LabelTable
    postprocessing: Compose
    order: tuple[int, ...] | None = None


def foreign_decision(
    root: Path, metadata: Mapping[str, Any], key: str, preprocessing: Compose, postprocessing: Compose
) -> ChainDecision:
    """Return label table and chain of a bundle without segpipe's label table.

    Outputs that exclude each other are the classes in `channel_def`. A network whose outputs are compared with a
    threshold scores regions, which may overlap. Their classes must stand in the metadata, beside `channel_def`, as
    `label_table` and `regions`; segpipe then writes the regions in the stated order, in place of the bundle's own steps
    after the threshold. One output alone is one class and the background.

    Args:
        root: the bundle's folder.
        metadata: of the bundle.
        key: of the scores.
        preprocessing: transforms after the one that loads.
        postprocessing: without the step that saves.

    Raises:
        SegpipeError: the metadata do not say which classes there are, or which class a voxel of several regions gets;
            or class numbers would be interpolated.
    """
    names = foreign_names(root, metadata)
    steps = list(postprocessing.transforms)
    decides = next((place for place, step in enumerate(steps) if _decides(step, key)), None)
    if decides is not None:
        _require_whole_numbers(root, preprocessing, steps, decides, key)
    if decides is None or _of_key(steps[decides], "argmax", key):
        rows = [_row(index, name) for index, name in names.items()]
        return ChainDecision(LabelTable.from_rows(rows), postprocessing)
    labels = _of_regions(root, metadata, names)
    chain = [*steps[:decides], RegionsToClassesd(key, labels), *_after(root, steps[decides:], labels, key)]
    return ChainDecision(
        labels,
        Compose(chain, lazy=postprocessing.lazy, overrides=postprocessing.overrides),
        _order(root, labels, names),
    )


def _row(index: int, name: str) -> dict[str, Any]:
    """Return the row of a class whose value in files is its index."""
    return {"index": index, "name": name, "color": class_color(index), "value": index}


def _decides(step: Any, key: str) -> bool:
    """Return whether a transform makes classes, or 0 and 1, of the scores."""
    if not isinstance(step, AsDiscreted) or key not in step.keys:
        return False
    return any(_of_key(step, name, key) not in (None, False) for name in ("argmax", "threshold", "rounding"))


def _of_key(step: Any, name: str, key: str) -> Any:
    """Return an argument of a transform for one of its keys."""
    return getattr(step, name)[step.keys.index(key)]


def _of_regions(root: Path, metadata: Mapping[str, Any], names: Mapping[int, str]) -> LabelTable:
    """Return the table of a network that scores each of its outputs by itself."""
    (output,) = metadata["network_data_format"]["outputs"].values()
    where = "network_data_format: outputs: pred"
    lacking = [entry for entry in ("label_table", "regions") if not output.get(entry)]
    if len(names) == 1 and len(lacking) == 2:
        (name,) = names.values()
        table = {
            "label_table": [_row(0, _BACKGROUND), _row(1, name)],
            "regions": [{"name": name, "classes": [name]}],
        }
    elif lacking:
        raise SegpipeError(
            f"{root}: its network scores {', '.join(names.values())} each by itself (a threshold, no arg max), so they "
            f"may overlap, and metadata.json does not say which class a voxel in several of them gets: {where} has no "
            f"{' and no '.join(lacking)}; add label_table (the classes, with the values that files store) and regions "
            "(the classes of each output), see docs/howto/model_zoo.md"
        )
    else:
        rows = output["label_table"]
        if not isinstance(rows, list) or not all(isinstance(row, Mapping) for row in rows):
            raise SegpipeError(f"{root}: {where}: label_table must be a list of rows")
        colored = [{"color": class_color(place), **row} for place, row in enumerate(rows)]
        table = {"label_table": colored, "regions": output["regions"]}
    try:
        return LabelTable.from_metadata(table)
    except SegpipeError as refusal:
        raise SegpipeError(f"{root}: {where} in metadata.json: {refusal}") from refusal


def _order(root: Path, labels: LabelTable, names: Mapping[int, str]) -> tuple[int, ...]:
    """Return the network's output channel of each region, by the channel's name."""
    channels = {same_name(name): index for index, name in names.items()}
    order = [channels.get(same_name(region.name)) for region in labels.regions]
    if sorted(channels.values()) != sorted(place for place in order if place is not None):
        raise SegpipeError(
            f"{root}: regions in metadata.json are {', '.join(region.name for region in labels.regions)}, and "
            f"channel_def names {', '.join(names.values())}; give each channel a region of its name"
        )
    return tuple(place for place in order if place is not None)


def _after(root: Path, steps: Sequence[Any], labels: LabelTable, key: str) -> list[Any]:
    """Return the steps that follow the classes; the first of `steps` is the threshold.

    A Lambdad joins the regions to a label map in its own way, which segpipe does instead.
    """
    threshold, *rest = steps
    value = _of_key(threshold, "threshold", key)
    if value != THRESHOLD:
        raise SegpipeError(
            f"{root}: its AsDiscreted has the threshold {value}, where segpipe writes regions from {THRESHOLD}; "
            "correct the configuration, or use MONAI's own run"
        )
    rest = [step for step in rest if not isinstance(step, Lambdad | EnsureTyped)]
    if rest and len(labels.regions) > 1:
        raise SegpipeError(
            f"{root}: its postprocessing goes on with {type(rest[0]).__name__} after the threshold, for each region by "
            "itself; segpipe writes one label map there: leave the step out, or use MONAI's own run"
        )
    return rest


def _require_whole_numbers(
    root: Path, preprocessing: Compose, steps: Sequence[Any], decides: int, key: str
) -> None:
    """Refuse an inverse that interpolates the numbers of classes; step `decides` makes these numbers."""
    sampling = [one for one in preprocessing.flatten().transforms if isinstance(one, INTERPOLATES)]
    if not sampling or any(_decides(step, key) for step in steps[decides + 1 :]):
        return
    for place, step in enumerate(steps):
        if (
            place > decides
            and isinstance(step, Invertd)
            and key in step.keys
            and not _of_key(step, "nearest_interp", key)
        ):
            raise SegpipeError(
                f"{root}: its Invertd undoes {type(sampling[0]).__name__} after AsDiscreted, by linear interpolation: "
                "labels would be fractions of class numbers, such as 1.5; give "
                f"--set postprocessing#transforms#{place}#nearest_interp=True, or correct the configuration"
            )
