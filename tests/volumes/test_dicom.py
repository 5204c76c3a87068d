"""A DICOM series is sorted by position, scaled slice by slice, and refused if its slices contradict each other."""

from __future__ import annotations

import nibabel
import numpy as np
import pydicom
import pytest
import SimpleITK as sitk
from pydicom.uid import DeflatedExplicitVRLittleEndian, ImplicitVRLittleEndian, RLELossless, generate_uid
from sample_grids import SIZE, all_grids

from segpipe.errors import SegpipeError
from segpipe.volumes import Grid, read_header, read_series, read_volume, write_label_map, write_series

UID = "1.2.826.0.1.3680043.8.498.1"
OTHER_UID = "1.2.826.0.1.3680043.8.498.2"
SCAN = np.arange(-30, 30, dtype=np.int16).reshape(SIZE)
STRUCTURE_SET = "1.2.840.10008.5.1.4.1.1.481.3"
SEGMENTATION = "1.2.840.10008.5.1.4.1.1.66.4"


@pytest.fixture
def series(tmp_path, grid):
    """Three files of one CT series in a folder."""
    return write_series(SCAN, grid, tmp_path / "ct", "CT", series_uid=UID, description="thorax")


def edit(path, **tags):
    """Set tags of a file; None deletes one."""
    dataset = pydicom.dcmread(path)
    for tag, value in tags.items():
        if value is None:
            del dataset[tag]
        else:
            setattr(dataset, tag, value)
    dataset.save_as(path)


def refusal(folder, **kwargs) -> str:
    """Return the message of both readers, which must be equal."""
    messages = []
    for reader in (read_header, read_volume):
        with pytest.raises(SegpipeError) as caught:
            reader(folder, **kwargs)
        messages.append(str(caught.value))
    assert messages[0] == messages[1]
    assert str(folder) in messages[0]
    assert ";" in messages[0], f"no remedy in: {messages[0]}"
    return messages[0]


def test_a_written_series_is_read_back(series, grid):
    volume = read_series(series[0].parent)

    np.testing.assert_array_equal(volume.array, SCAN)
    assert volume.array.dtype == np.int16
    assert volume.grid.matches(grid, 1e-9)
    header = read_header(series[0].parent)
    assert (header.grid, header.dtype, header.num_channels) == (volume.grid, volume.array.dtype, 1)


def test_every_right_handed_axis_order_comes_back_and_others_are_refused(tmp_path):
    counts = {True: 0, False: 0}
    for index, grid in enumerate(all_grids()):
        right_handed = bool(np.linalg.det(grid.affine[:3, :3]) > 0)
        counts[right_handed] += 1
        if right_handed:
            write_series(SCAN, grid, tmp_path / str(index))
            assert read_series(tmp_path / str(index)).grid.matches(grid, 1e-8)
        else:
            with pytest.raises(SegpipeError, match="z along x cross y"):
                write_series(SCAN, grid, tmp_path / str(index))
    assert counts == {True: 48, False: 48}


def test_names_and_instance_numbers_do_not_order_the_slices(series, grid):
    for new, number, path in zip("bca", (7, 1, 3), series, strict=True):
        edit(path, InstanceNumber=number)
        path.rename(path.with_name(new))  # without suffix, too

    volume = read_series(series[0].parent)

    np.testing.assert_array_equal(volume.array, SCAN)
    assert volume.grid.matches(grid)


def test_simpleitk_reads_the_same_voxels_in_the_same_place(series):
    names = sitk.ImageSeriesReader.GetGDCMSeriesFileNames(str(series[0].parent))
    image = sitk.ReadImage(names)

    volume = read_series(series[0].parent)

    np.testing.assert_array_equal(volume.array, sitk.GetArrayFromImage(image).T)
    theirs = Grid.from_lps(image.GetSize(), image.GetSpacing(), image.GetOrigin(), image.GetDirection())
    assert volume.grid.differences(theirs) == []


def test_the_label_map_of_a_series_lies_on_it_as_nifti(series, tmp_path):
    scan = read_series(series[0].parent)

    write_label_map(SCAN > 0, scan.grid, tmp_path / "labels.nii.gz", source=scan)

    assert read_volume(tmp_path / "labels.nii.gz").grid.matches(scan.grid)
    assert nibabel.load(tmp_path / "labels.nii.gz").header["sform_code"] == 1


