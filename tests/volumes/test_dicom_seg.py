"""DICOM Segmentations lie where the scan lies, by other readers; they pass dciodvfy and hold what the bundle says."""

from dataclasses import replace
from itertools import permutations, product

import highdicom
import numpy as np
import pydicom
import pytest
from dicom_objects import (
    ALGORITHM,
    SIZE,
    coded_table,
    dciodvfy_errors,
    points_by_frames,
    points_by_simpleitk,
    series_of,
    uneven_labels,
    write_labels_as_series,
)
from label_tables import table
from pydicom.dataelem import DataElement

from segpipe.errors import SegpipeError
from segpipe.volumes.dicom_seg import check_segmentation, require_codes, write_segmentation
from segpipe.volumes.dicom_source import source_series

ORDERS = [(order, signs) for order in permutations(range(3)) for signs in product((1.0, -1.0), repeat=3)]


def write(folder, path, labels=None, classes=None):
    grid, indices, source = series_of(folder)
    write_segmentation(
        indices if labels is None else labels, grid, path, source, classes or coded_table(), ALGORITHM
    )
    return pydicom.dcmread(path)


@pytest.fixture
def folder(tmp_path):
    return write_labels_as_series(tmp_path / "series")


def test_it_holds_a_segment_a_class_with_codes_and_the_frames_that_are_not_empty(folder, tmp_path):
    seg = write(folder, tmp_path / "seg.dcm")

    assert (seg.SegmentationType, seg.Modality) == ("BINARY", "SEG")
    assert seg.StudyInstanceUID == source_series(folder).first.StudyInstanceUID
    spleen, liver = seg.SegmentSequence
    assert [(one.SegmentNumber, one.SegmentLabel) for one in (spleen, liver)] == [(1, "spleen"), (2, "liver")]
    assert spleen.SegmentedPropertyCategoryCodeSequence[0].CodeValue == "91723000"
    assert spleen.SegmentedPropertyTypeCodeSequence[0].CodeValue == "78961009"
    assert (spleen.SegmentAlgorithmType, spleen.SegmentAlgorithmName) == ("AUTOMATIC", "a test")
    assert spleen.SegmentationAlgorithmIdentificationSequence[0].AlgorithmVersion == "1.0"
    # the spleen is in slices 1 and 2, the liver in 3 and 4
    assert seg.NumberOfFrames == 4
    assert seg.SegmentsOverlap == "NO"


def test_highdicom_reads_every_voxel_back(folder, tmp_path):
    write(folder, tmp_path / "seg.dcm")
    grid, labels, _ = series_of(folder)

    volume = highdicom.seg.segread(tmp_path / "seg.dcm").get_volume(combine_segments=True)

    for number in (1, 2):
        found = volume.map_indices_to_reference(np.argwhere(volume.array == number))
        expected = grid.origin_lps + (np.argwhere(labels == number) * grid.spacing_mm) @ grid.direction_lps.T
        assert {tuple(point) for point in found.round(2)} == {tuple(point) for point in expected.round(2)}


@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.slow
def test_voxels_lie_where_simpleitk_sees_the_scan(tmp_path, reverse):
    directions = np.array([[0, 0, 1], [-1, 0, 0], [0, -1, 0]], float)  # a sagittal series
    folder = write_labels_as_series(tmp_path / "series", directions, reverse=reverse)

    write(folder, tmp_path / "seg.dcm")

    for number in (1, 2):
        expected = points_by_simpleitk(folder, number)
        assert len(expected) == (uneven_labels() == number).sum()
        assert points_by_frames(tmp_path / "seg.dcm", number) == expected


@pytest.mark.slow
@pytest.mark.parametrize(("order", "signs"), ORDERS, ids=str)
def test_in_all_48_axis_orders(tmp_path, order, signs):
    """A series runs along x cross y: the 24 left-handed orders have names and numbers against it."""
    directions = np.eye(3)[:, order] * signs
    is_left_handed = np.linalg.det(directions) < 0
    if is_left_handed:
        directions[:, 2] *= -1
    folder = write_labels_as_series(tmp_path / "series", directions, reverse=is_left_handed)

    seg = write(folder, tmp_path / "seg.dcm")

    orientation = seg.SharedFunctionalGroupsSequence[0].PlaneOrientationSequence[0].ImageOrientationPatient
    np.testing.assert_allclose(np.array(orientation, float), directions[:, :2].T.ravel())
    for number in (1, 2):
        assert points_by_frames(tmp_path / "seg.dcm", number) == points_by_simpleitk(folder, number)


@pytest.mark.slow
def test_regions_overlap_as_segments_of_their_own(folder, tmp_path):
    labels = uneven_labels()

    seg = write(folder, tmp_path / "seg.dcm", classes=coded_table(regions=True))

    assert [one.SegmentLabel for one in seg.SegmentSequence] == ["abdomen", "liver"]
    assert seg.SegmentsOverlap == "YES"
    assert len(points_by_frames(tmp_path / "seg.dcm", 1)) == (labels > 0).sum()
    assert len(points_by_frames(tmp_path / "seg.dcm", 2)) == (labels == 2).sum()


