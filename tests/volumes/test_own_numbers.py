"""A label map's header has its scan's numbers, to the precision of its format."""

from __future__ import annotations

import re

import nibabel
import numpy as np
import pytest
from sample_grids import rotation

from segpipe.errors import SegpipeError
from segpipe.volumes import Grid, read_header, read_volume, write_label_map

SIZE = (6, 5, 4)
LABELS = np.arange(120, dtype=np.uint8).reshape(SIZE) % 3
FOUR_DIGITS = np.round(rotation(0.4, -0.1, 0.05), 4)
ANOTHER_ANGLE = np.array([[0.9952, 0.0098, -0.0975], [-0.0475, 0.9188, 0.3919], [0.0857, -0.3946, 0.9148]])


def mha(path, axes, offset="-280.5468 20.25 964.3017", spacing="0.7 1.3 2.5"):
    matrix = " ".join(f"{value:.4f}" for value in np.asarray(axes).T.reshape(-1))
    header = (
        "ObjectType = Image\nNDims = 3\nBinaryData = True\nBinaryDataByteOrderMSB = False\n"
        f"TransformMatrix = {matrix}\nOffset = {offset}\nElementSpacing = {spacing}\nDimSize = 6 5 4\n"
        "ElementType = MET_UCHAR\nElementDataFile = LOCAL\n"
    )
    path.write_bytes(header.encode() + LABELS.tobytes(order="F"))
    return path


def numbers(path, key):
    line = re.search(rf"^{key} = (.*)$", path.read_bytes().decode("latin-1"), re.MULTILINE)
    return [float(value) for value in line[1].split()]


@pytest.mark.parametrize("axes", [FOUR_DIGITS, ANOTHER_ANGLE], ids=["rounded", "another angle"])
def test_a_metaimage_keeps_its_nine_cosines_origin_and_spacing(axes, tmp_path):
    scan = read_volume(mha(tmp_path / "scan.mha", axes))

    write_label_map(scan.array, scan.grid, tmp_path / "labels.mha", source=scan)

    for key in ("TransformMatrix", "Offset", "ElementSpacing"):
        assert numbers(tmp_path / "labels.mha", key) == numbers(tmp_path / "scan.mha", key)
    again = read_volume(tmp_path / "labels.mha")
    assert again.grid == scan.grid
    np.testing.assert_array_equal(again.array, LABELS)


def test_axes_of_four_digits_are_no_shear(tmp_path):
    header = read_header(mha(tmp_path / "scan.mha", FOUR_DIGITS))

    assert not header.grid.is_sheared
    np.testing.assert_allclose(header.grid.spacing_mm, (0.7, 1.3, 2.5), atol=1e-12)
    assert read_header(mha(tmp_path / "other.mha", ANOTHER_ANGLE)).grid.is_sheared


def test_axes_at_another_angle_go_into_no_format_that_lacks_them(tmp_path):
    scan = read_volume(mha(tmp_path / "scan.mha", ANOTHER_ANGLE))

    with pytest.raises(SegpipeError, match="sheared grid"):
        write_label_map(scan.array, scan.grid, tmp_path / "labels.mha")
    write_label_map(scan.array, scan.grid, tmp_path / "labels.nii", source=scan)
    assert read_header(tmp_path / "labels.nii").grid.matches(scan.grid)


@pytest.mark.parametrize("suffix", [".mhd", ".nrrd", ".nii"])
def test_another_format_holds_the_scans_grid(suffix, tmp_path):
    """NRRD stores axes times spacings: a cosine of four digits moves the farthest voxel by a few micrometres."""
    scan = read_volume(mha(tmp_path / "scan.mha", FOUR_DIGITS))

    write_label_map(scan.array, scan.grid, tmp_path / f"labels{suffix}", source=scan)

    assert read_header(tmp_path / f"labels{suffix}").grid.matches(scan.grid, 1e-3)


@pytest.mark.parametrize(("sform_code", "qform_code"), [(1, 1), (0, 1), (2, 0), (4, 1)])
def test_a_nifti_keeps_both_forms_number_by_number(sform_code, qform_code, tmp_path):
    grid = Grid.from_lps(SIZE, (0.7, 1.3, 2.5), (-280.5468, 20.25, 964.3017), rotation(0.4, -0.1, 0.05))
    image = nibabel.Nifti1Image(LABELS, grid.affine)
    image.set_qform(grid.affine, qform_code)
    image.set_sform(grid.affine, sform_code)
    nibabel.save(image, tmp_path / "scan.nii")
    scan = read_volume(tmp_path / "scan.nii")

    write_label_map(scan.array, scan.grid, tmp_path / "labels.nii.gz", source=scan)

    before, after = (nibabel.load(tmp_path / name).header for name in ("scan.nii", "labels.nii.gz"))
    names = [f"quatern_{letter}" for letter in "bcd"] + [f"qoffset_{letter}" for letter in "xyz"]
    for name in [*names, "srow_x", "srow_y", "srow_z", "sform_code", "qform_code"]:
        np.testing.assert_array_equal(before[name], after[name], name)
    np.testing.assert_array_equal(before["pixdim"][:4], after["pixdim"][:4])
    assert read_header(tmp_path / "labels.nii.gz").grid == scan.grid


def test_a_quaternion_that_is_too_long_by_rounding_is_written_as_a_rotation(tmp_path):
    """nibabel writes no quaternion that it could not read; the grid still equals the scan's."""
    image = nibabel.Nifti1Image(LABELS, np.diag([-1.0, -1, 1, 1]))
    image.set_sform(None, 0)
    image.set_qform(np.diag([-1.0, -1, 1, 1]), 1)
    nibabel.save(image, tmp_path / "scan.nii")
    data = bytearray((tmp_path / "scan.nii").read_bytes())
    data[264:268] = np.float32(1.0000004).tobytes()
    (tmp_path / "scan.nii").write_bytes(data)
    scan = read_volume(tmp_path / "scan.nii")

    write_label_map(scan.array, scan.grid, tmp_path / "labels.nii", source=scan)

    assert read_header(tmp_path / "labels.nii").grid.matches(scan.grid, 1e-6)
