"""A written volume is read on the same grid by every program, or is not written at all."""

from __future__ import annotations

import nibabel
import numpy as np
import pytest
import SimpleITK as sitk
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sample_grids import all_grids, rotation

from segpipe.errors import SegpipeError
from segpipe.volumes import Grid, read_header, read_volume, write_label_map, write_volume
from segpipe.volumes import writer as writer_module

SPATIAL = [".nii", ".nii.gz", ".mhd", ".mha", ".nrrd"]
SHEARED = np.array([[1, 0.2, 0, 5], [0, 1.5, 0, 6], [0, 0, 2, 7], [0, 0, 0, 1]])


@pytest.fixture
def no_sync(monkeypatch):
    """Skip the disk flush of each of hundreds of small files."""
    monkeypatch.setattr("segpipe.files.sync", lambda path: None)


@pytest.mark.parametrize("suffix", SPATIAL)
@pytest.mark.usefixtures("no_sync")
def test_every_axis_order_straight_and_oblique_comes_back(suffix, tmp_path, labels):
    """48 axis orders and signs x 2; text formats store doubles, NIfTI stores float32 (origin 712 mm: 3e-5)."""
    tolerance = 5e-5 if suffix.startswith(".nii") else 1e-9
    for grid in all_grids():
        write_label_map(labels, grid, tmp_path / f"labels{suffix}")

        volume = read_volume(tmp_path / f"labels{suffix}")

        assert volume.grid.differences(grid, tolerance) == []
        np.testing.assert_array_equal(volume.array, labels)


@pytest.mark.usefixtures("no_sync")
def test_nibabel_and_simpleitk_see_the_grid_where_segpipe_put_it(tmp_path, labels):
    for grid in all_grids():
        write_label_map(labels, grid, tmp_path / "labels.nii")

        image = sitk.ReadImage(tmp_path / "labels.nii")
        grid_of_itk = Grid.from_lps(
            image.GetSize(), image.GetSpacing(), image.GetOrigin(), image.GetDirection()
        )
        loaded = nibabel.load(tmp_path / "labels.nii")

        np.testing.assert_allclose(loaded.affine, grid.affine, atol=5e-5)
        np.testing.assert_allclose(loaded.get_qform(), grid.affine, atol=5e-5)
        np.testing.assert_allclose(grid_of_itk.affine, loaded.affine, atol=1e-5)
        np.testing.assert_array_equal(sitk.GetArrayFromImage(image).T, labels)
        np.testing.assert_array_equal(np.asarray(loaded.dataobj), labels)


@pytest.mark.parametrize("suffix", SPATIAL)
def test_what_simpleitk_writes_is_read_where_it_says(suffix, tmp_path, labels, grid):
    image = sitk.GetImageFromArray(labels.astype(np.float32).T)
    image.SetSpacing(grid.spacing_mm)
    image.SetOrigin(grid.origin_lps.tolist())
    image.SetDirection(grid.direction_lps.reshape(-1).tolist())
    sitk.WriteImage(image, tmp_path / f"scan{suffix}")

    volume = read_volume(tmp_path / f"scan{suffix}")

    assert volume.array.dtype == np.float32
    np.testing.assert_allclose(volume.grid.affine, grid.affine, atol=1e-4 if "nii" in suffix else 1e-9)
    np.testing.assert_array_equal(volume.array, labels)


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.tuples(*[st.integers(1, 6)] * 3),
    st.tuples(*[st.floats(0.05, 9.0)] * 3),
    st.tuples(*[st.floats(-900.0, 900.0)] * 3),
    st.tuples(*[st.floats(-3.1, 3.1)] * 3),
    st.sampled_from(SPATIAL),
)
def test_any_size_spacing_origin_and_rotation_comes_back(tmp_path, size, spacing, origin, turn, suffix):
    grid = Grid.from_lps(size, spacing, origin, rotation(*turn))
    labels = np.arange(np.prod(size)).reshape(size)

    write_label_map(labels, grid, tmp_path / f"labels{suffix}")
    volume = read_volume(tmp_path / f"labels{suffix}")

    assert volume.grid.differences(grid) == []
    np.testing.assert_array_equal(volume.array, labels)