@pytest.mark.parametrize(
    ("slopes", "intercepts", "dtype"),
    [
        ((1, 1, 1), (-1000, -1000, -1000), np.int32),
        ((1, 2, 3), (0, -5, 7), np.int32),
        ((0.5, 1.25, 2), (0.25, 0, -3), np.float32),
        ((1, 1, 0.01), (0, 0, 0), np.float32),
    ],
)
def test_each_slice_is_scaled_by_its_own_slope_and_intercept(series, slopes, intercepts, dtype):
    for path, slope, intercept in zip(series, slopes, intercepts, strict=True):
        edit(path, Modality="PT", RescaleSlope=slope, RescaleIntercept=intercept)

    volume = read_series(series[0].parent)

    assert volume.array.dtype == dtype
    assert read_header(series[0].parent).dtype == dtype
    np.testing.assert_allclose(volume.array, SCAN * np.array(slopes) + np.array(intercepts), rtol=1e-6)


def test_slope_and_intercept_may_be_missing(series):
    for path in series:
        edit(path, RescaleSlope=None, RescaleIntercept=None)

    np.testing.assert_array_equal(read_series(series[0].parent).array, SCAN)


def test_twelve_stored_bits_stay_int16_after_the_intercept(series):
    for path in series:
        edit(path, BitsStored=12, HighBit=11, RescaleIntercept=-1024)

    volume = read_series(series[0].parent)

    assert volume.array.dtype == np.int16
    np.testing.assert_array_equal(volume.array, SCAN - 1024)


def test_a_single_slice_takes_its_thickness_from_the_header(tmp_path):
    grid = Grid.from_lps((5, 4, 1), (1, 2, 3.5), (1, 2, 3), np.eye(3))
    path = write_series(SCAN[:, :, :1], grid, tmp_path / "one", "CT")[0]

    assert read_series(tmp_path / "one").grid.matches(grid)
    edit(path, SpacingBetweenSlices=4.5)
    assert read_series(tmp_path / "one").grid.spacing_mm[2] == 4.5
    edit(path, SpacingBetweenSlices=None, SliceThickness=None)
    assert "single slice without SpacingBetweenSlices or SliceThickness" in refusal(tmp_path / "one")


def test_two_series_are_refused_with_their_uids_and_one_can_be_chosen(series, grid):
    folder = series[0].parent
    for path in write_series(SCAN[::-1].copy(), grid, folder / "new", "MR", series_uid=OTHER_UID):
        path.rename(folder / f"other_{path.name}")

    message = refusal(folder)

    assert "2 image series in one folder, must be one" in message
    assert f"{UID} (3 files, CT, thorax)" in message
    assert f"{OTHER_UID} (3 files, MR, no description)" in message
    np.testing.assert_array_equal(read_volume(folder, series_uid=UID).array, SCAN)
    np.testing.assert_array_equal(read_volume(folder, series_uid=OTHER_UID).array, SCAN[::-1])
    assert "no image series 1.2.3 there; choose one of" in refusal(folder, series_uid="1.2.3")


def test_faults_of_another_series_do_not_matter(series, grid):
    folder = series[0].parent
    for path in write_series(SCAN, grid, folder / "new", series_uid=OTHER_UID):
        edit(path, ImagePositionPatient=None, NumberOfFrames=7)
        path.rename(folder / f"other_{path.name}")

    np.testing.assert_array_equal(read_volume(folder, series_uid=UID).array, SCAN)


def long_series(folder, slices=7):
    grid = Grid.from_lps((5, 4, slices), (1, 1, 2.5), (0, 0, 0), np.eye(3))
    return write_series(np.zeros((5, 4, slices), np.int16), grid, folder, "CT", series_uid=UID)


def test_a_missing_slice_is_refused_naming_its_neighbours(tmp_path):
    long_series(tmp_path / "ct")[3].unlink()

    message = refusal(tmp_path / "ct")

    assert "gap in the series: 5 mm between slice_0002.dcm and slice_0004.dcm, 2.5 mm is usual" in message
    assert "must be 1.25 to 3.75 mm" in message


