"""Finding scans in folders as people have them, and giving each label map a place of its own."""

from __future__ import annotations

import numpy as np
import pydicom
import pytest

from segpipe.errors import SegpipeError
from segpipe.volumes import (
    Grid,
    Scan,
    VolumeFormat,
    check_collisions,
    find_scans,
    output_path,
    volume_format,
    write_label_map,
    write_series,
)

FLAT = np.zeros((5, 4), np.uint8)
SOLID = np.zeros((5, 4, 3), np.int16)


@pytest.fixture
def put(tmp_path, picture_grid):
    """Write a tiny scan of any format at a path below tmp_path."""

    def write(name: str) -> None:
        path = tmp_path / name
        if path.suffix == "":
            write_series(SOLID, Grid.from_lps((5, 4, 3), (1, 1, 1), (0, 0, 0), np.eye(3)), path)
        elif path.suffix in (".jpg", ".jpeg", ".JPG"):
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(b"\xff\xd8\xff")
        else:
            write_label_map(FLAT, picture_grid, path)

    return write


def names(path) -> list[tuple[str, str]]:
    return [(scan.name, scan.format.name) for scan in find_scans(path)]


@pytest.mark.parametrize(
    ("name", "format_"),
    [
        ("a.nii", "NIFTI"),
        ("a.nii.gz", "NIFTI_GZ"),
        ("A.NII.GZ", "NIFTI_GZ"),
        ("b.c.mhd", "MHD"),
        ("a.mha", "MHA"),
        ("a.nrrd", "NRRD"),
        ("a.PNG", "PNG"),
        ("a.jpg", "JPEG"),
        ("a.jpeg", "JPEG"),
    ],
)
def test_the_suffix_names_the_format(name, format_):
    assert volume_format(name) is VolumeFormat[format_]


@pytest.mark.parametrize("name", ["a.gz", "a.tif", "a", ".nii", "nii"])
def test_an_unknown_suffix_is_refused_listing_the_known_ones(name, tmp_path):
    with pytest.raises(
        SegpipeError, match=r"\.nii\.gz, \.nii, \.mhd, \.mha, \.seg\.nrrd, \.nrrd, \.png, \.jpeg, \.jpg or a"
    ):
        volume_format(tmp_path / name)


def test_scans_of_all_formats_are_found_at_any_depth_in_order(tmp_path, put):
    for name in ("z.nii", "b/two.nii.gz", "b/one.mhd", "b/deep/er/x.mha", "p.png", "q.jpeg"):
        put(name)
    put("b/ct")
    put("b/deep/mr")

    assert names(tmp_path) == [
        ("b/ct", "DICOM"),
        ("b/deep/er/x", "MHA"),
        ("b/deep/mr", "DICOM"),
        ("b/one", "MHD"),
        ("b/two", "NIFTI_GZ"),
        ("p", "PNG"),
        ("q", "JPEG"),
        ("z", "NIFTI"),
    ]


def test_a_file_and_a_series_folder_are_scans_by_themselves(tmp_path, put):
    put("x/case.nii.gz")
    put("patient")

    assert names(tmp_path / "x" / "case.nii.gz") == [("case", "NIFTI_GZ")]
    assert names(tmp_path / "patient") == [("patient", "DICOM")]


def test_companions_are_passed_over(tmp_path, put):
    put("a.mhd")
    put("ct")
    for name in (
        "notes.txt",
        "desktop.ini",
        "Info.cfg",
        "patients.xlsx",
        "dataset.JSON",
        "predictions.jsonl",
        "labels.label",
        "labels.ctbl",
        "predict.LOG",
        "LICENSE",
        "README.md",
        ".DS_Store",
        "ct/DICOMDIR",
        "ct/report.pdf",
    ):
        (tmp_path / name).write_text("x")
    (tmp_path / ".git").mkdir()
    (tmp_path / ".git" / "config").write_text("x")

    assert names(tmp_path) == [("a", "MHD"), ("ct", "DICOM")]


def test_folders_that_say_so_are_passed_over_with_all_below(tmp_path, put):
    """Neither scans, nor series, nor files of no known kind in them count."""
    put("a.nii")
    put("overlays/p1/a.png")
    put("overlays/series")
    (tmp_path / "overlays" / "p1" / "a.npy").write_text("x")
    (tmp_path / "overlays" / ".segpipe-ignore").touch()
    put("other/overlays/b.png")

    assert names(tmp_path) == [("a", "NIFTI"), ("other/overlays/b", "PNG")]
    assert names(tmp_path / "overlays" / "p1" / "a.png") == [("a", "PNG")]


