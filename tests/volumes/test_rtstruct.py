"""Structure sets: contours lie where the scan lies, and return as the same masks; bad ones are refused."""

import numpy as np
import pydicom
import pytest
from dicom_objects import (
    ALGORITHM,
    SPACING,
    coded_table,
    dciodvfy_errors,
    points_by_simpleitk,
    series_of,
    uneven_labels,
    write_labels_as_series,
)

from segpipe.errors import SegpipeError
from segpipe.volumes.dicom_seg import write_segmentation
from segpipe.volumes.label_objects import belongs_to, masks_of, read_label_object, series_place
from segpipe.volumes.rtstruct import write_structure_set

OBLIQUE = np.linalg.qr(np.array([[0.9, 0.1, 0.3], [-0.2, 1.0, 0.1], [-0.3, 0.0, 1.0]]))[0]
OBLIQUE *= np.sign(np.linalg.det(OBLIQUE))
ORDERS = {"oblique": OBLIQUE, "turned": np.eye(3)[:, [1, 2, 0]]}


@pytest.fixture
def folder(tmp_path):
    return write_labels_as_series(tmp_path / "series")


def write(folder, path, labels=None, classes=None):
    grid, indices, source = series_of(folder)
    labels = indices if labels is None else labels
    write_structure_set(labels, grid, path, source, classes or coded_table(), ALGORITHM)
    return pydicom.dcmread(path)


def read(folder, path):
    """Return name -> mask."""
    place, labels = series_place(folder), read_label_object(path)
    assert belongs_to(labels, [place]) is place
    return {name: masks_of(labels, place, [number]) for number, name in labels.numbers.items()}


def changed(folder, path, change):
    dataset = write(folder, path)
    change(dataset)
    dataset.save_as(path)
    return path


def contour(dataset, roi=0, number=0):
    return dataset.ROIContourSequence[roi].ContourSequence[number]


class TestWriting:
    def test_a_class_has_its_name_color_and_contours_on_the_slices_that_it_names(self, folder, tmp_path):
        structures = write(folder, tmp_path / "rt.dcm")

        _, _, source = series_of(folder)
        assert [roi.ROIName for roi in structures.StructureSetROISequence] == ["spleen", "liver"]
        assert list(structures.ROIContourSequence[0].ROIDisplayColor) == [230, 159, 0]
        first = contour(structures)
        assert first.ContourGeometricType == "CLOSED_PLANAR"
        # the spleen begins in slice 1 of 5, at z = 40 + 2.5 mm
        assert first.ContourImageSequence[0].ReferencedSOPInstanceUID == source.slices[1].SOPInstanceUID
        points = np.array(first.ContourData, float).reshape(-1, 3)
        assert set(points[:, 2]) == {42.5}
        # pixels 1 to 3 along x: the contour runs half a pixel beside them
        np.testing.assert_allclose(
            [points[:, 0].min(), points[:, 0].max()], [-31.5 + 0.5 * 0.7, -31.5 + 3.5 * 0.7], atol=1e-3
        )

    @pytest.mark.parametrize("directions", ORDERS.values(), ids=ORDERS)
    def test_masks_return_from_their_contours(self, tmp_path, directions):
        folder = write_labels_as_series(tmp_path / "series", directions)
        _, labels, _ = series_of(folder)

        write(folder, tmp_path / "rt.dcm")

        masks = read(folder, tmp_path / "rt.dcm")
        np.testing.assert_array_equal(masks["spleen"], labels == 1)
        np.testing.assert_array_equal(masks["liver"], labels == 2)

    def test_contours_surround_the_points_that_simpleitk_sees(self, folder, tmp_path):
        structures = write(folder, tmp_path / "rt.dcm")

        seen = np.array(sorted(points_by_simpleitk(folder, 2)))
        rings = [
            np.array(one.ContourData, float).reshape(-1, 3)
            for one in structures.ROIContourSequence[1].ContourSequence
        ]
        points = np.concatenate(rings)
        half = np.array([SPACING[0], SPACING[1], 0]) / 2
        np.testing.assert_allclose(points.min(axis=0), seen.min(axis=0) - half, atol=0.01)
        np.testing.assert_allclose(points.max(axis=0), seen.max(axis=0) + half, atol=0.01)

    @pytest.mark.slow
    def test_regions_overlap(self, folder, tmp_path):
        write(folder, tmp_path / "rt.dcm", classes=coded_table(regions=True))

        masks = read(folder, tmp_path / "rt.dcm")

        np.testing.assert_array_equal(masks["abdomen"], series_of(folder)[1] > 0)
        np.testing.assert_array_equal(masks["liver"], series_of(folder)[1] == 2)

    def test_dciodvfy_finds_no_error(self, folder, tmp_path):
        write(folder, tmp_path / "rt.dcm", np.where(uneven_labels() == 1, 1, 0).astype(np.uint8))

        assert dciodvfy_errors(tmp_path / "rt.dcm") == []


