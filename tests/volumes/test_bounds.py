"""Files are read within limits: regular files, within free memory, and no further than the header says."""

from __future__ import annotations

import gzip
import os
import struct
import tracemalloc
import zlib

import nibabel
import numpy as np
import pydicom
import pytest
import SimpleITK as sitk
from pydicom.uid import DeflatedExplicitVRLittleEndian, JPEG2000Lossless, JPEGLosslessSV1, RLELossless

from segpipe.errors import SegpipeError
from segpipe.memory import in_gb
from segpipe.volumes import (
    Grid,
    dicom_stream,
    look_for_scans,
    needed_memory,
    read_header,
    read_volume,
    write_series,
    write_volume,
)
from segpipe.volumes.dicom_frames import frame_fault

SIZE = (6, 5, 4)
SCAN = np.arange(120, dtype=np.int16).reshape(SIZE)
GRID = Grid.from_lps(SIZE, (1, 1, 1), (0, 0, 0), np.eye(3))
PICTURE_GRID = Grid.from_lps((6, 5), (1, 1), (0, 0), np.eye(2))
BOMB_BYTES = 1 << 26  # zeros, which pack into 1000 times less
TAKEN = 1 << 24  # bytes that reading a small scan may take, far from those of a bomb


def refusal(path, read=read_volume):
    with pytest.raises(SegpipeError) as refused:
        read(path)
    return str(refused.value)


def written(folder, suffix):
    """Write the scan or one slice of it in a format, and return the path."""
    if suffix == "dicom":
        write_series(SCAN, GRID, folder / "dicom")
        return folder / "dicom"
    path = folder / f"a{suffix}"
    if suffix in (".png", ".jpg"):
        sitk.WriteImage(sitk.GetImageFromArray(SCAN[:, :, 0].T.astype(np.uint8)), str(path))
    else:
        write_volume(SCAN, GRID, path)
    return path


def packed_with_zeros(first, wbits, count=BOMB_BYTES):
    """Return a compressed stream of some bytes followed by zeros."""
    packer = zlib.compressobj(9, zlib.DEFLATED, wbits)
    chunk = bytes(1 << 20)
    return b"".join(
        [packer.compress(first), *(packer.compress(chunk) for _ in range(count >> 20)), packer.flush()]
    )


def refused_within(path, limit=TAKEN, read=read_volume):
    """Return the refusal's message, and require that the refusal took little memory."""
    tracemalloc.start()
    try:
        message = refusal(path, read)
        assert tracemalloc.get_traced_memory()[1] < limit
    finally:
        tracemalloc.stop()
    return message


@pytest.mark.parametrize(
    "name", ["a.nii", "a.nii.gz", "a.mhd", "a.mha", "a.nrrd", "a.seg.nrrd", "a.png", "a.jpg", "a.dcm", "IM1"]
)
@pytest.mark.parametrize("read", [read_volume, read_header])
def test_a_pipe_and_a_link_to_a_device_are_refused_in_every_format(name, read, tmp_path):
    os.mkfifo(tmp_path / name)
    (tmp_path / "link").mkdir()
    (tmp_path / "link" / name).symlink_to("/dev/zero")

    for path in (tmp_path / name, tmp_path / "link" / name):
        assert (
            refusal(path, read) == f"{path}: is no regular file but a pipe or a device; give a regular file"
        )


@pytest.mark.parametrize("kind", ["pipe", "link to nothing"])
def test_a_series_with_a_slice_that_is_no_file_is_refused(kind, tmp_path):
    """If this slice were skipped, the last slice would be missing without a gap."""
    folder = written(tmp_path, "dicom")
    last = sorted(folder.iterdir())[-1]
    last.unlink()
    if kind == "pipe":
        os.mkfifo(last)
    else:
        last.symlink_to("nowhere")

    assert refusal(folder).startswith(f"{last}: is ")
    assert [scan.path for scan in look_for_scans(tmp_path).refused] == [folder]


@pytest.mark.parametrize("suffix", [".nii", ".nii.gz", ".mhd", ".mha", ".nrrd", ".png", ".jpg", "dicom"])
def test_a_scan_is_refused_only_beyond_the_memory_that_is_free(suffix, tmp_path, monkeypatch):
    path = written(tmp_path, suffix)
    taken = read_volume(path).array.nbytes * (3 if suffix == ".jpg" else 1)  # ITK writes JPEG progressively
    monkeypatch.setattr(needed_memory, "free_memory_bytes", lambda: taken)
    read_volume(path)

    monkeypatch.setattr(needed_memory, "free_memory_bytes", lambda: taken - 1)
    assert f"takes {in_gb(taken)} of memory, {in_gb(taken - 1)} is free; close" in refusal(path)
    if suffix != ".jpg":  # its header alone does not say that it is progressive
        assert f"takes {in_gb(taken)} of memory" in refusal(path, read_header)


