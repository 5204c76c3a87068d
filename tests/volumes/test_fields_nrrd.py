"""A test for each row of docs/reference/file_formats/nrrd.md: lines of the text header are changed."""

from __future__ import annotations

import gzip

import numpy as np
import pytest
from field_tables import Expected, Reads, require, require_a_case_for_each_row

ARRAY = np.random.default_rng(0).integers(100, 1000, (6, 5, 4)).astype(np.int16)
AFFINE = np.array([[-1.0, 0, 0, -10], [0, -2, 0, -20], [0, 0, 3, 30], [0, 0, 0, 1]])
ORIGINAL = Reads(ARRAY, AFFINE)
HEADER = {
    "type": "short",
    "dimension": "3",
    "space": "left-posterior-superior",
    "sizes": "6 5 4",
    "space directions": "(1,0,0) (0,2,0) (0,0,3)",
    "kinds": "domain domain domain",
    "endian": "little",
    "encoding": "raw",
    "space origin": "(10,20,30)",
}
VOXELS = ARRAY.tobytes(order="F")
PLANE = {
    "dimension": "2",
    "space": None,
    "sizes": "6 20",
    "space directions": None,
    "space origin": None,
    "kinds": None,
}
PLANAR = ARRAY.reshape((6, 20), order="F")
CHANNELS = {
    "dimension": "4",
    "sizes": "2 3 5 4",
    "space directions": "none (1,0,0) (0,2,0) (0,0,3)",
    "kinds": "list domain domain domain",
}
AS_CHANNELS = Reads(ARRAY.reshape((2, 3, 5, 4), order="F"), AFFINE)
RAS = Reads(ARRAY, np.diag([-1.0, -1, 1, 1]) @ AFFINE)


def plane(x_mm: float, y_mm: float) -> Reads:
    return Reads(PLANAR, np.diag([-x_mm, -y_mm, 1, 1]))


