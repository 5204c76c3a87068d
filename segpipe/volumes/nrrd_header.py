"""The text header of an NRRD file: its grammar, and the rules of each field.

ITK takes a file without a space for left-posterior-superior, and ignores units, stray letters after a number and axes
that are not perpendicular. So this module checks them. The table of all fields is docs/reference/file_formats/nrrd.md.

Source: the definition of NRRD at teem.sourceforge.net/nrrd/format.html.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path

import numpy as np

from segpipe.errors import SegpipeError
from segpipe.volumes.file_start import read_start
from segpipe.volumes.geometry import LARGEST_NUMBER, FloatArray, Grid, checked_axes
from segpipe.volumes.volume import ItkGeometry

_HEADER_LIMIT_BYTES = 1 << 20
_LONGEST_SKIP_PACKED = 1 << 20
_MAGIC = re.compile(rb"NRRD000[1-5]\s*")
_FIELDS = frozenset(
    {
        *("content", "number", "type", "block size", "blocksize", "dimension", "space", "space dimension"),
        *("sizes", "spacings", "thicknesses", "axis mins", "axismins", "axis maxs", "axismaxs", "centers"),
        *("centerings", "labels", "units", "kinds", "encoding", "endian", "min", "max", "old min", "oldmin"),
        *("old max", "oldmax", "data file", "datafile", "line skip", "lineskip", "byte skip", "byteskip"),
        *(
            "sample units",
            "sampleunits",
            "space units",
            "space origin",
            "space directions",
            "measurement frame",
        ),
    }
)
_FREE_TEXT = frozenset({"content", "labels", "units", "sample units", "sampleunits", "data file", "datafile"})
_DECISIVE = (
    *("type", "dimension", "space", "space dimension", "sizes", "spacings", "kinds", "encoding", "endian"),
    *("space units", "space origin", "space directions", "units", "byte skip", "line skip", "data file"),
)
_NEAR = 0.85
_REQUIRED = ("type", "dimension", "sizes", "encoding")
_TO_LPS = {
    "left-posterior-superior": (1.0, 1.0, 1.0),
    "lps": (1.0, 1.0, 1.0),
    "right-anterior-superior": (-1.0, -1.0, 1.0),
    "ras": (-1.0, -1.0, 1.0),
    "left-anterior-superior": (1.0, -1.0, 1.0),
    "las": (1.0, -1.0, 1.0),
}
_SPATIAL_KINDS = frozenset({"domain", "space", "???", "none"})
_READ_ENCODINGS = frozenset({"raw", "gzip", "gz", "txt", "text", "ascii", "hex"})
_NUMBER = r"[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?"
_VECTOR = re.compile(rf"\(\s*{_NUMBER}(?:\s*,\s*{_NUMBER})*\s*\)")
_QUOTED = re.compile(r'"([^"]*)"')
_MM = frozenset({"mm", "millimeter", "millimeters", "millimetre", "millimetres"})
_UNKNOWN_UNITS = frozenset({"", "???", "none", "unknown", "pixel", "pixels"})
_OTHER_LENGTHS = frozenset(
    {
        *("m", "meter", "meters", "metre", "metres", "cm", "centimeter", "centimeters", "centimetre"),
        *("um", "µm", "μm", "micron", "microns", "micrometer", "micrometers", "micrometre", "micrometres"),
        *("nm", "nanometer", "nanometers", "nanometre", "in", "inch", "inches"),
    }
)


@dataclass(frozen=True)
class NrrdHeader:
    """A checked NRRD header.

    Attributes:
        path: the file.
        fields: every field in lower case with its value; no key/value pairs.
        header_bytes: length of the header text; in a file without a separate voxel file the voxels begin after it.
        sizes: voxels along each axis, the fastest first.
        spatial: positions of the spatial axes.
        grid: of the spatial axes.
        geometry: the grid in ITK's numbers, before rounded axes were made perpendicular.
    """

    path: Path
    fields: dict[str, str]
    header_bytes: int
    sizes: tuple[int, ...]
    spatial: tuple[int, ...]
    grid: Grid
    geometry: ItkGeometry

    @property
    def encoding(self) -> str:
        """Storage form of the voxels: raw, gzip, gz, txt, text, ascii or hex."""
        return self.fields["encoding"].lower()

    @property
    def is_packed(self) -> bool:
        """True if the voxels are a gzip stream."""
        return self.encoding in ("gzip", "gz")

    @property
    def data_file(self) -> str | None:
        """The name of the file with the voxels; None where they follow the header."""
        return self.fields.get("data file", self.fields.get("datafile"))

    @property
    def data_path(self) -> Path:
        """The file with the voxels: the header file where they follow the header."""
        return self.path if self.data_file is None else self.path.parent / self.data_file

    @property
    def line_skip(self) -> int:
        """Number of lines to skip before the voxels."""
        return int(self.fields.get("line skip", self.fields.get("lineskip", "0")))

    @property
    def byte_skip(self) -> int:
        """Number of unpacked bytes to skip before the voxels; -1 means that raw voxels end the file."""
        return int(self.fields.get("byte skip", self.fields.get("byteskip", "0")))

    @property
    def is_plain(self) -> bool:
        """True if the voxels are binary and begin at a known byte, or are a stream without other bytes."""
        return self.line_skip == 0 and (self.encoding == "raw" or (self.is_packed and self.byte_skip == 0))

    def data_offset(self, voxel_bytes: int) -> int:
        """Return the bytes of the voxel file before plain voxels, or before their stream.

        Args:
            voxel_bytes: bytes of all voxels.
        """
        if self.byte_skip < 0:
            return max(self.data_path.stat().st_size - voxel_bytes, 0)
        return (self.header_bytes if self.data_file is None else 0) + self.byte_skip


def read_nrrd_header(path: Path) -> NrrdHeader:
    """Read and check the header of an .nrrd file.

    Raises:
        SegpipeError: an unreadable file, no NRRD header, a line that breaks the grammar, an unsupported encoding,
            several voxel files, another unit than mm, a 3D file without the side of the patient, a time axis, or axes
            that are not perpendicular.
    """
    fields, header_bytes = _parsed(path, read_start(path, _HEADER_LIMIT_BYTES))
    _judge_storage(path, fields)
    _judge_units(path, fields)
    spatial, grid, geometry = _geometry(path, fields)
    return NrrdHeader(path, fields, header_bytes, tuple(_sizes(path, fields)), spatial, grid, geometry)


def _parsed(path: Path, start: bytes) -> tuple[dict[str, str], int]:
    lines = start.splitlines(keepends=True)
    if not lines or not _MAGIC.fullmatch(lines[0]):
        raise SegpipeError(
            f"{path}: not an NRRD file: begins with bytes {start[:9].hex(' ')}, must be NRRD0001 to NRRD0005; give the "
            "file the suffix of its format"
        )
    fields: dict[str, str] = {}
    position = len(lines[0])
    for number, line in enumerate(lines[1:], 2):
        position += len(line)
        if not line.strip():
            break
        key, value = _field(path, number, line)
        if key and fields.setdefault(key, value) != value:
            raise SegpipeError(
                f"{path}: {key} stands in the header twice, as {fields[key]} and as {value}; keep one"
            )
    missing = [key for key in _REQUIRED if not fields.get(key)]
    if missing:
        raise SegpipeError(f"{path}: NRRD header without {', '.join(missing)}; export the scan again")
    return fields, position


def _field(path: Path, number: int, line: bytes) -> tuple[str, str]:
    """Return a field's name in lower case and its value; empty texts for comments and key/value pairs."""
    text = line.decode("utf-8", errors="replace").rstrip("\r\n")
    if text.startswith("#") or ":=" in text:
        key = text.lstrip("# ").partition(":")[0].strip().lower()
        near = get_close_matches(key, _DECISIVE, 1, _NEAR)
        if near and len(key) > 4:
            raise SegpipeError(
                f"{path}: line {number} ({text[:60]!r}) reads like the field `{near[0]}:`, but is a comment or a "
                "key/value pair that no reader uses; mend the line or take it out"
            )
        return "", ""
    name, colon, value = text.partition(": ")
    key = name.strip().lower()
    if not colon and text.endswith(":"):
        key, colon = text[:-1].strip().lower(), ":"
    if not colon or key not in _FIELDS:
        shown = ascii(text[:60])
        raise SegpipeError(
            f"{path}: line {number} of the header ({shown}) is no field of NRRD; mend it or export the scan again"
        )
    if key not in _FREE_TEXT and not (text.isascii() and text.replace("\t", " ").isprintable()):
        raise SegpipeError(
            f"{path}: line {number}: {key} holds bytes that are no text; the header is damaged: export the scan again"
        )
    return key, value.strip()


