"""Volumes that the viewer NiiVue scrolls through, made small enough to be part of the page.

This folder has a compressed copy of NiiVue 0.69.0 (BSD-2-Clause, https://github.com/niivue/niivue), unchanged from its
npm package.
"""

from __future__ import annotations

import base64
import gzip
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from segpipe.labels import IGNORE, LabelTable
from segpipe.pictures import grey_levels, in_ras_order
from segpipe.pictures.layout import stack_axis

NIIVUE = Path(__file__).parent / "niivue" / "niivue.umd.js.gz"
_MOST_VOXELS = 160**3  # of a volume in the page; larger volumes lose voxels
_FULL_CHANNELS = 4  # more channels share the voxels of this many, so that a page stays small


@dataclass(frozen=True)
class Scrolled:
    """The volumes of a case, each a compressed NIfTI file in base64.

    Attributes:
        image: the scan as grey levels, one byte per voxel.
        reference: class indices.
        prediction: class indices.
        step: the volumes keep every step-th voxel along each axis; 1 keeps all.
        centre_mm: RAS position that the viewer shows first, in the middle of the reference.
        voxel_of_mm: (3, 4), RAS position to voxel of the whole scan.
        stack_axis: RAS axis across which the viewer shows a stack of few slices; None shows three planes.
        others: the scan's further channels as grey levels.
    """

    image: str
    reference: str
    prediction: str
    step: int
    centre_mm: Sequence[float]
    voxel_of_mm: Sequence[Sequence[float]]
    stack_axis: int | None = None
    others: tuple[str, ...] = ()


def scrolled(
    channels: Sequence[NDArray[Any]],
    reference: NDArray[np.integer],
    prediction: NDArray[np.integer],
    affine: NDArray[np.float64],
    centre: Sequence[int],
) -> Scrolled:
    """Return a case's volumes, made small enough for a page.

    Args:
        channels: intensities `(x, y, z)` of each channel that the viewer shows.
        reference: class indices of the same shape.
        prediction: class indices of the same shape.
        affine: (4, 4), voxel to RAS mm.
        centre: voxel that the viewer shows first.
    """
    step = 1
    most = _MOST_VOXELS * _FULL_CHANNELS // max(len(channels), _FULL_CHANNELS)
    while np.prod([-(-length // step) for length in reference.shape]) > most:
        step += 1
    thin = (slice(None, None, step),) * 3
    greys = [grey_levels(channel) for channel in channels]
    if step > 1:  # the image keeps each block's mean, label maps its middle voxel
        greys = [ndimage.uniform_filter(grey, step, mode="nearest") for grey in greys]
    scaled = affine @ np.diag([step, step, step, 1.0])
    images = [_nifti(grey[thin], scaled) for grey in greys]
    files = [_nifti(volume[thin], scaled) for volume in (reference, prediction)]
    (turned,), spacing_mm = in_ras_order(affine, reference)
    return Scrolled(
        image=images[0],
        reference=files[0],
        prediction=files[1],
        step=step,
        centre_mm=(affine @ [*centre, 1.0])[:3].tolist(),
        voxel_of_mm=np.linalg.inv(affine)[:3].tolist(),
        stack_axis=stack_axis(turned.shape, spacing_mm),
        others=tuple(images[1:]),
    )


def label_colors(table: LabelTable) -> Mapping[str, list[Any]]:
    """Return a label table as NiiVue's colour map; the background is transparent, what nobody looked at is grey."""
    names, colors = list(table.names), table.colors
    if table.ignore_value is not None:
        names, colors = [*names, IGNORE], table.drawn_colors
    red, green, blue = (list(channel) for channel in zip(*colors, strict=True))
    return {
        "R": red,
        "G": green,
        "B": blue,
        "A": [0, *[255] * (len(names) - 1)],
        "I": list(range(len(names))),
        "labels": names,
    }


def niivue() -> str:
    """Return NiiVue's code, which defines `niivue`."""
    return gzip.decompress(NIIVUE.read_bytes()).decode()


def _nifti(array: NDArray[Any], affine: NDArray[np.float64]) -> str:
    stored = nibabel.Nifti1Image(np.asarray(array, np.uint8), affine)
    stored.set_qform(None)
    stored.set_sform(affine, code=1)
    return base64.b64encode(gzip.compress(stored.to_bytes(), mtime=0)).decode()
