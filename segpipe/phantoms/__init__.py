"""Synthetic volumes, slices and images with labels, the same for the same seed: data that need no download."""

from segpipe.phantoms.labelled_images import write_class_phantoms, write_finding_phantoms

__all__ = ["write_class_phantoms", "write_finding_phantoms"]
