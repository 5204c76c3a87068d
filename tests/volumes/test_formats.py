"""Formats by the suffix in a user's option."""

from pathlib import Path

import pytest

from segpipe.errors import SegpipeError
from segpipe.volumes import VolumeFormat
from segpipe.volumes.formats import format_of_suffix, is_dicom_file, suffix_format


@pytest.mark.parametrize(
    ("suffix", "format_"),
    [
        (".nii", VolumeFormat.NIFTI),
        (".nii.gz", VolumeFormat.NIFTI_GZ),
        (".mhd", VolumeFormat.MHD),
        (".mha", VolumeFormat.MHA),
        (".nrrd", VolumeFormat.NRRD),
        (".seg.nrrd", VolumeFormat.SEG_NRRD),
        (".png", VolumeFormat.PNG),
        (".jpg", VolumeFormat.JPEG),
        (".jpeg", VolumeFormat.JPEG),
    ],
)
def test_a_suffix_stands_for_its_format_with_or_without_point_in_any_case(suffix, format_):
    for written in (suffix, suffix.removeprefix("."), suffix.upper(), suffix.removeprefix(".").upper()):
        assert format_of_suffix(written) is format_


@pytest.mark.parametrize(
    "format_", [format_ for format_ in VolumeFormat if format_ is not VolumeFormat.DICOM]
)
def test_the_suffix_that_a_format_is_written_with_is_its_own(format_):
    assert format_of_suffix(format_.value) is format_


@pytest.mark.parametrize(
    "suffix",
    ["", ".", "gz", "dcm", "dicom", "tif", "nii.gz.", "..nii", "ct.nii", "a/b.nii", " nii", "nii gz"],
)
def test_what_is_no_suffix_is_refused_listing_those_there_are(suffix):
    with pytest.raises(SegpipeError) as refused:
        format_of_suffix(suffix)

    assert str(refused.value) == (
        f"suffix {suffix!r}: no known format; use one of .nii.gz, .nii, .mhd, .mha, .seg.nrrd, .nrrd, .png, "
        ".jpeg, .jpg"
    )


def test_a_segmentation_of_3d_slicer_has_the_name_of_its_scan():
    """The whole suffix is removed: c0.seg.nrrd is the label map of the case c0, not of a case c0.seg."""
    assert suffix_format(Path("c0.seg.nrrd")) == (VolumeFormat.SEG_NRRD, ".seg.nrrd")
    assert suffix_format(Path("C0.SEG.NRRD")) == (VolumeFormat.SEG_NRRD, ".SEG.NRRD")
    assert suffix_format(Path("c0.nrrd")) == (VolumeFormat.NRRD, ".nrrd")


@pytest.mark.parametrize(
    ("name", "is_dicom"), [("IM00001", True), ("1.2.840.7", True), ("IM1.dcm", True), ("a.bin", False)]
)
def test_a_dicom_file_without_preamble_is_known_by_its_first_element(name, is_dicom, tmp_path):
    data_set = b"\x08\0\x05\0CS\x0a\0ISO_IR 100" + bytes(200)
    (tmp_path / name).write_bytes(data_set)
    (tmp_path / "README").write_bytes(b"no DICOM at all " * 20)

    assert is_dicom_file(tmp_path / name) is is_dicom
    assert not is_dicom_file(tmp_path / "README")
