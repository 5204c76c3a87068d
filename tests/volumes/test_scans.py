"""Scans in folders of any layout, and the report of other files."""

from __future__ import annotations

import os

import numpy as np
import pydicom
import pytest
from pydicom.uid import ExplicitVRLittleEndian, RTStructureSetStorage

from segpipe.errors import SegpipeError
from segpipe.volumes import (
    Grid,
    VolumeFormat,
    find_scans,
    left_out_beside,
    look_for_scans,
    read_header,
    volume_format,
    write_label_map,
    write_series,
)
from segpipe.volumes import scans as scans_module

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


def write_structure_set(path) -> None:
    """Write a structure set without contours, and make its folder."""
    path.parent.mkdir(exist_ok=True)
    dataset = pydicom.Dataset()
    dataset.file_meta = pydicom.dataset.FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset.file_meta.MediaStorageSOPClassUID = dataset.SOPClassUID = RTStructureSetStorage
    dataset.file_meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID = "1.2.3"
    dataset.Modality, dataset.SeriesInstanceUID = "RTSTRUCT", "1.2.4"
    dataset.save_as(path, enforce_file_format=True)


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


def test_companions_are_ignored(tmp_path, put):
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


def test_folders_that_say_so_are_ignored_with_all_below(tmp_path, put):
    """Scans, series and unknown files in such folders do not count."""
    put("a.nii")
    put("overlays/p1/a.png")
    put("overlays/series")
    (tmp_path / "overlays" / "p1" / "a.npy").write_text("x")
    (tmp_path / "overlays" / ".segpipe-ignore").touch()
    put("other/overlays/b.png")

    assert names(tmp_path) == [("a", "NIFTI"), ("other/overlays/b", "PNG")]
    assert names(tmp_path / "overlays" / "p1" / "a.png") == [("a", "PNG")]