@pytest.mark.parametrize("labels", [uneven_labels(), np.zeros(SIZE, np.uint8)], ids=["two classes", "empty"])
def test_dciodvfy_finds_no_error(folder, tmp_path, labels):
    write(folder, tmp_path / "seg.dcm", labels)

    assert dciodvfy_errors(tmp_path / "seg.dcm") == []


@pytest.mark.slow
def test_an_empty_label_map_has_one_empty_frame_a_segment(folder, tmp_path):
    seg = write(folder, tmp_path / "seg.dcm", np.zeros(SIZE, np.uint8))

    assert seg.NumberOfFrames == 2
    assert not seg.pixel_array.any()


@pytest.mark.slow
def test_tags_that_anonymisation_removed_are_there_and_empty(folder, tmp_path):
    removed = (
        "PatientName",
        "PatientID",
        "PatientBirthDate",
        "PatientSex",
        "StudyID",
        "StudyDate",
        "AccessionNumber",
    )
    for file in folder.iterdir():
        dataset = pydicom.dcmread(file)
        for tag in removed:
            del dataset[tag]
        dataset["StudyTime"] = DataElement("StudyTime", "TM", "evening", validation_mode=0)
        dataset.save_as(file)

    seg = write(folder, tmp_path / "seg.dcm")

    assert [str(seg[tag].value or "") for tag in (*removed, "StudyTime")] == [""] * 8
    assert dciodvfy_errors(tmp_path / "seg.dcm") == []


@pytest.mark.slow
def test_names_of_any_alphabet_are_kept(folder, tmp_path):
    for file in folder.iterdir():
        dataset = pydicom.dcmread(file)
        dataset.SpecificCharacterSet, dataset.PatientName = "ISO_IR 100", "Müller^Zoë"
        dataset.save_as(file)
    classes = coded_table()
    labels = tuple(replace(one, name=f"肝 {one.index}") for one in classes.labels)

    seg = write(folder, tmp_path / "seg.dcm", classes=replace(classes, labels=labels))

    assert str(seg.PatientName) == "Müller^Zoë"
    assert seg.SegmentSequence[0].SegmentLabel == "肝 1"


@pytest.mark.slow
def test_ids_longer_than_dicom_allows_are_cut(folder, tmp_path):
    for file in folder.iterdir():
        dataset = pydicom.dcmread(file)
        with pytest.warns(UserWarning, match="exceeds the maximum length"):
            dataset.StudyID = "A_STUDY_ID_THAT_IS_TOO_LONG"
        dataset.save_as(file)

    assert write(folder, tmp_path / "seg.dcm").StudyID == "A_STUDY_ID_THAT_"


@pytest.mark.parametrize("tag", ["FrameOfReferenceUID", "StudyInstanceUID", "SOPInstanceUID"])
def test_a_series_without_a_tag_that_objects_refer_to_is_refused(folder, tag):
    for file in folder.iterdir():
        dataset = pydicom.dcmread(file)
        del dataset[tag]
        dataset.save_as(file)

    with pytest.raises(SegpipeError, match=f"slice_0000.dcm: lacks {tag}, so that no segmentation"):
        source_series(folder)


@pytest.mark.slow
def test_slices_of_two_studies_are_refused(folder):
    file = next(folder.iterdir())
    dataset = pydicom.dcmread(file)
    dataset.StudyInstanceUID = "1.2.3"
    dataset.save_as(file)

    with pytest.raises(SegpipeError, match="its slices have 2 values of StudyInstanceUID"):
        source_series(folder)


@pytest.mark.parametrize("name", ["l" * 65, "liver\\spleen"])
def test_a_name_that_dicom_cannot_hold_is_refused(tmp_path, name):
    classes = coded_table()
    labels = [*classes.labels[:2], replace(classes.labels[2], name=name)]

    with pytest.raises(SegpipeError, match="holds names of up to 64 characters without a backslash"):
        require_codes(replace(classes, labels=tuple(labels)), tmp_path)


@pytest.mark.slow
def test_what_highdicom_refuses_of_a_series_is_said_before_the_network_runs(folder):
    grid, _, source = series_of(folder)
    source.first.PatientBirthDate = None
    del source.first["PatientID"]

    with pytest.raises(SegpipeError, match=r"no DICOM SEG can be made of this series .*PatientID"):
        check_segmentation(source, grid, coded_table(), ALGORITHM)


def test_classes_without_codes_are_refused_with_the_place_to_look(tmp_path):
    with pytest.raises(
        SegpipeError,
        match=r"spleen, liver have none; give a table, --segment-codes .* to the rows of label_table",
    ):
        require_codes(table("background", "spleen", "liver"), tmp_path)
    with pytest.raises(
        SegpipeError, match=r"needs .* PS3.16, CID 7150 \(categories\) and CID 7151 \(types\)"
    ):
        require_codes(table("background", "a", regions={"all": ["a"]}), tmp_path)
    require_codes(coded_table(), tmp_path)
