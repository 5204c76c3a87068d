"""Fill the contours of an RT Structure Set on the slices of its series."""

from __future__ import annotations

from collections import defaultdict

import numpy as np
from pydicom.dataset import Dataset

from segpipe.errors import SegpipeError
from segpipe.volumes.contours import Points, filled
from segpipe.volumes.geometry import ras_to_lps
from segpipe.volumes.label_objects import LabelObject, Mask, SeriesPlace

BETWEEN_SLICES = 0.1
"""Contours may lie beside their slice by this share of the slice distance: planning systems round positions."""
_CLOSED = ("CLOSED_PLANAR", "CLOSEDPLANAR_XOR")


def structure_mask(structures: LabelObject, place: SeriesPlace, number: int) -> Mask:
    """Return the pixels whose centres lie inside the contours of one region of interest.

    Contours of one slice are filled by the even-odd rule, see `segpipe.volumes.contours.filled`.

    Args:
        structures: of the series.
        place: the series.
        number: of the region of interest; without contours it is empty.

    Returns:
        bool array (x, y, z).

    Raises:
        SegpipeError: a contour is open, a point, between slices, beyond the series, or on another slice than it names.
    """
    name = structures.numbers[number]
    to_index = np.linalg.inv(ras_to_lps(place.grid.affine))
    of_slice: dict[int, list[Points]] = defaultdict(list)
    for item in structures.dataset.get("ROIContourSequence") or ():
        if str(item.get("ReferencedROINumber")) != str(number):
            continue
        for position, contour in enumerate(item.get("ContourSequence") or (), start=1):
            where = f"{structures.path}: {name}: contour {position}"
            points = _points(contour, where)
            indices = points @ to_index[:3, :3].T + to_index[:3, 3]
            index = _slice(indices[:, 2], where, place)
            _require_named_slice(contour, index, where, place)
            if len(points) > 2:  # fewer points have no area
                of_slice[index].append(indices[:, :2])
    mask = np.zeros(place.grid.size, bool)
    for index, contours in of_slice.items():
        mask[:, :, index] = filled(contours, place.grid.size[:2])  # type: ignore[arg-type]  # a series is 3D
    return mask


def _points(contour: Dataset, where: str) -> Points:
    """Return the points in LPS mm, (n, 3)."""
    kind = str(contour.get("ContourGeometricType"))
    if kind not in _CLOSED:
        raise SegpipeError(
            f"{where} is {kind}: a class needs areas, that is contours of the type CLOSED_PLANAR; close it in the "
            "planning system, or choose other regions of interest with --roi"
        )
    try:
        values = np.array([float(value) for value in contour.get("ContourData") or ()])
        points: Points = values.reshape(-1, 3)
    except ValueError as error:
        raise SegpipeError(
            f"{where}: its ContourData are no points of x, y, z ({error}); export it again"
        ) from error
    if not len(points) or not np.isfinite(points).all():
        raise SegpipeError(f"{where}: its ContourData are empty or no numbers; export it again")
    return points


def _slice(heights: Points, where: str, place: SeriesPlace) -> int:
    """Return the index of the slice on which all points lie."""
    index = round(float(heights.mean()))
    off = float(np.abs(heights - index).max())
    distance_mm = place.grid.spacing_mm[2]
    if off > BETWEEN_SLICES:
        raise SegpipeError(
            f"{where} lies between slices or across them: a point is {off * distance_mm:.3g} mm from the nearest slice "
            f"of {place.folder}, whose slices are {distance_mm:.3g} mm apart (limit "
            f"{BETWEEN_SLICES * distance_mm:.3g} mm); draw contours on the slices of this series"
        )
    last = place.grid.size[2] - 1
    if not 0 <= index <= last:
        raise SegpipeError(
            f"{where} lies {(index - last if index > 0 else -index) * distance_mm:.4g} mm beyond the slices of "
            f"{place.folder}; slices are missing, or the contours are of another series: export both again"
        )
    return index


def _require_named_slice(contour: Dataset, index: int, where: str, place: SeriesPlace) -> None:
    """Refuse a contour that names a slice of the series and lies on another one."""
    for image in contour.get("ContourImageSequence") or ():
        named = place.instances.get(str(image.get("ReferencedSOPInstanceUID")))
        if named is not None and named != index:
            raise SegpipeError(
                f"{where} names slice {named} of {place.folder} (counted from 0 along z), and lies on slice {index}; "
                "its points or its reference are wrong: export the structure set again"
            )
