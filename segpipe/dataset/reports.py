"""The report of one case: findings, facts, and a hash of the image content that recognises copies."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

import nibabel
import numpy as np
from numpy.typing import NDArray

from segpipe.volumes import Volume

PERCENTILES = (0.5, 50.0, 99.5)


@dataclass(frozen=True)
class Finding:
    """One fault of one case.

    Attributes:
        severity: an "error" keeps the case from training, a "warning" may be meant.
        case: the case's id.
        file: path of the faulty file, as in the manifest.
        message: the rule, both values with units, and the remedy.
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
        name: of the channel, from the manifest's modality.
        percentiles: over all voxels, at `PERCENTILES`.
        mean, std: over all voxels.
        foreground: percentiles at `PERCENTILES` over the foreground voxels; empty where the case has none.
    """

    name: str
    percentiles: tuple[float, ...]
    mean: float
    std: float
    foreground: tuple[float, ...] = ()


@dataclass(frozen=True)
class CaseFacts:
    """Properties of a case without errors; `dataset_fingerprint` sums them up.

    Attributes:
        size: voxels along (x, y) or (x, y, z).
        spacing_mm: along the same axes; 1 where the file has no spacing.
        channels: one a channel.
        class_voxels: class name -> number of voxels, in the order of the class indices; empty without a label map.
        content_sha256: hash of the image content, see `content_sha256`.
        orientation: of the image's axes, such as RAS.
        class_offsets: class name -> distance from the image's middle to the middle of the class along each axis, as a
            share of the image, -0.5 to 0.5; for the foreground classes in the label map.
        has_spacing: False for 2D image files (PNG, JPEG), whose lengths are known in pixels only.
    """

    size: tuple[int, ...]
    spacing_mm: tuple[float, ...]
    channels: tuple[ChannelFacts, ...]
    class_voxels: Mapping[str, int]
    content_sha256: str
    orientation: str = ""
    class_offsets: Mapping[str, tuple[float, ...]] = field(default_factory=dict)
    has_spacing: bool = True


@dataclass(frozen=True)
class CaseReport:
    """The result of reading one case: its findings, and its facts; None where an error prevented them."""

    case: str
    findings: tuple[Finding, ...]
    facts: CaseFacts | None

    @property
    def has_errors(self) -> bool:
        """True if the case must not train."""
        return any(finding.severity == "error" for finding in self.findings)


@dataclass(frozen=True)
class ImageFacts:
    """Properties of one readable image of a data set of classes or findings.

    Attributes:
        rows: height in pixels.
        columns: width in pixels.
        stored_bits: bits of one value in the file.
        bits: bits that the scale of the pixels assumes, see `segpipe.volumes.Picture`.
        is_rgb: True if the file stores three values a pixel.
        is_coloured: True if these three differ anywhere.
        is_inverted: True for a DICOM file of MONOCHROME1, which is read with its values turned.
        mean: of all pixels, 0 black to 1 white.
        deviation: standard deviation of all pixels, in the same unit.
        content_sha256: hash of the decoded pixels, see `segpipe.volumes.Picture.content_sha256`.
        thumbnail: see `segpipe.dataset.near_copies.thumbnail`; empty where images are not compared.
    """

    rows: int
    columns: int
    stored_bits: int
    bits: int
    is_rgb: bool
    is_coloured: bool
    is_inverted: bool
    mean: float
    deviation: float
    content_sha256: str
    thumbnail: NDArray[np.float16] = field(
        default_factory=lambda: np.zeros(0, np.float16), compare=False, repr=False
    )


@dataclass(frozen=True)
class ImageReport:
    """The result of reading one image: its findings, and its facts; None where an error prevented them."""

    case: str
    findings: tuple[Finding, ...]
    facts: ImageFacts | None

    @property
    def has_errors(self) -> bool:
        """True if the case must not train."""
        return any(finding.severity == "error" for finding in self.findings)


def content_sha256(images: Sequence[Volume]) -> str:
    """Return the SHA-256 of the image content, in hex: the same for every copy, in any storage form.

    The hash covers the size and the voxels of every channel as float32, the input type of networks, with volumes in RAS
    order. Suffix, compression, stored type, stored order of axes, spacing and origin do not change the hash.

    Args:
        images: the volumes whose channels, in order, make the image.
    """
    digest = hashlib.sha256()
    for image in images:
        turn = nibabel.io_orientation(image.grid.affine) if image.grid.spatial_dims == 3 else None
        for channel in image.channels:
            if turn is not None:
                channel = nibabel.orientations.apply_orientation(channel, turn)
            # + 0 turns -0.0 into 0.0
            voxels = np.ascontiguousarray(channel, np.float32) + np.float32(0)
            digest.update(f"{voxels.shape}".encode())
            digest.update(voxels.data)
    return digest.hexdigest()
