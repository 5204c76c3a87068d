"""In a folder of DICOM files, every slice counts, other files are skipped by name, and damaged files are refused."""

from __future__ import annotations

import numpy as np
import pydicom
import pytest
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import (
    BasicTextSRStorage,
    EnhancedMRImageStorage,
    ExplicitVRLittleEndian,
    GrayscaleSoftcopyPresentationStateStorage,
    MediaStorageDirectoryStorage,
    RTStructureSetStorage,
    SecondaryCaptureImageStorage,
    XRayRadiationDoseSRStorage,
    generate_uid,
)

from segpipe.errors import SegpipeError
from segpipe.volumes import Grid, find_scans, read_header, read_series, write_series
from segpipe.volumes.dicom_headers import left_out_files

UID = "1.2.826.0.1.3680043.8.498.1"
SCAN = np.arange(-60, 60, dtype=np.int16).reshape(5, 4, 6)


@pytest.fixture
def series(tmp_path):
    """Six files of one CT series."""
    grid = Grid.from_lps(SCAN.shape, (1, 1, 2.5), (0, 0, 0), np.eye(3))
    return write_series(SCAN, grid, tmp_path / "ct", "CT", series_uid=UID)


def copy(path, name, **tags):
    """Write a changed copy of a file beside it; None deletes a tag."""
    dataset = pydicom.dcmread(path)
    for tag, value in tags.items():
        if value is None:
            del dataset[tag]
        else:
            setattr(dataset, tag, value)
    if "SOPClassUID" in tags:
        dataset.file_meta.MediaStorageSOPClassUID = tags["SOPClassUID"]
    dataset.save_as(path.with_name(name))
    return path.with_name(name)


def refusal(folder, **kwargs) -> str:
    with pytest.raises(SegpipeError) as caught:
        read_header(folder, **kwargs)
    with pytest.raises(SegpipeError):
        read_series(folder, **kwargs)
    return str(caught.value)


NO_PLACE = {"ImagePositionPatient": None, "ImageOrientationPatient": None, "PixelSpacing": None}
SCREEN_SHOT = {"SOPClassUID": SecondaryCaptureImageStorage, "Modality": "OT", **NO_PLACE}


@pytest.mark.parametrize("uid", [UID, "1.2.826.0.1.3680043.8.498.2"], ids=["same series", "another series"])
@pytest.mark.parametrize("colour", [False, True])
def test_a_screen_shot_beside_a_series_is_left_out(uid, colour, series):
    colours = {"SamplesPerPixel": 3, "PhotometricInterpretation": "RGB"} if colour else {}
    shot = copy(series[0], "shot.dcm", SeriesInstanceUID=uid, **SCREEN_SHOT, **colours)

    np.testing.assert_array_equal(read_series(series[0].parent).array, SCAN)
    (left_out,) = left_out_files(series[0].parent)
    assert left_out.path == shot
    assert "Secondary Capture Image Storage (OT): image without a place in the patient" in left_out.reason


def test_a_screen_shot_alone_is_refused_with_what_to_do(series):
    copy(series[0], "shot.dcm", **SCREEN_SHOT)
    for path in series:
        path.unlink()

    assert "ImagePositionPatient, ImageOrientationPatient, PixelSpacing missing" in refusal(series[0].parent)


def test_a_secondary_capture_with_a_place_among_the_slices_is_no_screen_shot(series):
    copy(series[5], series[5].name, SOPClassUID=SecondaryCaptureImageStorage)

    assert "slices of different kind: CT Image Storage in slice_0000.dcm vs Secondary" in refusal(
        series[0].parent
    )


def test_a_localiser_is_left_out_beside_a_series_and_read_when_chosen(series):
    other = generate_uid()
    scout = {
        "ImageType": ["ORIGINAL", "PRIMARY", "LOCALIZER"],
        "ImageOrientationPatient": [0, 1, 0, 0, 0, -1],
    }
    path = copy(series[0], "scout.dcm", SeriesInstanceUID=other, **scout)

    np.testing.assert_array_equal(read_series(series[0].parent).array, SCAN)
    assert [out.path for out in left_out_files(series[0].parent)] == [path]
    assert read_series(series[0].parent, other).array.shape == (5, 4, 1)
    copy(path, "scout.dcm", SeriesInstanceUID=UID)
    np.testing.assert_array_equal(read_series(series[0].parent).array, SCAN)


@pytest.mark.parametrize(
    "kind",
    [
        RTStructureSetStorage,
        BasicTextSRStorage,
        XRayRadiationDoseSRStorage,
        GrayscaleSoftcopyPresentationStateStorage,
        MediaStorageDirectoryStorage,
        "1.3.12.2.1107.5.9.1",  # a private kind without pixels
    ],
)
def test_objects_without_pixels_are_left_out_and_are_no_scan(kind, series, tmp_path):
    dataset = Dataset()
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset.file_meta.MediaStorageSOPClassUID = dataset.SOPClassUID = kind
    dataset.file_meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID = generate_uid()
    dataset.Modality, dataset.SeriesInstanceUID = "OT", generate_uid()
    for folder in (series[0].parent, tmp_path / "alone"):
        folder.mkdir(exist_ok=True)
        dataset.save_as(folder / "object.dcm", enforce_file_format=True)

    np.testing.assert_array_equal(read_series(series[0].parent).array, SCAN)
    assert [out.path.name for out in left_out_files(series[0].parent)] == ["object.dcm"]
    assert find_scans(tmp_path / "alone", strict=False) == []
    whole = (series[0].parent / "object.dcm").read_bytes()
    if not kind.startswith("1.3"):  # cut short, its kind still says that no slice is lost
        (series[0].parent / "object.dcm").write_bytes(whole[:-3])
        np.testing.assert_array_equal(read_series(series[0].parent).array, SCAN)


