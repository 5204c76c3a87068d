"""One check finds every fault of every file, with case, file, rule and remedy."""

import errno
import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from segpipe.dataset import (
    Case,
    Manifest,
    check_cases,
    load_manifest,
    require_valid,
    training_records,
    with_checksums,
    write_manifest,
)
from segpipe.errors import SegpipeError
from segpipe.labels import LabelTable
from segpipe.volumes import Grid, write_label_map, write_volume

SIZE = (4, 5, 6)
TABLE = LabelTable.from_rows(
    [
        {"index": 0, "name": "background", "color": [0, 0, 0], "value": 0},
        {"index": 1, "name": "tumour", "color": [255, 0, 0], "value": 1},
    ]
)


def grid_of(size=SIZE, spacing=(1.0, 1.0, 1.0)):
    return Grid.from_affine(size, np.diag([*spacing, 1.0]))


def ramp(size=SIZE, dtype=np.int16):
    return np.arange(np.prod(size), dtype=dtype).reshape(size)


def two_labels(size=SIZE, value=1):
    labels = np.zeros(size, np.uint8)
    labels[0] = value
    return labels


@pytest.fixture
def folder(tmp_path):
    """A correct case `a` on disk."""
    write_volume(ramp(), grid_of(), tmp_path / "a.nii.gz")
    write_label_map(two_labels(), grid_of(), tmp_path / "a_seg.nii.gz")
    return tmp_path


def manifest_of(*cases, modality=("MRI",), labels=None):
    return Manifest("set", modality, labels or {0: "background", 1: "tumour"}, cases)


CASE = Case("a", ("a.nii.gz",), "a_seg.nii.gz")


def findings_of(folder, case=CASE, manifest=None, **arguments):
    return check_cases([case], folder, manifest or manifest_of(case), TABLE, **arguments)


def only_error(folder, case=CASE, manifest=None, **arguments):
    (finding,) = findings_of(folder, case, manifest, **arguments)
    assert (finding.severity, finding.case) == ("error", "a")
    return finding


def test_a_sound_case_has_no_finding(folder):
    manifest = with_checksums(manifest_of(CASE), folder)

    assert findings_of(folder, manifest.training[0], manifest, spatial_dims=3) == []


def test_missing_label_map(folder):
    (folder / "a_seg.nii.gz").unlink()

    finding = only_error(folder)

    assert finding.file == "a_seg.nii.gz"
    assert "missing below" in finding.message
    assert "fetch it, or remove the case" in finding.message


def test_unreadable_image(folder):
    (folder / "a.nii.gz").write_bytes(b"not a scan")

    assert only_error(folder).file == "a.nii.gz"


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_voxels_that_are_no_numbers(folder, bad):
    image = ramp(dtype=np.float32)
    image[1, 2, 3] = bad
    write_volume(image, grid_of(), folder / "a.nii.gz")

    assert "1 of 120 voxels are NaN or infinite" in only_error(folder).message


def test_label_map_on_another_grid_shows_both(folder):
    write_label_map(two_labels((4, 5, 7)), grid_of((4, 5, 7), (1, 1, 1.25)), folder / "a_seg.nii.gz")

    message = only_error(folder).message

    assert "image and label grids differ: size (4, 5, 6) vs (4, 5, 7) voxels" in message
    assert "spacing (1, 1, 1) vs (1, 1, 1.25) mm" in message
    assert "resample a_seg.nii.gz onto a.nii.gz or correct the manifest row" in message


def test_label_value_of_no_class(folder):
    write_label_map(two_labels(value=3), grid_of(), folder / "a_seg.nii.gz")

    finding = only_error(folder)

    assert finding.file == "a_seg.nii.gz"
    assert "value(s) 3 in 30 voxel(s); allowed are 0, 1" in finding.message


def test_values_are_those_of_the_manifest(folder):
    """The label table's value 1 is not in this data set, and its value 3 is the tumour."""
    write_label_map(two_labels(value=3), grid_of(), folder / "a_seg.nii.gz")

    assert findings_of(folder, manifest=manifest_of(CASE, labels={0: "background", 3: "tumour"})) == []


def test_empty_label_map_is_a_warning(folder):
    write_label_map(np.zeros(SIZE, np.uint8), grid_of(), folder / "a_seg.nii.gz")

    empty, unused = findings_of(folder)

    assert (empty.severity, unused.severity) == ("warning", "warning")
    assert str(empty).startswith("a: a_seg.nii.gz: the label map holds background only; check that")
    assert str(unused).startswith("all cases: labels: no label map holds tumour")


