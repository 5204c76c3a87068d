"""Pictures of scans and their label maps."""

from segpipe.pictures.overlay import grey_levels, label_centre, overlay_planes

__all__ = ["grey_levels", "label_centre", "overlay_planes"]
