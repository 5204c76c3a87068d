"""Intensities of a DICOM series follow the file's photometric interpretation and encoding."""

from __future__ import annotations

import locale

import numpy as np
import pydicom
import pytest
import SimpleITK as sitk
from pydicom.dataset import FileMetaDataset
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ImplicitVRLittleEndian,
    RLELossless,
)

from segpipe.errors import SegpipeError
from segpipe.volumes import Grid, read_header, read_series, write_series

SIZE = (23, 18, 2)


def series(folder, stored, **tags):
    """Write stored values of any width as a series of two slices."""
    grid = Grid.from_lps(SIZE, (1, 1, 2), (0, 0, 0), np.eye(3))
    for index, path in enumerate(write_series(np.zeros(SIZE, np.int16), grid, folder)):
        dataset = pydicom.dcmread(path)
        width = stored.dtype.itemsize
        dataset.BitsAllocated = dataset.BitsStored = 8 * width
        dataset.PixelRepresentation = int(stored.dtype.kind == "i")
        dataset.PixelData = np.ascontiguousarray(stored[:, :, index].T).tobytes()
        dataset["PixelData"].VR = "OB" if width == 1 else "OW"
        for tag, value in tags.items():
            setattr(dataset, tag, value)
        dataset.HighBit = dataset.BitsStored - 1
        dataset.save_as(path)
    return folder


def values(dtype, bits):
    """Stored values of every sign, with the smallest and the largest value."""
    signed = np.dtype(dtype).kind == "i"
    low, high = (-(1 << bits - 1), (1 << bits - 1) - 1) if signed else (0, (1 << bits) - 1)
    stored = np.random.default_rng(bits).integers(low, high, SIZE, endpoint=True)
    stored[0, 0], stored[1, 0] = low, high
    return stored.astype(dtype), low + high


@pytest.mark.parametrize("modality", ["CT", "MR", "PT", "CR", "DX", "MG"])
@pytest.mark.parametrize(
    ("dtype", "bits"),
    [
        (np.uint8, 8),
        (np.int8, 8),
        (np.uint16, 12),
        (np.int16, 12),
        (np.uint16, 16),
        (np.int16, 16),
        (np.int32, 20),
    ],
)
def test_monochrome1_turns_projection_pictures_and_never_measurements(modality, dtype, bits, tmp_path):
    """Projection images become smallest + largest - stored, then slope and intercept; CT, MR and PT stay."""
    stored, ends = values(dtype, bits)
    rescale = {"BitsStored": bits, "RescaleSlope": 2, "RescaleIntercept": -1024}
    series(tmp_path, stored, PhotometricInterpretation="MONOCHROME1", Modality=modality, **rescale)

    turned = ends - stored.astype(np.int64) if modality in ("CR", "DX", "MG") else stored.astype(np.int64)
    volume = read_series(tmp_path)
    np.testing.assert_array_equal(volume.array, turned * 2 - 1024)
    assert read_header(tmp_path).dtype == volume.array.dtype


@pytest.mark.parametrize("modality", ["XA", "US", "NM", "OT", ""])
def test_monochrome1_of_other_modalities_is_refused_by_name(modality, tmp_path):
    series(tmp_path, values(np.uint16, 12)[0], PhotometricInterpretation="MONOCHROME1", Modality=modality)

    with pytest.raises(
        SegpipeError, match=f"MONOCHROME1 of modality {modality or 'unknown'}.*convert the series"
    ):
        read_header(tmp_path)


@pytest.mark.parametrize("compressor", ["JPEG", "JPEG2000"])
@pytest.mark.parametrize("photometric", ["MONOCHROME1", "MONOCHROME2"])
@pytest.mark.parametrize(("dtype", "bits"), [(np.uint8, 8), (np.uint16, 12), (np.int16, 16), (np.uint16, 16)])
def test_compressed_pixels_are_what_was_stored(compressor, photometric, dtype, bits, tmp_path):
    stored, ends = values(dtype, bits)
    for modality in ("MR", "DX"):
        folder = series(tmp_path / modality, stored, BitsStored=bits, PhotometricInterpretation="MONOCHROME2")
        for path in folder.iterdir():
            compress(path, compressor, PhotometricInterpretation=photometric, Modality=modality)
        turned = modality == "DX" and photometric == "MONOCHROME1"
        np.testing.assert_array_equal(
            read_series(folder).array, ends - stored.astype(int) if turned else stored
        )


def compress(path, compressor, **tags):
    """Compress the pixels of a file with GDCM and set tags."""
    dataset = pydicom.dcmread(path)
    writer = sitk.ImageFileWriter()
    writer.SetImageIO("GDCMImageIO")
    writer.UseCompressionOn()
    writer.SetCompressor(compressor)
    packed = path.with_suffix(".packed")
    writer.SetFileName(str(packed))
    ours = locale.setlocale(locale.LC_CTYPE)
    writer.Execute(sitk.ReadImage(str(path)))
    locale.setlocale(locale.LC_CTYPE, ours)  # GDCM's writer leaves the process in ASCII
    other = pydicom.dcmread(packed)
    packed.unlink()
    dataset.PixelData = other.PixelData
    dataset["PixelData"].VR = "OB"
    dataset["PixelData"].is_undefined_length = True
    dataset.file_meta.TransferSyntaxUID = other.file_meta.TransferSyntaxUID
    for tag, value in tags.items():
        setattr(dataset, tag, value)
    dataset.save_as(path)


