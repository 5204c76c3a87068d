"""The overlap of an inferer's windows: reading it, and another one for the same inferer."""

from __future__ import annotations

from copy import copy

from monai.inferers import Inferer, SlidingWindowInferer
from monai.utils import ensure_tuple

from segpipe.errors import SegpipeError
from segpipe.inference.inferers import SliceInferer


def overlap_of(inferer: Inferer) -> tuple[float, ...]:
    """Return the overlap of neighbouring windows, one number or one an axis; empty for an inferer without windows."""
    if isinstance(inferer, SliceInferer):
        return overlap_of(inferer.on_slices)
    if isinstance(inferer, SlidingWindowInferer):
        return tuple(float(share) for share in ensure_tuple(inferer.overlap))
    return ()


def with_overlap(inferer: Inferer, overlap: float) -> Inferer:
    """Return a copy of an inferer whose neighbouring windows overlap by another share.

    Args:
        inferer: without wrappers for precision and mirror images; not changed.
        overlap: share of the window along each axis, 0 to below 1.

    Raises:
        SegpipeError: the inferer has no overlapping windows.
    """
    other = copy(inferer)
    if isinstance(other, SliceInferer):
        other.on_slices = with_overlap(other.on_slices, overlap)
        other.on_volumes = with_overlap(other.on_volumes, overlap)
    elif isinstance(other, SlidingWindowInferer):
        other.overlap = overlap
    else:
        raise SegpipeError(
            f"the bundle's inferer is a {type(inferer).__name__}, whose windows do not overlap; leave out --overlap "
            "and --accuracy (--mirror sets the mirror images)"
        )
    return other
