"""DICOM series with Segmentations or structure sets become cases with label maps: names, choice, overlaps, refusals."""

import shutil

import numpy as np
import pydicom
import pytest
from dicom_objects import (
    ALGORITHM,
    coded_table,
    series_of,
    uneven_labels,
    write_labels_as_series,
)

from segpipe.dataset import create_manifest
from segpipe.dataset.importing.dicom_labels import DicomLabels
from segpipe.errors import SegpipeError
from segpipe.volumes import read_volume
from segpipe.volumes.dicom_seg import write_segmentation
from segpipe.volumes.rtstruct import write_structure_set

ALL = DicomLabels(convert=True)


def write_object(kind, folder, path, *, regions=False, labels=None):
    grid, indices, source = series_of(folder)
    writer = {"seg": write_segmentation, "rtstruct": write_structure_set}[kind]
    writer(indices if labels is None else labels, grid, path, source, coded_table(regions=regions), ALGORITHM)


def rename(path, names):
    """Rename the regions of interest of a structure set."""
    dataset = pydicom.dcmread(path)
    for item, name in zip(dataset.StructureSetROISequence, names, strict=True):
        item.ROIName = name
    dataset.save_as(path)


@pytest.fixture
def top(tmp_path):
    """Two patients: one with a structure set in another folder, one with a segmentation beside its slices."""
    top = tmp_path / "set"
    write_labels_as_series(top / "p1" / "ct")
    write_labels_as_series(top / "p2" / "ct", labels=uneven_labels()[::-1].copy())
    write_object("rtstruct", top / "p1" / "ct", top / "p1" / "rt" / "contours.dcm")
    write_object("seg", top / "p2" / "ct", top / "p2" / "ct" / "labels.dcm")
    return top


def create(top, dicom=ALL, **further):
    return create_manifest(top, modality=["CT"], dicom=dicom, **further)


def label_map(top, case):
    return read_volume(top / "dicom_labels" / f"{case}.nii.gz")


def test_each_series_gets_a_label_map_on_its_grid(top):
    created = create(top)

    manifest = created.manifest
    assert dict(manifest.labels) == {0: "background", 1: "liver", 2: "spleen"}
    assert [(case.case, case.images, case.label, case.patient) for case in manifest.training] == [
        ("p1", ("p1/ct",), "dicom_labels/p1.nii.gz", "p1"),
        ("p2", ("p2/ct",), "dicom_labels/p2.nii.gz", "p2"),
    ]
    for case in ("p1", "p2"):
        grid, classes, _ = series_of(top / case / "ct")
        found = label_map(top, case)
        assert found.grid.matches(grid)
        np.testing.assert_array_equal(found.array, np.array([0, 2, 1])[classes])


@pytest.mark.slow
def test_a_second_call_finds_the_same(top):
    first = create(top).manifest

    assert create(top).manifest == first


def test_without_the_option_nothing_is_written_and_the_classes_are_named(top):
    with pytest.raises(
        SegpipeError, match=r"add --convert-dicom to write them .* the values 1 liver, 2 spleen"
    ):
        create(top, DicomLabels())

    assert not (top / "dicom_labels").exists()


def test_patterns_choose_names_and_give_values_in_their_order(top):
    rename(top / "p1" / "rt" / "contours.dcm", ["Spleen_v2", "GTV"])

    created = create(top, DicomLabels(convert=True, rois=("organ=SPLEEN*",)))

    assert dict(created.manifest.labels) == {0: "background", 1: "organ"}
    assert any("no --roi chooses are left out: GTV, liver" in note for note in created.notes)
    np.testing.assert_array_equal(label_map(top, "p1").array == 1, uneven_labels() == 1)


@pytest.mark.slow
def test_two_names_of_one_class_are_joined(top):
    created = create(top, DicomLabels(convert=True, rois=("organ=*",)))

    assert dict(created.manifest.labels) == {0: "background", 1: "organ"}
    np.testing.assert_array_equal(label_map(top, "p1").array == 1, uneven_labels() > 0)


@pytest.mark.slow
def test_values_are_those_of_the_user(top):
    created = create(top, labels={0: "background", 7: "spleen", 3: "Liver"})

    assert dict(created.manifest.labels) == {0: "background", 3: "liver", 7: "spleen"}
    assert set(np.unique(label_map(top, "p1").array)) == {0, 3, 7}


@pytest.mark.slow
def test_overlaps_are_told(tmp_path):
    """The liver lies inside the abdomen; with the larger value it counts."""
    top = tmp_path / "set"
    write_labels_as_series(top / "p1" / "ct")
    write_object("rtstruct", top / "p1" / "ct", top / "rt.dcm", regions=True)

    created = create(top)

    voxels = int((uneven_labels() == 2).sum())
    assert f"overlap in {voxels} voxels of p1_ct; the class with the larger value counts" in "".join(
        created.notes
    )
    assert f"liver over abdomen {voxels}" in "".join(created.notes)


@pytest.mark.slow
def test_a_series_without_labels_is_no_training_case(top):
    write_labels_as_series(top / "p3" / "ct")

    manifest = create(top).manifest

    assert [case.case for case in manifest.test] == ["p3"]


def test_two_objects_of_one_series_are_refused(top):
    write_object("seg", top / "p1" / "ct", top / "p1" / "second.dcm")

    with pytest.raises(
        SegpipeError, match=r"p1/second.dcm and p1/rt/contours.dcm are both labels of the series p1/ct"
    ):
        create(top)


@pytest.mark.slow
def test_an_object_of_a_series_that_is_not_there_is_refused(top):
    shutil.rmtree(top / "p1" / "ct")

    with pytest.raises(SegpipeError, match=r"the structure set refers to series .* lay it beside its own"):
        create(top)


