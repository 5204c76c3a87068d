"""Checks PyTorch files before `torch.load` reads them: their tensors must be in the file, uncompressed."""

from __future__ import annotations

import io
import os
import struct
import zipfile
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import BinaryIO

from segpipe.networks.pickle_steps import follow
from segpipe.networks.pickle_values import MoreThanTensorsError, PickleError, Storage, shortened

LARGEST_PICKLE = 2**24
"""Bytes of a pickle: some 200 a tensor."""
LARGEST_DIRECTORY = 2**22
"""Bytes of an archive's list of records: some 80 a tensor."""
LARGEST_BEFORE_1_6 = 2**30
"""Bytes of a file of PyTorch before 1.6, which cannot be mapped."""

ZIP = b"PK\x03\x04"
_END = struct.Struct("<4s4H2LH")
_LOCATOR = struct.Struct("<4sLQL")
_END_64 = struct.Struct("<4sQ2H2L4Q")
_LOCAL_NAME_AND_EXTRA = struct.Struct("<26x2H")
_IN_END_64 = 0xFFFFFFFF
_LONGEST_COMMENT = 2**16
_ENCRYPTED = 0x1 | 0x40 | 0x2000
_BLOCK = 2**20
_MAGIC = 0x1950A86A20F9469CFC6C  # of files before 1.6
_LFS = b"version https://git-lfs.github.com/spec/"
_SAVE_AGAIN = "save the state_dict again with torch.save"
_COPY_AGAIN = "copy the file again"


class UnreadWeightsError(Exception):
    """A file of weights is refused.

    Attributes:
        reason: the end of a sentence that begins with the file.
        remedy: what to do.
    """

    def __init__(self, reason: str, remedy: str) -> None:
        super().__init__(f"{reason}; {remedy}")
        self.reason = reason
        self.remedy = remedy


def check_archive(path: Path) -> None:
    """Check a file of PyTorch 1.6 or newer: a zip archive with a pickle and one record per storage.

    Args:
        path: of a file that begins with `ZIP`.

    Raises:
        UnreadWeightsError: the file is cut short, a checksum differs, records are compressed,
            `segpipe.networks.pickle_steps.follow` refuses its pickle, or the pickle describes storages that are not in
            it.
    """
    with path.open("rb") as file:
        records = _records(file)
        storages = _storages(file, records)
        for key, storage in storages.items():
            record = records.get(f"data/{key}")
            if record is None or record.file_size != storage.nbytes:
                there = "absent" if record is None else f"{record.file_size} bytes"
                raise UnreadWeightsError(
                    f"storage {shortened(key)} has {storage.nbytes} bytes in its pickle and is {there} in the file",
                    _SAVE_AGAIN,
                )
            _require_checksum(file, record)


def check_before_1_6(path: Path) -> None:
    """Check a file of PyTorch before 1.6: pickles, followed by the storages.

    Raises:
        UnreadWeightsError: the file is of another kind, empty, cut short or too large, or
            `segpipe.networks.pickle_steps.follow` refuses its pickle.
    """
    size = path.stat().st_size
    with path.open("rb") as file:
        pickles = io.BytesIO(file.read(LARGEST_PICKLE))
    if not size:
        raise UnreadWeightsError("is empty", _COPY_AGAIN)
    if pickles.getvalue().startswith(_LFS):
        raise UnreadWeightsError(
            "is a pointer of Git LFS in place of the weights",
            "fetch the file itself with `git lfs pull`, or download it",
        )
    if not pickles.getvalue().startswith(b"\x80"):
        raise UnreadWeightsError(
            "cannot be read as PyTorch weights: it begins as neither a PyTorch nor a safetensors file does",
            "give weights that were saved with torch.save or safetensors",
        )
    magic, _ = _followed(pickles)
    if magic != _MAGIC:
        raise UnreadWeightsError(
            "cannot be read as PyTorch weights: it is a pickle of something else", _SAVE_AGAIN
        )
    if size > LARGEST_BEFORE_1_6:
        raise UnreadWeightsError(
            f"is of PyTorch before 1.6 and has {size} bytes; of such files at most {LARGEST_BEFORE_1_6} are read",
            "load it with a newer PyTorch and " + _SAVE_AGAIN,
        )
    for _ in ("protocol version", "system"):
        _followed(pickles)
    _, storages = _followed(pickles)
    keys, _ = _followed(pickles)
    if not isinstance(keys, list) or sorted(map(str, keys)) != sorted(storages):
        raise UnreadWeightsError(
            "cannot be read as PyTorch weights: it does not list its storages", _SAVE_AGAIN
        )
    # a count of 8 bytes precedes each storage
    wanted = pickles.tell() + sum(8 + storage.nbytes for storage in storages.values())
    if wanted > size:
        raise UnreadWeightsError(f"is cut short: it has {size} bytes and describes {wanted}", _COPY_AGAIN)


def _followed(pickle: BinaryIO) -> tuple[object, Mapping[str, Storage]]:
    try:
        return follow(pickle)
    except MoreThanTensorsError as error:
        raise UnreadWeightsError(
            f"holds more than tensors and plain values, so it is not loaded (it could run code): {error}",
            "save a plain state_dict instead",
        ) from error
    except PickleError as error:
        raise UnreadWeightsError(f"cannot be read as PyTorch weights: {error}", _SAVE_AGAIN) from error