@pytest.mark.parametrize("suffix", SPATIAL)
def test_a_2d_label_map_stays_2d_on_its_grid(suffix, tmp_path):
    turned = np.array([[0.8, 0.6], [-0.6, 0.8]])
    grid = Grid.from_lps((3, 2), (0.5, 0.75), (10.0, -20.0), turned)

    write_label_map(np.arange(6).reshape(3, 2), grid, tmp_path / f"labels{suffix}")
    volume = read_volume(tmp_path / f"labels{suffix}")
    image = sitk.ReadImage(tmp_path / f"labels{suffix}")

    assert volume.grid.differences(grid) == []
    np.testing.assert_array_equal(volume.array, np.arange(6).reshape(3, 2))
    assert image.GetDimension() == 2
    np.testing.assert_allclose(image.GetSpacing(), (0.5, 0.75), atol=1e-6)


@pytest.mark.parametrize(("highest", "dtype"), [(255, np.uint8), (65535, np.uint16)])
def test_png_holds_8_or_16_bits(highest, dtype, tmp_path, picture_grid):
    labels = np.arange(20).reshape(5, 4)
    labels[4, 3] = highest

    write_label_map(labels, picture_grid, tmp_path / "labels.png")
    volume = read_volume(tmp_path / "labels.png")

    assert volume.array.dtype == dtype
    np.testing.assert_array_equal(volume.array, labels)
    assert volume.grid == picture_grid


@pytest.mark.parametrize(
    ("values", "dtype"),
    [((0, 255), "u1"), ((0, 256), "u2"), ((-1, 5), "i2"), ((0, 65536), "i4"), ((-40000, 0), "i4")],
)
def test_the_smallest_type_that_holds_the_labels_is_written(values, dtype, tmp_path):
    grid = Grid.from_affine((2, 1, 1), np.eye(4))

    write_label_map(np.array(values).reshape(2, 1, 1), grid, tmp_path / "a.nii.gz")

    assert read_header(tmp_path / "a.nii.gz").dtype == np.dtype(dtype)


def test_the_type_can_be_told_and_must_hold_the_labels(tmp_path, grid, labels):
    write_label_map(labels, grid, tmp_path / "a.nii", dtype=np.int16)
    assert read_header(tmp_path / "a.nii").dtype == np.int16

    with pytest.raises(SegpipeError, match="labels 0 to 1000 do not fit uint8"):
        write_label_map(np.where(labels == 3, 1000, 0), grid, tmp_path / "a.nii", dtype=np.uint8)


def test_labels_beyond_int32_and_fractions_are_refused(tmp_path, grid, labels):
    with pytest.raises(SegpipeError, match="must lie within int32"):
        write_label_map(labels + 2**31, grid, tmp_path / "a.nii")
    with pytest.raises(TypeError, match="must be integers, not float64"):
        write_label_map(labels * 1.0, grid, tmp_path / "a.nii")
    assert not list(tmp_path.iterdir())


def test_a_mask_of_booleans_is_written_as_0_and_1(tmp_path, grid, labels):
    write_label_map(labels > 30, grid, tmp_path / "mask.mha")

    np.testing.assert_array_equal(read_volume(tmp_path / "mask.mha").array, labels > 30)


@pytest.mark.parametrize("dtype", [np.int16, np.float32])
@pytest.mark.parametrize("suffix", SPATIAL)
def test_intensities_keep_their_type(suffix, dtype, tmp_path, grid, labels):
    scan = (labels - 30).astype(dtype)

    write_volume(scan, grid, tmp_path / f"scan{suffix}")
    volume = read_volume(tmp_path / f"scan{suffix}")

    assert volume.array.dtype == dtype
    np.testing.assert_array_equal(volume.array, scan)
    with pytest.raises(TypeError, match="float64"):
        write_volume(labels * 0.5, grid, tmp_path / f"scan{suffix}")


