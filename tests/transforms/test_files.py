"""The load of files, the mapping of stored values to classes, and the writing of label maps."""

import nibabel as nib
import numpy as np
import pydicom
import pytest
import SimpleITK as sitk
import torch
from monai.data import MetaTensor
from monai.transforms import Compose, Invertd, Orientationd, Spacingd
from sample_grids import OBLIQUE

from segpipe.errors import SegpipeError
from segpipe.labels import LabelTable
from segpipe.transforms import (
    LabelIndicesd,
    LoadVolumed,
    SaveLabelMapd,
)
from segpipe.volumes import Grid, read_header, read_volume, write_label_map, write_series, write_volume

NAMES = ("background", "anterior", "posterior")


def table(values=(0, 1, 2), names=NAMES):
    return LabelTable.from_rows(
        {"index": index, "name": name, "color": [0, 0, 0], "value": value}
        for index, (name, value) in enumerate(zip(names, values, strict=True))
    )


def load(*paths, **kwargs):
    return LoadVolumed("image", **kwargs)({"case": "a", "image": list(paths)})["image"]


def test_a_volume_comes_as_it_lies_in_its_file(scan, array):
    image = LoadVolumed("image")({"case": "a", "image": str(scan)})["image"]

    assert image.shape == (1, 5, 4, 3)
    assert image.dtype == torch.int16
    np.testing.assert_array_equal(image[0], array)
    np.testing.assert_allclose(image.affine, OBLIQUE, atol=1e-6)
    assert image.affine.dtype == torch.float64
    assert image.meta["filename_or_obj"] == str(scan)


@pytest.mark.parametrize("name", ["scan.nii.gz", "scan.mhd", "scan.nrrd", "series"])
def test_every_format_is_one_volume(tmp_path, array, grid, name):
    if name == "series":
        write_series(array, grid, tmp_path / name)
    else:
        write_volume(array, grid, tmp_path / name)

    image = load(tmp_path / name)

    np.testing.assert_array_equal(image[0], array)
    np.testing.assert_allclose(image.affine, OBLIQUE, atol=1e-5)


def test_a_file_that_its_reader_refuses_is_read_by_no_other(scan):
    """MONAI reads NIfTI by nibabel; its LoadImage would then try SimpleITK, which reads this file."""
    scan.write_bytes(scan.read_bytes()[:-200])

    with pytest.raises(SegpipeError, match=r"scan.nii.gz"):
        load(scan)


def test_voxels_that_are_no_numbers_are_refused(tmp_path, grid):
    broken = np.zeros((5, 4, 3), np.float32)
    broken[1, 2, 0] = np.nan
    write_volume(broken, grid, tmp_path / "nan.nii.gz")

    with pytest.raises(SegpipeError, match=r"nan.nii.gz: 1 of 60 voxels are NaN or infinite"):
        load(tmp_path / "nan.nii.gz")


@pytest.mark.parametrize(("value", "dtype"), [(1e300, "f8"), (3e38, "f4"), (-2e15, "f4"), (1 << 60, "i8")])
def test_values_that_float32_sums_cannot_hold_are_refused(tmp_path, array, value, dtype):
    """1e300 is infinite in float32; so is the square of 3e38, and a z-score becomes NaN everywhere."""
    broken = array.astype(dtype)
    broken[1, 2, 0] = value
    nib.save(nib.Nifti1Image(broken, OBLIQUE, dtype=broken.dtype), tmp_path / "far.nii.gz")

    with pytest.raises(
        SegpipeError, match=r"far.nii.gz: 1 of 60 voxels exceed 1e\+15 .* first at \(1, 2, 0\)"
    ):
        load(tmp_path / "far.nii.gz")


def test_ordinary_intensities_of_every_modality_pass(tmp_path, array):
    nib.save(nib.Nifti1Image(array * 1e8, OBLIQUE), tmp_path / "pet_becquerel.nii.gz")

    assert torch.isfinite(load(tmp_path / "pet_becquerel.nii.gz")).all()


