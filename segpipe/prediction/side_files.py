"""Files beside label maps: overlay pictures, and arrays that are too large for memory."""

from __future__ import annotations

import os
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from segpipe.errors import SegpipeError
from segpipe.inference.class_volume import ClassVolume
from segpipe.labels import LabelTable
from segpipe.pictures.scan_picture import scan_picture
from segpipe.prediction.options import PredictOptions
from segpipe.volumes import IGNORED_MARK, Grid

_COMPRESS_LEVEL = 3  # of 9: in two fifths of the time of Pillow's 6, for a file that is a twelfth larger


def make_side_folders(folder: Path, options: PredictOptions) -> None:
    """Make the folders of the outputs beside the label maps; each gets a mark so that no scans are searched in it.

    Raises:
        SegpipeError: a file has the name of such a folder.
    """
    for name in options.side_folders:
        with suppress(FileExistsError):
            (folder / name).mkdir()
        if not (folder / name).is_dir():
            raise SegpipeError(f"{folder / name}: a file has the name of segpipe's folder {name}; rename it")
        (folder / name / IGNORED_MARK).touch()


def array_on_disk(path: Path, shape: tuple[int, ...]) -> NDArray[np.float16]:
    """Return an array backed by a file; the disk space is reserved now: a full disk would kill the process later."""
    path.parent.mkdir(parents=True)
    array = np.lib.format.open_memmap(path, mode="w+", dtype=np.float16, shape=shape)
    if hasattr(os, "posix_fallocate"):
        with path.open("r+b") as file:
            os.posix_fallocate(file.fileno(), 0, path.stat().st_size)
    return array


def write_overlay(
    path: Path,
    name: str,
    grid: Grid,
    grey: NDArray[np.uint8],
    labels: NDArray[np.integer[Any]],
    volumes: Sequence[ClassVolume],
    table: LabelTable,
) -> None:
    """Draw a scan with its label map.

    Args:
        path: of the PNG.
        name: of the scan.
        grid: of the scan.
        grey: the scan's first channel, `(x, y[, z])`.
        labels: class indices `(x, y[, z])`.
        volumes: one per foreground class or region, for the legend.
        table: names and colours of the classes.
    """
    legend = [
        (
            volume.label,
            f"{volume.voxels} px" if volume.millilitres is None else f"{volume.millilitres:.3g} ml",
            target.color,
        )
        for volume, target in zip(volumes, table.targets, strict=True)
    ]
    picture = scan_picture(grey, labels, grid.affine, name, legend, table.colors)
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(picture).save(path, compress_level=_COMPRESS_LEVEL)