def test_compressed_metaimage_names_the_voxel_file_beside_it(tmp_path, grid, labels):
    write_label_map(labels, grid, tmp_path / "deep" / "er" / "case.mhd")

    assert sorted(file.name for file in (tmp_path / "deep" / "er").iterdir()) == ["case.mhd", "case.zraw"]
    header = (tmp_path / "deep" / "er" / "case.mhd").read_text()
    assert "CompressedData = True" in header
    assert "ElementDataFile = case.zraw" in header


@pytest.mark.parametrize("suffix", [".NII.GZ", ".MHD", ".Mha", ".NRRD"])
def test_suffixes_count_in_any_case(suffix, tmp_path, grid, labels):
    write_label_map(labels, grid, tmp_path / f"case{suffix}")

    assert read_volume(tmp_path / f"case{suffix}").grid.matches(grid)


def test_nifti_carries_millimetres_and_both_forms(tmp_path, grid, labels):
    write_label_map(labels, grid, tmp_path / "a.nii.gz")

    header = nibabel.load(tmp_path / "a.nii.gz").header
    assert header.get_xyzt_units()[0] == "mm"
    assert (header["sform_code"], header["qform_code"]) == (1, 1)


@pytest.mark.parametrize(("sform", "qform"), [(2, 1), (1, 0), (0, 1), (4, 4)])
def test_form_codes_of_the_source_are_carried_over(sform, qform, tmp_path, grid, labels):
    image = nibabel.Nifti1Image(labels.astype(np.int16), grid.affine)
    image.set_qform(grid.affine, qform)
    image.set_sform(grid.affine, sform)
    nibabel.save(image, tmp_path / "scan.nii")
    scan = read_volume(tmp_path / "scan.nii")

    write_label_map(labels, scan.grid, tmp_path / "labels.nii", source=scan)

    header = nibabel.load(tmp_path / "labels.nii").header
    assert (header["sform_code"], header["qform_code"]) == (sform, qform)
    assert read_volume(tmp_path / "labels.nii").grid.matches(scan.grid)


def test_where_a_scan_has_two_affines_its_label_map_has_the_same_two(tmp_path, grid, labels):
    """Programs differ in the affine they use; in each program, the labels must lie on the scan."""
    other = grid.affine.copy()
    other[:3, 3] += 12.0
    image = nibabel.Nifti1Image(labels.astype(np.int16), grid.affine)
    image.set_qform(other, 1)
    image.set_sform(grid.affine, 2)
    nibabel.save(image, tmp_path / "scan.nii")
    scan = read_volume(tmp_path / "scan.nii")

    write_label_map(labels, scan.grid, tmp_path / "labels.nii", source=scan)

    np.testing.assert_allclose(nibabel.load(tmp_path / "labels.nii").get_qform(), other, atol=1e-4)
    np.testing.assert_allclose(nibabel.load(tmp_path / "labels.nii").get_sform(), grid.affine, atol=1e-4)


def test_a_sheared_grid_goes_to_nifti_without_a_qform(tmp_path, labels):
    grid = Grid.from_affine((5, 4, 3), SHEARED)

    write_label_map(labels, grid, tmp_path / "a.nii.gz")

    assert read_volume(tmp_path / "a.nii.gz").grid.matches(grid, 1e-6)
    assert nibabel.load(tmp_path / "a.nii.gz").header["qform_code"] == 0


def refused(array, grid, path) -> str:
    with pytest.raises(SegpipeError) as caught:
        write_label_map(array, grid, path)
    assert not path.exists()
    assert not [file for file in path.parent.iterdir() if file.name.startswith(".")]
    message = str(caught.value)
    assert message.startswith(str(path))
    return message


@pytest.mark.parametrize("suffix", [".mhd", ".mha", ".nrrd"])
def test_a_sheared_grid_is_refused_elsewhere(suffix, tmp_path, labels):
    message = refused(labels, Grid.from_affine((5, 4, 3), SHEARED), tmp_path / f"a{suffix}")
    assert "sheared grid" in message
    assert "write .nii.gz" in message