CASES: list[tuple[str, dict[str, object], Expected]] = [
    ("magic", {"magic": "NRRD0001"}, ORIGINAL),
    ("magic", {"magic": "NRRD0009"}, "must be NRRD0001 to NRRD0005"),
    ("grammar of a line", {"line": "# a comment"}, ORIGINAL),
    ("grammar of a line", {"line": "Patient:=M\u00fcller"}, ORIGINAL),
    ("grammar of a line", {"line": "foo: bar"}, "is no field of NRRD"),
    ("grammar of a line", {"line": "foo"}, "is no field of NRRD"),
    ("grammar of a line", {"space origin": None, "line": "#pace origin: (10,20,30)"}, "reads like the field `space origin:`"),
    ("grammar of a line", {"space origin": None, "line": "space origin:=(10,20,30)"}, "reads like the field `space origin:`"),
    ("grammar of a line", {"line": "space origin: (9,9,9)"}, "space origin stands in the header twice"),
    ("grammar of a line", {"kinds": "domain dom\u00e4in domain"}, "kinds holds bytes that are no text"),
    ("type", {"type": "ushort"}, Reads(ARRAY.astype(np.uint16), AFFINE)),
    ("type", {"type": "block", "line": "block size: 2"}, "type block"),
    ("type", {"type": "shorx"}, "ITK cannot read this file"),
    ("dimension", {"dimension": "2"}, "sizes 6 5 4 with dimension 2"),
    ("dimension", {"dimension": "3"}, ORIGINAL),
    ("sizes", {"sizes": "5 6 4"}, Reads(ARRAY.reshape((5, 6, 4), order="F"), AFFINE)),
    ("sizes", {"sizes": "6 5 0"}, "sizes 6 5 0"),
    ("sizes", {"sizes": "6 5"}, "sizes 6 5 with dimension 3"),
    ("space", {"space": "RAS"}, RAS),
    ("space", {"space": "right-anterior-superior"}, RAS),
    ("space", {"space": "left-anterior-superior"}, Reads(ARRAY, np.diag([1.0, -1, 1, 1]) @ AFFINE)),
    ("space", {"space": "LPS"}, ORIGINAL),
    ("space", {"space": "scanner-xyz"}, "space scanner-xyz: which side of the patient is left is unknown"),
    ("space", {"space": "3D-right-handed"}, "which side of the patient is left is unknown"),
    ("space", {"space": None, "space directions": None, "space origin": None}, "no space: which side"),
    ("space", {"space": "left-posterior-superiop"}, "which side of the patient is left is unknown"),
    ("space dimension", {"space": None, "first": "space dimension: 3"}, "no space: which side"),
    (
        "space dimension",
        {**PLANE, "first": "space dimension: 2", "space directions": "(1,0) (0,2)", "space origin": "(0,0)"},
        plane(1, 2),
    ),
    ("space directions", {"space directions": "(0,-1,0) (2,0,0) (0,0,3)"}, Reads(ARRAY, np.array([[0, -2, 0, -10], [1, 0, 0, -20], [0, 0, 3, 30], [0, 0, 0, 1]]))),
    ("space directions", {"space directions": "(1,0,0) (1,2,0) (0,0,3)"}, "must be perpendicular unit vectors"),
    ("space directions", {"space directions": "(1,0,0) (0,2,0) (0,0,0)"}, "vector of length 0"),
    ("space directions", {"space directions": "(1,0,0) (0,2x,0) (0,0,3)"}, "must be finite numbers in brackets"),
    ("space directions", {"space directions": "(1,0,0) (0,nan,0) (0,0,3)"}, "must be finite numbers in brackets"),
    ("space directions", {"space directions": "(1,0,0) (0,2,0)"}, "2 entries for 3 axes"),
    ("space directions", {"space directions": "(1,0) (0,2) (0,3)"}, "must agree"),
    ("space directions", {"space directions": None}, "no space directions"),
    ("space origin", {"space origin": "(11,20,30)"}, Reads(ARRAY, AFFINE + np.outer([-1, 0, 0, 0], [0, 0, 0, 1]))),
    ("space origin", {"space origin": "(10,20)"}, "must agree"),
    ("space origin", {"space origin": "(10;20;30)"}, "must be finite numbers in brackets"),
    ("space origin", {"space origin": "(1e200,20,30)"}, "must be finite numbers in brackets"),
    ("space directions", {"space directions": "(1e200,0,0) (0,2,0) (0,0,3)"}, "must be finite numbers in brackets"),
    ("space origin", {"space origin": None}, Reads(ARRAY, AFFINE @ np.eye(4) * [1, 1, 1, 0] + np.diag([0, 0, 0, 1]))),
    ("spacings", {**PLANE, "spacings": "2 3"}, plane(2, 3)),
    ("spacings", PLANE, plane(1, 1)),
    ("spacings", {**PLANE, "spacings": "2 0"}, "must be one number above 0 for each axis"),
    ("kinds", CHANNELS, AS_CHANNELS),
    ("kinds", {**CHANNELS, "kinds": "vector domain domain domain"}, AS_CHANNELS),
    ("kinds", {**CHANNELS, "kinds": "time domain domain domain"}, "axis 1 is time, with 2 frames"),
    ("kinds", {"kinds": "domain domain time"}, "axis 3 is time"),
    ("kinds", {"kinds": "domain domain"}, "2 kinds for 3 axes"),
    ("kinds", {"kinds": None}, ORIGINAL),
    ("encoding", {"encoding": "gzip", "voxels": gzip.compress(VOXELS)}, ORIGINAL),
    ("encoding", {"encoding": "gzip", "voxels": gzip.compress(VOXELS)[:-9]}, "truncated"),
    ("encoding", {"encoding": "ascii", "voxels": " ".join(map(str, ARRAY.reshape(-1, order="F"))).encode()}, ORIGINAL),
    ("encoding", {"encoding": "hex", "voxels": VOXELS.hex().encode()}, ORIGINAL),
    ("encoding", {"encoding": "bzip2"}, "encoding bzip2 is not read"),
    ("endian", {"endian": "big"}, Reads(ARRAY.view(">i2").astype(np.int16), AFFINE)),
    ("endian", {"endian": None}, "ITK cannot read this file"),
    ("endian", {"endian": "middle"}, "ITK cannot read this file"),
    ("length of the voxels", {"voxels": VOXELS + bytes(8)}, ORIGINAL),
    ("length of the voxels", {"voxels": VOXELS + b"8"}, "1 bytes longer than the header says"),
    ("length of the voxels", {"voxels": VOXELS[1:]}, "truncated: 239 bytes, the header asks for 240"),
    ("space units", {"space units": '"mm" "mm" "mm"'}, ORIGINAL),
    ("space units", {"space units": '"cm" "cm" "cm"'}, "spatial unit cm"),
    ("units", {"units": '"m" "m" "m"'}, "spatial unit m"),
    ("old min", {"old min": "0"}, "quantised values of another range"),
    ("old min", {"old max": "5"}, "quantised values of another range"),
    ("data file", {"data file": "LIST"}, "voxels in several files"),
    ("data file", {"data file": "a%02d.raw 1 4 1"}, "voxels in several files"),
    ("data file", {"data file": "nowhere.raw"}, "its voxel file nowhere.raw is missing"),
    ("data file", {"data file": "a.raw", "voxels": b"", "beside": VOXELS}, Reads(ARRAY.copy(), AFFINE)),
    ("line skip", {"line skip": "1", "voxels": b"hello\n" + VOXELS}, Reads(ARRAY.copy(), AFFINE)),
    ("byte skip", {"byte skip": "5", "voxels": b"hello" + VOXELS}, Reads(ARRAY.copy(), AFFINE)),
    ("byte skip", {"byte skip": "-1", "voxels": b"hello" + VOXELS}, Reads(ARRAY.copy(), AFFINE)),
    ("measurement frame", {"measurement frame": "(0,1,0) (1,0,0) (0,0,1)"}, ORIGINAL),
    ("centerings", {"centerings": "node cell ???"}, ORIGINAL),
    ("thicknesses", {"thicknesses": "9 9 9"}, ORIGINAL),
    ("min", {"min": "5", "max": "6"}, ORIGINAL),
    ("content", {"content": "M\u00fcller", "labels": '"x" "y" "z"', "sample units": "HU"}, ORIGINAL),
]  # fmt: skip


def changed(path, change):
    fields = {**HEADER, **change}
    voxels, beside = fields.pop("voxels", VOXELS), fields.pop("beside", None)
    magic, line, first = (fields.pop(key, None) for key in ("magic", "line", "first"))
    lines = [magic or "NRRD0004", *([first] if first else [])]
    lines += [f"{key}: {value}" for key, value in fields.items() if value is not None]
    lines += [line] if line else []
    path.write_bytes("\n".join([*lines, "", ""]).encode() + voxels)
    if beside is not None:
        path.with_suffix(".raw").write_bytes(beside)
    return path


@pytest.mark.parametrize(("field", "change", "expected"), CASES)
def test_a_field_does_what_the_table_says(field, change, expected, tmp_path, capfd):
    require(changed(tmp_path / "a.nrrd", change), expected)
    assert capfd.readouterr() == ("", ""), "ITK's own words on the terminal"


def test_each_row_of_the_table_has_a_case():
    cases: dict[str, list[Expected]] = {}
    for field, _, expected in CASES:
        cases.setdefault(field, []).append(expected)

    require_a_case_for_each_row("nrrd.md", cases, ORIGINAL)
