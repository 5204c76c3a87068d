"""Pictures of scans and their label maps."""

from segpipe.pictures.captioned import captioned
from segpipe.pictures.confusion import confusion_picture
from segpipe.pictures.overlay import (
    grey_levels,
    in_ras_order,
    label_centre,
    largest_slice,
    overlay_planes,
    overlay_slice,
)

__all__ = [
    "captioned",
    "confusion_picture",
    "grey_levels",
    "in_ras_order",
    "label_centre",
    "largest_slice",
    "overlay_planes",
    "overlay_slice",
]