@pytest.mark.parametrize("spread", [0.0, 1e-12])
def test_a_blank_image_is_refused(tmp_path, array, spread):
    """An image whose differences vanish in float32 is refused, too."""
    nib.save(nib.Nifti1Image(7 + spread * array, OBLIQUE), tmp_path / "blank.nii.gz")

    with pytest.raises(SegpipeError, match=r"blank.nii.gz: every voxel is 7; a blank image"):
        load(tmp_path / "blank.nii.gz")


def test_one_blank_channel_is_refused(tmp_path, array):
    two = np.stack([array, np.zeros_like(array)], -1)
    nib.save(nib.Nifti1Image(two, OBLIQUE), tmp_path / "two.nii.gz")

    with pytest.raises(SegpipeError, match=r"two.nii.gz: channel 1: every voxel is 0"):
        load(tmp_path / "two.nii.gz", num_channels=2)


def test_a_label_map_may_hold_one_value(tmp_path, scan):
    write_label_map(
        np.zeros((5, 4, 3), np.uint8), Grid.from_affine((5, 4, 3), OBLIQUE), tmp_path / "l.nii.gz"
    )

    loaded = LoadVolumed(["image", "label"])({"image": str(scan), "label": str(tmp_path / "l.nii.gz")})

    assert not loaded["label"].any()


def test_the_keys_of_images_can_be_named(tmp_path, grid):
    write_volume(np.zeros((5, 4, 3), np.int16), grid, tmp_path / "blank.nii.gz")

    with pytest.raises(SegpipeError, match="blank image"):
        LoadVolumed("ct", image_keys="ct")({"ct": str(tmp_path / "blank.nii.gz")})


def test_a_label_map_with_a_rounded_header_lies_on_its_image_exactly(tmp_path, array):
    """Different affines could give different shapes after resampling."""
    image = Grid.from_lps(array.shape, (1, 1, 1), (-280.5468, -280.5468, 964.3017), np.eye(3))
    rounded = Grid.from_lps(array.shape, (1, 1, 1), (-280.547, -280.547, 964.302), np.eye(3))
    other = Grid.from_lps(array.shape, (1, 1, 1), (-280.647, -280.547, 964.302), np.eye(3))
    for name, grid in (("image", image), ("label", rounded), ("other", other)):
        write_volume(array, grid, tmp_path / f"{name}.mha")
    paths = {name: tmp_path / f"{name}.mha" for name in ("image", "label", "other")}

    loaded = LoadVolumed(("image", "label", "other"))(paths)

    np.testing.assert_array_equal(loaded["label"].affine, image.affine)
    np.testing.assert_array_equal(loaded["other"].affine, other.affine)


def test_channels_are_stacked_in_the_order_given(tmp_path, scan, array, grid):
    write_volume((array * 2).astype(np.float32), grid, tmp_path / "second.nii.gz")

    image = load(tmp_path / "second.nii.gz", scan, num_channels=2)

    np.testing.assert_array_equal(image, np.stack([array * 2, array]))
    assert image.meta["filename_or_obj"].endswith("second.nii.gz")


def test_channels_on_other_grids_are_refused(tmp_path, scan, array):
    moved = OBLIQUE.copy()
    moved[0, 3] += 0.5
    write_volume(array, Grid.from_affine(array.shape, moved), tmp_path / "moved.nii.gz")

    with pytest.raises(
        SegpipeError, match=r"moved.nii.gz: .* grids: origin .* mm .*; resample moved.nii.gz onto scan.nii.gz"
    ):
        load(scan, tmp_path / "moved.nii.gz", num_channels=2)


def test_channels_of_one_size_more_are_refused(tmp_path, scan, array):
    larger = np.concatenate([array, array[:, :, :1]], axis=2)
    write_volume(larger, Grid.from_affine(larger.shape, OBLIQUE), tmp_path / "larger.nii.gz")

    with pytest.raises(SegpipeError, match=r"size \(5, 4, 3\) vs \(5, 4, 4\) voxels"):
        load(scan, tmp_path / "larger.nii.gz", num_channels=2)


