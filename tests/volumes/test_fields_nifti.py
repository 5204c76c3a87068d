"""A test for each row of docs/reference/file_formats/nifti.md: the field is changed in the raw header."""

from __future__ import annotations

import nibabel
import numpy as np
import pytest
from field_tables import Expected, Reads, require, require_a_case_for_each_row

ARRAY = np.random.default_rng(0).integers(100, 1000, (6, 5, 4)).astype(np.int16)
AFFINE = np.array([[-1.0, 0, 0, 10], [0, -2, 0, 20], [0, 0, 3, 30], [0, 0, 0, 1]])
ORIGINAL = Reads(ARRAY, AFFINE)
SFORM_ONLY = {"qform_code": 0}
QFORM_ONLY = {"sform_code": 0}


def moved(**cells: float) -> Reads:
    affine = AFFINE.copy()
    for cell, value in cells.items():
        affine[int(cell[1]), int(cell[2])] = value
    return Reads(ARRAY, affine)


CASES: list[tuple[str, dict[str, object], Expected]] = [
    ("sizeof_hdr", {"sizeof_hdr": 349}, "not a NIfTI file"),
    ("sizeof_hdr", {}, ORIGINAL),
    ("magic", {"magic": b"ni1"}, "the header of a pair .hdr and .img"),
    ("magic", {"magic": b""}, "Analyze 7.5"),
    ("magic", {"magic": b"n+2"}, "magic"),
    ("dim", {"dim": [3, 5, 6, 4, 1, 1, 1, 1]}, Reads(ARRAY.reshape((5, 6, 4), order="F"), AFFINE)),
    ("dim", {"dim": [4, 6, 5, 4, 0, 1, 1, 1]}, ORIGINAL),
    ("dim", {"dim": [3, 6, 5, 0, 1, 1, 1, 1]}, "dim[3] is 0"),
    ("dim", {"dim": [3, 6, -5, 4, 1, 1, 1, 1]}, "dim[2] is -5"),
    ("dim", {"dim": [9, 6, 5, 4, 1, 1, 1, 1]}, "dim[0] is 9"),
    ("dim", {"dim": [5, 6, 5, 1, 2, 2, 1, 1]}, "extract one volume"),
    ("datatype", {"datatype": 512}, Reads(ARRAY.astype(np.uint16), AFFINE)),
    ("datatype", {"datatype": 32, "bitpix": 64}, "complex64"),
    ("datatype", {"datatype": 1536, "bitpix": 128}, "(datatype 1536)"),
    ("datatype", {"datatype": 1}, "(datatype 1)"),
    ("datatype", {"datatype": 77}, "(datatype 77)"),
    ("bitpix", {"bitpix": 8}, "bitpix 8 contradicts datatype 4 (int16)"),
    ("vox_offset", {"vox_offset": 0}, ORIGINAL),
    ("vox_offset", {"vox_offset": 348}, "vox_offset 348"),
    ("vox_offset", {"vox_offset": 352.5}, "vox_offset 352.5"),
    ("vox_offset", {"vox_offset": np.nan}, "vox_offset nan"),
    ("vox_offset", {"vox_offset": 368}, "truncated"),
    ("length of the file", {"tail": bytes(16)}, ORIGINAL),
    ("length of the file", {"tail": b"\0\1"}, "2 bytes longer than the header says"),
    ("length of the file", {"cut": 1}, "truncated"),
    ("extension", {"extension": (b"\1\0\0\0", b"\x10\0\0\0\6\0\0\0comments")}, ORIGINAL),
    ("extension", {"extension": (b"\1\0\0\0", bytes(16))}, ORIGINAL),
    ("extension", {"extension": (b"\1\0\0\0", b"\x18\0\0\0\6\0\0\0comments")}, "extension of 24 bytes at byte 352"),
    ("extension", {"extension": (b"\1\0\0\0", b"\x20\0\0\0\6\0\0\0comments")}, "extension of 32 bytes at byte 352"),
    ("scl_slope", {"scl_slope": 2.0}, Reads(ARRAY.astype(np.float32) * 2, AFFINE)),
    ("scl_slope", {"scl_slope": 0.0, "scl_inter": 5.0}, ORIGINAL),
    ("scl_slope", {"scl_slope": np.nan, "scl_inter": np.nan}, ORIGINAL),
    ("scl_slope", {"scl_slope": np.inf}, "scl_slope inf"),
    ("scl_slope", {"scl_slope": 3e38}, "voxels are NaN or infinite"),
    ("scl_inter", {"scl_slope": 1.0, "scl_inter": -24.0}, Reads(ARRAY.astype(np.float32) - 24, AFFINE)),
    ("scl_inter", {"scl_slope": 1.0, "scl_inter": np.nan}, "scl_inter nan"),
    ("xyzt_units", {"xyzt_units": 0}, ORIGINAL),
    ("xyzt_units", {"xyzt_units": 2 | 16}, ORIGINAL),
    ("xyzt_units", {"xyzt_units": 1}, "spatial unit metre"),
    ("xyzt_units", {"xyzt_units": 3}, "spatial unit micrometre"),
    ("xyzt_units", {"xyzt_units": 6}, "spatial unit of code 6"),
    ("sform_code", {"sform_code": 0, "srow_x": [5, 0, 0, 0]}, ORIGINAL),
    ("sform_code", {"sform_code": 6}, "sform_code 6: must be 0 to 5"),
    ("sform_code", {"sform_code": 0, "qform_code": 0}, "which side is left is unknown"),
    ("srow_x, srow_y, srow_z", {**SFORM_ONLY, "srow_x": [1, 0, 0, 10]}, moved(c00=1)),
    ("srow_x, srow_y, srow_z", {**SFORM_ONLY, "srow_x": [np.nan, 0, 0, 10]}, "every value must be finite"),
    ("srow_x, srow_y, srow_z", {**SFORM_ONLY, "srow_x": [-1, 0.05, 0, 10]}, "sform and pixdim disagree"),
    ("qform_code", {"sform_code": 0}, ORIGINAL),
    ("qform_code", {"qform_code": 0, "quatern_d": 0.0}, ORIGINAL),
    ("qform_code", {"qform_code": -1}, "qform_code -1: must be 0 to 5"),
    # half a turn about x instead of z: x, -y, -z
    (
        "quatern_b, quatern_c, quatern_d",
        {**QFORM_ONLY, "quatern_b": 1.0, "quatern_d": 0.0},
        moved(c00=1, c11=-2, c22=-3),
    ),
    ("quatern_b, quatern_c, quatern_d", {**QFORM_ONLY, "quatern_d": 1.0000004}, ORIGINAL),
    ("quatern_b, quatern_c, quatern_d", {**QFORM_ONLY, "quatern_d": 1.00001}, "no rotation"),
    ("quatern_b, quatern_c, quatern_d", {"quatern_d": np.nan}, "no rotation"),
    ("qoffset_x, qoffset_y, qoffset_z", {**QFORM_ONLY, "qoffset_z": 31.0}, moved(c23=31)),
    ("pixdim[0]", {**QFORM_ONLY, "pixdim0": -1.0}, moved(c22=-3)),
    ("pixdim[0]", {**QFORM_ONLY, "pixdim0": 0.0}, ORIGINAL),
    ("pixdim[0]", {**QFORM_ONLY, "pixdim0": 0.5}, "pixdim[0] 0.5"),
    ("pixdim[1..3]", {**QFORM_ONLY, "pixdim1": 1.5}, moved(c00=-1.5)),
    ("pixdim[1..3]", {**QFORM_ONLY, "pixdim1": -1.0}, "not negative"),
    ("pixdim[1..3]", {**SFORM_ONLY, "pixdim1": -1.0}, "not negative"),
    ("pixdim[1..3]", {**QFORM_ONLY, "pixdim1": 0.0}, "spacing must be above 0"),
    ("pixdim[1..3]", {**SFORM_ONLY, "pixdim1": 0.0}, ORIGINAL),
    ("sform against qform", {"qoffset_x": 10.009}, ORIGINAL),
    ("sform against qform", {"qoffset_x": 10.1}, "sform (code 1) and qform (code 1) disagree: the farthest voxel"),
    ("sform against qform", {"qform_code": 2, "qoffset_x": 15.0}, ORIGINAL),
    ("sform against qform", {"qform_code": 2, "pixdim0": -1.0}, "the axes run to LPS and to LPI"),
    ("sform against pixdim", {**SFORM_ONLY, "pixdim1": 1.0001}, ORIGINAL),
    ("sform against pixdim", {**SFORM_ONLY, "pixdim1": 2.0}, "voxels of (1, 2, 3) vs (2, 2, 3) mm"),
    ("sform against pixdim", {**SFORM_ONLY, "sform_code": 4, "pixdim1": 2.0}, ORIGINAL),
    ("pixdim[4..7]", {"pixdim4": -7.0}, ORIGINAL),
    ("intent_code", {"intent_code": 1002}, ORIGINAL),
    ("cal_min, cal_max", {"cal_min": 5.0, "cal_max": 6.0}, ORIGINAL),
    ("slice_code", {"slice_code": 3, "slice_start": 1, "slice_end": 2, "slice_duration": 9.0, "toffset": 4.0}, ORIGINAL),
    ("dim_info", {"dim_info": 57}, ORIGINAL),
    ("descrip", {"descrip": b"\xff\1text", "aux_file": b"x", "intent_name": b"y"}, ORIGINAL),
    ("glmax, glmin", {"glmax": 7, "glmin": -7}, ORIGINAL),
]  # fmt: skip