def test_4d_where_3d_is_wanted(folder):
    import nibabel

    nibabel.save(nibabel.Nifti1Image(np.zeros((*SIZE, 2), np.int16), np.eye(4)), folder / "a.nii.gz")

    message = only_error(folder).message

    assert "the image has 2 channel(s) (size (4, 5, 6)), modality names 1 (MRI); split the file" in message


def test_4d_label_map(folder):
    import nibabel

    nibabel.save(nibabel.Nifti1Image(np.zeros((*SIZE, 2), np.uint8), np.eye(4)), folder / "a_seg.nii.gz")

    assert "the label map has 2 channels, needs 1" in only_error(folder).message


def test_channels_on_different_grids(folder):
    write_volume(ramp(), grid_of(spacing=(1, 1, 2)), folder / "a2.nii.gz")
    case = replace(CASE, images=("a.nii.gz", "a2.nii.gz"))

    finding = only_error(folder, case, manifest_of(case, modality=("T1", "T2")))

    assert finding.file == "a2.nii.gz"
    assert "channels lie on different grids: spacing (1, 1, 1) vs (1, 1, 2) mm" in finding.message


@pytest.mark.parametrize(
    "voxels", [two_labels(), 200 * two_labels(), 1 - two_labels()], ids=["same", "times", "not"]
)
def test_a_channel_that_is_the_label_map_is_refused(folder, voxels):
    """The network would get the reference as input."""
    write_volume(voxels, grid_of(), folder / "tumour.nii.gz")
    case = Case("a", ("a.nii.gz", "tumour.nii.gz"), "a_seg.nii.gz")

    finding = only_error(folder, case, manifest_of(case, modality=("MRI", "MRI tumour")))

    assert finding.file == "tumour.nii.gz"
    assert "MRI tumour has one value in each class of the label map a_seg.nii.gz" in finding.message


def test_an_image_that_is_empty_around_its_classes_is_none(folder):
    """Skull-stripped brains are empty around the classes."""
    write_volume(ramp() * two_labels(), grid_of(), folder / "a.nii.gz")

    assert findings_of(folder) == []


def test_channels_that_are_the_same_are_a_warning(folder):
    write_volume(ramp(), grid_of(), folder / "copy.nii.gz")
    case = Case("a", ("a.nii.gz", "copy.nii.gz"), "a_seg.nii.gz")

    (finding,) = findings_of(folder, case, manifest_of(case, modality=("T1", "T2")))

    assert (finding.severity, finding.message) == (
        "warning",
        "T1 and T2 are the same image; check which file is which",
    )


def test_wrong_dimensions(folder):
    message = only_error(folder, spatial_dims=2).message

    assert "the image is 3D, size (4, 5, 6); 2D is wanted; convert it, or remove the case" in message


def test_checksum_of_another_copy(folder):
    case = replace(CASE, sha256={"a.nii.gz": "ab" * 32})

    finding = only_error(folder, case)

    assert finding.file == "a.nii.gz"
    assert (
        "the manifest says abababababab...; fetch the file again, or give --no-checksums" in finding.message
    )
    assert findings_of(folder, case, checksums=False) == []


@pytest.mark.parametrize(("call", "checksums"), [("open", True), ("stat", True), ("stat", False)])
def test_a_file_that_may_not_be_read_is_a_finding(folder, monkeypatch, call, checksums):
    """The file or its folder is unreadable; root reads everything, so the test raises the error itself."""
    case = with_checksums(manifest_of(CASE), folder).training[0]
    place = os if call == "open" else Path
    allowed = getattr(place, call)

    def refuse(path, *arguments, **keywords):
        if Path(path).name == "a.nii.gz":
            raise PermissionError(errno.EACCES, "Permission denied", str(path))
        return allowed(path, *arguments, **keywords)

    monkeypatch.setattr(place, call, refuse)

    finding = only_error(folder, case, checksums=checksums)

    assert finding.file == "a.nii.gz"
    assert "Permission denied" in finding.message


def test_constant_image(folder):
    write_volume(np.full(SIZE, 7, np.int16), grid_of(), folder / "a.nii.gz")

    assert "every voxel is 7; a blank image" in only_error(folder).message


def test_intensities_that_float32_sums_cannot_hold(folder):
    broken = ramp(dtype=np.float32)
    broken[1, 2, 3] = 3e38
    write_volume(broken, grid_of(), folder / "a.nii.gz")

    assert "1 of 120 voxels exceed 1e+15" in only_error(folder).message