def test_another_number_of_channels_is_refused(tmp_path, scan, array):
    nib.save(nib.Nifti1Image(np.stack([array, array], -1), OBLIQUE), tmp_path / "series.nii.gz")

    with pytest.raises(SegpipeError, match=r"series.nii.gz: 2 channels, the bundle takes 1"):
        load(tmp_path / "series.nii.gz")
    with pytest.raises(SegpipeError, match=r"scan.nii.gz: 1 channels, the bundle takes 2"):
        load(scan, num_channels=2)
    assert load(tmp_path / "series.nii.gz", num_channels=None).shape == (2, 5, 4, 3)


def test_another_number_of_dimensions_is_refused(tmp_path, scan):
    sitk.WriteImage(sitk.GetImageFromArray(np.zeros((4, 5), np.uint8)), tmp_path / "slice.png")

    with pytest.raises(SegpipeError, match=r"slice.png: 2D, size \(5, 4\) voxels, the bundle takes 3D"):
        load(tmp_path / "slice.png")
    with pytest.raises(SegpipeError, match=r"scan.nii.gz: 3D, size \(5, 4, 3\) voxels, the bundle takes 2D"):
        load(scan, spatial_dims=2)


def test_a_picture_is_a_2d_volume(tmp_path):
    pixels = np.arange(20, dtype=np.uint8).reshape(4, 5)
    sitk.WriteImage(sitk.GetImageFromArray(pixels), tmp_path / "slice.png")

    image = load(tmp_path / "slice.png", spatial_dims=2)

    np.testing.assert_array_equal(image[0], pixels.T)


def test_float64_is_narrowed(tmp_path):
    values = np.linspace(0.1, 1, 60).reshape(5, 4, 3)
    nib.save(nib.Nifti1Image(values, OBLIQUE), tmp_path / "double.nii.gz")

    image = load(tmp_path / "double.nii.gz")

    assert image.dtype == torch.float32
    assert image[0, 0, 0, 0] == np.float32(0.1)


@pytest.mark.parametrize(
    "dtype", [np.uint8, np.uint16, np.int16, np.int32, np.float32, np.float64, np.uint32, np.int64]
)
def test_every_dtype_goes_through_a_chain(tmp_path, array, dtype):
    """MONAI's transforms do not support all dtypes of PyTorch."""
    nib.save(nib.Nifti1Image(array.astype(dtype), OBLIQUE, dtype=dtype), tmp_path / "scan.nii.gz")
    chain = Compose(
        [
            LoadVolumed("image"),
            Orientationd("image", "LPS", labels=None),
            Spacingd("image", (1, 1, 2.5), dtype=torch.float32),
        ]
    )

    image = chain({"case": "a", "image": str(tmp_path / "scan.nii.gz")})["image"]

    np.testing.assert_allclose(image[0], array[::-1, ::-1], atol=1e-3)


def test_a_missing_key_is_refused_unless_allowed(scan):
    with pytest.raises(KeyError, match="label"):
        LoadVolumed(["image", "label"])({"image": str(scan)})
    assert set(LoadVolumed(["image", "label"], allow_missing_keys=True)({"image": str(scan)})) == {"image"}


def test_a_series_is_chosen_in_folders_alone(tmp_path, scan, array, grid):
    """A cohort may have folders with several series beside files."""
    write_series(array, grid, tmp_path / "two", series_uid="1.2.3")
    for file in write_series(array + 1, grid, tmp_path / "other", series_uid="1.2.4"):
        file.rename(tmp_path / "two" / f"other_{file.name}")

    np.testing.assert_array_equal(load(tmp_path / "two", series_uid="1.2.4")[0], array + 1)
    np.testing.assert_array_equal(load(scan, series_uid="1.2.4")[0], array)
    with pytest.raises(SegpipeError, match=r"1\.2\.3"):
        load(tmp_path / "two")


