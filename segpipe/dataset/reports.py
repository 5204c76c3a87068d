"""What the look at one case tells: findings, facts, and a hash by which the same picture is known again."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

import nibabel
import numpy as np

from segpipe.volumes import Volume

PERCENTILES = (0.5, 50.0, 99.5)


@dataclass(frozen=True)
class Finding:
    """One fault of one case.

    Attributes:
        severity: an "error" keeps the case from training, a "warning" may be meant.
        case: the case's id.
        file: the file it lies in, as the manifest writes it.
        message: rule, both values with units, and what to do.
    """

    severity: Literal["error", "warning"]
    case: str
    file: str
    message: str

    def __str__(self) -> str:
        """Case, file and message in one line."""
        return f"{self.case}: {self.file}: {self.message}"


@dataclass(frozen=True)
class ChannelFacts:
    """Intensities of one channel of one image, in the file's units.

    Attributes:
        name: of the channel, as the manifest's modality has it.
        percentiles: at `PERCENTILES`.
        mean, std: over all voxels.
        foreground: at `PERCENTILES`, of the voxels of every class but the background; empty where there are none.
    """

    name: str
    percentiles: tuple[float, ...]
    mean: float
    std: float
    foreground: tuple[float, ...] = ()


@dataclass(frozen=True)
class CaseFacts:
    """What a sound case says of its data set; summed up by `dataset_fingerprint`.

    Attributes:
        size: voxels along (x, y) or (x, y, z).
        spacing_mm: along the same axes.
        channels: one a channel.
        class_voxels: class name -> voxels, by index; empty without a label map.
        content_sha256: of the image's voxels, see `content_sha256`.
        orientation: of the image's axes, such as RAS.
        class_offsets: class name -> how far the middle of its voxels is from the image's along each axis, as a share of
            the image, -0.5 to 0.5; of the classes that are there, but the background.
    """

    size: tuple[int, ...]
    spacing_mm: tuple[float, ...]
    channels: tuple[ChannelFacts, ...]
    class_voxels: Mapping[str, int]
    content_sha256: str
    orientation: str = ""
    class_offsets: Mapping[str, tuple[float, ...]] = field(default_factory=dict)


@dataclass(frozen=True)
class CaseReport:
    """What reading one case told: its findings, and its facts where nothing kept them from being taken."""

    case: str
    findings: tuple[Finding, ...]
    facts: CaseFacts | None

    @property
    def has_errors(self) -> bool:
        """True when the case must not train."""
        return any(finding.severity == "error" for finding in self.findings)


def content_sha256(images: Sequence[Volume]) -> str:
    """Return the SHA-256 of what an image shows, in hex: the same for every copy, however it is stored.

    It covers the size and the voxels of every channel as float32, in which networks take them, volumes turned to
    RAS order. Suffix, compression, stored type, the order in which axes are stored, and where the header places the
    voxels in the patient change nothing: a copy with another origin or spacing is still the same picture.

    Args:
        images: the volumes whose channels, in order, make the image.
    """
    digest = hashlib.sha256()
    for image in images:
        turn = nibabel.io_orientation(image.grid.affine) if image.grid.spatial_dims == 3 else None
        for channel in image.channels:
            if turn is not None:
                channel = nibabel.orientations.apply_orientation(channel, turn)
            # + 0 turns -0.0, which equals 0.0, into it
            voxels = np.ascontiguousarray(channel, np.float32) + np.float32(0)
            digest.update(f"{voxels.shape}".encode())
            digest.update(voxels.data)
    return digest.hexdigest()
