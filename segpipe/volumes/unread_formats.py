"""Image formats that segpipe does not read, by suffix, so that such a scan is refused and not overlooked."""

from __future__ import annotations

import glob
import os
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from segpipe.errors import SegpipeError
from segpipe.regular_files import open_regular
from segpipe.volumes.formats import suffix_format

_VOLUMES = {
    ".nhdr": "a NRRD header with its voxels in another file",
    ".mgz": "a FreeSurfer volume",
    ".mgh": "a FreeSurfer volume",
    ".mnc": "a MINC volume",
    ".mif": "an MRtrix image",
    ".gipl": "a GIPL volume",
    ".vti": "a VTK image",
    ".fdf": "a Varian image",
}
_IMAGES_2D = {
    ".tif": "a TIFF image",
    ".tiff": "a TIFF image",
    ".bmp": "a bitmap image",
    ".webp": "a WebP image",
    ".gif": "a GIF image",
    ".avif": "an AVIF image",
    ".heic": "a HEIC image",
    ".heif": "a HEIF image",
    ".jfif": "a JPEG image with an unusual suffix",
    ".jpe": "a JPEG image with an unusual suffix",
    ".jxl": "a JPEG XL image",
    ".ico": "an icon",
    ".psd": "a Photoshop image",
    ".jp2": "a JPEG 2000 image",
    ".j2k": "a JPEG 2000 image",
    ".pgm": "a Netpbm image",
    ".ppm": "a Netpbm image",
    ".pnm": "a Netpbm image",
    ".svs": "a whole-slide image",
    ".ndpi": "a whole-slide image",
}
_PAIRS = {  # suffix of the header -> what the pair is, suffixes of its voxel file
    ".hdr": ("an Analyze or NIfTI pair", (".img", ".img.gz")),
    ".hdr.gz": ("an Analyze or NIfTI pair", (".img", ".img.gz")),
    ".par": ("a Philips PAR/REC pair", (".rec",)),
    ".head": ("an AFNI pair", (".brik", ".brik.gz")),
    ".mih": ("an MRtrix pair", (".dat",)),
}
_PACKED = (".gz", ".bz2", ".xz", ".zst", ".lz4", ".zip", ".7z")
_DETACHED_NRRD = ".nhdr"
_DETACHED_VOXELS = (".raw", ".raw.gz", ".gz", ".bz2", ".zst")
_HEADER_BYTES = 1 << 16


@dataclass(frozen=True)
class UnreadImage:
    """An image in a format that segpipe does not read.

    Attributes:
        path: the file; for a pair the header.
        reason: message with the format and the remedy.
        voxel_files: files with the image's voxels.
    """

    path: Path
    reason: str
    voxel_files: tuple[Path, ...] = ()


def unread_images(files: Sequence[Path]) -> list[UnreadImage]:
    """Return the images in formats that segpipe does not read, by suffix.

    The header of a pair (.hdr and .img) counts as an image only if its voxel file exists, too.

    Args:
        files: of one or several folders, without files in formats that segpipe reads.
    """
    listed = {(file.parent, file.name.lower()): file for file in files}
    images = []
    for file in files:
        name = file.name.lower()
        pair = next((suffix for suffix in _PAIRS if _ends(name, suffix)), None)
        if pair is not None:
            what, voxel_suffixes = _PAIRS[pair]
            stem = name.removesuffix(pair)
            voxels = [listed.get((file.parent, stem + suffix)) for suffix in voxel_suffixes]
            belonging = tuple(voxel_file for voxel_file in voxels if voxel_file is not None)
            if belonging:
                message = f"{file}: the header of {what}, which segpipe does not read; convert it to .nii.gz or .nrrd"
                images.append(UnreadImage(file, message, belonging))
        elif (reason := _reason(file)) is not None:
            images.append(UnreadImage(file, reason, _voxel_files(file, listed)))
    return images


def _ends(name: str, suffix: str) -> bool:
    return name.endswith(suffix) and len(name) > len(suffix)


def _reason(file: Path) -> str | None:
    """Return format and remedy of an image that is no pair; None where the file is no image."""
    name = file.name.lower()
    packed = next((suffix for suffix in _PACKED if _ends(name, suffix)), None)
    inner = name.removesuffix(packed or "")
    for formats, target in ((_VOLUMES, ".nii.gz or .nrrd"), (_IMAGES_2D, ".png")):
        for suffix, what in formats.items():
            if _ends(inner, suffix):
                return f"{file}: {what} ({suffix}), which segpipe does not read; convert it to {target}"
    if packed is not None and (suffix_format(Path(inner)) or _ends(inner, ".dcm")):
        return f"{file}: a scan packed as {packed}, which segpipe does not read; unpack it"
    return None


def _voxel_files(file: Path, listed: dict[tuple[Path, str], Path]) -> tuple[Path, ...]:
    """Return the files that a detached NRRD header names, or else the files beside it with the header's name."""
    if not _ends(file.name.lower(), _DETACHED_NRRD):
        return ()
    named = {os.path.realpath(path) for path in _named_in_nrrd(file)}
    matches = tuple(other for other in listed.values() if os.path.realpath(other) in named)
    if matches:
        return matches
    stem = file.name.lower().removesuffix(_DETACHED_NRRD)
    beside = (listed.get((file.parent, stem + suffix)) for suffix in _DETACHED_VOXELS)
    return tuple(other for other in beside if other is not None)


def _named_in_nrrd(header: Path) -> Iterator[Path]:
    """Yield the data files of a detached NRRD header: one name, a LIST of names, or a numbered pattern."""
    try:
        with open_regular(header) as file:
            lines = file.read(_HEADER_BYTES).decode("utf-8", "replace").splitlines()
    except (OSError, SegpipeError):
        return
    for number, line in enumerate(lines):
        match = re.fullmatch(r"data ?file:\s*(.*?)\s*", line, re.IGNORECASE)
        if match is None:
            continue
        value = match[1]
        if value.split()[:1] == ["LIST"]:
            yield from (header.parent / name.strip() for name in lines[number + 1 :] if name.strip())
        elif "%" in value and not Path(value).is_absolute():
            pattern = re.sub(r"%\d*d", "*", glob.escape(value.split()[0]))
            yield from header.parent.glob(pattern)
        elif value:
            yield header.parent / value
        return