@pytest.mark.parametrize(("shift_mm", "accepted"), [(0.02, True), (0.12, False)])
def test_a_slice_may_lie_off_its_place_by_one_percent_and_the_last_digit(shift_mm, accepted, tmp_path):
    edit(long_series(tmp_path / "ct")[3], ImagePositionPatient=[0, 0, 7.5 + shift_mm])

    if accepted:
        assert read_series(tmp_path / "ct").grid.spacing_mm[2] == 2.5
    else:
        message = refusal(tmp_path / "ct")
        assert "slice_0003.dcm lies 0.12 mm off the line of the other slices" in message
        assert "of the slice distance of 2.5 mm" in message


def test_two_slices_at_one_place_are_refused(tmp_path):
    edit(long_series(tmp_path / "ct")[3], ImagePositionPatient=[0, 0, 5.0])

    message = refusal(tmp_path / "ct")

    assert "1 slices at the position of another" in message
    assert "slice_0002.dcm, slice_0003.dcm" in message


def test_gantry_tilt_is_refused_with_its_angle(tmp_path):
    for index, path in enumerate(long_series(tmp_path / "ct")):
        edit(path, ImagePositionPatient=[0, round(2.5 * index * np.tan(np.radians(12)), 6), 2.5 * index])

    message = refusal(tmp_path / "ct")

    assert "gantry tilt of 12.00 degrees" in message
    assert "slice_0000.dcm to slice_0006.dcm (limit 0.1 degrees)" in message


def test_a_slice_beside_the_line_of_the_others_is_refused(tmp_path):
    edit(long_series(tmp_path / "ct")[3], ImagePositionPatient=[2, 0, 7.5])

    assert "slice_0003.dcm lies 2 mm off the line of the other slices" in refusal(tmp_path / "ct")


@pytest.mark.parametrize(
    ("tags", "rule"),
    [
        (
            {"PixelSpacing": [1, 2]},
            "slices of different pixel spacing: (1, 1) mm (x, y) in slice_0000.dcm vs (2, 1)",
        ),
        ({"ImageOrientationPatient": [0, 1, 0, 0, 0, -1]}, "slices of different orientation"),
        (
            {"Rows": 5, "Columns": 4},
            "slices of different size: (5, 4) voxels (x, y) in slice_0000.dcm vs (4, 5)",
        ),
    ],
)
def test_mixed_slices_are_refused_naming_the_odd_ones(tags, rule, tmp_path):
    edit(long_series(tmp_path / "ct")[4], **tags)

    message = refusal(tmp_path / "ct")
    assert rule in message
    assert "slice_0004.dcm" in message


def test_many_offenders_are_counted(tmp_path):
    for path in long_series(tmp_path / "ct", 12)[2:]:
        edit(path, PixelSpacing=[2, 2])

    assert (
        "slice_0002.dcm, slice_0003.dcm, slice_0004.dcm, slice_0005.dcm, slice_0006.dcm and 5 more"
        in refusal(tmp_path / "ct")
    )


@pytest.mark.parametrize(
    ("tags", "rule"),
    [
        ({"ImagePositionPatient": None}, "tags ImagePositionPatient missing"),
        (
            {"ImageOrientationPatient": None, "PixelSpacing": None},
            "ImageOrientationPatient, PixelSpacing missing",
        ),
        ({"NumberOfFrames": 40}, "a multi-frame file (40 frames)"),
        ({"SamplesPerPixel": 3}, "3 values a pixel"),
        ({"PixelSpacing": [0, 1]}, "must be above 0"),
        ({"ImageOrientationPatient": [1, 0, 0, 0.5, 1, 0]}, "must be two perpendicular unit vectors"),
        ({"ImageOrientationPatient": [2, 0, 0, 0, 1, 0]}, "must be two perpendicular unit vectors"),
        ({"ImagePositionPatient": [0, 0]}, "3 finite numbers needed"),
        ({"RescaleSlope": 0}, "out of range (RescaleSlope 0)"),
    ],
)
def test_a_header_without_a_place_in_the_patient_is_refused(tags, rule, tmp_path):
    for path in long_series(tmp_path / "ct"):
        edit(path, **tags)

    assert rule in refusal(tmp_path / "ct")


