"""A test for each row of docs/reference/file_formats/metaimage.md: lines of the text header are changed."""

from __future__ import annotations

import zlib

import numpy as np
import pytest
from field_tables import Expected, Reads, require, require_a_case_for_each_row

ARRAY = np.random.default_rng(0).integers(100, 1000, (6, 5, 4)).astype(np.int16)
AFFINE = np.array([[-1.0, 0, 0, -10], [0, -2, 0, -20], [0, 0, 3, 30], [0, 0, 0, 1]])
ORIGINAL = Reads(ARRAY, AFFINE)
HEADER = {
    "ObjectType": "Image",
    "NDims": "3",
    "BinaryData": "True",
    "BinaryDataByteOrderMSB": "False",
    "CompressedData": "False",
    "TransformMatrix": "1 0 0 0 1 0 0 0 1",
    "Offset": "10 20 30",
    "CenterOfRotation": "0 0 0",
    "AnatomicalOrientation": "RAI",
    "ElementSpacing": "1 2 3",
    "DimSize": "6 5 4",
    "ElementType": "MET_SHORT",
}
SWAPPED = Reads(ARRAY.view(">i2").astype(np.int16), AFFINE)
UNIT_SPACING = Reads(ARRAY, AFFINE @ np.diag([1, 1 / 2, 1 / 3, 1]))
TURNED = Reads(ARRAY, np.array([[0, 2, 0, -10], [-1, 0, 0, -20], [0, 0, 3, 30], [0, 0, 0, 1]]))
SHEARED = np.array([[0.9952, 0.0098, -0.0975], [-0.0475, 0.9188, 0.3919], [0.0857, -0.3946, 0.9148]])
VOXELS = ARRAY.tobytes(order="F")
STREAM = zlib.compress(VOXELS)
PACKED = {"CompressedData": "True", "CompressedDataSize": str(len(STREAM)), "voxels": STREAM}