def test_a_folder_in_which_all_is_passed_over_has_no_scan(tmp_path, put):
    put("a.nii")
    (tmp_path / ".segpipe-ignore").touch()

    with pytest.raises(
        SegpipeError, match=r"no scan there: its file \.segpipe-ignore says that none is to be"
    ):
        find_scans(tmp_path)


def test_a_voxel_file_in_another_folder_is_a_companion_and_an_orphan_is_refused(tmp_path, put):
    put("a.mhd")
    (tmp_path / "voxels").mkdir()
    (tmp_path / "a.zraw").rename(tmp_path / "voxels" / "data.bin")
    header = (tmp_path / "a.mhd").read_text()
    (tmp_path / "a.mhd").write_text(header.replace("a.zraw", "voxels/data.bin"))
    assert names(tmp_path) == [("a", "MHD")]

    (tmp_path / "orphan.raw").write_text("x")
    with pytest.raises(SegpipeError, match=r"1 files are neither scans nor known companions: orphan\.raw"):
        find_scans(tmp_path)


def test_a_damaged_mhd_is_still_one_scan_which_fails_alone(tmp_path):
    (tmp_path / "a.mhd").write_text("nonsense")
    (tmp_path / "a.raw").write_text("x")

    assert names(tmp_path) == [("a", "MHD")]


def test_unknown_files_are_all_named(tmp_path, put):
    put("a.nii")
    for name in ("b.tif", "deep/c.xyz"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("x")

    with pytest.raises(SegpipeError) as caught:
        find_scans(tmp_path)

    assert "2 files are neither scans nor known companions: b.tif, deep/c.xyz; segpipe" in str(caught.value)


@pytest.mark.parametrize("name", ["nowhere", "empty"])
def test_a_missing_and_an_empty_folder_are_refused(name, tmp_path):
    (tmp_path / "empty").mkdir()
    (tmp_path / "empty" / "notes.txt").write_text("x")

    with pytest.raises(SegpipeError, match=r"no such file|no scan there"):
        find_scans(tmp_path / name)


def test_unknown_files_are_passed_over_where_that_is_asked_for(tmp_path, put):
    (tmp_path / "notes.cfg").write_text("x")
    assert find_scans(tmp_path, strict=False) == []
    put("a.nii.gz")
    put("ct")

    assert [scan.name for scan in find_scans(tmp_path, strict=False)] == ["a", "ct"]


def test_dicom_is_known_by_its_magic_without_a_suffix(tmp_path, put):
    put("ct")
    for index, path in enumerate(sorted((tmp_path / "ct").iterdir())):
        path.rename(tmp_path / "ct" / f"1.2.840.{index}")

    assert names(tmp_path) == [("ct", "DICOM")]


def test_dicom_beside_other_scans_is_a_scan_of_its_own(tmp_path, put):
    put("case")
    put("case/labels.nii.gz")

    assert names(tmp_path) == [("case", "DICOM"), ("case/labels", "NIFTI_GZ")]


def test_a_folder_with_only_a_structure_set_is_no_scan(tmp_path, put):
    put("ct")
    put("rt")
    for path in sorted((tmp_path / "rt").iterdir()):
        dataset = pydicom.dcmread(path)
        del dataset.Rows
        dataset.save_as(path)

    assert names(tmp_path) == [("ct", "DICOM")]
    with pytest.raises(SegpipeError, match="no scan there; its DICOM files are no images"):
        find_scans(tmp_path / "rt")


def test_a_damaged_dicom_file_keeps_its_folder_a_scan(tmp_path):
    (tmp_path / "ct").mkdir()
    (tmp_path / "ct" / "a.dcm").write_text("nonsense")

    assert names(tmp_path) == [("ct", "DICOM")]


def test_links_are_followed_without_going_round(tmp_path, put):
    put("real/a.nii")
    (tmp_path / "scans").mkdir()
    (tmp_path / "scans" / "link").symlink_to(tmp_path / "real", target_is_directory=True)
    (tmp_path / "scans" / "self").symlink_to(tmp_path / "scans", target_is_directory=True)

    assert names(tmp_path / "scans") == [("link/a", "NIFTI")]


def scan(path: str) -> Scan:
    name, _, suffix = path.partition(".")
    formats = {"nii": "NIFTI", "nii.gz": "NIFTI_GZ", "jpeg": "JPEG", "": "DICOM"}
    return Scan(
        (path if path.startswith("/") else f"/in/{path}"),  # type: ignore[arg-type]
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


def test_a_label_map_never_replaces_a_scan(tmp_path, put):
    put("a.nii.gz")
    put("b.nii.gz")

    with pytest.raises(SegpipeError, match="would replace the scan"):
        check_collisions(find_scans(tmp_path), tmp_path)
    check_collisions(find_scans(tmp_path), tmp_path / "out")
