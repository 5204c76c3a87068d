"""The classes that 3D Slicer's segmentations name: each file numbers its segments by itself."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from segpipe.errors import SegpipeError
from segpipe.labels import same_name
from segpipe.volumes import VolumeFormat, volume_format
from segpipe.volumes.segment_names import segment_names


def segment_classes(label_maps: Sequence[str], folder: Path) -> dict[int, str] | None:
    """Return stored value -> class name of 3D Slicer's segmentations; None for other label maps, or without names.

    Args:
        label_maps: paths below `folder`.
        folder: of the data set.

    Raises:
        SegpipeError: a value has different names in two files, since 3D Slicer numbers segments in the order in which
            they were drawn; or a file cannot be read.
    """
    if not label_maps or any(
        volume_format(folder / path) is not VolumeFormat.SEG_NRRD for path in label_maps
    ):
        return None
    classes: dict[int, str] = {}
    first: dict[int, str] = {}
    for path in label_maps:
        for value, name in segment_names(folder / path).items():
            other = classes.setdefault(value, name)
            if same_name(other) != same_name(name):
                raise SegpipeError(
                    f"{folder}: the value {value} is {other} in {first[value]} and {name} in {path}; one value must "
                    "have one meaning: save the segmentations again with their segments in one order, or export label "
                    "maps with a colour table"
                )
            first.setdefault(value, path)
    return {0: "background", **dict(sorted(classes.items()))} if classes and 0 not in classes else None
