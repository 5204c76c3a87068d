"""DICOM X-rays as pictures: bits stored, modality values, window and inversion, in the standard's order."""

from __future__ import annotations

import numpy as np
import pydicom
import pytest
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import (
    ComputedRadiographyImageStorage,
    CTImageStorage,
    DigitalXRayImageStorageForPresentation,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    OphthalmicPhotography8BitImageStorage,
    RLELossless,
)

from segpipe.errors import SegpipeError
from segpipe.volumes import read_picture

STORED = np.array([[0, 1000, 2000], [3000, 4000, 4095]], np.uint16)
KINDS = {
    "DX": DigitalXRayImageStorageForPresentation,
    "CR": ComputedRadiographyImageStorage,
    "OP": OphthalmicPhotography8BitImageStorage,
    "CT": CTImageStorage,
}


def xray(path, stored=STORED, modality="DX", syntax=ExplicitVRLittleEndian, **tags):
    """Write an X-ray without a place in the patient, as projections are."""
    dataset = Dataset()
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = syntax
    dataset.SOPClassUID = dataset.file_meta.MediaStorageSOPClassUID = KINDS[modality]
    dataset.SOPInstanceUID = dataset.file_meta.MediaStorageSOPInstanceUID = "1.2.3"
    dataset.Modality = modality
    dataset.Rows, dataset.Columns, dataset.SamplesPerPixel = *stored.shape[:2], 1
    dataset.PhotometricInterpretation = "MONOCHROME2"
    dataset.BitsAllocated, dataset.PixelRepresentation = 8 * stored.dtype.itemsize, 0
    dataset.BitsStored = 12 if stored.dtype == np.uint16 else 8
    dataset.HighBit = dataset.BitsStored - 1
    dataset.PixelData = stored.tobytes()
    dataset["PixelData"].VR = "OB" if stored.dtype == np.uint8 else "OW"
    for tag, value in tags.items():
        setattr(dataset, tag, value)
    if syntax == RLELossless:
        dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
        dataset.compress(RLELossless)
    dataset.save_as(path, enforce_file_format=True)
    return path


def table(entries, first, bits):
    item = Dataset()
    item.add_new("LUTDescriptor", "US", [len(entries), first, bits])
    item.add_new("LUTData", "OW", np.array(entries, "<u2").tobytes())
    return pydicom.Sequence([item])


def pixels(path, **options):
    return read_picture(path, **options).pixels[0]


def test_without_a_window_the_range_of_the_pixels_is_shown(tmp_path):
    stored = STORED // 2 + 5  # 5 to 2052

    picture = read_picture(xray(tmp_path / "a.dcm", stored))

    np.testing.assert_allclose(picture.pixels[0], (stored - 5.0) / 2047, rtol=1e-6)
    assert (picture.rows, picture.columns, picture.stored_bits, picture.modality) == (2, 3, 12, "DX")


@pytest.mark.parametrize("modality", ["DX", "CR", "OP"])
def test_monochrome1_is_inverted_after_the_window(modality, tmp_path):
    """Low values of MONOCHROME1 are white: 1 minus the window's brightness."""
    path = xray(
        tmp_path / "a.dcm",
        modality=modality,
        PhotometricInterpretation="MONOCHROME1",
        WindowCenter=2000,
        WindowWidth=2000,
        VOILUTFunction="LINEAR_EXACT",
    )

    picture = read_picture(path)

    # the window is 1000 to 3000
    np.testing.assert_allclose(picture.pixels[0], [[1, 1, 0.5], [0, 0, 0]], atol=1e-7)
    assert picture.is_inverted


@pytest.mark.parametrize(
    ("function", "expected"),
    [
        # (x - (2000 - 0.5)) / (2001 - 1) + 0.5
        ("LINEAR", [[0, 0.00025, 0.50025], [1, 1, 1]]),
        ("SIGMOID", 1 / (1 + np.exp(-4 * (STORED - 2000.0) / 2001))),
        ("LINEAR_EXACT", [[0, 0.5 - 1000 / 2001, 0.5], [0.5 + 1000 / 2001, 1, 1]]),
    ],
)
def test_the_first_window_is_applied_by_its_function(function, expected, tmp_path):
    path = xray(tmp_path / "a.dcm", WindowCenter=[2000, 1], WindowWidth=[2001, 9], VOILUTFunction=function)

    np.testing.assert_allclose(pixels(path), expected, atol=1e-6)


