"""The text header of a MetaImage file (.mhd, .mha), and whether the voxels it announces are all there.

ITK prints to the terminal when the voxel file is short and goes on without a word when its compressed
stream is damaged, so both are checked here, before ITK sees the file.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path

from segpipe.errors import SegpipeError
from segpipe.volumes.streams import check_stream

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
_SIZE_FIELDS = (
    "NDims",
    "DimSize",
    "ElementNumberOfChannels",
    "ElementType",
    "HeaderSize",
    "CompressedDataSize",
)
_HEADER_LIMIT_BYTES = 1 << 16
_REMEDY = "copy the scan again from its source, header and voxel file together"


@dataclass(frozen=True)
class MetaImageHeader:
    """The fields of a MetaImage header that say where its voxels are.

    Args:
        path: the header file.
        fields: every `key = value` line.
        header_bytes: length of the header text; in a .mha the voxels begin there.
    """

    path: Path
    fields: dict[str, str]
    header_bytes: int

    @property
    def data_path(self) -> Path:
        """The file with the voxels: the header itself where they are LOCAL."""
        name = self.fields["ElementDataFile"]
        return self.path if name.upper() == "LOCAL" else self.path.parent / name

    @property
    def sizes(self) -> list[int]:
        """Voxels along each axis."""
        return [int(length) for length in self.fields["DimSize"].split()][: int(self.fields["NDims"])]

    @property
    def voxel_bytes(self) -> int:
        """Bytes of all voxels, uncompressed."""
        channels = int(self.fields.get("ElementNumberOfChannels", "1"))
        return (
            math.prod(self.sizes) * channels * _ELEMENT_BYTES[self.fields["ElementType"].split("_ARRAY")[0]]
        )

    @property
    def data_offset(self) -> int:
        """Bytes of the voxel file before its voxels."""
        own = self.header_bytes if self.data_path == self.path else 0
        return own + max(int(self.fields.get("HeaderSize", "0")), 0)

    @property
    def stored_bytes(self) -> int:
        """Bytes that the voxels take in the file; 0 for a compressed stream of unstated length."""
        return int(self.fields.get("CompressedDataSize", "0")) if self.is_compressed else self.voxel_bytes

    @property
    def is_text(self) -> bool:
        """True where the voxels are written as decimal numbers, whose length says nothing."""
        return self.fields.get("BinaryData", "True").lower() in ("false", "0", "f")

    @property
    def is_compressed(self) -> bool:
        """True where the voxels are one zlib stream."""
        return self.fields.get("CompressedData", "False").lower() in ("true", "1", "t")


def read_metaimage_header(path: Path) -> MetaImageHeader:
    """Read the header of a .mhd or .mha file.

    Raises:
        SegpipeError: unreadable, no MetaImage header, or voxels spread over several files.
    """
    try:
        with path.open("rb") as file:
            start = file.read(_HEADER_LIMIT_BYTES)
    except OSError as error:
        raise SegpipeError(
            f"{path}: cannot be read ({error.strerror}); check the path and the permissions"
        ) from error
    fields: dict[str, str] = {}
    position = 0
    while "ElementDataFile" not in fields:
        line, newline, _ = start[position:].partition(b"\n")
        key, equals, value = line.decode("latin-1").partition("=")
        if not newline and not equals:
            break
        position += len(line) + len(newline)
        fields[key.strip()] = value.strip()
    header = MetaImageHeader(path, fields, position)
    missing = [key for key in ("NDims", "DimSize", "ElementType", "ElementDataFile") if not fields.get(key)]
    if missing:
        raise SegpipeError(
            f"{path}: not a MetaImage header: {', '.join(missing)} missing; export the scan again"
        )
    try:
        known = header.voxel_bytes > 0 and header.stored_bytes >= 0 and header.data_offset >= 0
    except (KeyError, ValueError):
        known = False
    if not known:
        keys = (
            "NDims",
            "DimSize",
            "ElementNumberOfChannels",
            "HeaderSize",
            "CompressedDataSize",
            "ElementType",
        )
        stated = ", ".join(f"{key} = {fields[key]}" for key in keys if key in fields)
        raise SegpipeError(
            f"{path}: {stated}: must be positive whole numbers and one of {', '.join(_ELEMENT_BYTES)}; mend "
            "the header"
        )
    data = fields["ElementDataFile"]
    if data.upper() == "LOCAL" and header.is_compressed and not header.stored_bytes:
        raise SegpipeError(
            f"{path}: CompressedDataSize missing, without which ITK reads compressed voxels wrongly; save "
            "the scan again"
        )
    if data.upper() == "LIST" or (len(data.split()) > 1 and "%" in data):
        raise SegpipeError(
            f"{path}: ElementDataFile = {data}: voxels in several files are not read; save the scan as one "
            ".mha file"
        )
    return header


def voxel_file(path: Path) -> Path | None:
    """Return the file beside a .mhd header that holds its voxels; None for every other scan.

    Raises:
        SegpipeError: see `read_metaimage_header`.
    """
    if path.suffix.lower() != ".mhd":
        return None
    data = read_metaimage_header(path).data_path
    return None if data == path else data


def check_voxel_file(header: MetaImageHeader) -> None:
    """Refuse voxel data that is missing, shorter than the header says, or longer by a row of voxels or more.

    A few bytes more are padding that some programs leave; a row more means a wrong size in the header.

    Raises:
        SegpipeError: naming both lengths in bytes.
    """
    data = header.data_path
    if not data.is_file():
        raise SegpipeError(
            f"{header.path}: its voxel file {data.name} is missing in {data.parent}; {_REMEDY}"
        )
    if header.is_text:
        return
    held = data.stat().st_size - header.data_offset
    needed = header.stored_bytes
    row_bytes = header.voxel_bytes // math.prod(header.sizes[1:])
    too_long = not header.is_compressed and "HeaderSize" not in header.fields and held >= needed + row_bytes
    if held < needed or too_long or held <= 0:
        kind = "longer than the header says" if too_long else "truncated"
        raise SegpipeError(
            f"{header.path}: voxel data in {data.name} {kind}: {held} bytes, the header asks for {needed}; "
            f"{_REMEDY}"
        )


def check_metaimage_stream(header: MetaImageHeader) -> None:
    """Unpack a compressed file's voxels once to check them; does nothing for an uncompressed one.

    Raises:
        SegpipeError: see `check_stream`.
    """
    if header.is_compressed:
        check_stream(
            header.path, header.data_path, header.data_offset, header.voxel_bytes, header.stored_bytes or None
        )
