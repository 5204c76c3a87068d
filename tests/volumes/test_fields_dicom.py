"""A test for each row of docs/reference/file_formats/dicom.md: tags of all slices or of one are changed."""

from __future__ import annotations

import numpy as np
import pydicom
import pytest
from field_tables import Expected, Reads, require, require_a_case_for_each_row
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.sequence import Sequence
from pydicom.uid import EnhancedMRImageStorage, MRImageStorage

from segpipe.volumes import Grid, read_series, write_series

ARRAY = np.random.default_rng(0).integers(0, 1000, (5, 4, 6)).astype(np.int16)
GRID = Grid.from_lps(ARRAY.shape, (1, 2, 3), (10, 20, 30), np.eye(3))
ORIGINAL = Reads(ARRAY, GRID.affine)
ONE = "one slice"
"""In a change, as a key that is set: only the last slice gets the tags."""
FLOATS = np.arange(20, dtype="<f4").tobytes()


def gridded(spacing=(1, 2, 3), origin=(10, 20, 30), axes=None, array=ARRAY) -> Reads:
    return Reads(
        array, Grid.from_lps(array.shape, spacing, origin, np.eye(3) if axes is None else axes).affine
    )


def valued(array) -> Reads:
    return Reads(array, GRID.affine)


def item(**tags) -> Sequence:
    dataset = Dataset()
    for tag, value in tags.items():
        setattr(dataset, tag, value)
    return Sequence([dataset])


def table() -> Sequence:
    sequence = item()
    sequence[0].add_new("LUTDescriptor", "US", [4, 0, 16])
    sequence[0].add_new("LUTData", "US", [9, 8, 7, 6])
    return sequence


