"""Write a label map as a DICOM RT Structure Set: closed planar contours of each class, slice by slice."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.sequence import Sequence as Items
from pydicom.uid import ExplicitVRLittleEndian, RTStructureSetStorage, generate_uid

import segpipe
from segpipe.labels import LabelTable
from segpipe.volumes.contours import contours_of
from segpipe.volumes.dicom_source import Algorithm, SourceSeries
from segpipe.volumes.geometry import Grid

_SERIES_NUMBER_STEP = 2000
"""The structure set's SeriesNumber is that of the series plus this number."""
_DIGITS = 3  # micrometres; contours pass pixel centres at a third of a pixel or more
_COPIED = (
    *(
        "PatientName",
        "PatientID",
        "PatientBirthDate",
        "PatientSex",
        "StudyInstanceUID",
        "StudyDate",
        "StudyTime",
    ),
    *(
        "StudyID",
        "AccessionNumber",
        "ReferringPhysicianName",
        "FrameOfReferenceUID",
        "PositionReferenceIndicator",
    ),
)
_DETACHED_STUDY = "1.2.840.10008.3.1.2.3.1"


def write_structure_set(
    indices_xyz: NDArray[np.integer[Any]],
    grid: Grid,
    path: Path,
    source: SourceSeries,
    labels: LabelTable,
    algorithm: Algorithm,
    *,
    is_corrected: bool = False,
) -> None:
    """Write the contours of each class, or region, as one structure set.

    Contours run between pixel centres, in LPS mm, so that a pixel lies inside them if the label map has the class
    there. A hole is joined to its piece by a channel without width. A class without voxels is listed without contours.

    Args:
        indices_xyz: class indices, shape (x, y, z) equal to `grid.size`.
        grid: of the series.
        path: of the file; its folder is made as needed.
        source: the series, with as many slices as `grid.size[2]`.
        labels: each of its targets becomes a region of interest, numbered from 1.
        algorithm: the program that made the label map.
        is_corrected: True if a person changed the label map.
    """
    dataset = _head(source, algorithm)
    rois, contours, observations = [], [], []
    for number, target in enumerate(labels.targets, start=1):
        roi = Dataset()
        roi.ROINumber = number
        roi.ReferencedFrameOfReferenceUID = source.first.FrameOfReferenceUID
        roi.ROIName = target.name[:64]
        roi.ROIGenerationAlgorithm = "SEMIAUTOMATIC" if is_corrected else "AUTOMATIC"
        roi.ROIGenerationDescription = f"{algorithm.name} {algorithm.version}"[:64]
        rois.append(roi)
        observation = Dataset()
        observation.ObservationNumber = observation.ReferencedROINumber = number
        observation.RTROIInterpretedType = ""
        observation.ROIInterpreter = ""
        observations.append(observation)
        of_roi = Dataset()
        of_roi.ROIDisplayColor = list(target.color)
        of_roi.ReferencedROINumber = number
        items = list(_contours(np.isin(indices_xyz, target.classes), grid, source.slices))
        if items:
            of_roi.ContourSequence = Items(items)
        contours.append(of_roi)
    dataset.StructureSetROISequence = Items(rois)
    dataset.ROIContourSequence = Items(contours)
    dataset.RTROIObservationsSequence = Items(observations)
    path.parent.mkdir(parents=True, exist_ok=True)
    dataset.save_as(path, enforce_file_format=True)


def _contours(mask: NDArray[np.bool_], grid: Grid, slices: Sequence[Dataset]) -> Iterator[Dataset]:
    axes = grid.direction_lps[:, :2] * np.array(grid.spacing_mm[:2])
    step = grid.direction_lps[:, 2] * grid.spacing_mm[2]
    for index, header in enumerate(slices):
        for ring in contours_of(mask[:, :, index]):
            points = grid.origin_lps + index * step + ring @ axes.T
            contour = Dataset()
            contour.ContourImageSequence = Items([_reference(header)])
            contour.ContourGeometricType = "CLOSED_PLANAR"
            contour.NumberOfContourPoints = len(points)
            contour.ContourData = [f"{value:.{_DIGITS}f}" for value in (points + 0.0).ravel()]
            yield contour


def _head(source: SourceSeries, algorithm: Algorithm) -> Dataset:
    """Return the object without its regions of interest."""
    first, now = source.first, datetime.now(UTC)
    dataset = Dataset()
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset.SpecificCharacterSet = first.SpecificCharacterSet
    dataset.SOPClassUID = dataset.file_meta.MediaStorageSOPClassUID = RTStructureSetStorage
    dataset.SOPInstanceUID = dataset.file_meta.MediaStorageSOPInstanceUID = generate_uid()
    for tag in _COPIED:
        setattr(dataset, tag, first.get(tag))
    dataset.Modality = "RTSTRUCT"
    dataset.SeriesInstanceUID = generate_uid()
    dataset.SeriesNumber = max(int(first.get("SeriesNumber") or 0), 0) + _SERIES_NUMBER_STEP
    dataset.SeriesDescription = f"Contours by {algorithm.name}"[:64]
    dataset.OperatorsName = ""
    dataset.Manufacturer = "segpipe"
    dataset.ManufacturerModelName = algorithm.name
    dataset.SoftwareVersions = segpipe.__version__
    dataset.DeviceSerialNumber = algorithm.weights
    dataset.InstanceNumber = 1
    dataset.StructureSetLabel = "SEGMENTATION"
    dataset.StructureSetDate = dataset.InstanceCreationDate = now.strftime("%Y%m%d")
    dataset.StructureSetTime = dataset.InstanceCreationTime = now.strftime("%H%M%S")
    dataset.ApprovalStatus = "UNAPPROVED"
    frame, study, series = Dataset(), Dataset(), Dataset()
    series.SeriesInstanceUID = first.SeriesInstanceUID
    series.ContourImageSequence = Items([_reference(header) for header in source.slices])
    study.ReferencedSOPClassUID = _DETACHED_STUDY
    study.ReferencedSOPInstanceUID = first.StudyInstanceUID
    study.RTReferencedSeriesSequence = Items([series])
    frame.FrameOfReferenceUID = first.FrameOfReferenceUID
    frame.RTReferencedStudySequence = Items([study])
    dataset.ReferencedFrameOfReferenceSequence = Items([frame])
    return dataset


def _reference(header: Dataset) -> Dataset:
    reference = Dataset()
    reference.ReferencedSOPClassUID = header.SOPClassUID
    reference.ReferencedSOPInstanceUID = header.SOPInstanceUID
    return reference