def test_scaled_voxels_need_the_stored_ones_at_the_same_time(tmp_path, monkeypatch):
    image = nibabel.Nifti1Image(SCAN, np.diag([-1, -1, 1, 1]))
    image.header.set_slope_inter(0.5, 1)
    nibabel.save(image, tmp_path / "a.nii.gz")
    needed = 120 * (2 + 4)  # int16 in the file, float32 in the array

    monkeypatch.setattr(needed_memory, "free_memory_bytes", lambda: needed)
    assert read_volume(tmp_path / "a.nii.gz").array.dtype == np.float32
    monkeypatch.setattr(needed_memory, "free_memory_bytes", lambda: needed - 1)
    assert "GB is free" in refusal(tmp_path / "a.nii.gz")


def test_a_machine_that_promises_more_than_it_has_gives_a_message(tmp_path, monkeypatch):
    path = written(tmp_path, ".nii")

    def fail(*arguments):
        raise MemoryError

    monkeypatch.setattr("segpipe.volumes.reading.read_nifti", fail)
    assert "takes 2.4e-07 GB of memory, and the memory ran out" in refusal(path)


@pytest.mark.parametrize("suffix", [".nii.gz", ".mha", ".mhd", ".nrrd"])
def test_a_stream_is_not_unpacked_beyond_what_the_header_asks_for(suffix, tmp_path):
    path = written(tmp_path, suffix)
    if suffix == ".nii.gz":
        path.write_bytes(packed_with_zeros(gzip.decompress(path.read_bytes()), 31))
        assert "more than 1048576 bytes longer than the header says" in refused_within(path)
        return
    stream = packed_with_zeros(SCAN.tobytes(order="F"), 31 if suffix == ".nrrd" else 15)
    if suffix == ".mhd":
        path.with_suffix(".zraw").write_bytes(stream)
    header = path.read_bytes().partition(b"\n\n")[0] + b"\n\n"
    if suffix != ".nrrd":
        lines = path.read_bytes().partition(b"ElementDataFile")[0].decode().splitlines()
        lines = [f"CompressedDataSize = {len(stream)}" if "DataSize" in line else line for line in lines]
        header = "\n".join(
            [*lines, f"ElementDataFile = {'LOCAL' if suffix == '.mha' else 'a.zraw'}", ""]
        ).encode()
    path.write_bytes(header + (b"" if suffix == ".mhd" else stream))

    assert "unpacks to more than the 240 bytes that the header asks for" in refused_within(path)


@pytest.mark.parametrize("suffix", [".nii.gz", ".mha", ".nrrd", ".png", ".jpg"])
def test_a_file_too_short_for_its_header_is_refused_before_memory_is_taken(suffix, tmp_path):
    """A deflated byte unpacks to at most 1032 bytes; each block of a JPEG needs a bit."""
    path = written(tmp_path, suffix)
    content = bytearray(path.read_bytes())
    if suffix == ".nii.gz":
        content = bytearray(gzip.decompress(content))
        struct.pack_into("<3h", content, 42, 400, 500, 500)
        content = bytearray(gzip.compress(content))
    elif suffix == ".png":
        struct.pack_into(">2I", content, 16, 30_000, 30_000)
        struct.pack_into(">I", content, 29, zlib.crc32(content[12:29]))
    elif suffix == ".jpg":
        frame = max(content.find(b"\xff\xc0"), content.find(b"\xff\xc2"))
        struct.pack_into(">2H", content, frame + 5, 60_000, 60_000)
    else:
        content = content.replace(b"DimSize = 6 5 4", b"DimSize = 400 500 500").replace(
            b"sizes: 6 5 4", b"sizes: 400 500 500"
        )
    path.write_bytes(content)

    assert "truncated" in refused_within(path)
    assert "truncated" in refused_within(path, read=read_header)


def test_voxels_that_begin_far_behind_the_header_are_not_looked_for(tmp_path):
    path = written(tmp_path, ".nii.gz")
    content = bytearray(gzip.decompress(path.read_bytes()))
    struct.pack_into("<f", content, 108, 2.0**29)
    path.write_bytes(gzip.compress(content))

    assert "vox_offset 5.36871e+08: extensions" in refused_within(path)


def deflated(folder, **tags):
    """Write the series deflated, and return its first file."""
    paths = write_series(SCAN, GRID, folder / "dicom")
    for path in paths:
        dataset = pydicom.dcmread(path)
        dataset.file_meta.TransferSyntaxUID = DeflatedExplicitVRLittleEndian
        dataset.save_as(path)
    return paths[0]


def with_data_set(path, change):
    """Change the unpacked data set of a deflated file, and compress it again."""
    meta_bytes = 144 + struct.unpack_from("<I", path.read_bytes(), 140)[0]
    content = path.read_bytes()
    data_set = zlib.decompress(content[meta_bytes:], -15)
    path.write_bytes(content[:meta_bytes] + change(data_set))


