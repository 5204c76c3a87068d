"""File formats, their suffixes and their properties."""

from __future__ import annotations

import re
import struct
from enum import Enum
from pathlib import Path

from segpipe.errors import SegpipeError
from segpipe.regular_files import open_regular


class VolumeFormat(Enum):
    """A file format of a scan or a label map; the value is the suffix that segpipe writes."""

    NIFTI = ".nii"
    NIFTI_GZ = ".nii.gz"
    MHD = ".mhd"
    MHA = ".mha"
    NRRD = ".nrrd"
    SEG_NRRD = ".seg.nrrd"
    """NRRD with the names and colours of its labels, as 3D Slicer keeps segmentations."""
    PNG = ".png"
    JPEG = ".jpg"
    DICOM = ""
    """A folder with the files of one DICOM series."""

    @property
    def is_nifti(self) -> bool:
        """True for .nii and .nii.gz."""
        return self in (VolumeFormat.NIFTI, VolumeFormat.NIFTI_GZ)

    @property
    def is_nrrd(self) -> bool:
        """True for .nrrd and .seg.nrrd."""
        return self in (VolumeFormat.NRRD, VolumeFormat.SEG_NRRD)

    @property
    def is_2d_format(self) -> bool:
        """True for .png and .jpg: 2D, without a position in the patient."""
        return self in (VolumeFormat.PNG, VolumeFormat.JPEG)

    @property
    def label_map_format(self) -> VolumeFormat:
        """The format of the label map of such a scan.

        The scan's format, except where it would change labels (JPEG -> PNG) or is no file (DICOM -> .nii.gz).
        """
        return _LABEL_MAP_FORMATS.get(self, self)


_LABEL_MAP_FORMATS = {VolumeFormat.JPEG: VolumeFormat.PNG, VolumeFormat.DICOM: VolumeFormat.NIFTI_GZ}

# of two suffixes with one end the longer first: ".seg.nrrd" before ".nrrd"
_SUFFIXES = {
    ".nii.gz": VolumeFormat.NIFTI_GZ,
    ".nii": VolumeFormat.NIFTI,
    ".mhd": VolumeFormat.MHD,
    ".mha": VolumeFormat.MHA,
    ".seg.nrrd": VolumeFormat.SEG_NRRD,
    ".nrrd": VolumeFormat.NRRD,
    ".png": VolumeFormat.PNG,
    ".jpeg": VolumeFormat.JPEG,
    ".jpg": VolumeFormat.JPEG,
}
KNOWN_FORMATS = ", ".join(_SUFFIXES) + " or a folder with one DICOM series"
_DICOM_SUFFIXES = (".dcm", ".ima")
_DICOM_MAGIC_AT = 128
_DICOM_FIRST_GROUPS = (0x0002, 0x0008)
_DICOM_FIRST_LENGTH = (
    256  # bytes of the first element at most: a length, a character set, an image type, a UID
)


def suffix_format(path: Path) -> tuple[VolumeFormat, str] | None:
    """Return the format of a file name and the suffix in its spelling; None for an unknown suffix."""
    lower = path.name.lower()
    for suffix, volume_format_ in _SUFFIXES.items():
        if lower.endswith(suffix) and len(lower) > len(suffix):
            return volume_format_, path.name[-len(suffix) :]
    return None


def format_of_suffix(suffix: str) -> VolumeFormat:
    """Return the format of a suffix such as .nii.gz, with or without its point.

    Raises:
        SegpipeError: the suffix is unknown.
    """
    format_ = _SUFFIXES.get(f".{suffix.lower().removeprefix('.')}")
    if format_ is None:
        raise SegpipeError(f"suffix {suffix!r}: no known format; use one of {', '.join(_SUFFIXES)}")
    return format_


def volume_format(path: str | Path) -> VolumeFormat:
    """Return the format of a scan by its suffix in upper or lower case; a folder is a DICOM series.

    Args:
        path: a file, which need not exist, or a folder.

    Raises:
        SegpipeError: the suffix is of no known format, or the path is one file of a DICOM series.
    """
    path = Path(path)
    if path.is_dir():
        return VolumeFormat.DICOM
    format_and_suffix = suffix_format(path)
    if format_and_suffix is not None:
        return format_and_suffix[0]
    if is_dicom_file(path):
        raise SegpipeError(f"{path}: one file of a DICOM series; give its folder instead: {path.parent}")
    raise SegpipeError(
        f"{path}: no known format; segpipe reads {KNOWN_FORMATS}: convert the file or rename it"
    )


def is_dicom_file(path: Path) -> bool:
    """Return whether a file is DICOM: by suffix (.dcm, .ima), by the letters DICM at byte 128, or as a bare data set.

    A bare data set, without preamble, counts only if the name has no suffix, or a suffix of digits as UIDs have.

    Raises:
        SegpipeError: the file cannot be opened.
    """
    if path.suffix.lower() in _DICOM_SUFFIXES:
        return True
    if not path.is_file():
        return False
    try:
        with open_regular(path) as file:
            start = file.read(_DICOM_MAGIC_AT + 4)
    except OSError as error:
        raise SegpipeError(f"{path}: cannot be read ({error.strerror}); check the permissions") from error
    if start[_DICOM_MAGIC_AT:] == b"DICM":
        return True
    may_be_bare = re.fullmatch(r"(\.\d+)?", path.suffix) is not None
    return may_be_bare and len(start) > _DICOM_MAGIC_AT and starts_data_set(start)


def starts_data_set(start: bytes) -> bool:
    """Return whether bytes are the start of a DICOM data set without preamble, in little endian.

    Args:
        start: the first 8 bytes of a file, or more.
    """
    if len(start) < 8:
        return False
    group, element, vr, short_length = struct.unpack("<HH2sH", start[:8])
    if group not in _DICOM_FIRST_GROUPS or element > 0x0100:
        return False
    is_explicit = re.fullmatch(rb"[A-Z]{2}", vr) is not None
    length = short_length if is_explicit else int.from_bytes(start[4:8], "little")
    return bool(length <= _DICOM_FIRST_LENGTH)
