"""DICOM series whose intensities are class values, DICOM objects with labels for them, and a validator."""

import os
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pydicom
import pytest
import SimpleITK as sitk

from segpipe.coded_terms import CodedTerm, SegmentCodes
from segpipe.labels import Label, LabelTable, class_color
from segpipe.regions import NamedRegion
from segpipe.volumes import Grid, read_volume, write_series
from segpipe.volumes.dicom_source import Algorithm, source_series

ANATOMY = CodedTerm("91723000", "SCT", "Anatomical Structure")
SPLEEN = SegmentCodes(ANATOMY, CodedTerm("78961009", "SCT", "Spleen"))
LIVER = SegmentCodes(ANATOMY, CodedTerm("10200004", "SCT", "Liver"))
ALGORITHM = Algorithm("a test", "1.0", "0123456789abcdef")
SIZE = (8, 6, 5)  # frames of whole bytes: SimpleITK loses the bits of a last byte that is not full
SPACING = (0.7, 1.3, 2.5)


def coded_table(*, regions=False):
    """Spleen and liver with codes; with regions, both in the region abdomen."""
    rows = [("background", None), ("spleen", SPLEEN), ("liver", LIVER)]
    table = LabelTable(
        tuple(Label(i, name, class_color(i), 10 * i, codes) for i, (name, codes) in enumerate(rows))
    )
    if not regions:
        return table
    both = NamedRegion("abdomen", ("spleen", "liver"), "spleen", codes=SPLEEN)
    return table.with_regions([both, NamedRegion("liver", ("liver",), codes=LIVER)])


def uneven_labels(size=SIZE):
    """Class indices without any symmetry, and without a voxel in the first slice."""
    labels = np.zeros(size, np.uint8)
    labels[1:4, 1:3, 1:3] = 1
    labels[4, 1, 2] = 1
    labels[2:6, 4:, 3:] = 2
    labels[5, 3, 4] = 2
    return labels


def write_labels_as_series(folder, directions=None, labels=None, *, reverse=False):
    """Write a CT series whose intensities are 100 times the class; `reverse` turns names and instance numbers round."""
    labels = uneven_labels() if labels is None else labels
    grid = Grid.from_lps(
        labels.shape, SPACING, (-31.5, 12.25, 40.0), np.eye(3) if directions is None else directions
    )
    files = write_series(labels.astype(np.int16) * 100, grid, folder, "CT", patient_id="Doe^Jane")
    if reverse:
        for number, file in enumerate(files):
            dataset = pydicom.dcmread(file)
            dataset.InstanceNumber = len(files) - number
            file.unlink()
            dataset.save_as(folder / f"image_{len(files) - number:03d}.dcm")
    return folder


def series_of(folder):
    """Return grid, class indices and source of a series of `write_labels_as_series`."""
    volume = read_volume(folder)
    return volume.grid, (volume.array // 100).astype(np.uint8), source_series(Path(folder))


def points_by_simpleitk(folder, label):
    """Return the LPS points, to 0.01 mm, of a class in a series of `write_labels_as_series`, as SimpleITK reads it."""
    reader = sitk.ImageSeriesReader()
    reader.SetFileNames(reader.GetGDCMSeriesFileNames(str(folder)))
    image = reader.Execute()
    indices = np.argwhere(sitk.GetArrayFromImage(image) == 100 * label)[:, ::-1]
    return {_rounded(image.TransformIndexToPhysicalPoint([int(i) for i in index])) for index in indices}


def points_by_frames(path, number):
    """Return the LPS points, to 0.01 mm, of a segment: pixels by SimpleITK, places by the tags of each frame."""
    frames = sitk.GetArrayFromImage(sitk.ReadImage(str(path)))
    dataset = pydicom.dcmread(path)
    shared = dataset.SharedFunctionalGroupsSequence[0]
    row_mm, column_mm = map(float, shared.PixelMeasuresSequence[0].PixelSpacing)
    axes = np.array(shared.PlaneOrientationSequence[0].ImageOrientationPatient, float)
    points = set()
    for pixels, groups in zip(frames, dataset.PerFrameFunctionalGroupsSequence, strict=True):
        if groups.SegmentIdentificationSequence[0].ReferencedSegmentNumber == number:
            place = np.array(groups.PlanePositionSequence[0].ImagePositionPatient, float)
            points |= {
                _rounded(place + column * column_mm * axes[:3] + row * row_mm * axes[3:])
                for row, column in np.argwhere(pixels)
            }
    return points


def _rounded(point):
    return tuple(round(float(value), 2) + 0.0 for value in point)


def dciodvfy_errors(path):
    """Return the errors that dicom3tools finds in a file; skip without it, unless SEGPIPE_REQUIRE_DCIODVFY=1."""
    if shutil.which("dciodvfy") is None:
        (pytest.fail if os.environ.get("SEGPIPE_REQUIRE_DCIODVFY") == "1" else pytest.skip)(
            "no dciodvfy here"
        )
    ran = subprocess.run(["dciodvfy", path], capture_output=True, text=True)
    lines = (ran.stdout + ran.stderr).splitlines()
    assert any(line in ("Segmentation", "RTStructureSet") for line in lines)  # it knew the kind of object
    return [line for line in lines if line.startswith("Error")]