HALF_TURN = [-1, 0, 0, 0, -1, 0]
SINGLE = {"single": True}
CASES: list[tuple[str, dict[str, object], Expected]] = [
    ("preamble", {}, ORIGINAL),
    ("preamble", {"preamble": None}, valued(ARRAY.copy())),
    ("preamble", {"bytes": b"hello"}, "without the letters DICM at byte 128"),
    ("TransferSyntaxUID", {"syntax": "1.2.840.10008.1.2"}, valued(ARRAY.copy())),
    ("TransferSyntaxUID", {"syntax": "1.2.840.10008.1.2.1.99"}, valued(ARRAY.copy())),
    ("TransferSyntaxUID", {"syntax": "1.2.840.10008.1.2.4.100"}, "TransferSyntaxUID 1.2.840.10008.1.2.4.100 (MPEG2"),
    ("TransferSyntaxUID", {"syntax": "1.2.840.10008.1.2.4.70"}, "TransferSyntaxUID JPEG Lossless"),
    ("SOPClassUID", {"SOPClassUID": MRImageStorage}, ORIGINAL),
    ("SOPClassUID", {ONE: True, "SOPClassUID": MRImageStorage}, "SOPClassUID must be one"),
    ("SOPClassUID", {"SOPClassUID": EnhancedMRImageStorage}, "of kind Enhanced MR Image Storage"),
    ("Modality", {"Modality": "PT", "PhotometricInterpretation": "MONOCHROME1"}, ORIGINAL),
    ("Modality", {"Modality": "MG", "PhotometricInterpretation": "MONOCHROME1"}, valued(-1 - ARRAY)),
    ("Modality", {ONE: True, "Modality": "MR"}, "Modality must be one"),
    ("ImageType", {"ImageType": ["DERIVED", "PRIMARY", "MPR"]}, ORIGINAL),
    ("ImageType", {ONE: True, "ImageType": ["ORIGINAL", "PRIMARY", "LOCALIZER"]}, gridded(array=ARRAY[:, :, :5])),
    ("SeriesInstanceUID", {"SeriesInstanceUID": "1.2.3"}, ORIGINAL),
    ("SeriesInstanceUID", {ONE: True, "SeriesInstanceUID": "1.2.3"}, "2 image series in one folder"),
    ("SeriesInstanceUID", {"SeriesInstanceUID": ""}, "SeriesInstanceUID (0020,000E) is missing or empty"),
    ("FrameOfReferenceUID", {"FrameOfReferenceUID": ""}, ORIGINAL),
    ("FrameOfReferenceUID", {ONE: True, "FrameOfReferenceUID": "1.2.3"}, "FrameOfReferenceUID must be one"),
    ("InstanceNumber", {"InstanceNumber": [7, 3, 9, 1, 5, 2]}, ORIGINAL),
    ("InstanceNumber", {"InstanceNumber": ""}, ORIGINAL),
    ("InstanceNumber", {"InstanceNumber": [2, 3, 4, 5, 6, 1]}, "its InstanceNumber 1 belongs at the other"),
    ("NumberOfFrames", {"NumberOfFrames": 1}, ORIGINAL),
    ("NumberOfFrames", {"NumberOfFrames": 2}, "one slice a file (NumberOfFrames 1)"),
    ("ImagesInAcquisition", {"ImagesInAcquisition": 7}, ORIGINAL),
    ("NumberOfSlices", {"NumberOfSlices": 7}, ORIGINAL),
    ("Rows", {"Rows": 5, "Columns": 4}, gridded(array=np.stack([s.T.reshape(5, 4).T for s in ARRAY.transpose(2, 0, 1)], 2))),
    ("Rows", {ONE: True, "Rows": 3}, "pixel data too long: 40 bytes, 3 x 5 pixels need 30"),
    ("Rows", {"Rows": 0}, "Rows 0"),
    ("Columns", {"Columns": 4, "Rows": 5}, gridded(array=np.stack([s.T.reshape(5, 4).T for s in ARRAY.transpose(2, 0, 1)], 2))),
    ("Columns", {"Columns": 6}, "pixel data truncated: 40 bytes, 4 x 6 pixels need 48"),
    ("Columns", {ONE: True, "Columns": 4, "Rows": 5}, "Columns and Rows must be one"),
    ("PixelSpacing", {"PixelSpacing": [4, 0.5]}, gridded((0.5, 4, 3))),
    ("PixelSpacing", {"PixelSpacing": [0, 1]}, "PixelSpacing 0 mm: must be above 0"),
    ("PixelSpacing", {"PixelSpacing": None, "ImagerPixelSpacing": [1, 1]}, "tags PixelSpacing missing"),
    ("PixelSpacing", {ONE: True, "PixelSpacing": [2, 1.1]}, "PixelSpacing moves a voxel by 0.4 mm"),
    ("ImagerPixelSpacing", {"ImagerPixelSpacing": [9, 9]}, ORIGINAL),
    ("PixelAspectRatio", {"PixelAspectRatio": [1, 7]}, ORIGINAL),
    ("ImagePositionPatient", {"ImagePositionPatient": [[0, 0, 2 * k] for k in range(6)]}, gridded((1, 2, 2), (0, 0, 0))),
    ("ImagePositionPatient", {ONE: True, "ImagePositionPatient": [10, 20, 45.5]}, "off the line of the other slices"),
    ("ImagePositionPatient", {"ImagePositionPatient": None}, "tags ImagePositionPatient missing"),
    ("ImageOrientationPatient", {"ImageOrientationPatient": HALF_TURN}, gridded(axes=np.diag([-1, -1, 1]))),
    ("ImageOrientationPatient", {"ImageOrientationPatient": [1, 0, 0, 0.5, 1, 0]}, "ImageOrientationPatient (1, 0, 0, 0.5"),
    ("ImageOrientationPatient", {ONE: True, "ImageOrientationPatient": HALF_TURN}, "ImageOrientationPatient moves a voxel"),
    ("SliceThickness", {"SliceThickness": 9}, ORIGINAL),
    ("SliceThickness", {**SINGLE, "SliceThickness": 9, "SpacingBetweenSlices": None}, gridded((1, 2, 9), array=ARRAY[:, :, :1])),
    ("SliceThickness", {**SINGLE, "SliceThickness": "", "SpacingBetweenSlices": None}, "without SpacingBetweenSlices or SliceThickness"),
    ("SpacingBetweenSlices", {"SpacingBetweenSlices": -9}, ORIGINAL),
    ("SpacingBetweenSlices", {**SINGLE, "SpacingBetweenSlices": 9}, gridded((1, 2, 9), array=ARRAY[:, :, :1])),
    ("SliceLocation", {"SliceLocation": 7}, ORIGINAL),
    ("GantryDetectorTilt", {"GantryDetectorTilt": 12}, ORIGINAL),
    ("PatientPosition", {"PatientPosition": "FFP"}, ORIGINAL),
    ("SamplesPerPixel", {"SamplesPerPixel": 3}, "3 values a pixel (SamplesPerPixel)"),
    ("PlanarConfiguration", {"PlanarConfiguration": 1}, ORIGINAL),
    ("PhotometricInterpretation", {"PhotometricInterpretation": "MONOCHROME1"}, ORIGINAL),
    ("PhotometricInterpretation", {"PhotometricInterpretation": "MONOCHROME1", "Modality": "DX"}, valued(-1 - ARRAY)),
    ("PhotometricInterpretation", {"PhotometricInterpretation": "MONOCHROME1", "Modality": "XA"}, "PhotometricInterpretation MONOCHROME1"),
    ("PhotometricInterpretation", {"PhotometricInterpretation": "PALETTE COLOR"}, "PhotometricInterpretation PALETTE COLOR"),
    ("PhotometricInterpretation", {"PhotometricInterpretation": None}, "tags PhotometricInterpretation missing"),
    ("PhotometricInterpretation", {ONE: True, "PhotometricInterpretation": "MONOCHROME1"}, "PhotometricInterpretation must be one"),
    (
        "BitsAllocated",
        {"BitsAllocated": 8, "BitsStored": 8, "HighBit": 7, "pixels": "u1"},
        valued(ARRAY.astype(np.uint8).astype(np.int8).astype(np.int16)),
    ),
    ("BitsAllocated", {"BitsAllocated": 12}, "BitsAllocated 12"),
    ("BitsAllocated", {"BitsAllocated": 32, "BitsStored": 16}, "pixel data truncated: 40 bytes, 4 x 5 pixels need 80"),
    ("BitsStored", {"BitsStored": 12, "HighBit": 11}, ORIGINAL),
    ("BitsStored", {"BitsStored": 8, "HighBit": 7}, "bits above BitsStored 8"),
    ("BitsStored", {"BitsStored": 17, "HighBit": 16}, "BitsStored 17"),
    ("BitsStored", {ONE: True, "BitsStored": 12, "HighBit": 11}, "BitsStored must be one"),
    ("HighBit", {"HighBit": None}, ORIGINAL),
    ("HighBit", {"HighBit": 14}, "HighBit 14"),
    ("PixelRepresentation", {"PixelRepresentation": 0, "pixels": ">i2"}, valued(ARRAY.byteswap().view(np.uint16))),
    ("PixelRepresentation", {"PixelRepresentation": 2}, "PixelRepresentation 2"),
    ("PixelRepresentation", {"PixelRepresentation": None}, "tags PixelRepresentation missing"),
    ("PixelRepresentation", {ONE: True, "PixelRepresentation": 0}, "PixelRepresentation must be one"),
    ("RescaleSlope", {"RescaleSlope": "0.5"}, valued(ARRAY * 0.5)),
    ("RescaleSlope", {"RescaleSlope": 0}, "RescaleSlope 0"),
    ("RescaleSlope", {"RescaleSlope": "1_0"}, "RescaleSlope"),
    ("RescaleSlope", {ONE: True, "RescaleSlope": 2}, "RescaleSlope and RescaleIntercept must be one"),
    ("RescaleIntercept", {"RescaleIntercept": -1024}, valued(ARRAY - 1024)),
    ("RescaleIntercept", {ONE: True, "RescaleIntercept": None}, "RescaleSlope and RescaleIntercept must be one"),
    ("RescaleType", {ONE: True, "RescaleType": "US"}, "RescaleType must be one"),
    ("RescaleType", {"RescaleType": "US"}, ORIGINAL),
    ("ModalityLUTSequence", {"ModalityLUTSequence": table()}, "ModalityLUTSequence"),
    (
        "RealWorldValueMappingSequence",
        {"RealWorldValueMappingSequence": item(RealWorldValueSlope=2.0, RealWorldValueIntercept=7.0)},
        ORIGINAL,
    ),
    ("Units", {"Modality": "PT", "Units": "BQML"}, ORIGINAL),
    ("Units", {ONE: True, "Units": "CNTS"}, "Units must be one"),
    ("DecayCorrection", {"Modality": "PT", "DecayCorrection": "START"}, ORIGINAL),
    ("PixelPaddingValue", {"PixelPaddingValue": ("SS", int(ARRAY[0, 0, 0]))}, ORIGINAL),
    ("SmallestImagePixelValue", {"SmallestImagePixelValue": ("SS", 7), "LargestImagePixelValue": ("SS", 8)}, ORIGINAL),
    ("WindowCenter", {"WindowCenter": 40, "WindowWidth": 1}, ORIGINAL),
    ("WindowWidth", {"WindowCenter": 40, "WindowWidth": 400}, ORIGINAL),
    ("VOILUTSequence", {"VOILUTSequence": table()}, ORIGINAL),
    ("PresentationLUTShape", {"PresentationLUTShape": "INVERSE"}, ORIGINAL),
    (
        "OverlayBitPosition",
        {"BitsStored": 8, "HighBit": 7, (0x6000, 0x0102): ("US", 12)},
        valued(ARRAY.astype(np.uint8).astype(np.int8).astype(np.int16)),
    ),
    ("OverlayData", {(0x6000, 0x3000): ("OB", b"\xff\xff")}, ORIGINAL),
    ("PixelData", {"append": b"\0"}, "1 bytes follow the pixel data"),
    ("PixelData", {"cut": 3}, "pixel data truncated: 37 bytes, 4 x 5 pixels need 40; copy the file again"),
    ("PixelData", {"PixelData": None}, "holds no pixel data"),
    ("FloatPixelData", {"PixelData": None, "FloatPixelData": FLOATS}, "FloatPixelData in place of PixelData"),
]  # fmt: skip


