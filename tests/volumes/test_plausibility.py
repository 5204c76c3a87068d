"""Headers that can be read and must be wrong: unknown orientation, other units, sizes that no patient has."""

import nibabel
import numpy as np
import pytest
import SimpleITK as sitk
from sample_grids import SIZE, all_grids

from segpipe.errors import SegpipeError
from segpipe.volumes import Grid, read_header, read_volume, write_series, write_volume

ARRAY = np.arange(60, dtype=np.int16).reshape(SIZE)
READERS = pytest.mark.parametrize("reader", [read_header, read_volume])


def nifti_with_codes(path, grid, sform, qform):
    image = nibabel.Nifti1Image(ARRAY, grid.affine)
    image.set_sform(grid.affine, sform)
    image.set_qform(grid.affine, qform)
    nibabel.save(image, path)
    return path


def refusal(reader, path):
    with pytest.raises(SegpipeError) as caught:
        reader(path)
    message = str(caught.value)
    assert message.startswith(str(path))
    return message


@READERS
def test_a_nifti_without_orientation_is_refused(reader, tmp_path, grid):
    """nibabel would flip x, SimpleITK would not."""
    path = nifti_with_codes(tmp_path / "a.nii.gz", grid, 0, 0)

    message = refusal(reader, path)

    assert "sform_code 0 and qform_code 0" in message
    assert "set one of them" in message


@pytest.mark.parametrize("codes", [(1, 0), (0, 1), (2, 2)])
def test_nibabel_and_simpleitk_agree_on_every_affine_that_is_read(codes, tmp_path):
    for number, grid in enumerate(all_grids()):
        path = nifti_with_codes(tmp_path / f"{number}.nii", grid, *codes)
        image = sitk.ReadImage(path)
        other = Grid.from_lps(image.GetSize(), image.GetSpacing(), image.GetOrigin(), image.GetDirection())

        assert read_header(path).grid.matches(other, 1e-5)


@READERS
@pytest.mark.parametrize(
    ("size", "spacing", "rule"),
    [
        ((5, 4, 3), (1.0, 1.0, 101.0), "at most 100 mm"),
        ((5, 4, 3), (700.0, 700.0, 1000.0), "at most 100 mm"),
        ((5, 4, 52), (1.0, 1.0, 99.0), "at most 5000 mm long"),
        ((17, 4, 3), (0.0007, 0.0007, 0.001), "at least 1 mm long"),
        ((6, 200), (1.0, 51.0), "at most 10000 mm long"),
        ((5, 4, 3), (0.00005, 0.7, 1.0), "a spacing must be at least 0.0001 mm"),
    ],
)
@pytest.mark.parametrize("suffix", [".nii", ".mha", ".nrrd"])
def test_sizes_that_no_patient_has_are_refused(reader, size, spacing, rule, suffix, tmp_path):
    grid = Grid.from_affine(size, np.diag([-spacing[0], -spacing[1], *spacing[2:], *[1.0] * (4 - len(size))]))
    write_volume(np.zeros(size, np.uint8), grid, tmp_path / f"a{suffix}")

    message = refusal(reader, tmp_path / f"a{suffix}")

    assert rule in message
    assert f"size ({', '.join(map(str, size))}) voxels of spacing" in message
    assert "check the units" in message


def test_series_sizes_that_no_patient_has_are_refused(tmp_path):
    grid = Grid.from_lps(SIZE, (1.0, 1.0, 150.0), (0.0, 0.0, 0.0), np.eye(3))
    write_series(ARRAY, grid, tmp_path / "series")

    assert "at most 100 mm" in refusal(read_header, tmp_path / "series")


def test_large_pictures_and_whole_bodies_pass(tmp_path):
    sitk.WriteImage(sitk.GetImageFromArray(np.zeros((3, 12000), np.uint8)), tmp_path / "a.png")
    sitk.WriteImage(sitk.GetImageFromArray(np.zeros((3, 10000), np.uint8)), tmp_path / "a.mha")
    body = Grid.from_affine((2, 2, 400), np.diag([4.0, 4.0, 5.0, 1.0]))
    write_volume(np.zeros(body.size, np.int16), body, tmp_path / "body.nii.gz")

    for name in ("a.png", "a.mha", "body.nii.gz"):
        read_volume(tmp_path / name)


def nrrd(path, *fields):
    header = ["NRRD0004", "type: uint8", "dimension: 3", "sizes: 5 4 3", "encoding: raw", *fields]
    path.write_bytes("\n".join([*header, "", ""]).encode() + bytes(range(60)))
    return path


SPACE = ("space: left-posterior-superior", "space directions: (1,0,0) (0,1,0) (0,0,1)")


@READERS
@pytest.mark.parametrize(
    ("fields", "unit"),
    [
        ((*SPACE, 'space units: "cm" "cm" "cm"'), "cm"),
        ((*SPACE, 'space units: "mm" "mm" "um"'), "um"),
        (("spacings: 1 1 1", 'units: "m" "m" "m"'), "m"),
        (("spacings: 1 1 1", 'units: "\u00b5m" "\u00b5m" "\u00b5m"'), "\u00b5m"),
    ],
)
def test_an_nrrd_in_another_unit_is_refused(reader, fields, unit, tmp_path):
    assert f"spatial unit {unit}: must be mm" in refusal(reader, nrrd(tmp_path / "a.nrrd", *fields))


@pytest.mark.parametrize(
    "fields",
    [
        SPACE,
        (*SPACE, 'space units: "mm" "mm" "mm"'),
        (*SPACE, 'space units: "" "" ""'),
    ],
)
def test_an_nrrd_in_mm_or_without_a_unit_is_read(fields, tmp_path):
    volume = read_volume(nrrd(tmp_path / "a.nrrd", *fields))

    assert volume.grid.spacing_mm == (1.0, 1.0, 1.0)


@READERS
@pytest.mark.parametrize("suffix", [".nii.gz", ".mha", ".nrrd"])
def test_an_origin_that_no_scanner_has_is_refused(reader, suffix, tmp_path):
    grid = Grid.from_lps(SIZE, (1.0, 1.0, 1.0), (0.0, 2.5e5, 0.0), np.eye(3))
    write_volume(
        ARRAY, Grid.from_lps(SIZE, (1.0, 1.0, 1.0), (0.0, 9.9e4, 0.0), np.eye(3)), tmp_path / f"b{suffix}"
    )
    with pytest.MonkeyPatch.context() as patch:  # a writer looks through what it wrote
        patch.setattr("segpipe.volumes.writer._require_whole", lambda *_: None)
        write_volume(ARRAY, grid, tmp_path / f"a{suffix}")

    assert "lies more than 100000 mm from the scanner's centre" in refusal(reader, tmp_path / f"a{suffix}")
    reader(tmp_path / f"b{suffix}")
