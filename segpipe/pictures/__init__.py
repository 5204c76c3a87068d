"""Pictures of scans and their label maps."""

from segpipe.pictures.overlay import (
    grey_levels,
    in_ras_order,
    label_centre,
    largest_slice,
    overlay_planes,
    overlay_slice,
)

__all__ = ["grey_levels", "in_ras_order", "label_centre", "largest_slice", "overlay_planes", "overlay_slice"]