def test_the_window_applies_to_rescaled_values(tmp_path):
    path = xray(
        tmp_path / "a.dcm",
        RescaleSlope=2,
        RescaleIntercept=-1000,
        WindowCenter=3000,  # stored 2000
        WindowWidth=4000,
        VOILUTFunction="LINEAR_EXACT",
    )

    np.testing.assert_allclose(pixels(path), [[0, 0, 0.5], [1, 1, 1]], atol=1e-7)


@pytest.mark.parametrize("syntax", [ExplicitVRLittleEndian, ImplicitVRLittleEndian])
def test_lookup_tables_are_applied_the_modality_before_the_display(syntax, tmp_path):
    """Stored 0..3 -> modality 40, 30, 20, 10 -> display by a table of 8 bits that begins at 10."""
    stored = np.array([[0, 1], [2, 3]], np.uint16)
    display = list(range(31))  # 10 -> 0, 40 -> 30
    display[-1] = 255
    path = xray(
        tmp_path / "a.dcm",
        stored,
        syntax=syntax,
        ModalityLUTSequence=table([40, 30, 20, 10], 0, 8),
        VOILUTSequence=table(display, 10, 8),
    )

    np.testing.assert_allclose(pixels(path), [[1, 20 / 255], [10 / 255, 0]], atol=1e-7)


def test_values_outside_a_display_table_get_its_ends(tmp_path):
    path = xray(tmp_path / "a.dcm", VOILUTSequence=table([0, 1023], 2000, 10))

    np.testing.assert_array_equal(pixels(path), [[0, 0, 0], [1, 1, 1]])


def test_a_ct_slice_keeps_its_hu_whatever_its_display(tmp_path):
    tags = {"RescaleSlope": 1, "RescaleIntercept": -1000, "WindowCenter": 40, "WindowWidth": 1}
    usual = xray(tmp_path / "2.dcm", modality="CT", **tags)
    other = xray(tmp_path / "1.dcm", modality="CT", PhotometricInterpretation="MONOCHROME1", **tags)

    np.testing.assert_allclose(pixels(usual, window=(-1000, 3000)), np.minimum(STORED / 4000, 1), rtol=1e-6)
    np.testing.assert_array_equal(pixels(usual, window=(0, 9)), pixels(other, window=(0, 9)))
    with pytest.raises(SegpipeError, match=r"a CT slice holds values from -1000 to 3095.*give the window"):
        read_picture(usual)


def test_compressed_pixels_are_the_same_picture(tmp_path):
    rle, plain = xray(tmp_path / "a", syntax=RLELossless), xray(tmp_path / "b")

    assert read_picture(rle).content_sha256 == read_picture(plain).content_sha256


@pytest.mark.parametrize(
    ("tags", "message"),
    [
        ({"NumberOfFrames": 3}, "a multi-frame file (3 frames); an image to classify is one frame"),
        (
            {"SamplesPerPixel": 3, "PhotometricInterpretation": "RGB"},
            "in colour (3 values a pixel, RGB)",
        ),
        ({"WindowCenter": 40, "WindowWidth": 0}, "width 0 and VOILUTFunction LINEAR"),
        ({"WindowCenter": 40, "WindowWidth": 9, "VOILUTFunction": "CUBIC"}, "VOILUTFunction CUBIC"),
        ({"VOILUTSequence": table([1, 2, 300], 0, 8)}, "it has 3 entries up to 300, 3 of 8 bits are stated"),
        ({"ModalityLUTSequence": pydicom.Sequence([Dataset()])}, "lookup table (ModalityLUTSequence)"),
        ({"PixelData": STORED.tobytes()[:-4]}, "pixel data truncated: 8 bytes"),
        ({"BitsStored": 10, "HighBit": 9}, "hold bits above BitsStored 10"),
        ({"PhotometricInterpretation": "PALETTE COLOR"}, "PALETTE COLOR"),
    ],
)
def test_a_file_that_is_no_grey_picture_of_one_frame_is_refused(tags, message, tmp_path):
    path = xray(tmp_path / "a.dcm", **tags)

    with pytest.raises(SegpipeError) as refused:
        read_picture(path)

    assert str(path) in str(refused.value)
    assert message in str(refused.value)


def test_a_file_that_is_no_dicom_is_refused(tmp_path):
    (tmp_path / "a.dcm").write_bytes(b"no image at all" * 20)

    with pytest.raises(SegpipeError, match="not a readable DICOM file"):
        read_picture(tmp_path / "a.dcm")
