"""Scans of real scanners and archives are read as SimpleITK and nibabel read them, and written back in place."""

from __future__ import annotations

import nibabel
import numpy as np
import pytest
import SimpleITK as sitk

from segpipe.errors import SegpipeError
from segpipe.volumes import Grid, find_scans, output_path, read_header, read_volume, write_label_map

pytestmark = pytest.mark.realdata

SETS = ["mhd", "nrrd", "hippocampus_dicom", "spleen", "sts_ct", "sts_dicom"]


def simpleitk_image(scan) -> sitk.Image:
    if scan.path.is_dir():
        return sitk.ReadImage(sitk.ImageSeriesReader.GetGDCMSeriesFileNames(str(scan.path)))
    return sitk.ReadImage(scan.path)


def some_scans(real_data, name):
    folder = real_data(name)
    scans = find_scans(folder)
    return scans if len(scans) < 20 else scans[:: len(scans) // 6]


@pytest.mark.parametrize("name", [*SETS, "hippocampus", "covid_ct_512", "covid_ct_256", "oct2017"])
def test_simpleitk_agrees_on_voxels_and_grid(name, real_data):
    for scan in some_scans(real_data, name):
        image = simpleitk_image(scan)

        volume = read_volume(scan.path)

        np.testing.assert_array_equal(volume.array, sitk.GetArrayFromImage(image).T, err_msg=scan.name)
        header = read_header(scan.path)
        assert (header.grid, header.dtype) == (volume.grid, volume.array.dtype), scan.name
        theirs = Grid.from_lps(image.GetSize(), image.GetSpacing(), image.GetOrigin(), image.GetDirection())
        if not volume.format.is_2d_format:
            assert volume.grid.differences(theirs) == [], scan.name


@pytest.mark.parametrize("name", ["hippocampus", "spleen", "sts_ct"])
def test_nibabel_agrees_on_nifti(name, real_data):
    for scan in some_scans(real_data, name):
        image = nibabel.load(scan.path)

        volume = read_volume(scan.path)

        np.testing.assert_array_equal(volume.array, np.asarray(image.dataobj), err_msg=scan.name)
        np.testing.assert_array_equal(volume.grid.affine, image.affine)


@pytest.mark.parametrize("name", [*SETS, "covid_ct_512", "oct2017"])
def test_a_label_map_comes_back_on_the_scans_grid(name, real_data, tmp_path):
    for scan in some_scans(real_data, name):
        volume = read_volume(scan.path)
        labels = (volume.array > volume.array.mean()).astype(np.uint8) * 3
        target = output_path(scan, tmp_path)

        write_label_map(labels, volume.grid, target, source=volume)

        written = read_volume(target)
        assert written.grid.differences(volume.grid) == [], scan.name
        np.testing.assert_array_equal(written.array, labels)


@pytest.mark.parametrize("patient", ["STS_001", "STS_002"])
def test_a_dicom_series_equals_the_nifti_made_from_it(patient, real_data):
    series = read_volume(real_data("sts_dicom") / patient / "CT" / "image")
    nifti = read_volume(real_data("sts_ct") / patient / "CT_image.nii.gz")

    # the NIfTI may count an axis the other way round: the same value must lie at the same place
    to_nifti = np.linalg.inv(nifti.grid.affine) @ series.grid.affine
    flips = np.sign(np.diag(to_nifti[:3, :3])).astype(int)
    np.testing.assert_allclose(np.abs(to_nifti[:3, :3]), np.eye(3), atol=1e-5)
    start = [0 if flip > 0 else size - 1 for flip, size in zip(flips, nifti.grid.size, strict=True)]
    np.testing.assert_allclose(to_nifti[:3, 3], start, atol=1e-4)
    np.testing.assert_array_equal(series.array, nifti.array[:: flips[0], :: flips[1], :: flips[2]])


def test_structure_sets_beside_a_series_are_no_scans(real_data):
    names = [scan.name for scan in find_scans(real_data("sts_dicom"))]

    assert names == ["STS_001/CT/image", "STS_002/CT/image"]


def test_a_segmentation_object_is_refused_as_a_scan(real_data):
    assert [scan.name for scan in find_scans(real_data("dicom_seg"))] == ["ct-3slice"]
    with pytest.raises(SegpipeError, match="only DICOM objects of modality SEG"):
        read_volume(real_data("dicom_seg"))
