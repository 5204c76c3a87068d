"""The text header of a MetaImage file (.mhd, .mha): its grammar, and the rules of each field.

MetaIO, ITK's parser, ignores unknown text: a key with a wrong letter leaves the field's default (an identity for the
axes, 0 for the origin), a number with a stray letter ends the list. So this module parses the header strictly, and
refuses a header that breaks the grammar. The table of all fields is docs/reference/file_formats/metaimage.md.

Source: MetaIO's documentation (itk.org/Wiki/MetaIO/Documentation) and metaImage.cxx.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path

import numpy as np
from nibabel.nifti1 import header_dtype as nifti1_dtype

from segpipe.errors import SegpipeError
from segpipe.volumes.file_start import read_start
from segpipe.volumes.geometry import LARGEST_NUMBER, Grid, checked_axes
from segpipe.volumes.volume import ItkGeometry

_ELEMENT_BYTES = {
    "MET_CHAR": 1,
    "MET_UCHAR": 1,
    "MET_SHORT": 2,
    "MET_USHORT": 2,
    "MET_INT": 4,
    "MET_UINT": 4,
    "MET_FLOAT": 4,
    "MET_LONG": 4,
    "MET_ULONG": 4,
    "MET_LONG_LONG": 8,
    "MET_ULONG_LONG": 8,
    "MET_DOUBLE": 8,
}
_ALIASES = {
    "Rotation": "TransformMatrix",
    "Orientation": "TransformMatrix",
    "Position": "Offset",
    "Origin": "Offset",
    "ElementByteOrderMSB": "BinaryDataByteOrderMSB",
}
_REQUIRED = ("NDims", "DimSize", "ElementType", "ElementDataFile")
_DECISIVE = (
    *_REQUIRED,
    *(
        "ObjectType",
        "BinaryData",
        "BinaryDataByteOrderMSB",
        "CompressedData",
        "CompressedDataSize",
        "HeaderSize",
    ),
    *(
        "ElementNumberOfChannels",
        "ElementSpacing",
        "ElementSize",
        "TransformMatrix",
        "Offset",
        "DistanceUnits",
    ),
    *("ElementToIntensityFunctionSlope", "ElementToIntensityFunctionOffset"),
    *_ALIASES,
)
_KNOWN = frozenset(
    {
        *_DECISIVE,
        *("Comment", "ObjectSubType", "TransformType", "Name", "ID", "ParentID", "Color", "AcquisitionDate"),
        *("CenterOfRotation", "AnatomicalOrientation", "Modality", "SequenceID", "ElementMin", "ElementMax"),
        *("ElementNBits", "ElementOrigin", "CompressionLevel", "Comments"),
        # ITK copies a NIfTI's fields into the files that it saves, and two names of them resemble `Offset`
        *nifti1_dtype.names,
    }
)
_GEOMETRY = ("TransformMatrix", "Offset", "ElementSpacing")
_ORIENTATION = re.compile(r"[RLAPISrlapis?]{1,4}|UNDEFINED")
_NEAR = 0.8  # share of common letters, from which an unknown key counts as a misspelt known key
_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?")
_WHOLE = re.compile(r"[+-]?\d+")
_TRUE, _FALSE = frozenset({"true", "t", "1"}), frozenset({"false", "f", "0"})
_MILLIMETRE = frozenset({"mm", "?", ""})
_HEADER_LIMIT_BYTES = 1 << 20


@dataclass(frozen=True)
class MetaImageHeader:
    """A checked MetaImage header.

    Attributes:
        path: the header file.
        fields: every `key = value` line; an alias under its main name.
        header_bytes: length of the header text; in a .mha the voxels begin after it.
        sizes: voxels along each axis.
        geometry: spacing, origin and axes as in the header, all of the length of `sizes`.
    """

    path: Path
    fields: dict[str, str]
    header_bytes: int
    sizes: tuple[int, ...]
    geometry: ItkGeometry

    @property
    def data_path(self) -> Path:
        """The file with the voxels: the header file itself for LOCAL."""
        name = self.fields["ElementDataFile"]
        return self.path if name.upper() == "LOCAL" else self.path.parent / name

    @property
    def voxel_bytes(self) -> int:
        """Bytes of all voxels, uncompressed."""
        return math.prod(self.sizes) * self.channels * _ELEMENT_BYTES[_element_type(self.fields)]

    @property
    def channels(self) -> int:
        """Values per voxel."""
        return int(self.fields.get("ElementNumberOfChannels", "1"))

    @property
    def is_big_endian(self) -> bool:
        """True if the first byte of a binary voxel is its highest."""
        return self.fields.get("BinaryDataByteOrderMSB", "False").lower() in _TRUE

    @property
    def data_offset(self) -> int:
        """Bytes of the voxel file before its voxels; HeaderSize -1 means that the voxels end the file."""
        header = self.header_bytes if self.data_path == self.path else 0
        skipped = int(self.fields.get("HeaderSize", "0"))
        if skipped < 0:
            return max(self.data_path.stat().st_size - self.voxel_bytes, 0)
        return header + skipped

    @property
    def stored_bytes(self) -> int:
        """Bytes of the voxels in the file; 0 for a compressed stream of unstated length."""
        return int(self.fields.get("CompressedDataSize", "0")) if self.is_compressed else self.voxel_bytes

    @property
    def is_text(self) -> bool:
        """True if the voxels are written as decimal numbers, so that their length cannot be checked."""
        return self.fields.get("BinaryData", "True").lower() in _FALSE

    @property
    def is_compressed(self) -> bool:
        """True if the voxels are one zlib stream."""
        return self.fields.get("CompressedData", "False").lower() in _TRUE

    def grid(self) -> Grid:
        """Return the grid of the first two or three axes, with its axes made perpendicular.

        Raises:
            SegpipeError: the axes deviate from perpendicular unit vectors by more than rounding explains.
        """
        dims = min(len(self.sizes), 3)
        try:
            axes = checked_axes(np.array(self.geometry.direction)[:dims, :dims])
            return Grid.from_lps(
                self.sizes[:dims], self.geometry.spacing_mm[:dims], self.geometry.origin_lps[:dims], axes
            )
        except SegpipeError as error:
            raise SegpipeError(f"{self.path}: TransformMatrix: {error}") from None


def read_metaimage_header(path: Path) -> MetaImageHeader:
    """Read and check the header of a .mhd or .mha file.

    Raises:
        SegpipeError: an unreadable file, no MetaImage header, a line that breaks the grammar, a misspelt key, an
            invalid value of a field, or voxels in several files.
    """
    fields, header_bytes = _parsed(path, read_start(path, _HEADER_LIMIT_BYTES))
    judge = _Judge(path, fields)
    judge.storage()
    return MetaImageHeader(path, fields, header_bytes, judge.sizes(), judge.geometry())


def _parsed(path: Path, start: bytes) -> tuple[dict[str, str], int]:
    """Return the fields by name, and the length of the header text, which ends with ElementDataFile."""
    fields: dict[str, str] = {}
    unknown: list[str] = []
    position = number = 0
    while "ElementDataFile" not in fields:
        line, newline, _ = start[position:].partition(b"\n")
        number += 1
        position += len(line) + len(newline)
        if line.strip():
            key, value = _key_and_value(path, number, line)
            if key in _DECISIVE:
                _put(path, fields, key, value)
            elif key not in _KNOWN:
                unknown.append(key)
        elif not newline:
            break
    missing = [key for key in _REQUIRED if not fields.get(key)]
    if missing:
        raise SegpipeError(
            f"{path}: not a MetaImage header: {', '.join(missing)} missing; export the scan again"
        )
    _require_whole_geometry(path, fields, unknown)
    return fields, position


def _require_whole_geometry(path: Path, fields: dict[str, str], unknown: list[str]) -> None:
    """Refuse a header without all geometry fields, since damage may have hidden a field."""
    given = [
        key for key in _GEOMETRY if key in fields or (key == "ElementSpacing" and "ElementSize" in fields)
    ]
    missing = [key for key in _GEOMETRY if key not in given]
    if given in ([], ["ElementSpacing"]) or not missing:
        return
    if missing == ["TransformMatrix"] and not unknown:  # older programs write no axes
        return
    also = f" and the unknown keys {', '.join(unknown)}" if unknown else ""
    raise SegpipeError(
        f"{path}: the header has {' and '.join(given)}{also}, but no {' and no '.join(missing)}, which would keep the "
        "default; add what is missing from the scan's source, or export the scan again"
    )


def _key_and_value(path: Path, number: int, line: bytes) -> tuple[str, str]:
    """Return key and value of a line: the main name for an alias, an empty value for an irrelevant key."""
    match = re.fullmatch(rb"\s*([^=:]*[^=:\s])\s*[=:](.*)", line, re.DOTALL)
    key = match[1].decode("ascii", errors="replace") if match else ""
    if match is None or not (key.isprintable() and key.isascii()):
        shown = line[:40].decode("ascii", errors="backslashreplace")
        raise SegpipeError(
            f"{path}: not a MetaImage header: line {number} is no `key = value` ({shown!r}); export the scan again"
        )
    if key not in _KNOWN:
        near = get_close_matches(key.lower(), [known.lower() for known in _DECISIVE], 1, _NEAR)
        if near:
            meant = next(known for known in _DECISIVE if known.lower() == near[0])
            raise SegpipeError(
                f"{path}: line {number}: key {key} is unknown and nearly {meant}, which would keep its default; "
                f"write {meant} if it is meant, else rename the key"
            )
        return key, ""
    if key == "AnatomicalOrientation" and not _ORIENTATION.fullmatch(match[2].decode("latin-1").strip()):
        raise SegpipeError(
            f"{path}: line {number}: AnatomicalOrientation is not of the letters R, L, A, P, I, S; the header is "
            "damaged: export the scan again"
        )
    if key not in _DECISIVE:
        return key, ""
    try:
        value = match[2].decode("utf-8" if key == "ElementDataFile" else "ascii").strip()
    except UnicodeDecodeError:
        value = "\0"
    if not value.isprintable():
        raise SegpipeError(
            f"{path}: line {number}: {key} holds bytes that are no text; the header is damaged: export the scan again"
        )
    return _ALIASES.get(key, key), value


def _put(path: Path, fields: dict[str, str], key: str, value: str) -> None:
    if fields.setdefault(key, value) != value:
        raise SegpipeError(
            f"{path}: {key} stands in the header twice, as {fields[key]} and as {value} (Position and Origin count as "
            "Offset, Rotation and Orientation as TransformMatrix); keep the right one"
        )


def _element_type(fields: dict[str, str]) -> str:
    return fields["ElementType"].removesuffix("_ARRAY")


class _Judge:
    """The checks of one header's values; each method checks a group of fields."""

    def __init__(self, path: Path, fields: dict[str, str]) -> None:
        self.path = path
        self.fields = fields

    def storage(self) -> None:
        """Refuse fields that would change the values or the position of the voxels in the file."""
        for key in ("BinaryData", "BinaryDataByteOrderMSB", "CompressedData"):
            value = self.fields.get(key, "False")
            if value.lower() not in _TRUE | _FALSE:
                raise self._refusal(key, "True or False")
        if _element_type(self.fields) not in _ELEMENT_BYTES:
            raise self._refusal("ElementType", f"one of {', '.join(_ELEMENT_BYTES)}")
        for key, least in (("ElementNumberOfChannels", 1), ("CompressedDataSize", 0), ("HeaderSize", -1)):
            if not _WHOLE.fullmatch(self.fields.get(key, "1")) or int(self.fields.get(key, "1")) < least:
                raise self._refusal(key, f"a whole number of at least {least}")
        if self.fields.get("ObjectType", "Image") != "Image":
            raise self._refusal("ObjectType", "Image")
        if self.fields.get("DistanceUnits", "").lower() not in _MILLIMETRE:
            raise self._refusal("DistanceUnits", "mm or unset: scale spacing and origin to mm")
        for key, neutral in (
            ("ElementToIntensityFunctionSlope", 1.0),
            ("ElementToIntensityFunctionOffset", 0.0),
        ):
            if self._numbers(key, 1, [neutral]) != (neutral,):
                raise self._refusal(
                    key, f"{neutral:g}, since readers do not apply it: save the scaled values"
                )
        self._data_file()

    def _data_file(self) -> None:
        data = self.fields["ElementDataFile"]
        compressed = self.fields.get("CompressedData", "False").lower() in _TRUE
        if data.upper() == "LIST" or (len(data.split()) > 1 and "%" in data):
            raise SegpipeError(
                f"{self.path}: ElementDataFile = {data}: voxels in several files are not read; save the scan as one "
                ".mha file"
            )
        if compressed and data.upper() == "LOCAL" and int(self.fields.get("CompressedDataSize", "0")) == 0:
            raise SegpipeError(
                f"{self.path}: CompressedDataSize missing, without which ITK reads compressed voxels wrongly; save "
                "the scan again"
            )
        skipped = int(self.fields.get("HeaderSize", "0"))
        if data.upper() == "LOCAL" and skipped > 0:
            raise self._refusal(
                "HeaderSize", "0 or -1 where the voxels follow the header: ITK counts it from another place"
            )
        if compressed and skipped < 0:
            raise self._refusal(
                "HeaderSize", "0 or more where the voxels are compressed: save the scan again"
            )

    def sizes(self) -> tuple[int, ...]:
        """Return the voxels along each axis."""
        dims = self.fields["NDims"]
        if not _WHOLE.fullmatch(dims) or not 2 <= int(dims) <= 4:
            raise self._refusal("NDims", "2 to 4")
        lengths = self.fields["DimSize"].split()
        if len(lengths) != int(dims) or not all(
            _WHOLE.fullmatch(length) and int(length) > 0 for length in lengths
        ):
            raise self._refusal("DimSize", f"{dims} whole numbers above 0")
        return tuple(int(length) for length in lengths)

    def geometry(self) -> ItkGeometry:
        """Return spacing, origin and axes; the format's defaults for missing fields."""
        dims = int(self.fields["NDims"])
        sizes = self._numbers("ElementSize", dims, [1.0] * dims)
        spacing = self._numbers("ElementSpacing", dims, sizes)
        if min(spacing) <= 0:
            raise self._refusal(
                "ElementSpacing" if "ElementSpacing" in self.fields else "ElementSize",
                f"{dims} numbers above 0, since ITK takes a negative one for a mirrored axis",
            )
        origin = self._numbers("Offset", dims, [0.0] * dims)
        matrix = self._numbers("TransformMatrix", dims * dims, np.eye(dims).reshape(-1).tolist())
        columns = np.array(matrix).reshape(dims, dims)  # the header lists axis after axis
        return ItkGeometry(spacing, origin, tuple(map(tuple, columns.T.tolist())))

    def _numbers(self, key: str, count: int, default: list[float] | tuple[float, ...]) -> tuple[float, ...]:
        if key not in self.fields:
            return tuple(default)
        parts = self.fields[key].split()
        if len(parts) != count or not all(_NUMBER.fullmatch(part) for part in parts):
            raise self._refusal(key, f"{count} number{'s' if count > 1 else ''} with decimal points")
        values = tuple(float(part) for part in parts)
        if not (np.abs(values) <= LARGEST_NUMBER).all():
            raise self._refusal(key, f"finite and at most {LARGEST_NUMBER:g}")
        return values

    def _refusal(self, key: str, rule: str) -> SegpipeError:
        value = self.fields.get(key, "(missing)")
        return SegpipeError(f"{self.path}: {key} = {value}: must be {rule}; mend the header")