def changed(folder, change):
    """Write the series, and change the tags of all slices or of the last slice."""
    change = dict(change)
    paths = write_series(ARRAY, GRID, folder, "CT", series_uid="1.2.826.0.1.7")
    if change.pop("single", False):
        for path in paths[1:]:
            path.unlink()
        paths = paths[:1]
    only_last = change.pop(ONE, False)
    raw = {
        key: change.pop(key)
        for key in ("preamble", "bytes", "syntax", "pixels", "append", "cut")
        if key in change
    }
    for index, path in enumerate(paths):
        if only_last and index < len(paths) - 1:
            continue
        dataset = pydicom.dcmread(path)
        for tag, value in change.items():
            set_tag(dataset, tag, value, index)
        if "pixels" in raw:
            dataset.PixelData = ARRAY[:, :, index].T.astype(raw["pixels"]).tobytes()
        dataset.file_meta.MediaStorageSOPClassUID = dataset.SOPClassUID
        save(dataset, path, raw)
    return folder


def set_tag(dataset, tag, value, index):
    if isinstance(tag, tuple) or isinstance(value, tuple):
        dataset.add_new(tag, *value)
    elif value is None:
        dataset.pop(pydicom.datadict.tag_for_keyword(tag), None)
    elif tag == "InstanceNumber" and isinstance(value, list):
        setattr(dataset, tag, value[index])
    elif tag == "ImagePositionPatient" and isinstance(value[0], list):
        dataset.ImagePositionPatient = value[index]
    else:
        setattr(dataset, tag, value)


