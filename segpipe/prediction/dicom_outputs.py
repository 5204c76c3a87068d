"""DICOM objects beside the label map of a DICOM series: a Segmentation, and a structure set with contours."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from segpipe.bundle.open import OpenBundle
from segpipe.errors import SegpipeError
from segpipe.prediction.options import DICOM_SEG, RTSTRUCT, PredictOptions, side_file
from segpipe.volumes import Scan, VolumeFormat, VolumeHeader
from segpipe.volumes.dicom_source import Algorithm, source_series

if TYPE_CHECKING:
    from segpipe.labels import LabelTable

_OPTIONS = {DICOM_SEG: "--dicom-seg", RTSTRUCT: "--rtstruct"}
_LONGEST_TEXT = 64


@dataclass(frozen=True)
class DicomOutputs:
    """The DICOM objects that a run writes for each scan.

    Attributes:
        folders: of `SIDE_FOLDERS`, those that get an object for each scan; empty for none.
        labels: of the bundle, with the codes of the user's table.
        algorithm: the bundle, as the objects name it.
        series_uid: option of the run.
    """

    folders: tuple[str, ...]
    labels: LabelTable
    algorithm: Algorithm
    series_uid: str | None

    @classmethod
    def of(cls, bundle: OpenBundle, options: PredictOptions) -> DicomOutputs:
        """Return the objects that the options ask for.

        Raises:
            SegpipeError: a Segmentation is wanted, and a class of the bundle has no codes; or the table of codes is
                refused, see `segpipe.segment_codes.with_segment_codes`.
        """
        folders = tuple(folder for folder in options.side_folders if folder in _OPTIONS)
        labels = bundle.labels
        if DICOM_SEG in folders:
            from segpipe.segment_codes import with_segment_codes
            from segpipe.volumes.dicom_seg import require_codes

            if options.segment_codes is not None:
                labels = with_segment_codes(labels, options.segment_codes)
            require_codes(labels, bundle.root)
        name = str(bundle.metadata.get("name") or bundle.root.resolve().name)
        version = str(bundle.metadata.get("version") or "unknown")
        algorithm = Algorithm(name[:_LONGEST_TEXT], version[:_LONGEST_TEXT], bundle.sha256[:16])
        return cls(folders, labels, algorithm, options.series_uid)

    def check(self, scan: Scan, header: VolumeHeader) -> None:
        """Refuse a scan of which the objects cannot be made, before the network runs.

        Args:
            scan: of the cohort.
            header: of the scan.

        Raises:
            SegpipeError: the scan is no DICOM series, or lacks what the objects need.
        """
        if not self.folders:
            return
        if header.format is not VolumeFormat.DICOM:
            options = " and ".join(_OPTIONS[folder] for folder in self.folders)
            raise SegpipeError(
                f"{scan.path}: {options}: such an object refers to the slices of a DICOM series, and this scan is "
                f"{header.format.name}; give the folder of the series, or leave {options} out"
            )
        source = source_series(header.path, self.series_uid)
        if DICOM_SEG in self.folders:
            from segpipe.volumes.dicom_seg import check_segmentation

            check_segmentation(source, header.grid, self.labels, self.algorithm)

    def files(self, scan: Scan) -> list[str]:
        """Return the paths of a scan's objects below the output folder."""
        return [side_file(folder, scan) for folder in self.folders]

    def write(
        self,
        scan: Scan,
        header: VolumeHeader,
        indices: NDArray[np.integer[Any]],
        folder: Path,
        *,
        is_corrected: bool = False,
    ) -> None:
        """Write the objects of a scan.

        Args:
            scan: of the cohort, which `check` accepted.
            header: of the scan.
            indices: class indices on the grid of the scan, shape (x, y, z).
            folder: the files go to `files` below it.
            is_corrected: True if a person changed the label map.

        Raises:
            SegpipeError: an object cannot be made.
        """
        if not self.folders:
            return
        source = source_series(header.path, self.series_uid)
        if DICOM_SEG in self.folders:
            from segpipe.volumes.dicom_seg import write_segmentation

            path = folder / side_file(DICOM_SEG, scan)
            write_segmentation(
                indices, header.grid, path, source, self.labels, self.algorithm, is_corrected=is_corrected
            )
        if RTSTRUCT in self.folders:
            from segpipe.volumes.rtstruct import write_structure_set

            path = folder / side_file(RTSTRUCT, scan)
            write_structure_set(
                indices, header.grid, path, source, self.labels, self.algorithm, is_corrected=is_corrected
            )