@pytest.mark.parametrize("compressor", ["JPEG", "JPEG2000"])
def test_compressed_pixels_that_are_cut_or_lack_their_end_are_refused(compressor, tmp_path):
    folder = series(tmp_path, values(np.uint16, 16)[0])
    for path in folder.iterdir():
        compress(path, compressor)
    content = path.read_bytes()

    path.write_bytes(content[:-12])
    with pytest.raises(SegpipeError, match="the file ends within the compressed pixels"):
        read_series(folder)

    path.write_bytes(content)
    dataset = pydicom.dcmread(path)
    (frame,) = pydicom.encaps.generate_frames(dataset.PixelData, number_of_frames=1)
    dataset.PixelData = pydicom.encaps.encapsulate([frame[:-20]])
    dataset["PixelData"].is_undefined_length = True
    dataset.save_as(path)
    with pytest.raises(SegpipeError, match="have no end mark"):
        read_series(folder)


@pytest.mark.parametrize(
    ("syntax", "dtypes"),
    [
        (RLELossless, (np.int8, np.uint16, np.int16)),
        (DeflatedExplicitVRLittleEndian, (np.int8, np.uint16, np.int16, np.uint32)),
        (ExplicitVRBigEndian, (np.int8, np.uint16, np.int16, np.uint32)),
    ],
)
def test_other_encodings_give_the_stored_values(syntax, dtypes, tmp_path):
    for dtype in dtypes:
        stored, _ = values(dtype, 8 * np.dtype(dtype).itemsize)
        folder = series(tmp_path / np.dtype(dtype).name, stored)
        for path in folder.iterdir():
            dataset = pydicom.dcmread(path)
            if syntax.is_compressed:
                dataset.compress(syntax)
            elif not syntax.is_little_endian:
                dataset.PixelData = dataset.pixel_array.astype(np.dtype(dtype).newbyteorder(">")).tobytes()
            dataset.file_meta.TransferSyntaxUID = syntax
            pydicom.dcmwrite(
                path, dataset, implicit_vr=False, little_endian=syntax.is_little_endian, force_encoding=True
            )

        np.testing.assert_array_equal(read_series(folder).array, stored)


@pytest.mark.parametrize("explicit", [True, False])
def test_a_data_set_without_preamble_is_read(explicit, tmp_path):
    stored, _ = values(np.int16, 16)
    for path in series(tmp_path, stored).iterdir():
        dataset = pydicom.dcmread(path)
        dataset.preamble, dataset.file_meta = None, FileMetaDataset()
        dataset.save_as(path, implicit_vr=not explicit, little_endian=True, enforce_file_format=False)
        assert b"DICM" not in path.read_bytes()

    np.testing.assert_array_equal(read_series(tmp_path).array, stored)


def test_the_files_window_and_tables_for_showing_are_never_applied(tmp_path):
    stored, _ = values(np.int16, 16)
    table = pydicom.Dataset()
    table.add_new("LUTDescriptor", "US", [4, 0, 16])
    table.add_new("LUTData", "US", [9, 8, 7, 6])
    shown = {
        "WindowCenter": 40,
        "WindowWidth": 1,
        "VOILUTFunction": "SIGMOID",
        "PresentationLUTShape": "INVERSE",
    }
    folder = series(tmp_path, stored, VOILUTSequence=[table], **shown)

    np.testing.assert_array_equal(read_series(folder).array, stored)


def test_bits_above_bits_stored_are_an_overlay_or_refused(tmp_path):
    """Bit 12 of 12 stored bits (0 to 11) holds an overlay: 4096 + 5 is 5."""
    folder = series(tmp_path, np.full(SIZE, 4096 + 5, np.uint16), BitsStored=12)
    with pytest.raises(SegpipeError, match="414 pixels hold bits above BitsStored 12"):
        read_series(folder)

    for path in folder.iterdir():
        dataset = pydicom.dcmread(path)
        dataset.add_new((0x6000, 0x0102), "US", 12)
        dataset.save_as(path)
    assert (read_series(folder).array == 5).all()


def test_negative_values_may_lack_the_sign_above_bits_stored(tmp_path):
    """0x0FFF in 12 bits is -1, and so is 0xFFFF."""
    stored = np.full(SIZE, 0x0FFF, np.int16)
    stored[0] = -1

    assert (read_series(series(tmp_path, stored, BitsStored=12)).array == -1).all()


def test_bytes_between_header_and_end_must_add_up(tmp_path):
    stored = values(np.int16, 16)[0]
    stored[-1, -1] = 257  # the last pixel is not zero, so that zeros after it are padding
    folder = series(tmp_path, stored)
    path = folder / "slice_0001.dcm"
    content = path.read_bytes()

    path.write_bytes(content[:-400] + b"\0" + content[-400:])
    with pytest.raises(SegpipeError, match="1 bytes follow the pixel data"):
        read_series(folder)
    for tail in (b"\xfc\xff\xfc\xffOB\0\0\4\0\0\0abcd", bytes(6)):  # DataSetTrailingPadding, zeros
        path.write_bytes(content + tail)
        np.testing.assert_array_equal(read_series(folder).array, stored)


def test_zeros_after_zeros_may_be_a_shift_and_are_refused(tmp_path):
    folder = series(tmp_path, np.zeros(SIZE, np.int16))
    path = folder / "slice_0001.dcm"
    content = path.read_bytes()

    path.write_bytes(content + bytes(2))
    with pytest.raises(SegpipeError, match="2 bytes follow the pixel data"):
        read_series(folder)
    path.write_bytes(content + bytes(-len(content) % 512))  # blocks of a tape or an archive
    read_series(folder)


def test_implicit_and_explicit_headers_may_be_mixed_in_one_series(tmp_path):
    stored, _ = values(np.int16, 16)
    path = series(tmp_path, stored) / "slice_0000.dcm"
    dataset = pydicom.dcmread(path)
    dataset.file_meta.TransferSyntaxUID = ImplicitVRLittleEndian
    dataset.save_as(path)

    np.testing.assert_array_equal(read_series(tmp_path).array, stored)