def _judge_storage(path: Path, fields: dict[str, str]) -> None:
    encoding = fields["encoding"].lower()
    if encoding not in _READ_ENCODINGS:
        raise SegpipeError(
            f"{path}: encoding {fields['encoding']} is not read; save the file with encoding gzip or raw"
        )
    if fields["type"].lower() == "block":
        raise SegpipeError(f"{path}: type block: voxels must be real numbers; export the scan again")
    for key in ("old min", "oldmin", "old max", "oldmax"):
        if key in fields:
            raise SegpipeError(
                f"{path}: {key} {fields[key]}: the voxels are quantised values of another range, which readers do not "
                "restore; save the values themselves"
            )
    for key, least in (("line skip", 0), ("lineskip", 0), ("byte skip", -1), ("byteskip", -1)):
        skipped = fields.get(key, "0")
        if not re.fullmatch(r"-?\d{1,18}", skipped) or int(skipped) < least:
            raise SegpipeError(
                f"{path}: {key} {skipped}: must be a whole number of at least {least}; mend the header"
            )
        if int(skipped) > _LONGEST_SKIP_PACKED and encoding != "raw":
            raise SegpipeError(
                f"{path}: {key} {skipped}: must be at most {_LONGEST_SKIP_PACKED} where the encoding is {encoding}; "
                "save the scan again"
            )
    data = fields.get("data file", fields.get("datafile", ""))
    if data.upper().startswith("LIST") or "%" in data:
        raise SegpipeError(
            f"{path}: data file {data}: voxels in several files are not read; save the scan as one .nrrd file"
        )