CASES: list[tuple[str, dict[str, object], Expected]] = [
    ("grammar of a line", {"Offset": None, "Offxet": "10 20 30"}, "key Offxet is unknown and nearly Offset"),
    ("grammar of a line", {"Offset": None, "offset": "10 20 30"}, "key offset is unknown and nearly Offset"),
    ("grammar of a line", {"TransformMatrix": None, "TransformMutrix": "1 0 0 0 1 0 0 0 1"}, "nearly TransformMatrix"),
    ("grammar of a line", {"line": "Offset 10 20 30"}, "is no `key = value`"),
    ("grammar of a line", {"line": "Off\x00set = 1 2 3"}, "is no `key = value`"),
    ("grammar of a line", {"line": "Offset = 9 9 9"}, "Offset stands in the header twice"),
    ("grammar of a line", {"line": "Offset = 10 20 30"}, ORIGINAL),
    ("grammar of a line", {"colon": True}, ORIGINAL),
    ("grammar of a line", {"line": "0010|0010 = M\u00fcller"}, ORIGINAL),
    ("ObjectType", {"ObjectType": None}, ORIGINAL),
    ("ObjectType", {"ObjectType": "Tube"}, "ObjectType = Tube: must be Image"),
    ("NDims", {"NDims": "2"}, "DimSize = 6 5 4: must be 2 whole numbers"),
    ("NDims", {"NDims": "1"}, "NDims = 1: must be 2 to 4"),
    ("NDims", {"NDims": "3"}, ORIGINAL),
    ("DimSize", {"DimSize": "5 6 4"}, Reads(ARRAY.reshape((5, 6, 4), order="F"), AFFINE)),
    ("DimSize", {"DimSize": "6 5 4 1"}, "DimSize = 6 5 4 1"),
    ("DimSize", {"DimSize": "6 5 0"}, "DimSize = 6 5 0"),
    ("DimSize", {"DimSize": "6 5 4x"}, "DimSize = 6 5 4x"),
    ("ElementType", {"ElementType": "MET_USHORT"}, Reads(ARRAY.astype(np.uint16), AFFINE)),
    ("ElementType", {"ElementType": "MET_SHORU"}, "ElementType = MET_SHORU: must be one of"),
    (
        "ElementType",
        {"ElementType": "MET_LONG", "voxels": ARRAY.astype("<i4").tobytes(order="F")},
        Reads(ARRAY.astype(np.int32), AFFINE),
    ),
    (
        "ElementNumberOfChannels",
        {"DimSize": "3 5 4", "ElementNumberOfChannels": "2"},
        Reads(ARRAY.reshape((2, 3, 5, 4), order="F"), AFFINE),
    ),
    ("ElementNumberOfChannels", {"ElementNumberOfChannels": "0"}, "ElementNumberOfChannels = 0"),
    ("ElementSpacing", {"ElementSpacing": "1 1 1"}, UNIT_SPACING),
    ("ElementSpacing", {"ElementSpacing": "1 -2 3"}, "mirrored axis"),
    ("ElementSpacing", {"ElementSpacing": "1 2"}, "ElementSpacing = 1 2: must be 3 numbers"),
    ("ElementSpacing", {"ElementSpacing": "1,0 2,0 3,0"}, "3 numbers with decimal points"),
    ("ElementSpacing", {"ElementSpacing": None}, "has TransformMatrix and Offset, but no ElementSpacing"),
    ("ElementSpacing", {"ElementSpacing": None, "Offset": None, "TransformMatrix": None}, Reads(ARRAY, np.diag([-1.0, -1, 1, 1]))),
    ("TransformMatrix", {"TransformMatrix": None}, ORIGINAL),
    ("TransformMatrix", {"TransformMatrix": None, "Transfx": "1 0 0 0 1 0 0 0 1"}, "the unknown keys Transfx, but no TransformMatrix"),
    ("TransformMatrix", {"TransformMatrix": "0.8 0.6 0 0.6 0.8 0 0 0 1"}, "must be perpendicular unit vectors"),
    ("Comment", {"toffset": "1", "qoffset_x": "7", "pixdim[1]": "0.5", "srow_x": "1 0 0 0", "ITK_FileNotes": ""}, ORIGINAL),
    ("ElementSize", {"ElementSpacing": None, "ElementSize": "1 2 3"}, ORIGINAL),
    ("ElementSize", {"ElementSize": "1 1 1", "ElementSpacing": None}, UNIT_SPACING),
    ("ElementSize", {"ElementSize": "7 7 7"}, ORIGINAL),
    ("Offset", {"Offset": "11 20 30"}, Reads(ARRAY, AFFINE + np.outer([-1, 0, 0, 0], [0, 0, 0, 1]))),
    ("Offset", {"Offset": "10 20x 30"}, "Offset = 10 20x 30"),
    ("Offset", {"Offset": "10 nan 30"}, "Offset = 10 nan 30"),
    ("Offset", {"Offset": "10 2e999 30"}, "must be finite and at most 1e+12"),
    ("Position, Origin", {"Offset": None, "Position": "10 20 30"}, ORIGINAL),
    ("Position, Origin", {"Offset": None, "Origin": "11 20 30"}, Reads(ARRAY, AFFINE + np.outer([-1, 0, 0, 0], [0, 0, 0, 1]))),
    ("Position, Origin", {"Position": "9 9 9"}, "Offset stands in the header twice"),
    ("TransformMatrix", {"TransformMatrix": "0 1 0 -1 0 0 0 0 1"}, TURNED),
    ("TransformMatrix", {"TransformMatrix": "1 0 0 0 1 0 0 0.1 1"}, "must be perpendicular unit vectors"),
    ("TransformMatrix", {"TransformMatrix": "1 0 0 0 1 0 0 0.01 1"}, "must be perpendicular unit vectors"),
    ("TransformMatrix", {"TransformMatrix": "1 0 0 0 1 0 0 1"}, "must be 9 numbers"),
    ("TransformMatrix", {"TransformMatrix": "1 0 0 0 2 0 0 0 1"}, "must be perpendicular unit vectors"),
    # both axes turn by half of the angle
    ("TransformMatrix", {"TransformMatrix": "1 0 0 0 1 0 0 0.0001 1"}, Reads(ARRAY, AFFINE - 5e-5 * np.array([[0] * 4, [0, 0, 3, 0], [0, 2, 0, 0], [0] * 4]))),
    (
        "TransformMatrix",
        {"TransformMatrix": " ".join(map(str, SHEARED.T.reshape(-1)))},
        Reads(ARRAY, np.diag([-1, -1, 1, 1]) @ np.block([[SHEARED * [1, 2, 3], np.array([[10], [20], [30]])], [np.eye(4)[3:]]])),
    ),
    ("Rotation, Orientation", {"TransformMatrix": None, "Rotation": "0 1 0 -1 0 0 0 0 1"}, TURNED),
    ("Rotation, Orientation", {"TransformMatrix": None, "Orientation": "0 1 0 -1 0 0 0 0 1"}, TURNED),
    ("BinaryData", {"BinaryData": "False", "voxels": " ".join(map(str, ARRAY.reshape(-1, order="F"))).encode() + b"\n"}, ORIGINAL),
    ("BinaryData", {"BinaryData": "yes"}, "BinaryData = yes: must be True or False"),
    ("BinaryDataByteOrderMSB", {"BinaryDataByteOrderMSB": "True"}, SWAPPED),
    ("BinaryDataByteOrderMSB", {"BinaryDataByteOrderMSB": "Talse"}, "must be True or False"),
    ("ElementByteOrderMSB", {"BinaryDataByteOrderMSB": None, "ElementByteOrderMSB": "True"}, SWAPPED),
    ("ElementByteOrderMSB", {"ElementByteOrderMSB": "True"}, "BinaryDataByteOrderMSB stands in the header twice"),
    ("CompressedData", PACKED, ORIGINAL),
    ("CompressedData", {**PACKED, "CompressedData": "False"}, "truncated: 232 bytes"),
    ("CompressedDataSize", {**PACKED, "CompressedDataSize": None}, "CompressedDataSize missing"),
    ("CompressedDataSize", {**PACKED, "CompressedDataSize": str(len(STREAM) - 9)}, "truncated"),
    ("CompressedDataSize", {**PACKED, "CompressedDataSize": "-5"}, "CompressedDataSize = -5"),
    ("HeaderSize", {"HeaderSize": "5", "file": "a.raw", "voxels": b"", "beside": b"12345" + VOXELS}, Reads(ARRAY.copy(), AFFINE)),
    ("HeaderSize", {"HeaderSize": "5", "voxels": b"12345" + VOXELS}, "HeaderSize = 5: must be 0 or -1"),
    ("HeaderSize", {"HeaderSize": "-1", "voxels": b"123" + VOXELS}, ORIGINAL),
    ("HeaderSize", {**PACKED, "HeaderSize": "-1"}, "HeaderSize = -1"),
    ("ElementDataFile", {"file": "LIST"}, "voxels in several files"),
    ("ElementDataFile", {"file": "nowhere.raw"}, "its voxel file nowhere.raw is missing"),
    ("ElementDataFile", {"file": "a.raw", "voxels": b"", "beside": VOXELS}, Reads(ARRAY.copy(), AFFINE)),
    ("length of the voxel file", {"voxels": VOXELS + bytes(8)}, ORIGINAL),
    ("length of the voxel file", {"voxels": VOXELS + b"8"}, "1 bytes longer than the header says"),
    ("length of the voxel file", {"voxels": VOXELS[1:]}, "truncated: 239 bytes, the header asks for 240"),
    ("DistanceUnits", {"DistanceUnits": "mm"}, ORIGINAL),
    ("DistanceUnits", {"DistanceUnits": "um"}, "DistanceUnits = um"),
    ("ElementToIntensityFunctionSlope", {"ElementToIntensityFunctionSlope": "1"}, ORIGINAL),
    ("ElementToIntensityFunctionSlope", {"ElementToIntensityFunctionSlope": "2"}, "save the scaled values"),
    ("ElementToIntensityFunctionOffset", {"ElementToIntensityFunctionOffset": "-1024"}, "save the scaled values"),
    ("AnatomicalOrientation", {"AnatomicalOrientation": "LPS"}, ORIGINAL),
    ("AnatomicalOrientation", {"AnatomicalOrientation": "??"}, ORIGINAL),
    ("CenterOfRotation", {"CenterOfRotation": "9 9 9"}, ORIGINAL),
    ("ElementMin, ElementMax", {"ElementMin": "5", "ElementMax": "6"}, ORIGINAL),
    ("Modality", {"Modality": "MET_MOD_CT"}, ORIGINAL),
    ("Comment", {"Comment": "Offset = 9 9 9", "Name": "\u00e9"}, ORIGINAL),
]  # fmt: skip


def changed(path, change):
    fields = {**HEADER, **change}
    voxels, beside = fields.pop("voxels", VOXELS), fields.pop("beside", None)
    line, colon, file = fields.pop("line", None), fields.pop("colon", False), fields.pop("file", "LOCAL")
    lines = [f"{key}{' : ' if colon else ' = '}{value}" for key, value in fields.items() if value is not None]
    lines += [line] if line else []
    if beside is not None:
        path.with_suffix(".raw").write_bytes(beside)
    text = "\n".join([*lines, f"ElementDataFile = {file}", ""])
    path.write_bytes(text.encode() + voxels)
    return path


@pytest.mark.parametrize(("field", "change", "expected"), CASES)
def test_a_field_does_what_the_table_says(field, change, expected, tmp_path, capfd):
    require(changed(tmp_path / "a.mha", change), expected)
    assert capfd.readouterr() == ("", ""), "ITK's own words on the terminal"


def test_each_row_of_the_table_has_a_case():
    cases: dict[str, list[Expected]] = {}
    for field, _, expected in CASES:
        cases.setdefault(field, []).append(expected)

    require_a_case_for_each_row("metaimage.md", cases, ORIGINAL)