class TestReadingBadInput:
    def test_contours_of_another_frame_of_reference(self, folder, tmp_path):
        def change(dataset):
            dataset.StructureSetROISequence[0].ReferencedFrameOfReferenceUID = "1.2.3"

        path = changed(folder, tmp_path / "rt.dcm", change)

        with pytest.raises(
            SegpipeError, match=r"the structure set has the frame of reference 1\.2\.3, its series"
        ):
            read(folder, path)

    def test_contours_of_another_series(self, folder, tmp_path):
        def change(dataset):
            study = dataset.ReferencedFrameOfReferenceSequence[0].RTReferencedStudySequence[0]
            study.RTReferencedSeriesSequence[0].SeriesInstanceUID = "1.2.3"

        path = changed(folder, tmp_path / "rt.dcm", change)

        with pytest.raises(
            SegpipeError, match=r"refers to series 1\.2\.3, and the folder holds the series series "
        ):
            read(folder, path)

    @pytest.mark.slow
    def test_contours_that_name_no_series_and_other_slices(self, folder, tmp_path):
        def change(dataset):
            del dataset.ReferencedFrameOfReferenceSequence

        path = changed(folder, tmp_path / "rt.dcm", change)

        with pytest.raises(SegpipeError, match="refers to slices that are not there"):
            read(folder, path)

    @pytest.mark.parametrize("kind", ["OPEN_PLANAR", "OPEN_NONPLANAR", "POINT"])
    def test_contours_without_an_area(self, folder, tmp_path, kind):
        def change(dataset):
            contour(dataset, number=1).ContourGeometricType = kind

        path = changed(folder, tmp_path / "rt.dcm", change)

        with pytest.raises(SegpipeError, match=f"rt.dcm: spleen: contour 2 is {kind}: a class needs areas"):
            read(folder, path)

    def test_a_contour_between_slices(self, folder, tmp_path):
        """One millimetre beside its slice, where slices are 2.5 mm apart and 0.25 mm are allowed."""

        def change(dataset):
            points = np.array(contour(dataset).ContourData, float).reshape(-1, 3) + np.array([0, 0, 1])
            contour(dataset).ContourData = [f"{value:.3f}" for value in points.ravel()]

        path = changed(folder, tmp_path / "rt.dcm", change)

        with pytest.raises(
            SegpipeError, match=r"lies between slices .* 1 mm from .* 2.5 mm apart \(limit 0.25"
        ):
            read(folder, path)

    def test_a_contour_beyond_the_series(self, folder, tmp_path):
        def change(dataset):
            points = np.array(contour(dataset).ContourData, float).reshape(-1, 3) - [0, 0, 5]
            contour(dataset).ContourData = [f"{value:.3f}" for value in points.ravel()]

        path = changed(folder, tmp_path / "rt.dcm", change)

        with pytest.raises(SegpipeError, match=r"contour 1 lies 2.5 mm beyond the slices of"):
            read(folder, path)

    def test_a_contour_on_another_slice_than_it_names(self, folder, tmp_path):
        def change(dataset):
            later = contour(dataset, number=1).ContourImageSequence
            contour(dataset).ContourImageSequence = later

        path = changed(folder, tmp_path / "rt.dcm", change)

        with pytest.raises(SegpipeError, match=r"contour 1 names slice 2 of .*, and lies on slice 1"):
            read(folder, path)

    @pytest.mark.parametrize(
        ("data", "said"), [(["1", "2"], "no points of x, y, z"), ([], "empty or no numbers")]
    )
    def test_points_that_are_none(self, folder, tmp_path, data, said):
        def change(dataset):
            contour(dataset).ContourData = data

        path = changed(folder, tmp_path / "rt.dcm", change)

        with pytest.raises(SegpipeError, match=f"contour 1: its ContourData are {said}"):
            read(folder, path)

    @pytest.mark.slow
    def test_a_file_that_is_no_structure_set(self, folder, tmp_path):
        def change(dataset):
            del dataset.StructureSetROISequence

        path = changed(folder, tmp_path / "rt.dcm", change)

        with pytest.raises(SegpipeError, match="cannot be read as a DICOM segmentation or structure set"):
            read(folder, path)


