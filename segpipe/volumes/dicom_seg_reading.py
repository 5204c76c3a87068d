"""Read a segment of a DICOM Segmentation onto the grid of its series."""

from __future__ import annotations

import highdicom
import numpy as np
from highdicom.seg import Segmentation

from segpipe.errors import SegpipeError
from segpipe.volumes.dicom_source import quiet_dicom
from segpipe.volumes.geometry import ras_to_lps
from segpipe.volumes.label_objects import LabelObject, Mask, SeriesPlace

_GRID_TOLERANCE = 1e-3  # of directions, and of positions as a share of a voxel
_BACKWARDS = [2, 1, 0, 3]  # highdicom's axes are frames, rows, columns


def segment_mask(segments: LabelObject, place: SeriesPlace, number: int) -> Mask:
    """Return the voxels of one segment, placed by the positions of its frames.

    Args:
        segments: of the series.
        place: the series.
        number: of the segment; without frames it is empty.

    Returns:
        bool array (x, y, z).

    Raises:
        SegpipeError: the frames lie on another grid than the series, or beyond the series.
    """
    name = segments.numbers[number]
    where = f"{segments.path}: segment {number} ({name})"
    grid = place.grid
    geometry = highdicom.VolumeGeometry(
        ras_to_lps(grid.affine)[:, _BACKWARDS],
        grid.size[::-1],
        "PATIENT",
        str(segments.dataset.FrameOfReferenceUID),
    )
    try:
        with quiet_dicom():
            segmentation = Segmentation.from_dataset(segments.dataset, copy=False)
            volume = segmentation.get_volume(segment_numbers=[number], combine_segments=False)
            placed = volume.match_geometry(geometry, tol=_GRID_TOLERANCE)
    except (ValueError, RuntimeError, AttributeError, KeyError, TypeError) as error:
        raise SegpipeError(
            f"{where} does not lie on the grid of its series {place.folder} ({error}); export it on the series' own "
            "slices, or resample it to NIfTI with another program"
        ) from error
    lost = int(np.count_nonzero(volume.array)) - int(np.count_nonzero(placed.array))
    if lost:
        raise SegpipeError(
            f"{where}: {lost} voxels lie beyond the slices of {place.folder}; slices are missing, or it is of another "
            "series: export both again"
        )
    mask: Mask = placed.array[..., 0].transpose(2, 1, 0) != 0
    return mask