def loaded_label(tmp_path, stored):
    write_label_map(stored, Grid.from_affine(stored.shape, OBLIQUE), tmp_path / "label.nii.gz")
    return LoadVolumed("label")({"label": str(tmp_path / "label.nii.gz")})


def test_stored_values_become_classes_by_name(tmp_path):
    """The data set stores 85 for the tail and 170 for the head; the label table has head 1, tail 2."""
    stored = np.array([0, 85, 170, 85], np.uint8).reshape(4, 1, 1)
    values = {0: "background", 85: "Posterior", 170: "anterior"}

    label = LabelIndicesd("label", table(), values)(loaded_label(tmp_path, stored))["label"]

    assert label.flatten().tolist() == [0, 2, 1, 2]
    assert isinstance(label, MetaTensor)
    np.testing.assert_allclose(label.affine, OBLIQUE, atol=1e-6)


def test_stored_values_are_the_tables_own_where_nothing_else_is_said(tmp_path):
    stored = np.array([0, 420, 205], np.uint16).reshape(3, 1, 1)

    label = LabelIndicesd("label", table((0, 205, 420)))(loaded_label(tmp_path, stored))["label"]

    assert label.flatten().tolist() == [0, 2, 1]


def test_a_value_of_no_class_is_refused_with_its_file(tmp_path):
    stored = np.array([0, 1, 7], np.uint8).reshape(3, 1, 1)

    with pytest.raises(SegpipeError, match=r"label.nii.gz: label map holds the value\(s\) 7 in 1 voxel"):
        LabelIndicesd("label", table())(loaded_label(tmp_path, stored))


def save(scan, pred, output_dir, labels=None, **kwargs):
    record = {
        "image": MetaTensor(torch.zeros(1), meta={"filename_or_obj": str(scan)}),
        "pred": pred,
        "output": "deep/scan.nii.gz",
    }
    returned = SaveLabelMapd("pred", output_dir, labels or table(), **kwargs)(record)
    assert returned["pred"] is pred
    return output_dir / "deep" / "scan.nii.gz"


def indices(shape=(5, 4, 3), affine=OBLIQUE):
    classes = np.arange(np.prod(shape)).reshape(1, *shape) % 3
    return MetaTensor(torch.as_tensor(classes, dtype=torch.float32), affine=torch.as_tensor(affine))


@pytest.mark.parametrize(
    ("values", "dtype"),
    [((0, 1, 2), np.uint8), ((0, 85, 170), np.uint8), ((0, 205, 420), np.uint16), ((0, -1, 7), np.int16)],
)
def test_a_label_map_stores_the_tables_values_on_the_scans_grid(scan, tmp_path, values, dtype):
    path = save(scan, indices(), tmp_path / "out", table(values))

    written = nib.load(path)
    expected = np.asarray(values)[np.arange(60).reshape(5, 4, 3) % 3]
    assert written.get_data_dtype() == dtype
    np.testing.assert_array_equal(np.asarray(written.dataobj), expected)
    np.testing.assert_allclose(written.affine, OBLIQUE, atol=1e-6)
    assert read_volume(path).grid.differences(read_header(scan).grid) == []


def test_the_scans_nifti_forms_are_carried_over(tmp_path, array):
    image = nib.Nifti1Image(array, OBLIQUE)
    image.set_sform(OBLIQUE, code=4)
    image.set_qform(OBLIQUE, code=2)
    nib.save(image, tmp_path / "scan.nii.gz")

    written = nib.load(save(tmp_path / "scan.nii.gz", indices(), tmp_path / "out"))

    assert (int(written.header["sform_code"]), int(written.header["qform_code"])) == (4, 2)


