"""Pictures of scans and their label maps."""

from segpipe.pictures.overlay import label_centre, overlay_planes

__all__ = ["label_centre", "overlay_planes"]