def save(dataset, path, raw):
    if "syntax" in raw and not raw["syntax"].startswith("1.2.840.10008.1.2.4"):
        dataset.file_meta.TransferSyntaxUID = raw["syntax"]
    if "preamble" in raw:
        dataset.preamble, dataset.file_meta = None, FileMetaDataset()
        dataset.save_as(path, implicit_vr=True, little_endian=True, enforce_file_format=False)
    else:
        dataset.save_as(path)
    content = raw.get("bytes", path.read_bytes())
    if raw.get("syntax", "").startswith("1.2.840.10008.1.2.4"):
        new = raw["syntax"].encode() + b"\0" * (len(raw["syntax"]) % 2)
        old = b"\x14\0" + b"1.2.840.10008.1.2.1\0"
        content = content.replace(old, len(new).to_bytes(2, "little") + new)
    content += raw.get("append", b"")
    path.write_bytes(content[: len(content) - raw.get("cut", 0)])


@pytest.mark.filterwarnings("ignore:Invalid value for VR")  # pydicom, of numbers that are none
@pytest.mark.parametrize(("field", "change", "expected"), CASES)
def test_a_field_does_what_the_table_says(field, change, expected, tmp_path, capfd):
    require(changed(tmp_path / "series", change), expected)
    assert capfd.readouterr() == ("", ""), "a library's own words on the terminal"


@pytest.mark.parametrize(("rescale_type", "is_hounsfield"), [("HU", True), ("", True), ("US", False)])
def test_rescale_type_says_whether_a_ct_is_in_hounsfield_units(rescale_type, is_hounsfield, tmp_path):
    volume = read_series(changed(tmp_path, {"RescaleType": rescale_type}))

    assert volume.is_hounsfield is is_hounsfield
    assert not read_series(changed(tmp_path, {"Modality": "MR", "RescaleType": rescale_type})).is_hounsfield


def test_each_row_of_the_table_has_a_case():
    cases: dict[str, list[Expected]] = {}
    for field, _, expected in CASES:
        cases.setdefault(field, []).append(expected)

    require_a_case_for_each_row("dicom.md", cases, ORIGINAL)