class TestReadingSegmentations:
    @pytest.fixture
    def seg(self, folder, tmp_path):
        grid, labels, source = series_of(folder)
        write_segmentation(labels, grid, tmp_path / "seg.dcm", source, coded_table(), ALGORITHM)
        return tmp_path / "seg.dcm"

    @pytest.mark.parametrize(
        "directions", [np.eye(3), pytest.param(OBLIQUE, marks=pytest.mark.slow)], ids=["axial", "oblique"]
    )
    def test_masks_return(self, tmp_path, directions):
        folder = write_labels_as_series(tmp_path / "other", directions)
        grid, labels, source = series_of(folder)
        write_segmentation(labels, grid, tmp_path / "seg.dcm", source, coded_table(), ALGORITHM)

        masks = read(folder, tmp_path / "seg.dcm")

        np.testing.assert_array_equal(masks["spleen"], labels == 1)
        np.testing.assert_array_equal(masks["liver"], labels == 2)

    def test_a_segment_without_codes(self, folder, seg):
        dataset = pydicom.dcmread(seg)
        del dataset.SegmentSequence[1].SegmentedPropertyTypeCodeSequence
        dataset.save_as(seg)

        with pytest.raises(
            SegpipeError, match=r"segment 2 \(liver\) lacks SegmentedPropertyTypeCodeSequence"
        ):
            read(folder, seg)

    @pytest.mark.slow
    def test_fractions(self, folder, seg):
        dataset = pydicom.dcmread(seg)
        dataset.SegmentationType = "FRACTIONAL"
        dataset.save_as(seg)

        with pytest.raises(
            SegpipeError, match="its SegmentationType is FRACTIONAL, must be BINARY or LABELMAP"
        ):
            read(folder, seg)

    @pytest.mark.slow
    def test_frames_between_the_slices(self, folder, seg):
        dataset = pydicom.dcmread(seg)
        for groups in dataset.PerFrameFunctionalGroupsSequence:
            groups.PlanePositionSequence[0].ImagePositionPatient[2] += 1
        dataset.save_as(seg)

        with pytest.raises(
            SegpipeError, match=r"segment 1 \(spleen\) does not lie on the grid of its series"
        ):
            read(folder, seg)

    def test_frames_beyond_the_series(self, folder, seg):
        """The series lost its last slice, in which the liver has 13 voxels."""
        last = sorted(folder.iterdir())[-1]
        lost = int((series_of(folder)[1][:, :, -1] == 2).sum())
        last.unlink()

        with pytest.raises(
            SegpipeError, match=rf"segment 2 \(liver\): {lost} voxels lie beyond the slices of"
        ):
            read(folder, seg)
