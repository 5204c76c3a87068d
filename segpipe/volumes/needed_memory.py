"""Check that a volume fits into the free memory, before memory is allocated."""

from __future__ import annotations

from segpipe.errors import SegpipeError
from segpipe.memory import free_memory_bytes, in_gb
from segpipe.volumes.volume import VolumeHeader


def require_free_memory(header: VolumeHeader, beside: int = 0) -> None:
    """Refuse a volume whose voxels need more than the free memory.

    Args:
        header: of the volume.
        beside: additional bytes that reading needs at the same time.

    Raises:
        SegpipeError: with both amounts.
    """
    needed, free = header.array_bytes + beside, free_memory_bytes()
    if needed > free:
        raise SegpipeError(f"{too_large(header, needed)}, {in_gb(free)} is free; {REMEDY}")


def too_large(header: VolumeHeader, needed: int) -> str:
    """Return the beginning of a sentence on the memory that a volume needs."""
    channels = f" with {header.num_channels} values each" if header.num_channels > 1 else ""
    size = f"{header.grid.size} voxels{channels} as {header.dtype}"
    return f"{header.path}: reading {size} takes {in_gb(needed)} of memory"


REMEDY = (
    "close other programs, use a machine with more memory, or crop or resample the scan; if the scan is smaller than "
    "that, its header is wrong: export it again"
)