@pytest.mark.parametrize(("modality", "sop_class"), [("RTSTRUCT", STRUCTURE_SET), ("SEG", SEGMENTATION)])
def test_objects_that_are_no_scan_are_left_out_and_refused_alone(modality, sop_class, series, tmp_path):
    other = series[0].with_name("object.dcm")
    other.write_bytes(series[0].read_bytes())
    tags = {"Rows": None} if modality == "RTSTRUCT" else {}
    edit(other, Modality=modality, SOPClassUID=sop_class, SeriesInstanceUID=generate_uid(), **tags)

    np.testing.assert_array_equal(read_series(series[0].parent).array, SCAN)
    (tmp_path / "alone").mkdir()
    other.rename(tmp_path / "alone" / "object.dcm")
    assert f"no image series, only DICOM objects of modality {modality}" in refusal(tmp_path / "alone")


@pytest.mark.parametrize("cut", [2, 20, 39])
def test_pixels_cut_off_are_refused(cut, series):
    whole = series[1].read_bytes()
    series[1].write_bytes(whole[:-cut])

    with pytest.raises(SegpipeError, match=f"pixel data truncated: {40 - cut} bytes, 4 x 5 pixels need 40"):
        read_series(series[0].parent)


def test_a_pixel_element_shorter_than_rows_times_columns_is_refused(series):
    dataset = pydicom.dcmread(series[1])
    dataset.PixelData = dataset.PixelData[:20]
    dataset.InstanceCreatorUID = UID
    dataset.save_as(series[1])

    with pytest.raises(SegpipeError, match="pixel data truncated: 20 bytes"):
        read_series(series[0].parent)


@pytest.mark.parametrize("syntax", [RLELossless, DeflatedExplicitVRLittleEndian, ImplicitVRLittleEndian])
def test_other_transfer_syntaxes_give_the_same_voxels_and_are_refused_when_cut(syntax, tmp_path):
    noise = np.random.default_rng(0).integers(-900, 900, (32, 16, 2)).astype(np.int16)
    grid = Grid.from_lps(noise.shape, (1, 1, 2), (0, 0, 0), np.eye(3))
    for path in write_series(noise, grid, tmp_path / "ct"):
        dataset = pydicom.dcmread(path)
        if syntax.is_compressed:
            dataset.compress(syntax)
        else:
            dataset.file_meta.TransferSyntaxUID = syntax
        dataset.save_as(path)

    np.testing.assert_array_equal(read_series(tmp_path / "ct").array, noise)
    path.write_bytes(path.read_bytes()[:-300])
    with pytest.raises(SegpipeError, match=f"{path.name}"):
        read_series(tmp_path / "ct")


def test_files_that_are_no_dicom_are_refused_by_name(series, tmp_path):
    series[1].write_text("hello")
    assert "slice_0001.dcm: not a readable DICOM file" in refusal(series[0].parent)

    (tmp_path / "empty").mkdir()
    assert "no DICOM file there" in refusal(tmp_path / "empty")


def test_one_file_of_a_series_is_refused_naming_its_folder(series):
    with pytest.raises(SegpipeError) as caught:
        read_volume(series[1])

    assert f"one file of a DICOM series; give its folder instead: {series[0].parent}" in str(caught.value)


def test_the_same_call_writes_the_same_bytes(tmp_path, grid):
    for name in ("one", "two"):
        write_series(SCAN, grid, tmp_path / name, series_uid=UID)

    for path in (tmp_path / "one").iterdir():
        assert path.read_bytes() == (tmp_path / "two" / path.name).read_bytes()


def test_a_series_is_written_from_int16_ct_or_mr_of_the_grids_size(tmp_path, grid):
    with pytest.raises(TypeError, match="int16"):
        write_series(SCAN.astype(np.float32), grid, tmp_path)
    with pytest.raises(SegpipeError, match="modality PT: must be one of CT, MR"):
        write_series(SCAN, grid, tmp_path, "PT")
    with pytest.raises(SegpipeError, match="must be equal and 3D"):
        write_series(SCAN[:, :, :2], grid, tmp_path)


def test_a_value_representation_that_no_standard_has_is_refused(series):
    content = series[1].read_bytes()
    tag = bytes.fromhex("2000 3200")  # ImagePositionPatient
    assert content.count(tag + b"DS") == 1
    series[1].write_bytes(content.replace(tag + b"DS", tag + b"ZZ"))

    message = refusal(series[0].parent)

    assert str(series[1]) in message
    assert "not a readable DICOM file" in message