def test_a_deflated_series_is_read(tmp_path):
    path = deflated(tmp_path)

    np.testing.assert_array_equal(read_volume(path.parent).array, SCAN)


@pytest.mark.parametrize("place", ["behind the pixels", "before the pixels"])
def test_a_deflated_slice_is_not_unpacked_beyond_what_its_header_asks_for(place, tmp_path, monkeypatch):
    monkeypatch.setattr(dicom_stream, "LARGEST_HEADER", 1 << 20)
    path = deflated(tmp_path)
    if place == "behind the pixels":
        with_data_set(path, lambda held: packed_with_zeros(held, -15))
        assert "more than 1048576 bytes follow the pixel data" in refused_within(path.parent)
        return
    count = BOMB_BYTES

    def with_private_element(held):
        at = held.index(b"\xe0\x7f\x10\x00OW")
        element = struct.pack("<HH2sHI", 0x7FDF, 0x1001, b"OB", 0, count)
        packer = zlib.compressobj(9, zlib.DEFLATED, -15)
        parts = [
            packer.compress(held[:at] + element),
            *(packer.compress(bytes(1 << 20)) for _ in range(count >> 20)),
        ]
        return b"".join([*parts, packer.compress(held[at:]), packer.flush()])

    with_data_set(path, with_private_element)
    assert "its header, before the pixel data, has more than 1048576 bytes" in refused_within(path.parent)


def test_a_deflated_slice_that_is_cut_within_its_pixels_is_refused(tmp_path):
    path = deflated(tmp_path)
    with_data_set(path, lambda held: packed_with_zeros(held[:-20], -15, count=0))

    assert f"{path}: truncated: its deflated data set ends" in refusal(path.parent)


def test_a_slice_with_far_more_compressed_bytes_than_pixels_is_refused(tmp_path):
    path = write_series(SCAN, GRID, tmp_path / "dicom")[0]
    dataset = pydicom.dcmread(path)
    dataset.compress(RLELossless)
    dataset.save_as(path)
    with path.open("ab") as file:
        file.truncate(path.stat().st_size + (1 << 25))

    assert "bytes of compressed pixels and what follows them, for pixels of 60 bytes" in refused_within(
        path.parent
    )


def jpeg(marker, rows, columns, components=1):
    frame = struct.pack(">BBHBHHB", 0xFF, marker, 8 + 3 * components, 8, rows, columns, components)
    return b"\xff\xd8" + frame + bytes(3 * components) + b"\xff\xd9"


def codestream(rows, columns, components=1):
    sizes = struct.pack(">HH8IH", 41, 0, columns + 3, rows + 2, 3, 2, columns, rows, 0, 0, components)
    return b"\xff\x4f\xff\x51" + sizes + bytes(8)


@pytest.mark.parametrize(
    ("frame", "syntax"),
    [
        (jpeg(0xC0, 5, 6), JPEGLosslessSV1),
        (jpeg(0xC3, 5, 6), JPEGLosslessSV1),
        (jpeg(0xF7, 5, 6), JPEGLosslessSV1),
        (codestream(5, 6), JPEG2000Lossless),
        (b"\0\0\0\x0cjP  " + codestream(5, 6), JPEG2000Lossless),
    ],
)
def test_a_frame_of_the_size_of_its_header_is_unpacked(frame, syntax):
    assert frame_fault(frame, syntax, 5, 6) == ""


@pytest.mark.parametrize(
    ("frame", "syntax", "expected"),
    [
        (
            jpeg(0xC3, 60_000, 6),
            JPEGLosslessSV1,
            "are 60000 x 6 with 1 values each, and Rows x Columns 5 x 6",
        ),
        (jpeg(0xC3, 5, 6, 3), JPEGLosslessSV1, "are 5 x 6 with 3 values each"),
        (codestream(60_000, 60_000), JPEG2000Lossless, "are 60000 x 60000 with 1 values each"),
        (b"\xff\xd8\xff\xd9", JPEGLosslessSV1, "do not state their size"),
        (b"\xff\x4f", JPEG2000Lossless, "do not state their size"),
    ],
)
def test_a_frame_of_another_size_than_its_header_is_refused_before_it_is_unpacked(frame, syntax, expected):
    assert expected in frame_fault(frame, syntax, 5, 6)


def test_rle_that_unpacks_to_more_than_the_pixels_is_refused():
    """A run of two bytes makes 128: three runs make 384, for 30 pixels and 128 of padding."""
    header = struct.pack("<16I", 1, 64, *[0] * 14)

    assert frame_fault(header + bytes([129, 7]), RLELossless, 5, 6) == ""
    assert "unpacks to more than the 30 bytes" in frame_fault(header + bytes([129, 7] * 3), RLELossless, 5, 6)