def test_missing_folder_is_one_error(tmp_path):
    with pytest.raises(
        SegpipeError,
        match=r"set: --dataset-dir \(dataset_dir in YAML\) .*none is no folder; .*\(a\.nii\.gz\) begin",
    ):
        findings_of(tmp_path / "none")


def test_other_classes_are_refused_before_any_file(tmp_path):
    with pytest.raises(SegpipeError, match=r"table has background, tumour; .* has background, cyst"):
        findings_of(tmp_path, manifest=manifest_of(CASE, labels={0: "background", 1: "cyst"}))


def test_require_valid_lists_ten_and_counts_the_rest(folder):
    missing = [Case(f"m{k}", (f"m{k}.nii",), "m_seg.nii") for k in range(12)]

    with pytest.raises(SegpipeError, match=r"set: 12 error\(s\) in 12 of 13 cases below") as caught:
        require_valid([CASE, *missing], folder, manifest_of(CASE, *missing), TABLE)

    lines = str(caught.value).splitlines()
    assert len(lines) == 12
    assert lines[1].startswith("  m0: m0.nii: missing below")
    assert lines[-1] == "  and 2 more"


def test_require_valid_lets_warnings_pass(folder):
    write_label_map(np.zeros(SIZE, np.uint8), grid_of(), folder / "a_seg.nii.gz")

    (report,) = require_valid([CASE], folder, manifest_of(CASE), TABLE)

    assert report.facts.class_voxels == {"background": 120, "tumour": 0}


def test_records_have_absolute_paths(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    several = Case("b", ("b1.nii", "b2.nii"))

    records = training_records([CASE, several], "sub")

    assert records == [
        {
            "case": "a",
            "image": str(tmp_path / "sub" / "a.nii.gz"),
            "label": str(tmp_path / "sub" / "a_seg.nii.gz"),
        },
        {"case": "b", "image": [str(tmp_path / "sub" / "b1.nii"), str(tmp_path / "sub" / "b2.nii")]},
    ]


def test_checksums_of_a_missing_file(tmp_path):
    with pytest.raises(SegpipeError, match=r"a: a\.nii\.gz is no file below"):
        with_checksums(manifest_of(CASE), tmp_path)


@pytest.fixture
def headers(tmp_path):
    """The same case as MetaImage: each header has a separate file of voxels."""
    write_volume(ramp(), grid_of(), tmp_path / "a.mhd")
    write_label_map(two_labels(), grid_of(), tmp_path / "a_seg.mhd")
    return tmp_path


def test_checksums_cover_the_voxels_beside_a_header(headers):
    case = Case("a", ("a.mhd",), "a_seg.mhd")
    manifest = with_checksums(manifest_of(case), headers)
    voxels = [name for name in manifest.training[0].sha256 if not name.endswith(".mhd")]
    assert sorted(manifest.training[0].sha256) == sorted(["a.mhd", "a_seg.mhd", *voxels])
    assert len(voxels) == 2
    assert findings_of(headers, manifest.training[0], manifest) == []

    write_volume(ramp()[::-1], grid_of(), headers / "other.mhd")
    other = next(path for path in headers.glob("other.*raw"))
    other.replace(headers / other.name.replace("other", "a"))

    assert {finding.file for finding in findings_of(headers, manifest.training[0], manifest)} == {
        next(name for name in voxels if "seg" not in name)
    }


def test_a_voxel_file_of_another_name_is_summed_up(headers):
    header = (headers / "a.mhd").read_text()
    (old,) = headers.glob("a.*raw")
    (headers / "raw").mkdir()
    old.rename(headers / "raw" / "voxels_a.raw")
    (headers / "a.mhd").write_text(header.replace(old.name, "raw/voxels_a.raw"))
    case = Case("a", ("a.mhd",), "a_seg.mhd")

    manifest = with_checksums(manifest_of(case), headers)

    assert "raw/voxels_a.raw" in manifest.training[0].sha256
    write_manifest(manifest, headers / "m.json")
    assert load_manifest(headers / "m.json") == manifest
    (headers / "raw" / "voxels_a.raw").unlink()
    with pytest.raises(SegpipeError, match=r"a\.mhd: its voxel file voxels_a\.raw is missing"):
        with_checksums(manifest_of(case), headers)


def test_checksums_accept_paths_with_parent_folders(headers):
    (headers / "beside").mkdir()

    manifest = with_checksums(manifest_of(Case("a", ("a.mhd",), "a_seg.mhd")), headers / "beside" / "..")

    assert len(manifest.training[0].sha256) == 4