def test_a_series_with_missing_slices_is_refused(top):
    sorted((top / "p1" / "ct").iterdir())[2].unlink()

    with pytest.raises(SegpipeError, match="gap in the series"):
        create(top)


@pytest.mark.slow
def test_a_series_of_which_no_name_is_chosen_is_refused(top):
    rename(top / "p1" / "rt" / "contours.dcm", ["milt", "lever"])

    with pytest.raises(SegpipeError, match=r"none of its names \(milt, lever\) fits --roi spleen"):
        create(top, DicomLabels(convert=True, rois=("spleen",)))


@pytest.mark.slow
def test_surfaces_are_refused(top):
    path = top / "p1" / "rt" / "contours.dcm"
    dataset = pydicom.dcmread(path)
    dataset.SOPClassUID = "1.2.840.10008.5.1.4.1.1.66.5"
    dataset.save_as(path)

    with pytest.raises(
        SegpipeError, match="is Surface Segmentation Storage: of the DICOM objects with labels segpipe"
    ):
        create(top)


def without_contours(path):
    """Take the contours out of a structure set: one item has none, another has contours of two points."""
    dataset = pydicom.dcmread(path)
    first, *others = dataset.ROIContourSequence
    first.ContourSequence = []
    for contour in (one for item in others for one in item.ContourSequence):
        contour.ContourData, contour.NumberOfContourPoints = contour.ContourData[:6], 2
    dataset.save_as(path)


@pytest.mark.slow
def test_names_that_enclose_no_voxel_are_told(top):
    """One case may lack every class; a set in which all do has nothing to train on, and no label map is written."""
    contours = top / "p1" / "rt" / "contours.dcm"
    without_contours(contours)

    created = create(top)

    assert any(
        note.startswith(f"{contours}: the chosen names enclose no voxel: no contours, contours of fewer than")
        for note in created.notes
    )
    assert not label_map(top, "p1").array.any()
    shutil.rmtree(top / "p2")
    shutil.rmtree(top / "dicom_labels")
    with pytest.raises(
        SegpipeError, match=r"enclose no voxel.*; export the object again, or choose other names"
    ):
        create(top)
    assert not list((top / "dicom_labels").glob("*.nii.gz"))


@pytest.mark.slow
def test_the_series_state_their_modality(top):
    """CT and MR are those of a manifest; where series differ, the user must say what the images are."""
    assert create_manifest(top, dicom=ALL).manifest.modality == ("CT",)
    for path in (top / "p1" / "ct").iterdir():
        dataset = pydicom.dcmread(path)
        dataset.Modality = "OT"
        dataset.save_as(path)

    with pytest.raises(SegpipeError, match="does not say what the images are; add --modality"):
        create_manifest(top, dicom=ALL)


@pytest.mark.slow
def test_a_segmentation_that_is_cut_short_is_refused(top):
    path = top / "p2" / "ct" / "labels.dcm"
    path.write_bytes(path.read_bytes()[:-40])

    with pytest.raises(
        SegpipeError, match=r"labels\.dcm: truncated: its frames have \d+ of \d+ bytes; copy the file"
    ):
        create(top)


@pytest.mark.slow
def test_a_structure_set_without_names_is_refused(top):
    path = top / "p1" / "rt" / "contours.dcm"
    dataset = pydicom.dcmread(path)
    del dataset.StructureSetROISequence
    dataset.save_as(path)

    with pytest.raises(
        SegpipeError, match=r"structure set \(it lacks StructureSetROISequence\); export it again"
    ):
        create(top)


@pytest.mark.slow
def test_a_label_map_that_somebody_changed_stays(top):
    create(top)
    rename(top / "p1" / "rt" / "contours.dcm", ["liver", "spleen"])

    with pytest.raises(SegpipeError, match=r"p1.nii.gz: exists already with other labels"):
        create(top)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"dicom": DicomLabels(True, ("=GTV",))}, "--roi =GTV: must be PATTERN or NAME=PATTERN"),
        (
            {"labels": {0: "background", 1: "spleen"}},
            "--class names spleen, its DICOM labels are liver, spleen",
        ),
        ({"images": ["{case}/ct"]}, "--convert-dicom: templates says already which files are the label maps"),
    ],
    ids=str,
)
@pytest.mark.slow
def test_options_that_do_not_fit_are_refused(top, options, said):
    with pytest.raises(SegpipeError, match=said):
        create(top, **options)


def test_the_option_needs_dicom(tmp_path):
    (tmp_path / "set").mkdir()

    with pytest.raises(
        SegpipeError, match="--convert-dicom: needs a folder whose scans are all DICOM series"
    ):
        create(tmp_path / "set")


@pytest.mark.realdata
def test_contours_of_a_planning_system_are_the_masks_that_others_made_of_them(real_data, tmp_path):
    """Soft-tissue sarcomas: the RTSTRUCTs beside their series, and the masks as NIfTI of the same data set."""
    shutil.copytree(real_data("sts_dicom"), tmp_path / "set")

    created = create(tmp_path / "set", DicomLabels(convert=True, rois=("tumour=GTV*",)))

    assert any("name slices that are not in their series" in note for note in created.notes)
    for case in created.manifest.training:
        ours = label_map(tmp_path / "set", case.case)
        theirs = read_volume(real_data("sts_ct") / case.case / "CT_mask.nii.gz")
        assert ours.grid.matches(theirs.grid)
        both = ((ours.array > 0) & (theirs.array > 0)).sum()
        assert 2 * both / ((ours.array > 0).sum() + (theirs.array > 0).sum()) >= 0.98