def test_a_folder_in_which_all_is_ignored_has_no_scan(tmp_path, put):
    put("a.nii")
    (tmp_path / ".segpipe-ignore").touch()

    with pytest.raises(
        SegpipeError, match=r"no scan there: its file \.segpipe-ignore marks it as a folder without scans"
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


def test_unknown_files_are_ignored_where_that_is_asked_for(tmp_path, put):
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
    write_structure_set(tmp_path / "rt" / "rt.dcm")

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


# --- strangers


def looked(path) -> tuple[list[str], list[str], list[str]]:
    """Return the names of scans, of refused scans, and of skipped files."""
    listing = look_for_scans(path)
    return (
        [scan.name for scan in listing.scans],
        [refused.name for refused in listing.refused],
        list(listing.ignored_files),
    )


def test_strangers_are_ignored_and_listed(tmp_path, put):
    put("p1/dwi.nii.gz")
    strangers = ["p1/dwi.bval", "p1/dwi.bvec", "p1/export.nfo", "p1/old.zip", "p1/scan.nii.gz~", "p1/study"]
    for name in strangers:
        (tmp_path / name).write_text("0 1000")
    (tmp_path / "p1" / "dwi.json").write_text("{}")

    assert looked(tmp_path) == (["p1/dwi"], [], strangers)
    with pytest.raises(SegpipeError, match=r"6 files are neither .*: p1/dwi\.bval"):
        look_for_scans(tmp_path, strict=True)


def test_of_a_cd_the_series_are_found(tmp_path, put):
    """A CD has files without suffix three folders down, an index, and a viewer with libraries and pages."""
    put("DICOM/ST00001/SE00001")
    for index, path in enumerate(sorted((tmp_path / "DICOM/ST00001/SE00001").iterdir())):
        path.rename(path.with_name(f"IM{index:05}"))
    viewer = ["VIEWER.EXE", "autorun.inf", "viewer.jar", "jre/lib.dll", "web/style.css", "web/view.js"]
    for name in [*viewer, "DICOMDIR", "web/index.html", "setup.ini"]:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("MZ")

    assert looked(tmp_path) == (["DICOM/ST00001/SE00001"], [], viewer)


def test_one_stem_in_two_formats_is_two_scans(tmp_path, put):
    for name in ("a.nii.gz", "a.mha", "b.png", "b.jpg"):
        put(name)

    assert looked(tmp_path)[0] == ["a", "a", "b", "b"]


def test_images_in_formats_that_are_not_read_are_refused_alone(tmp_path, put):
    put("a.nii.gz")
    for name in ("brain.mgz", "b.nhdr", "b.raw.gz", "c.hdr", "c.img", "d.TIFF", "e.nii.zst"):
        (tmp_path / name).write_text("x")

    names, refused, ignored_files = looked(tmp_path)

    assert (names, ignored_files) == (["a"], [])
    assert refused == ["b.nhdr", "brain.mgz", "c.hdr", "d.TIFF", "e.nii.zst"]
    assert [scan.name for scan in find_scans(tmp_path, strict=False)] == ["a"]
    with pytest.raises(SegpipeError, match="7 files are neither"):
        find_scans(tmp_path)


def test_a_link_to_nothing_and_a_pipe_are_refused_alone(tmp_path, put):
    put("a.nii.gz")
    (tmp_path / "gone.nii.gz").symlink_to(tmp_path / "nowhere.nii.gz")
    (tmp_path / "round.nii").symlink_to(tmp_path / "round.nii")
    (tmp_path / "notes").symlink_to(tmp_path / "nowhere")
    os.mkfifo(tmp_path / "pipe.mha")

    assert looked(tmp_path) == (["a"], ["gone.nii.gz", "pipe.mha", "round.nii"], ["notes"])
    reasons = [refused.reason for refused in look_for_scans(tmp_path).refused]
    assert reasons[0] == (
        f"{tmp_path / 'gone.nii.gz'}: is a link to a file that is not there; mend the link, or remove it"
    )
    assert "pipe.mha: is no regular file" in reasons[1]
    assert "round.nii: cannot be read (Too many levels of symbolic links)" in reasons[2]
    with pytest.raises(SegpipeError, match=r"gone\.nii\.gz: is a link to .*; .*pipe\.mha"):
        find_scans(tmp_path, strict=False)


@pytest.mark.parametrize("name", ["0003.dcm", "IM00003", "1.2.840.3"])
def test_a_series_with_a_link_to_nothing_is_refused_since_it_may_be_a_slice(name, tmp_path, put):
    put("ct")
    put("mr")
    (tmp_path / "ct" / name).symlink_to(tmp_path / "nowhere")

    names, refused, _ = looked(tmp_path)

    assert (names, refused) == (["mr"], ["ct/"])


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everywhere")
def test_a_folder_that_cannot_be_read_is_refused_alone(tmp_path, put):
    put("a.nii.gz")
    put("closed/b.nii.gz")
    (tmp_path / "closed").chmod(0)
    try:
        assert looked(tmp_path) == (["a"], ["closed/"], [])
        with pytest.raises(SegpipeError, match="closed: cannot be read"):
            look_for_scans(tmp_path / "closed")
    finally:
        (tmp_path / "closed").chmod(0o700)


def test_folders_and_files_that_the_system_does_not_open_are_refused_alone(tmp_path, put, monkeypatch):
    """The same as above for root, who may read everything."""
    put("a.nii.gz")
    put("ct")
    (tmp_path / "closed").mkdir()
    original, scan_folder = scans_module.is_dicom_file, os.scandir

    def scandir(path):
        if os.fspath(path).endswith("closed"):
            raise PermissionError(13, "Permission denied", os.fspath(path))
        return scan_folder(path)

    def is_dicom(path):
        if path.name == "IM3":
            raise PermissionError(13, "Permission denied", str(path))
        return original(path)

    (tmp_path / "IM3").touch()
    monkeypatch.setattr(os, "scandir", scandir)
    monkeypatch.setattr(scans_module, "is_dicom_file", is_dicom)

    listing = look_for_scans(tmp_path)

    assert [scan.name for scan in listing.scans] == ["a", "ct"]
    assert [refused.reason for refused in listing.refused] == [
        f"{tmp_path / 'IM3'}: cannot be read (Permission denied); check the permissions",
        f"{tmp_path / 'closed'}: the folder cannot be read (Permission denied); check its permissions",
    ]
    with pytest.raises(SegpipeError, match="cannot be read"):
        find_scans(tmp_path, strict=False)
    with pytest.raises(SegpipeError, match="closed: cannot be read"):
        look_for_scans(tmp_path / "closed")


def test_a_file_named_like_the_slices_beside_it_is_no_stranger(tmp_path, put):
    """The file may be a truncated slice: reading the series decides."""
    put("ct")
    for index, path in enumerate(sorted((tmp_path / "ct").iterdir())):
        path.rename(path.with_name(f"IM{index:04}"))
    (tmp_path / "ct" / "IM0003").write_text("cut")
    (tmp_path / "ct" / "notes").write_text("x")

    assert looked(tmp_path) == (["ct"], [], ["ct/notes"])


def test_files_beside_slices_are_told(tmp_path, put):
    put("ct")
    assert left_out_beside(read_header(tmp_path / "ct")) == ()
    write_structure_set(tmp_path / "ct" / "rt.dcm")

    assert [file.path.name for file in left_out_beside(read_header(tmp_path / "ct"))] == ["rt.dcm"]


def test_one_file_is_looked_at_like_a_folder(tmp_path, put):
    """A file from a shell's scans/* is treated like the folder."""
    put("a.nii.gz")
    put("ct")
    for name in ("a.bval", "dataset.json", "b.mgz", "c.hdr", "c.img"):
        (tmp_path / name).write_text("x")

    assert looked(tmp_path / "a.nii.gz") == (["a"], [], [])
    assert looked(tmp_path / "a.bval") == ([], [], ["a.bval"])
    assert looked(tmp_path / "dataset.json") == ([], [], [])
    assert looked(tmp_path / "b.mgz") == ([], ["b.mgz"], [])
    assert looked(tmp_path / "c.hdr") == looked(tmp_path / "c.img") == ([], ["c.hdr"], [])
    with pytest.raises(SegpipeError, match=r"a\.bval: no known format"):
        look_for_scans(tmp_path / "a.bval", strict=True)
    with pytest.raises(SegpipeError, match="one file of a DICOM series; give its folder"):
        look_for_scans(next((tmp_path / "ct").iterdir()))