def test_a_slice_that_calls_itself_a_structure_set_is_refused(series):
    dataset = pydicom.dcmread(series[5])
    dataset.SOPClassUID = RTStructureSetStorage
    dataset.save_as(series[5])

    message = refusal(series[0].parent)
    assert f"{series[5]}: SOPClassUID {RTStructureSetStorage}" in message
    assert "a place among the slices" in message


def test_an_enhanced_object_is_named_and_no_stranger(series):
    copy(series[0], "enhanced.dcm", SOPClassUID=EnhancedMRImageStorage, SeriesInstanceUID="1.2.3", **NO_PLACE)

    assert "2 image series in one folder" in refusal(series[0].parent)
    assert "of kind Enhanced MR Image Storage" in refusal(series[0].parent, series_uid="1.2.3")


def test_several_series_are_refused_with_the_option_as_it_is_typed(series):
    copy(series[0], "other.dcm", SeriesInstanceUID="1.2.3")

    assert "choose one with --series-uid of `segpipe predict` (series_uid in YAML)" in refusal(
        series[0].parent
    )


@pytest.mark.parametrize("value", ["", None])
def test_a_missing_series_uid_is_named_with_what_to_do(value, series):
    for path in series:
        copy(path, path.name, SeriesInstanceUID=value)

    message = refusal(series[0].parent)
    assert "SeriesInstanceUID (0020,000E) is missing or empty in slice_0000.dcm" in message
    assert "write one UID into all slices" in message
    assert "copy" not in message


@pytest.mark.filterwarnings("ignore:Invalid value for VR UI")  # pydicom, of a UID that is cut
@pytest.mark.parametrize("suffix", [".dcm", "", ".7"])
@pytest.mark.parametrize("slice_number", [0, 5])
def test_a_slice_cut_anywhere_is_never_lost(suffix, slice_number, series):
    """Cut before byte 132, a file has no DICOM mark; its name still looks like a slice's."""
    for index, path in enumerate(series):
        path.rename(path.with_name(f"IM{index:04d}{suffix}"))
    path = series[0].with_name(f"IM{slice_number:04d}{suffix}")
    whole = path.read_bytes()

    in_uid = whole.index(UID.encode()) + 11  # what is left of the SeriesInstanceUID names another series
    for length in (0, 100, 131, *range(132, len(whole), 47), in_uid, len(whole) - 1):
        path.write_bytes(whole[:length])
        for series_uid in (None, UID):
            with pytest.raises(SegpipeError) as caught:
                read_header(series[0].parent, series_uid)
            assert str(path) in str(caught.value), length


def test_a_cut_file_is_told_from_one_that_was_exported_without_pixels_only_by_its_length(series):
    series[0].write_bytes(b"")
    assert "the file is empty (0 bytes)" in refusal(series[0].parent)

    copy(series[1], series[0].name, PixelData=None)
    size = series[0].stat().st_size
    assert f"the file ends at byte {size} and holds no pixel data" in refusal(series[0].parent)


def test_a_damaged_file_of_another_series_does_not_matter_when_one_is_chosen(series):
    copy(series[0], "other.dcm", SeriesInstanceUID="1.2.3", PixelData=None)

    np.testing.assert_array_equal(read_series(series[0].parent, UID).array, SCAN)


@pytest.mark.parametrize(
    ("syntax", "name"),
    [
        ("1.2.840.10008.1.2.4.201", "High-Throughput JPEG 2000"),
        ("1.2.840.10008.1.2.4.100", "MPEG2"),
        ("1.2.840.10008.1.2.4.110", "1.2.840.10008.1.2.4.110"),
        ("1.2.840.113619.5.2", "Implicit VR Big Endian"),
    ],
)
def test_an_encoding_that_cannot_be_read_is_named(syntax, name, series):
    content = series[0].read_bytes()
    old = b"1.2.840.10008.1.2.1\0"
    at = content.index(old)
    text = syntax.encode() + b"\0" * (len(syntax) % 2)
    content = content[: at - 2] + len(text).to_bytes(2, "little") + text + content[at + len(old) :]
    series[0].write_bytes(content)

    message = refusal(series[0].parent)
    assert f"TransferSyntaxUID {syntax}" in message
    assert "decompress the series first" in message


@pytest.mark.parametrize("photometric", ["PALETTE COLOR", "RGB", "YBR_FULL_422", "ARGB", "MONOCHROME3"])
def test_other_photometric_interpretations_are_refused_by_name(photometric, series):
    copy(series[0], series[0].name, PhotometricInterpretation=photometric)

    assert f"PhotometricInterpretation {photometric}" in refusal(series[0].parent)