@pytest.mark.parametrize(
    ("pred", "pattern"),
    [
        (indices((5, 4, 2)), r"shape \(1, 5, 4, 2\) for a scan of \(5, 4, 3\)"),
        (indices().repeat(3, 1, 1, 1), r"shape \(3, 5, 4, 3\)"),
        (indices(affine=OBLIQUE @ np.diag([-1, 1, 1, 1])), "off the grid of .*scan.nii.gz: direction"),
        (indices(affine=OBLIQUE + np.diag([0, 0, 0.5], 1)), "off the grid"),
    ],
    ids=["size", "scores", "flipped", "moved"],
)
def test_a_map_off_the_scans_grid_is_not_written(scan, tmp_path, pred, pattern):
    """A chain with a wrong inversion would put labels on other tissue."""
    with pytest.raises(RuntimeError, match=pattern):
        save(scan, pred, tmp_path / "out")

    assert not (tmp_path / "out").exists()


def test_scores_are_not_written_as_labels(scan, tmp_path):
    with pytest.raises(SegpipeError, match="not whole numbers"):
        save(scan, indices() * 0.25, tmp_path / "out")


def test_a_chain_and_its_inverse_end_on_the_scans_grid(scan, tmp_path, array):
    chain = Compose(
        [LoadVolumed("image"), Orientationd("image", "LPS", labels=None), Spacingd("image", (1, 1, 1.25))]
    )
    record = chain({"case": "a", "image": str(scan), "output": "scan.nii.gz"})
    record["pred"] = MetaTensor((record["image"] > 30).float(), meta=dict(record["image"].meta))
    record["pred"].applied_operations = list(record["image"].applied_operations)

    record = Invertd("pred", chain, orig_keys="image", nearest_interp=True)(record)
    SaveLabelMapd("pred", tmp_path / "out", table())(record)

    written = read_volume(tmp_path / "out" / "scan.nii.gz")
    assert written.grid.differences(read_header(scan).grid) == []
    assert np.mean(written.array == (array > 30)) > 0.95


def test_the_modality_of_a_series_is_known(tmp_path, array, grid):
    write_series(array, grid, tmp_path / "series", "CT")
    write_volume(array, grid, tmp_path / "scan.nii.gz")

    series, scan = load(tmp_path / "series").meta, load(tmp_path / "scan.nii.gz").meta
    assert (series["modality"], series["is_hounsfield"]) == ("CT", True)
    assert (scan["modality"], scan["is_hounsfield"]) == ("", False)

    for path in (tmp_path / "series").iterdir():
        dataset = pydicom.dcmread(path)
        del dataset.RescaleSlope, dataset.RescaleIntercept
        dataset.save_as(path)
    assert load(tmp_path / "series").meta["is_hounsfield"] is False


def test_slices_and_volumes_through_one_loader(tmp_path, array, grid, scan):
    write_volume(array[:, :, 0], Grid.from_affine((5, 4), np.diag([-1.0, -1, 1, 1])), tmp_path / "slice.mhd")

    assert load(tmp_path / "slice.mhd", spatial_dims=None).shape == (1, 5, 4)
    assert load(scan, spatial_dims=None).shape == (1, 5, 4, 3)


def test_names_and_colours_of_the_labels_lie_at_the_top_of_the_folder(scan, tmp_path):
    save(scan, indices(), tmp_path / "out")
    save(scan, indices(), tmp_path / "out")

    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [
        "deep",
        "labels.ctbl",
        "labels.label",
    ]
    assert '"posterior"' in (tmp_path / "out" / "labels.label").read_text()


def test_labels_of_another_table_are_not_written_into_a_folder_of_names(scan, tmp_path):
    path = save(scan, indices(), tmp_path / "out")
    before = path.read_bytes()

    with pytest.raises(
        SegpipeError, match="calls the value 1 'anterior' where the label table calls it 'head'"
    ):
        save(scan, indices(), tmp_path / "out", table(names=("background", "head", "posterior")))

    assert path.read_bytes() == before
