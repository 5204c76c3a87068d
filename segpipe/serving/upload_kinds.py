"""Tells what an upload is by its first bytes, and the suffix under which segpipe reads it."""

from __future__ import annotations

import re

UPLOAD = "upload"
"""Name of the file that was uploaded, without its suffix."""

START_BYTES = 512
"""Number of first bytes that `upload_suffix` needs."""

ZIP = ".zip"
DICOM = ".dcm"
TAKEN = "NIfTI, MetaImage (.mha), NRRD, PNG, JPEG, one DICOM file, or a zip of one DICOM series or one scan"
_STARTS = (
    (b"PK\x03\x04", ZIP),
    (b"\x1f\x8b", ".nii.gz"),
    (b"NRRD000", ".nrrd"),
    (b"\x89PNG\r\n\x1a\n", ".png"),
    (b"\xff\xd8\xff", ".jpg"),
)
_NIFTI_SIZES = (348, 540)  # of the header: NIfTI-1, NIfTI-2
_METAIMAGE = re.compile(rb"\s*(ObjectType|NDims)\s*=", re.IGNORECASE)
_DICM_AT = 128


def upload_suffix(start: bytes) -> str | None:
    """Return the suffix of an upload's format; None if the upload is no scan.

    Args:
        start: the first `START_BYTES` bytes.
    """
    for magic, suffix in _STARTS:
        if start.startswith(magic):
            return suffix
    if start[_DICM_AT : _DICM_AT + 4] == b"DICM":
        return DICOM
    sizes = {int.from_bytes(start[:4], "little"), int.from_bytes(start[:4], "big")}
    if sizes & set(_NIFTI_SIZES):
        return ".nii"
    return ".mha" if _METAIMAGE.match(start) else None