def _judge_units(path: Path, fields: dict[str, str]) -> None:
    """Refuse other units than mm, since ITK would take them for mm."""
    space = [unit.lower() for unit in _QUOTED.findall(fields.get("space units", ""))]
    axes = [unit.lower() for unit in _QUOTED.findall(fields.get("units", ""))]
    odd = [unit for unit in space if unit not in _MM | _UNKNOWN_UNITS]
    odd += [unit for unit in axes if unit in _OTHER_LENGTHS]
    if odd:
        raise SegpipeError(
            f"{path}: spatial unit {odd[0]}: must be mm or unset; scale the space directions and origin to mm and "
            "set the units to mm"
        )


def _geometry(path: Path, fields: dict[str, str]) -> tuple[tuple[int, ...], Grid, ItkGeometry]:
    """Return the positions of the spatial axes, the grid, and the grid in ITK's numbers."""
    sizes = _sizes(path, fields)
    vectors = _directions(path, fields, len(sizes))
    kinds = fields.get("kinds", "").lower().split() or ["domain"] * len(sizes)
    if len(kinds) != len(sizes):
        raise SegpipeError(f"{path}: {len(kinds)} kinds for {len(sizes)} axes; mend the header")
    if "time" in kinds:
        raise SegpipeError(
            f"{path}: axis {kinds.index('time') + 1} is time, with {sizes[kinds.index('time')]} frames; save one frame "
            "as a 3D file"
        )
    if vectors is None:
        return _plain_2d_geometry(path, fields, sizes, kinds)
    spatial = [axis for axis, vector in enumerate(vectors) if vector is not None]
    odd = [axis for axis in spatial if kinds[axis] not in _SPATIAL_KINDS]
    if len(spatial) == 4:
        _signs(path, fields, 4)  # refuses: no space that names sides has four axes
    if odd or len(sizes) - len(spatial) > 1 or len(spatial) not in (2, 3):
        raise SegpipeError(
            f"{path}: kinds {' '.join(kinds)} with space directions {fields['space directions']}: must be two or three "
            "axes of space, and at most one of channels (none); extract one volume"
        )
    columns = np.array([vectors[axis] for axis in spatial], np.float64).T
    origin = _vector(path, "space origin", fields["space origin"]) if "space origin" in fields else None
    if columns.shape[0] != columns.shape[1] or (origin is not None and len(origin) != len(columns)):
        raise SegpipeError(
            f"{path}: {columns.shape[1]} axes of space with space directions of {len(columns)} values and space origin "
            f"{fields.get('space origin', 'unset')}: must agree; mend the header"
        )
    signs = _signs(path, fields, len(columns))
    return (
        tuple(spatial),
        *_lattice(
            path,
            [sizes[axis] for axis in spatial],
            signs[:, None] * columns,
            signs * (0.0 if origin is None else origin),
        ),
    )