def changed(path, change, kind=nibabel.Nifti1Image, order="<"):
    """Write the original file with these raw fields; the reader gets only the bytes of the file."""
    image = kind(ARRAY.astype(f"{order}i2"), AFFINE)
    image.set_sform(AFFINE, 1)
    image.set_qform(AFFINE, 1)
    header = image.header.as_byteswapped(order)
    header["vox_offset"] = header["sizeof_hdr"] + 4
    header["scl_slope"], header["scl_inter"] = 1, 0
    fields = dict(change)
    flag, extension = fields.pop("extension", (bytes(4), b""))
    tail, cut = fields.pop("tail", b""), fields.pop("cut", 0)
    header["vox_offset"] += len(extension)
    for name, value in fields.items():
        if name.startswith("pixdim"):
            header["pixdim"][int(name[6:])] = value
        else:
            header[name] = value
    voxels = ARRAY.astype(f"{order}i2").tobytes(order="F")
    data = header.binaryblock + flag + extension + voxels + tail
    path.write_bytes(data[: len(data) - cut])
    return path


@pytest.mark.parametrize(("field", "change", "expected"), CASES)
def test_a_field_does_what_the_table_says(field, change, expected, tmp_path):
    require(changed(tmp_path / "a.nii", change), expected)


def test_each_row_of_the_table_has_a_case():
    cases: dict[str, list[Expected]] = {}
    for field, _, expected in CASES:
        cases.setdefault(field, []).append(expected)

    require_a_case_for_each_row("nifti.md", cases, ORIGINAL)


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("kind", [nibabel.Nifti1Image, nibabel.Nifti2Image])
def test_both_versions_are_read_in_both_byte_orders(kind, order, tmp_path):
    require(changed(tmp_path / "a.nii", {}, kind, order), ORIGINAL)
    require(
        changed(tmp_path / "b.nii", {"qform_code": 0, "sform_code": 0}, kind, order), "which side is left"
    )


def test_a_sheared_sform_is_read_where_pixdim_confirms_it(tmp_path):
    srow = {"srow_x": [-1.0, 0.5, 0, 10], "pixdim2": float(np.hypot(0.5, 2))}

    require(changed(tmp_path / "a.nii", {**SFORM_ONLY, **srow}), moved(c01=0.5))


def test_a_quaternion_whose_real_part_is_lost_in_rounding_agrees_with_its_sform(tmp_path):
    """Near half a turn the real part of a float32 quaternion is known to 0.0006 only: 0.3 mm at 500 mm."""
    turn = np.pi - 2e-4
    affine = np.eye(4)
    affine[:2, :2] = [[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]]
    array = np.zeros((500, 400, 2), np.uint8)
    image = nibabel.Nifti1Image(array, affine)
    image.set_sform(affine, 1)
    image.set_qform(affine, 1)
    nibabel.save(image, tmp_path / "a.nii")

    require(tmp_path / "a.nii", Reads(array, affine))
