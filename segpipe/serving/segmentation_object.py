"""The DICOM Segmentation in the answer about a DICOM series, or the reason why the answer has none."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from segpipe.bundle.open import OpenBundle
from segpipe.errors import SegpipeError
from segpipe.prediction.dicom_outputs import DicomOutputs
from segpipe.prediction.options import PredictOptions
from segpipe.volumes import Scan, VolumeFormat, VolumeHeader

PART = "dicom_seg"
"""Name of the DICOM Segmentation among the files of an answer."""


class SegmentationObjects:
    """Writes the DICOM Segmentations of uploaded series; they equal those of `segpipe predict --dicom-seg`.

    Args:
        bundle: an open one; its classes need coded terms.
    """

    def __init__(self, bundle: OpenBundle) -> None:
        self._objects: DicomOutputs | None = None
        try:
            self._objects = DicomOutputs.of(bundle, PredictOptions(overlays=False, dicom_seg=True))
        except SegpipeError as error:
            self._refusal = str(error).replace(str(bundle.root), bundle.root.resolve().name)

    def why_none(self, scan: Scan, header: VolumeHeader) -> str | None:
        """Return why a scan can have no DICOM Segmentation; None if it can. The network has not run yet.

        Args:
            scan: the upload.
            header: of the scan.
        """
        if header.format is not VolumeFormat.DICOM:
            return (
                f"a DICOM SEG refers to the slices of a DICOM series, and the upload is {header.format.name}; upload "
                "the series as a zip"
            )
        if self._objects is None:
            return self._refusal
        try:
            self._objects.check(scan, header)
        except SegpipeError as error:
            return str(error)
        return None

    def write(
        self, scan: Scan, header: VolumeHeader, indices: NDArray[np.integer[Any]], output: Path
    ) -> tuple[str | None, str | None]:
        """Write the DICOM Segmentation of a scan that `why_none` accepted.

        Args:
            scan: the upload.
            header: of the scan.
            indices: class indices on the grid of the scan, shape (x, y, z).
            output: an existing folder.

        Returns:
            The path of the file below the folder and None, or None and the reason why it could not be made.
        """
        if self._objects is None:
            return None, self._refusal
        try:
            self._objects.write(scan, header, indices, output)
        except SegpipeError as error:
            return None, str(error)
        (file,) = self._objects.files(scan)
        return file, None
