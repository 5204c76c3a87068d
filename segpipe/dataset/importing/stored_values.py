"""The values that label maps store: in how many files, in how many voxels, and whether a background is among them."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from segpipe.dataset.importing.found_cases import FoundCase
from segpipe.dataset.progress import with_progress
from segpipe.errors import SegpipeError
from segpipe.label_values import whole_numbers
from segpipe.labels import same_name
from segpipe.volumes import label_frame, read_volume, volume_format

_MOST_THREADS = 4  # each thread holds a label map in memory
_MOST_VALUES = 256  # of a label map; a file with more values holds intensities


@dataclass(frozen=True)
class StoredValues:
    """The values of some label maps.

    Attributes:
        files: number of label maps.
        maps: value -> number of label maps that contain it, ascending.
        voxels: value -> number of voxels in all label maps.
    """

    files: int
    maps: Mapping[int, int]
    voxels: Mapping[int, int]

    def share(self, value: int) -> float:
        """Return the share of a value in all voxels, in per cent."""
        return 100 * self.voxels[value] / sum(self.voxels.values())


def stored_values(cases: Sequence[FoundCase], folder: Path) -> StoredValues:
    """Read label maps for their values.

    Args:
        cases: with label maps.
        folder: of the data set.

    Raises:
        SegpipeError: a file cannot be read, has several channels, values that are not whole, or too many values.
    """
    with ThreadPoolExecutor(min(_MOST_THREADS, os.cpu_count() or 1)) as pool:
        counts = list(
            with_progress(
                pool.map(lambda case: _voxels_of(case, folder), cases),
                "Reading label maps",
                total=len(cases),
            )
        )
    maps = Counter(value for of_map in counts for value in of_map)
    voxels: Counter[int] = Counter()
    for of_map in counts:
        voxels.update(of_map)
    return StoredValues(len(cases), dict(sorted(maps.items())), dict(sorted(voxels.items())))


def background_warnings(classes: Mapping[int, str], stored: StoredValues, files: int) -> list[str]:
    """Return a warning if the background is one by its value alone, or smaller than another class.

    The background gets no score. In microscopy, 0 may be the membrane and the largest value the cells.

    Args:
        classes: stored value -> class name.
        stored: values of the label maps.
        files: number of all label maps; sizes are compared only if all were read.
    """
    named = next((value for value, name in classes.items() if same_name(name) == "background"), None)
    background = min(classes) if named is None and 0 not in classes else (named or 0)
    largest = max(stored.voxels, key=lambda value: stored.voxels[value])
    is_small = stored.files == files and largest != background and background in stored.voxels
    if named is not None and not is_small:
        return []
    shares = (
        f" and covers {stored.share(background):.3g} % of the label maps, {classes[largest]} "
        f"{stored.share(largest):.3g} %"
        if is_small
        else ""
    )
    kind = (
        f"the value {background} ({classes[background]}) counts as the background, since no class has the name "
        "background"
        if named is None
        else f"the value {background} is the background"
    )
    other = largest if is_small else next(value for value in classes if value != background)
    name = classes[background] if named is None else "NAME"
    return [
        f"{kind}{shares}. The background gets no score. To score it, give its class a name and name another class "
        f"background: --class {background}={name} --class {other}=background"
    ]


def _voxels_of(case: FoundCase, folder: Path) -> dict[int, int]:
    """Return value -> number of voxels of a label map."""
    path = folder / str(case.label)
    volume = read_volume(path, frame=label_frame(path, case.frame, [folder / name for name in case.images]))
    if volume.num_channels != 1:
        remedy = (
            "save its colours as one channel with a class value a pixel, no palette"
            if volume_format(path).is_2d_format
            else "merge its maps into one with a class value a voxel (add --frames if its fourth axis is time)"
        )
        raise SegpipeError(
            f"{path}: has {volume.num_channels} channels, a label map has one; {remedy}, or say which files are the "
            "label maps with --image and --label"
        )
    try:
        values, counts = np.unique(whole_numbers(volume.array), return_counts=True)
    except SegpipeError as error:
        raise SegpipeError(f"{path}: {error}") from error
    if len(values) > _MOST_VALUES:
        raise SegpipeError(
            f"{path}: holds {len(values)} values, more than a label map has; say which files are the label maps with "
            "--image and --label"
        )
    return {int(value): int(count) for value, count in zip(values, counts, strict=True)}