def _lattice(
    path: Path, size: list[int], columns: FloatArray, origin: FloatArray
) -> tuple[Grid, ItkGeometry]:
    """Return the grid of axes in LPS mm, one a column; and the grid in ITK's numbers."""
    spacing = np.linalg.norm(columns, axis=0)
    if spacing.min() == 0:
        raise SegpipeError(f"{path}: space directions with a vector of length 0; mend the header")
    axes = columns / spacing
    try:
        grid = Grid.from_lps(size, spacing.tolist(), origin.tolist(), checked_axes(axes))
    except SegpipeError as error:
        raise SegpipeError(f"{path}: space directions: {error}") from None
    stored = ItkGeometry(tuple(spacing.tolist()), tuple(origin.tolist()), tuple(map(tuple, axes.tolist())))
    return grid, stored


def _sizes(path: Path, fields: dict[str, str]) -> list[int]:
    parts = fields["sizes"].split()
    if not all(re.fullmatch(r"\d+", part) and int(part) > 0 for part in parts) or fields["dimension"] != str(
        len(parts)
    ):
        raise SegpipeError(
            f"{path}: sizes {fields['sizes']} with dimension {fields['dimension']}: must be that many whole numbers "
            "above 0; mend the header"
        )
    if not 2 <= len(parts) <= 4:
        raise SegpipeError(f"{path}: {len(parts)} axes: must be 2 to 4; extract one volume")
    return [int(part) for part in parts]


def _directions(path: Path, fields: dict[str, str], axes: int) -> list[FloatArray | None] | None:
    """Return the vector of each axis, None for an axis without one; None where the file has no space directions."""
    text = fields.get("space directions")
    if text is None:
        return None
    parts = re.findall(r"none|\([^)]*\)|\S+", text)
    if len(parts) != axes:
        raise SegpipeError(
            f"{path}: space directions {text}: {len(parts)} entries for {axes} axes; mend the header"
        )
    vectors = [None if part == "none" else _vector(path, "space directions", part) for part in parts]
    if len({len(vector) for vector in vectors if vector is not None}) > 1:
        raise SegpipeError(f"{path}: space directions {text}: vectors of different lengths; mend the header")
    return vectors


def _vector(path: Path, field: str, text: str) -> FloatArray:
    values = (
        np.array([float(part) for part in re.findall(_NUMBER, text)]) if _VECTOR.fullmatch(text) else None
    )
    if values is None or not (np.abs(values) <= LARGEST_NUMBER).all():
        raise SegpipeError(
            f"{path}: {field} {text}: must be finite numbers in brackets, as (1, 0, 0); mend the header"
        )
    return values


def _signs(path: Path, fields: dict[str, str], dims: int) -> FloatArray:
    """Return the sign of each axis that turns the file's space into LPS."""
    space = fields.get("space", "").lower()
    if space in _TO_LPS and dims == 3:
        return np.array(_TO_LPS[space])
    if not space and dims == 2:  # a plane has no side; ITK writes 2D files so
        return np.ones(2)
    shown = f"space {fields['space']}" if space else "no space"
    raise SegpipeError(
        f"{path}: {shown}: which side of the patient is left is unknown and programs guess differently; set `space` to "
        "left-posterior-superior, right-anterior-superior or left-anterior-superior from the scan's source"
    )


def _plain_2d_geometry(
    path: Path, fields: dict[str, str], sizes: list[int], kinds: list[str]
) -> tuple[tuple[int, ...], Grid, ItkGeometry]:
    """Return the grid of a 2D file without space directions: its spacings, or 1 mm."""
    spatial = [axis for axis, kind in enumerate(kinds) if kind in _SPATIAL_KINDS]
    if len(spatial) != 2 and "space" not in fields:
        _signs(path, fields, len(spatial))  # refuses
    if len(spatial) != 2 or "space" in fields:
        raise SegpipeError(
            f"{path}: no space directions: how the axes lie in the patient is unknown; set space directions and "
            "space origin from the scan's source"
        )
    parts = fields.get("spacings", "").split() or ["1"] * len(sizes)
    spacings = [float(part) if re.fullmatch(_NUMBER, part) else float("nan") for part in parts]
    chosen = [spacings[axis] for axis in spatial] if len(parts) == len(sizes) else [float("nan")]
    if not all(np.isfinite(value) and value > 0 for value in chosen):
        raise SegpipeError(
            f"{path}: spacings {fields['spacings']}: must be one number above 0 for each axis; mend the header"
        )
    lattice = _lattice(path, [sizes[axis] for axis in spatial], np.diag(chosen), np.zeros(2))
    return (tuple(spatial), *lattice)