def _storages(file: BinaryIO, records: Mapping[str, zipfile.ZipInfo]) -> Mapping[str, Storage]:
    for name, record in records.items():
        if name.startswith("data/"):
            continue
        if record.file_size > LARGEST_PICKLE:
            raise UnreadWeightsError(
                f"its record {shortened(name)} has {record.file_size} bytes; at most {LARGEST_PICKLE} are read",
                _SAVE_AGAIN,
            )
        _require_checksum(file, record)
    if "data.pkl" not in records:
        raise UnreadWeightsError(
            "is a zip archive without data.pkl, so it was not written by torch.save", _SAVE_AGAIN
        )
    file.seek(_begin(file, records["data.pkl"]))
    return _followed(io.BytesIO(file.read(records["data.pkl"].file_size)))[1]


def _records(file: BinaryIO) -> dict[str, zipfile.ZipInfo]:
    """Return an archive's records by name, without the folder that holds all of them."""
    begin = _directory_begin(file)
    try:
        infos = zipfile.ZipFile(file).infolist()
    # zipfile raises NotImplementedError for an unknown compression
    except (zipfile.BadZipFile, NotImplementedError, ValueError, OverflowError, struct.error) as error:
        raise UnreadWeightsError(
            f"cannot be read as PyTorch weights: its archive is damaged: {shortened(error)}", _COPY_AGAIN
        ) from error
    folders = {info.filename.partition("/")[0] for info in infos}
    names = [info.filename.partition("/")[2] for info in infos]
    if len(folders) != 1 or len({name.casefold() for name in names}) < len(
        names
    ):  # PyTorch accepts either case
        raise UnreadWeightsError(
            "is a zip archive with records of one name, or outside its one folder", _SAVE_AGAIN
        )
    if "constants.pkl" in names:
        raise UnreadWeightsError(
            "is a TorchScript archive, which holds code", "give the state_dict of its network"
        )
    for info in infos:
        if info.compress_type != zipfile.ZIP_STORED or info.compress_size != info.file_size:
            raise UnreadWeightsError(
                f"its record {shortened(info.filename)} is compressed, which torch.save does not do",
                _SAVE_AGAIN,
            )
        if info.flag_bits & _ENCRYPTED:
            raise UnreadWeightsError(f"its record {shortened(info.filename)} is encrypted", _SAVE_AGAIN)
        if _begin(file, info) + info.file_size > begin:
            raise UnreadWeightsError(
                f"its record {shortened(info.filename)} is not within the file", _COPY_AGAIN
            )
    return dict(zip(names, infos, strict=True))


def _directory_begin(file: BinaryIO) -> int:
    """Return where an archive's list of records begins, after checking that it is short and ends with the file."""
    size = file.seek(0, os.SEEK_END)
    end = size - _END.size
    file.seek(max(0, size - _LONGEST_COMMENT - _END.size - _LOCATOR.size - _END_64.size))
    tail = file.read()
    signed = tail.rfind(b"PK\x05\x06")
    if signed < 0 or signed + _END.size > len(tail):
        raise UnreadWeightsError(
            f"cannot be read as PyTorch weights: it is cut short: the end of its archive is not in its {size} bytes",
            _COPY_AGAIN,
        )
    *_, length, begin, comment = _END.unpack_from(tail, signed)
    if signed + _END.size < len(tail) or comment:
        raise UnreadWeightsError("is a zip archive with a comment or other bytes behind its end", _SAVE_AGAIN)
    at = len(tail) - _END.size - _LOCATOR.size - _END_64.size
    if at >= 0 and tail.startswith(b"PK\x06\x07", at + _END_64.size):
        end = _LOCATOR.unpack_from(tail, at + _END_64.size)[2]
        *_, length_64, begin_64 = _END_64.unpack_from(tail, at)
        same = length in (length_64, _IN_END_64) and begin in (begin_64, _IN_END_64)
        length, begin = length_64, begin_64
        if not same or not tail.startswith(b"PK\x06\x06", at) or end != size - len(tail) + at:
            raise UnreadWeightsError("is a zip archive with two ends that differ", _SAVE_AGAIN)
    if begin + length != end:
        raise UnreadWeightsError("is a zip archive whose list of records is not at its end", _SAVE_AGAIN)
    if length > LARGEST_DIRECTORY:
        raise UnreadWeightsError(
            f"is a zip archive whose list of records has {length} bytes; at most {LARGEST_DIRECTORY} are read",
            _SAVE_AGAIN,
        )
    return int(begin)


def _begin(file: BinaryIO, record: zipfile.ZipInfo) -> int:
    """Return where a record's bytes begin: behind its header in the archive, which repeats its name."""
    file.seek(record.header_offset)
    header = file.read(_LOCAL_NAME_AND_EXTRA.size)
    if len(header) < _LOCAL_NAME_AND_EXTRA.size or not header.startswith(ZIP):
        raise UnreadWeightsError(f"its record {shortened(record.filename)} has no header", _COPY_AGAIN)
    name, extra = _LOCAL_NAME_AND_EXTRA.unpack(header)
    return record.header_offset + len(header) + int(name + extra)


def _require_checksum(file: BinaryIO, record: zipfile.ZipInfo) -> None:
    """Refuse a record that changed since it was written; PyTorch can be set to write 0 instead of a checksum."""
    if not record.CRC:
        return
    file.seek(_begin(file, record))
    checksum, left = 0, record.file_size
    while left and (block := file.read(min(left, _BLOCK))):
        checksum = zlib.crc32(block, checksum)
        left -= len(block)
    if checksum != record.CRC:
        raise UnreadWeightsError(
            f"is damaged: the checksum of its record {shortened(record.filename)} fails", _COPY_AGAIN
        )
