"""Write a volume as a minimal DICOM series, for the demo and for tests, not for a hospital archive."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, MRImageStorage, generate_uid
from pydicom.valuerep import DSfloat

from segpipe.errors import SegpipeError
from segpipe.volumes.geometry import FloatArray, Grid

_CLASSES = {"CT": CTImageStorage, "MR": MRImageStorage}


def write_series(
    array_xyz: npt.NDArray[Any],
    grid: Grid,
    folder: str | Path,
    modality: str = "MR",
    *,
    series_uid: str | None = None,
    description: str = "",
    patient_id: str = "phantom",
    slope: float = 1.0,
    intercept: float = 0.0,
) -> list[Path]:
    """Write one uncompressed file a slice, named slice_0000.dcm onwards in the order of z.

    UIDs derive from `series_uid` if it is given, so that the same call writes the same bytes.

    Args:
        array_xyz: int16 stored values, shape (x, y, z) equal to `grid.size`.
        grid: 3D, without shear, and with z along x cross y, as `read_series` returns it; may be oblique.
        folder: made as needed.
        modality: "MR" or "CT".
        series_uid: SeriesInstanceUID; by default a fresh one.
        description: SeriesDescription.
        patient_id: PatientID and PatientName.
        slope: RescaleSlope of every slice: intensity = stored * slope + intercept.
        intercept: RescaleIntercept of every slice.

    Returns:
        The files, in the order of z.

    Raises:
        SegpipeError: shape and grid differ, a DICOM series cannot have this grid, or the modality is not MR or CT.
        TypeError: the array is not int16.
    """
    if array_xyz.dtype != np.int16:
        raise TypeError(f"a DICOM series is written from int16, not {array_xyz.dtype}")
    folder = Path(folder)
    _refuse(array_xyz.shape, grid, folder, modality)
    series_uid = series_uid or str(generate_uid())
    folder.mkdir(parents=True, exist_ok=True)
    paths = []
    for index in range(grid.size[2]):
        dataset = _slice_dataset(array_xyz[:, :, index], grid, index, modality, series_uid)
        dataset.SeriesDescription = description
        dataset.PatientID = dataset.PatientName = patient_id
        dataset.RescaleSlope, dataset.RescaleIntercept = _decimal(slope), _decimal(intercept)
        path = folder / f"slice_{index:04d}.dcm"
        dataset.save_as(path, enforce_file_format=True)
        paths.append(path)
    return paths


def _refuse(shape: tuple[int, ...], grid: Grid, folder: Path, modality: str) -> None:
    if modality not in _CLASSES:
        raise SegpipeError(f"{folder}: modality {modality}: must be one of {', '.join(_CLASSES)}")
    if shape != grid.size or grid.spatial_dims != 3:
        raise SegpipeError(
            f"{folder}: array of shape {shape} on a grid of size {grid.size}: must be equal and 3D"
        )
    if grid.is_sheared or np.linalg.det(grid.direction_lps) < 0:
        raise SegpipeError(
            f"{folder}: {grid}: a series is read back with z along x cross y and no shear; flip or "
            "resample first"
        )


def _slice_dataset(
    pixels_xy: npt.NDArray[Any], grid: Grid, index: int, modality: str, series_uid: str
) -> Dataset:
    axes: FloatArray = grid.direction_lps
    position = grid.origin_lps + index * grid.spacing_mm[2] * axes[:, 2]
    dataset = Dataset()
    dataset.SOPClassUID = _CLASSES[modality]
    dataset.SOPInstanceUID = generate_uid(entropy_srcs=[series_uid, "instance", str(index)])
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset.file_meta.MediaStorageSOPClassUID = dataset.SOPClassUID
    dataset.file_meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID
    dataset.Modality = modality
    dataset.StudyInstanceUID = generate_uid(entropy_srcs=[series_uid, "study"])
    dataset.FrameOfReferenceUID = generate_uid(entropy_srcs=[series_uid, "frame"])
    dataset.SeriesInstanceUID = series_uid
    dataset.SeriesNumber = 1
    dataset.InstanceNumber = index + 1
    dataset.ImageType = ["DERIVED", "SECONDARY"]
    dataset.StudyDate = dataset.StudyTime = dataset.AccessionNumber = dataset.StudyID = ""
    dataset.PatientBirthDate = dataset.PatientSex = dataset.ReferringPhysicianName = dataset.Manufacturer = ""
    dataset.ImagePositionPatient = [_decimal(value) for value in position]
    dataset.ImageOrientationPatient = [_decimal(value) for value in (*axes[:, 0], *axes[:, 1])]
    dataset.PixelSpacing = [_decimal(grid.spacing_mm[1]), _decimal(grid.spacing_mm[0])]
    dataset.SliceThickness = _decimal(grid.spacing_mm[2])
    if modality == "MR":
        dataset.SpacingBetweenSlices = _decimal(grid.spacing_mm[2])
    dataset.Columns, dataset.Rows = grid.size[:2]
    dataset.SamplesPerPixel = 1
    dataset.PhotometricInterpretation = "MONOCHROME2"
    dataset.BitsAllocated = dataset.BitsStored = 16
    dataset.HighBit = 15
    dataset.PixelRepresentation = 1
    dataset.PixelData = np.ascontiguousarray(pixels_xy.T).astype("<i2").tobytes()
    dataset["PixelData"].VR = "OW"
    return dataset


def _decimal(value: float) -> DSfloat:
    return DSfloat(float(value), auto_format=True)
