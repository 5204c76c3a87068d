"""Each label map has its own path: no label map replaces a scan or another label map."""

from pathlib import Path

import pytest

from segpipe.errors import SegpipeError
from segpipe.volumes import (
    Scan,
    VolumeFormat,
    check_collisions,
    clashing_scans,
    find_scans,
    output_path,
)


def scan(path: str) -> Scan:
    name, _, suffix = path.partition(".")
    formats = {"nii": "NIFTI", "nii.gz": "NIFTI_GZ", "jpeg": "JPEG", "": "DICOM"}
    return Scan(
        Path(f"/in/{path}"),
        VolumeFormat[formats.get(suffix, suffix.upper())],
        name,
    )


@pytest.mark.parametrize(
    ("path", "written"),
    [
        ("a.nii", "/out/a.nii"),
        ("p1/a.nii.gz", "/out/p1/a.nii.gz"),
        ("a.mhd", "/out/a.mhd"),
        ("a.jpeg", "/out/a.png"),
        ("a.png", "/out/a.png"),
        ("p1/ct", "/out/p1/ct.nii.gz"),
    ],
)
def test_a_label_map_mirrors_its_scan_in_its_format(path, written):
    assert output_path(scan(path), "/out").as_posix() == written


def test_another_format_can_be_asked_for():
    assert output_path(scan("p/ct"), "/out", VolumeFormat.MHA).as_posix() == "/out/p/ct.mha"


@pytest.mark.parametrize(
    ("first", "second", "format_"),
    [
        ("a.jpeg", "a.png", None),
        ("p/a", "p/a.nii.gz", None),
        ("Case.nii", "case.nii", None),
        ("a.nii", "a.mha", VolumeFormat.NRRD),
    ],
)
def test_two_label_maps_in_one_file_are_refused(first, second, format_):
    with pytest.raises(SegpipeError) as caught:
        check_collisions([scan(first), scan(second)], "/out", format_)

    assert f"/in/{first} and /in/{second}: both label maps would be written to /out/" in str(caught.value)


def test_different_files_do_not_collide():
    check_collisions([scan("a.nii"), scan("a.nii.gz"), scan("p/a.nii"), scan("a.mhd"), scan("a.mha")], "/out")


def test_a_label_map_never_replaces_a_scan(tmp_path):
    for name in ("a.nii.gz", "b.nii.gz"):
        (tmp_path / name).touch()

    with pytest.raises(SegpipeError, match="would replace the scan"):
        check_collisions(find_scans(tmp_path), tmp_path)
    check_collisions(find_scans(tmp_path), tmp_path / "out")


def test_a_label_map_never_replaces_a_scan_that_was_refused(tmp_path):
    with pytest.raises(
        SegpipeError, match=r"a\.nii: its label map /out/a\.nii would replace the scan /out/a\.nii"
    ):
        check_collisions([scan("a.nii")], "/out", kept=[Path("/out/a.nii")])


@pytest.mark.parametrize(
    ("first", "second", "names"),
    [
        ("a.nii.gz", "a.mha", ["a.nii.gz", "a.mha"]),
        ("a.nii", "a.nii.gz", ["a.nii", "a.nii.gz"]),
        ("p/a.jpeg", "p/a.png", ["p/a.jpeg", "p/a.png"]),
        ("CT.nii", "ct.nii", ["CT.nii", "ct.nii"]),
        ("caf\u00e9.nii", "cafe\u0301.nii", ["caf\u00e9.nii", "cafe\u0301.nii"]),
    ],
)
def test_scans_of_one_name_are_refused_alone_each_naming_the_other(first, second, names):
    """The third scan continues: only the two share a label map's or a picture's path."""
    refused = clashing_scans([scan(first), scan("b.nii"), scan(second)])

    assert [clash.name for clash in refused] == names
    assert refused[0].reason.startswith(f"/in/{first}: has the same name without suffix as /in/{second} ")
    assert refused[1].reason.startswith(f"/in/{second}: has the same name without suffix as /in/{first} ")


def test_a_series_and_a_file_of_one_name_are_refused_alone(tmp_path):
    (tmp_path / "ct").mkdir()
    series, file = (
        Scan(tmp_path / "ct", VolumeFormat.DICOM, "ct"),
        Scan(tmp_path / "ct.nii", VolumeFormat.NIFTI, "ct"),
    )

    assert [clash.name for clash in clashing_scans([series, file])] == ["ct/", "ct.nii"]
