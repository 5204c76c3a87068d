"""The header of a NIfTI file: the fields that decide values and geometry, and the rules of each field.

nibabel and ITK silently repair some fields, in different ways: `vox_offset` 0, a negative `pixdim`, contrary forms.
So this module reads and checks the raw fields before nibabel or ITK reads the file. The table of all fields is
docs/reference/file_formats/nifti.md.

Source: nifti1.h and nifti2.h of the NIfTI Data Format Working Group.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, Literal

import nibabel
import numpy as np
from nibabel.nifti1 import header_dtype as nifti1_dtype
from nibabel.nifti2 import header_dtype as nifti2_dtype

from segpipe.errors import SegpipeError
from segpipe.volumes.geometry import Grid
from segpipe.volumes.nifti_forms import grid_of_forms
from segpipe.volumes.volume import NiftiForms

_HEADER_DTYPES = {348: nifti1_dtype, 540: nifti2_dtype}
_MAGIC = {348: (344, b"n+1\0"), 540: (4, b"n+2\0\r\n\x1a\n")}
_ORDERS: tuple[Literal["little", "big"], ...] = ("little", "big")
_EXTENSION_FLAG_BYTES = 4
_EXTENSION_STEP = 16
_LAST_OFFSET = 1 << 28  # bytes; a stream must be unpacked up to the offset
_REAL_KINDS = "iuf"
_LONGEST_FLOAT_BYTES = 8
_MILLIMETRE, _UNKNOWN_UNIT = 2, 0
_OTHER_UNITS = {1: "metre", 3: "micrometre"}


@dataclass(frozen=True)
class NiftiHeader:
    """A checked NIfTI header.

    Attributes:
        shape: voxels along each axis of the file, without trailing axes of length 1 after the third.
        stored: the dtype of the stored voxels in the file's byte order; a structured dtype for RGB and RGBA.
        data_offset: bytes of the file before the first voxel.
        slope: factor of the stored values; None for unscaled values.
        intercept: added to slope times value; 0 for unscaled values.
        grid: the voxel lattice.
        forms: both affines of the file.
        num_frames: length of the fourth axis, which may be time; 1 for files without one and for colours.
    """

    shape: tuple[int, ...]
    stored: np.dtype[Any]
    data_offset: int
    slope: float | None
    intercept: float
    grid: Grid
    forms: NiftiForms
    num_frames: int = 1

    @property
    def num_channels(self) -> int:
        """Values per voxel: the lengths of the axes after the third, times the components of a colour."""
        return int(np.prod(self.shape[3:])) * (len(self.stored.fields) if self.stored.fields else 1)

    @property
    def row_bytes(self) -> int:
        """Bytes of a row of voxels along x."""
        return self.shape[0] * self.stored.itemsize

    @property
    def voxel_bytes(self) -> int:
        """Bytes of all voxels in the file."""
        return int(np.prod([int(length) for length in self.shape], dtype=object)) * self.stored.itemsize


def parse_nifti_header(path: Path, file: IO[bytes]) -> NiftiHeader:
    """Read and check the header of an open, unpacked NIfTI file.

    Args:
        path: of the file, for messages.
        file: at its first byte; afterwards behind the extensions.

    Raises:
        SegpipeError: no NIfTI header, a truncated header, or an invalid field of values or geometry.
    """
    start = file.read(4)
    sizes = {order: int.from_bytes(start, order) for order in _ORDERS}
    orders = [order for order in _ORDERS if sizes[order] in _HEADER_DTYPES]
    if not orders or len(start) < 4:
        raise SegpipeError(
            f"{path}: not a NIfTI file: begins with bytes {start.hex(' ') or '(none)'}, a NIfTI begins with its "
            "header size 348 or 540; give the file the suffix of its format, or export the scan again"
        )
    order = orders[0]
    size = sizes[order]
    block = start + file.read(size - len(start))
    if len(block) < size:
        raise SegpipeError(
            f"{path}: truncated: {len(block)} bytes, a NIfTI header has {size}; copy the file again from its source"
        )
    fields = np.frombuffer(block, _HEADER_DTYPES[size].newbyteorder(order))[0]
    return _Judge(path, fields, order).judge(block, size, file)


class _Judge:
    """The checks of one header's fields; each method checks a group of fields."""

    def __init__(self, path: Path, fields: Any, order: Literal["little", "big"]) -> None:
        self.path = path
        self.fields = fields
        self.order = order

    def judge(self, block: bytes, size: int, file: IO[bytes]) -> NiftiHeader:
        self._magic(block, size)
        shape = self._shape()
        stored = self._stored()
        self._units()
        slope, intercept = self._scaling(stored)
        offset = self._offset(size)
        self._extensions(file, size, offset)
        try:
            grid, forms = grid_of_forms(shape[:3], self.fields)
        except SegpipeError as error:
            raise SegpipeError(f"{self.path}: {error}") from None
        fourth = int(self.fields["dim"][4]) if int(self.fields["dim"][0]) > 3 and not stored.fields else 1
        return NiftiHeader(shape, stored, offset, slope, intercept, grid, forms, max(fourth, 1))

    def _magic(self, block: bytes, size: int) -> None:
        at, magic = _MAGIC[size]
        value = block[at : at + len(magic)]
        if value == magic:
            return
        what = "another value"
        if value[:3] in (b"ni1", b"ni2"):
            what = "the header of a pair .hdr and .img"
        elif size == 348 and value == bytes(4):
            what = "an Analyze 7.5 header, which does not say which side is left"
        raise SegpipeError(
            f"{self.path}: magic {value!r} is {what}, must be {magic!r} for voxels in the same file; convert the scan "
            "from its source to one .nii file"
        )

    def _shape(self) -> tuple[int, ...]:
        dim = [int(length) for length in self.fields["dim"]]
        if not 1 <= dim[0] <= 7:
            raise SegpipeError(f"{self.path}: dim[0] is {dim[0]}: must be 1 to 7 axes; export the scan again")
        shape = dim[1 : dim[0] + 1]
        for axis, length in enumerate(shape, 1):
            if length < 0 or (length == 0 and axis <= 3):
                raise SegpipeError(
                    f"{self.path}: dim[{axis}] is {length}: an axis needs at least 1 voxel; export the scan again"
                )
        stated = tuple(shape)
        # niftilib and ITK read length 0 after the third axis as 1
        shape = [max(length, 1) for length in shape]
        while len(shape) > 3 and shape[-1] == 1:
            shape.pop()
        long_axes = [length for length in shape[3:] if length > 1]
        if len(shape) < 2 or len(long_axes) > 1:
            raise SegpipeError(
                f"{self.path}: shape {stated}: must be (x, y), (x, y, z) or (x, y, z, channels); extract one volume"
            )
        return tuple(shape[:3] + long_axes)

    def _stored(self) -> np.dtype[Any]:
        code, bits = int(self.fields["datatype"]), int(self.fields["bitpix"])
        try:
            stored = np.dtype(nibabel.nifti1.data_type_codes.dtype[code])
        except KeyError:
            stored = np.dtype(np.void)
        colour = bool(stored.fields) and {kind for kind, _ in stored.fields.values()} == {np.dtype("u1")}
        if stored.itemsize == 0 or not (colour or stored.kind in _REAL_KINDS):
            name = stored.name if stored.itemsize else "unknown"
            raise SegpipeError(
                f"{self.path}: voxels of type {name} (datatype {code}): must be real numbers of 8 to 64 bits, or 8-bit "
                "colours; export the magnitude, or save the scan in one of these types"
            )
        if stored.kind == "f" and stored.itemsize > _LONGEST_FLOAT_BYTES:
            raise SegpipeError(
                f"{self.path}: datatype {code} ({stored.name}): floats of more than 64 bits differ between processors; "
                "save the scan as float64"
            )
        if bits != 8 * stored.itemsize:
            raise SegpipeError(
                f"{self.path}: bitpix {bits} contradicts datatype {code} ({stored.name}), which has "
                f"{8 * stored.itemsize} bits a voxel; the header is damaged: export the scan again"
            )
        ordered: np.dtype[Any] = stored.newbyteorder(self.order)
        return ordered

    def _units(self) -> None:
        unit = int(self.fields["xyzt_units"]) & 7
        if unit not in (_UNKNOWN_UNIT, _MILLIMETRE):
            name = _OTHER_UNITS.get(unit, f"of code {unit}, which no NIfTI has")
            raise SegpipeError(
                f"{self.path}: spatial unit {name}: must be mm or unset; scale the affine to mm and set xyzt_units to 2"
            )

    def _scaling(self, stored: np.dtype[Any]) -> tuple[float | None, float]:
        slope, intercept = float(self.fields["scl_slope"]), float(self.fields["scl_inter"])
        # the standard defines slope 0 as unscaled; nibabel writes NaN for "unset"
        if stored.fields or slope == 0 or np.isnan(slope):
            return None, 0.0
        if not (np.isfinite(slope) and np.isfinite(intercept)):
            raise SegpipeError(
                f"{self.path}: scl_slope {slope} and scl_inter {intercept}: must be finite, or slope 0 for values that "
                "are not scaled; export the scan again"
            )
        return (None, 0.0) if (slope, intercept) == (1.0, 0.0) else (slope, intercept)

    def _offset(self, size: int) -> int:
        first = size + _EXTENSION_FLAG_BYTES
        offset = float(self.fields["vox_offset"])
        if offset == 0:  # some writers leave 0; the voxels of a single file begin after the header
            return first
        if not np.isfinite(offset) or offset != round(offset) or offset < first:
            raise SegpipeError(
                f"{self.path}: vox_offset {offset:g}: the voxels of a single file begin at byte {first} or later; set "
                "vox_offset to where they begin, or export the scan again"
            )
        if offset > _LAST_OFFSET:
            raise SegpipeError(
                f"{self.path}: vox_offset {offset:g}: extensions of {offset - size:g} bytes before the voxels, at most "
                f"{_LAST_OFFSET} are ignored; save the scan without its extensions"
            )
        return int(offset)

    def _extensions(self, file: IO[bytes], size: int, offset: int) -> None:
        """Check the chain of extensions; refuse a chain that does not end before the voxels."""
        flag = file.read(_EXTENSION_FLAG_BYTES)
        position = size + _EXTENSION_FLAG_BYTES
        while flag[:1] not in (b"", b"\0") and position + 8 <= offset:
            head = file.read(8)
            length = int.from_bytes(head[:4], self.order, signed=True)
            if head == bytes(8):  # padding up to the voxels
                return
            if length < _EXTENSION_STEP or length % _EXTENSION_STEP or position + length > offset:
                raise SegpipeError(
                    f"{self.path}: extension of {length} bytes at byte {position}, voxels begin at {offset}: an "
                    f"extension has a multiple of {_EXTENSION_STEP} bytes and ends before the voxels; the header is "
                    "damaged: export the scan again"
                )
            file.seek(length - 8, 1)
            position += length
