"""Merge one mask for each class into one label map for each case, as TotalSegmentator's data set needs it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from segpipe.dataset.progress import with_progress
from segpipe.errors import SegpipeError, counted, shown
from segpipe.files import require_writable
from segpipe.labels import same_name
from segpipe.volumes import Volume, check_same_grid, read_volume, write_label_map

MERGED_FOLDER = "merged_labels"
"""Folder below the data set's folder that gets the merged label maps."""
_MOST_CLASSES = 255
_GRID_RULE = "the masks of one case must be on one grid"


@dataclass(frozen=True)
class MergedMasks:
    """Label maps that were merged from masks.

    Attributes:
        labels: case -> path of its label map below the data set's folder.
        classes: stored value -> class name; None without masks.
        notes: the order of the classes and the overlaps, for the user.
    """

    labels: Mapping[str, str]
    classes: Mapping[int, str] | None
    notes: Sequence[str]


def merged_masks(
    masks: Mapping[str, Mapping[str, str]],
    folder: Path,
    classes: Mapping[int, str] | None,
    *,
    write: bool,
) -> MergedMasks:
    """Write one label map for each case; where masks overlap, the class with the larger value counts.

    Args:
        masks: case -> class -> path of its mask below `folder`. A mask has the value 0 and at most one other value.
        folder: of the data set.
        classes: stored value -> name of a mask, with or without the background; None for all masks in alphabetical
            order from 1 on.
        write: False refuses with the name of the option, since files are written below `folder`.

    Raises:
        SegpipeError: `write` is False; a case lacks a mask that is to be merged; a class has no mask; a mask holds
            other values, or is on another grid; or another file has the name of a merged label map.
    """
    names = sorted({name for of_case in masks.values() for name in of_case})
    order, background = _order(names, classes, folder)
    target = folder / MERGED_FOLDER
    listed = shown((f"{value} {name}" for value, name in order.items()), most=8)
    if not write:
        raise SegpipeError(
            f"{folder}: has one mask for each class ({len(names)} classes), and training needs one label map for each "
            f"case; add --merge-masks to write them to {target}. The classes get the values {listed}; where masks "
            "overlap the larger value counts. --class VALUE=NAME chooses classes and values"
        )
    lacking = [
        f"{case} has no {name}" for case, of in masks.items() for name in order.values() if name not in of
    ]
    if lacking:
        raise SegpipeError(
            f"{folder}: {counted(len(lacking), 'mask')} missing: {shown(lacking, '; ')}; add an empty mask if the "
            "class is not there, or choose the classes with --class VALUE=NAME"
        )
    require_writable(target)
    overlaps: Counter[tuple[str, str]] = Counter()
    overlapping = 0
    for case, of_case in with_progress(masks.items(), "Merging masks", total=len(masks)):
        merged, grid_source, of_this = _merged(of_case, folder, order, background)
        overlaps += of_this
        overlapping += bool(of_this)
        _write(merged, grid_source, target / f"{case}.nii.gz")
    notes = [f"merged {counted(len(order), 'mask')} of each case into {target}, in this order: {listed}"]
    if overlaps:
        pairs = (f"{later} over {earlier} {count}" for (earlier, later), count in overlaps.most_common())
        notes.append(
            f"masks overlap in {counted(overlaps.total(), 'voxel')} of {overlapping} of {counted(len(masks), 'case')}; "
            f"the later class counts: {shown(pairs)}"
        )
    return MergedMasks(
        {case: f"{MERGED_FOLDER}/{case}.nii.gz" for case in masks},
        {background: "background", **order},
        notes,
    )


def _order(
    names: Sequence[str], classes: Mapping[int, str] | None, folder: Path
) -> tuple[dict[int, str], int]:
    """Return value -> mask in ascending order, and the value of the background."""
    given = classes or dict(enumerate(names, 1))
    background = next((value for value, name in given.items() if same_name(name) == "background"), 0)
    order = {value: given[value] for value in sorted(given) if value != background or classes is None}
    unknown = [name for name in order.values() if name not in names]
    if unknown:
        raise SegpipeError(
            f"{folder}: --class {unknown[0]}: there is no mask of that name, the masks are {shown(names, most=8)}; "
            "correct the name"
        )
    if not order or background in order or len(order) > _MOST_CLASSES:
        raise SegpipeError(
            f"{folder}: {counted(len(order), 'mask')} to merge, must be 1 to {_MOST_CLASSES} with the background as "
            "value 0; choose with --class VALUE=NAME"
        )
    return order, background


def _merged(
    paths: Mapping[str, str], folder: Path, order: Mapping[int, str], background: int
) -> tuple[npt.NDArray[np.int32], Volume, Counter[tuple[str, str]]]:
    """Return the label map of a case, a volume on its grid, and (earlier, later class) -> number of shared voxels."""
    overlaps: Counter[tuple[str, str]] = Counter()
    first = _mask(folder / paths[next(iter(order.values()))])
    merged = np.full(first.grid.size, background, np.int32)
    for value, name in order.items():
        volume = _mask(folder / paths[name])
        check_same_grid(first, volume, _GRID_RULE)
        mask = volume.array.reshape(merged.shape) != 0
        earlier, counts = np.unique(merged[mask], return_counts=True)
        for stored, count in zip(earlier.tolist(), counts.tolist(), strict=True):
            if stored != background:
                overlaps[order[stored], name] += count
        merged[mask] = value
    return merged, first, overlaps


def _mask(path: Path) -> Volume:
    """Read a mask; refuse other values than 0 and one more."""
    volume = read_volume(path)
    stored = np.unique(volume.array)
    if volume.num_channels != 1 or len(stored) > 2 or (len(stored) == 2 and 0 not in stored):
        raise SegpipeError(
            f"{path}: a mask has one channel with the value 0 and one other value; this file has "
            f"{counted(volume.num_channels, 'channel')} with {shown(map(str, stored))}; correct it"
        )
    return volume


def _write(merged: npt.NDArray[np.int32], source: Volume, path: Path) -> None:
    """Write a label map; an existing file must be equal, since it may be another program's."""
    if path.exists():
        existing = read_volume(path)
        if existing.grid.matches(source.grid) and np.array_equal(
            existing.array.reshape(merged.shape), merged
        ):
            return
        raise SegpipeError(
            f"{path}: exists already with other labels; move the folder {path.parent.name} away"
        )
    write_label_map(merged, source.grid, path, source=source)