def test_shape_and_grid_must_agree(tmp_path, grid, labels):
    message = refused(labels[:, :, :2], grid, tmp_path / "a.nii")
    assert "shape (5, 4, 2) on a grid of size (5, 4, 3) voxels" in message


def test_a_2d_grid_with_a_place_in_z_is_refused_by_2d_files(tmp_path):
    grid = Grid.from_lps((3, 2), (1, 1), (0, 0, 40), np.eye(3))
    labels = np.zeros((3, 2), np.uint8)

    assert "out of the xy plane" in refused(labels, grid, tmp_path / "a.mhd")
    write_label_map(labels, grid, tmp_path / "a.nii")
    assert read_volume(tmp_path / "a.nii").grid.matches(grid)


def test_png_refuses_volumes_spacings_and_negative_labels(tmp_path, grid, labels, picture_grid):
    spaced = Grid.from_lps((5, 4), (0.5, 0.5), (0, 0), np.eye(2))
    flat = labels[:, :, 0]

    assert "PNG holds 2D pixels" in refused(labels, grid, tmp_path / "a.png")
    assert "PNG holds 2D pixels" in refused(flat, spaced, tmp_path / "a.png")
    assert "PNG holds 0 to 65535" in refused(flat - 1, picture_grid, tmp_path / "a.png")


def test_jpeg_and_unknown_suffixes_are_refused(tmp_path, picture_grid, labels):
    assert "writes no JPEG" in refused(labels[:, :, 0], picture_grid, tmp_path / "a.jpg")
    assert "segpipe reads .nii.gz" in refused(labels[:, :, 0], picture_grid, tmp_path / "a.xyz")


@pytest.mark.parametrize("suffix", [".nii.gz", ".mhd", ".nrrd"])
@pytest.mark.parametrize(
    "error", [OSError(28, "No space left on device"), RuntimeError("ITK ERROR: disk full")]
)
def test_a_failing_write_leaves_the_earlier_file_and_nothing_else(
    suffix, error, tmp_path, grid, labels, monkeypatch
):
    path = tmp_path / f"a{suffix}"
    write_label_map(labels, grid, path)
    before = {file.name: file.read_bytes() for file in tmp_path.iterdir()}

    def half_a_file(content, target, *rest):
        with open(target, "wb") as file:  # noqa: PTH123 - target may be a str
            file.write(b"half")
        raise error

    monkeypatch.setattr(writer_module.nibabel, "save", half_a_file)
    monkeypatch.setattr(writer_module.sitk, "WriteImage", half_a_file)
    with pytest.raises(SegpipeError, match=r"cannot be written \(.*(No space|disk full)"):
        write_label_map(labels + 1, grid, path)

    assert {file.name: file.read_bytes() for file in tmp_path.iterdir()} == before


def test_an_interrupt_leaves_nothing(tmp_path, grid, labels, monkeypatch):
    def interrupted(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(writer_module.nibabel, "save", interrupted)
    with pytest.raises(KeyboardInterrupt):
        write_label_map(labels, grid, tmp_path / "a.nii")

    assert not list(tmp_path.iterdir())


def test_the_header_comes_last(tmp_path, grid, labels, monkeypatch):
    moved = []
    original = writer_module.Path.replace
    monkeypatch.setattr(
        writer_module.Path, "replace", lambda self, to: (moved.append(to.name), original(self, to))[1]
    )

    write_label_map(labels, grid, tmp_path / "a.mhd")

    assert moved == ["a.zraw", "a.mhd"]


def test_a_folder_in_the_way_is_named(tmp_path, grid, labels):
    (tmp_path / "file").write_text("")

    with pytest.raises(SegpipeError, match="cannot be written"):
        write_label_map(labels, grid, tmp_path / "file" / "a.nii")


@pytest.mark.parametrize("suffix", SPATIAL)
def test_the_same_labels_write_the_same_bytes(suffix, tmp_path, grid, labels):
    for folder in ("one", "two"):
        write_label_map(labels, grid, tmp_path / folder / f"a{suffix}")

    for file in (tmp_path / "one").iterdir():
        assert file.read_bytes() == (tmp_path / "two" / file.name).read_bytes()
