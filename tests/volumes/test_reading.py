"""Reading files: shapes, dtypes and channels of good files, and one clear message for each kind of bad file."""

from __future__ import annotations

import gzip
import os
import zlib

import nibabel
import numpy as np
import pytest
import SimpleITK as sitk
from sample_grids import SIZE

from segpipe.errors import SegpipeError
from segpipe.volumes import Grid, check_finite, read_header, read_volume, write_label_map, write_volume

RNG = np.random.default_rng(0)
NOISE = RNG.integers(-1000, 1000, (16, 14, 12)).astype(np.int16)
NOISE_GRID = Grid.from_lps(NOISE.shape, (1, 2, 3), (4, 5, 6), np.eye(3))


def save_nifti(path, array, affine=None, **header):
    image = nibabel.Nifti1Image(array, np.eye(4) if affine is None else affine)
    for key, value in header.items():
        image.header[key] = value
    nibabel.save(image, path)
    return path


def refusal(path, reader=read_volume) -> str:
    with pytest.raises(SegpipeError) as caught:
        reader(path)
    message = str(caught.value)
    assert message.startswith(str(path)), message
    assert ";" in message, f"no remedy in: {message}"
    return message


def agree(path):
    """Read header and volume, and require that they agree."""
    header, volume = read_header(path), read_volume(path)
    assert (header.grid, header.num_channels, header.dtype, header.format) == (
        volume.grid,
        volume.num_channels,
        volume.array.dtype,
        volume.format,
    )
    assert volume.array.shape[-volume.grid.spatial_dims :] == volume.grid.size
    return volume


# --- good files


@pytest.mark.parametrize("dtype", ["u1", "i1", "i2", "u2", "i4", "f4", "f8", ">i2", ">f4"])
def test_nifti_keeps_the_stored_type_in_native_byte_order(dtype, tmp_path):
    array = np.arange(60).reshape(SIZE).astype(dtype)

    volume = agree(save_nifti(tmp_path / "a.nii.gz", array))

    assert volume.array.dtype == np.dtype(dtype).newbyteorder("=")
    np.testing.assert_array_equal(volume.array, array)


@pytest.mark.parametrize(("dtype", "read_as"), [("i2", "f4"), ("u1", "f4"), ("i4", "f8"), ("f4", "f4")])
def test_nifti_scaling_is_applied_as_nibabel_does(dtype, read_as, tmp_path):
    array = np.arange(60).reshape(SIZE).astype(dtype)
    image = nibabel.Nifti1Image(array, np.eye(4))
    image.header.set_slope_inter(0.37, -1024.5)
    nibabel.save(image, tmp_path / "a.nii")
    with (tmp_path / "a.nii").open("r+b") as file:  # nibabel rescales on saving: set the two fields by hand
        file.seek(112)
        file.write(np.array([0.37, -1024.5], "<f4").tobytes())

    volume = agree(tmp_path / "a.nii")

    assert volume.array.dtype == read_as
    np.testing.assert_allclose(volume.array, nibabel.load(tmp_path / "a.nii").get_fdata(), rtol=1e-6)


@pytest.mark.parametrize(
    ("stored", "read_as", "channels"),
    [
        ((5, 4), (5, 4), 1),
        ((5, 4, 1), (5, 4, 1), 1),
        ((5, 4, 3), (5, 4, 3), 1),
        ((5, 4, 3, 1), (5, 4, 3), 1),
        ((5, 4, 3, 1, 1), (5, 4, 3), 1),
        ((5, 4, 3, 2), (2, 5, 4, 3), 2),
        ((5, 4, 3, 1, 2), (2, 5, 4, 3), 2),
    ],
)
def test_nifti_channels_come_first(stored, read_as, channels, tmp_path):
    array = np.arange(np.prod(stored), dtype=np.int16).reshape(stored)

    volume = agree(save_nifti(tmp_path / "a.nii", array))

    assert volume.array.shape == read_as
    assert volume.num_channels == channels
    flat = array.reshape(*stored[:3], -1)
    last = volume.array if channels == 1 else volume.array[-1]
    np.testing.assert_array_equal(last.reshape(flat[..., -1].shape), flat[..., -1])


def test_nifti_colour_is_three_channels(tmp_path):
    rgb = np.zeros((5, 4), [("R", "u1"), ("G", "u1"), ("B", "u1")])
    rgb["G"] = np.arange(20).reshape(5, 4)

    volume = agree(save_nifti(tmp_path / "a.nii", rgb))

    np.testing.assert_array_equal(volume.array, np.stack([rgb["R"], rgb["G"], rgb["B"]]))


def test_nifti_2_is_read(tmp_path):
    nibabel.save(nibabel.Nifti2Image(NOISE, NOISE_GRID.affine), tmp_path / "a.nii.gz")

    volume = agree(tmp_path / "a.nii.gz")

    np.testing.assert_array_equal(volume.array, NOISE)
    assert volume.grid == NOISE_GRID


@pytest.mark.parametrize("suffix", [".mhd", ".mha", ".nrrd"])
def test_vector_and_4d_files_have_channels_first(suffix, tmp_path):
    array_zyxc = np.arange(120, dtype=np.float32).reshape(3, 4, 5, 2)
    sitk.WriteImage(sitk.GetImageFromArray(array_zyxc, isVector=True), tmp_path / f"v{suffix}")
    sitk.WriteImage(
        sitk.GetImageFromArray(np.moveaxis(array_zyxc, -1, 0), isVector=False), tmp_path / f"t{suffix}"
    )

    vector = agree(tmp_path / f"v{suffix}")

    np.testing.assert_array_equal(vector.array, array_zyxc.transpose(3, 2, 1, 0))
    assert vector.grid.size == (5, 4, 3)
    if suffix == ".nrrd":  # ITK names no space with four axes
        assert "no space" in refusal(tmp_path / "t.nrrd")
    else:
        np.testing.assert_array_equal(agree(tmp_path / f"t{suffix}").array, vector.array)


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".jpeg", ".JPG"])
def test_pictures_are_2d_with_unit_pixels(suffix, tmp_path):
    grey = sitk.GetImageFromArray(np.full((4, 5), 77, np.uint8))
    grey.SetSpacing((0.3, 0.3))
    colour = sitk.GetImageFromArray(np.full((4, 5, 3), 99, np.uint8), isVector=True)
    for name, image in (("grey", grey), ("colour", colour)):
        sitk.WriteImage(image, tmp_path / f"{name}{suffix.lower()}")
        (tmp_path / f"{name}{suffix.lower()}").rename(tmp_path / f"{name}{suffix}")

    assert agree(tmp_path / f"grey{suffix}").array.shape == (5, 4)
    assert agree(tmp_path / f"grey{suffix}").grid == Grid.from_lps((5, 4), (1, 1), (0, 0), np.eye(2))
    assert agree(tmp_path / f"colour{suffix}").array.shape == (3, 5, 4)


def test_the_first_axis_of_a_picture_is_x(tmp_path):
    rows = np.zeros((4, 5), np.uint8)
    rows[1, 3] = 200  # second row from the top, fourth column

    sitk.WriteImage(sitk.GetImageFromArray(rows), tmp_path / "a.png")

    assert read_volume(tmp_path / "a.png").array[3, 1] == 200


def test_a_raw_file_with_padding_and_one_with_a_header_are_read(tmp_path):
    write_volume(NOISE, NOISE_GRID, tmp_path / "a.mhd")
    header = (tmp_path / "a.mhd").read_text().replace("CompressedData = True\n", "")
    header = "\n".join(line for line in header.splitlines() if "CompressedDataSize" not in line)
    raw = NOISE.T.tobytes()
    (tmp_path / "b.mhd").write_text(header.replace("a.zraw", "b.raw") + "\n")
    (tmp_path / "b.raw").write_bytes(raw + bytes(12))
    (tmp_path / "c.mhd").write_text(
        header.replace("ElementDataFile = a.zraw", "HeaderSize = 64\nElementDataFile = c.raw")
    )
    (tmp_path / "c.raw").write_bytes(bytes(64) + raw)

    for name in "bc":
        np.testing.assert_array_equal(agree(tmp_path / f"{name}.mhd").array, NOISE)


# --- bad files


@pytest.mark.parametrize("suffix", [".nii", ".nii.gz", ".mhd", ".mha", ".nrrd", ".png", ".jpg"])
@pytest.mark.parametrize("reader", [read_header, read_volume])
def test_an_empty_file_and_one_of_other_content_are_refused(suffix, reader, tmp_path, capfd):
    (tmp_path / f"empty{suffix}").write_bytes(b"")
    (tmp_path / f"text{suffix}").write_text("this is not an image\n" * 50)

    refusal(tmp_path / f"empty{suffix}", reader)
    refusal(tmp_path / f"text{suffix}", reader)
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("suffix", [".nii", ".nii.gz", ".mha", ".nrrd", ".png", ".jpg"])
@pytest.mark.parametrize("share", [0.5, 0.98])
def test_a_file_cut_short_is_refused(suffix, share, tmp_path, capfd):
    if suffix in (".png", ".jpg"):
        noise = (NOISE[:, :, 0] % 256).astype(np.uint8)
        sitk.WriteImage(sitk.GetImageFromArray(np.tile(noise, (4, 4))), tmp_path / f"a{suffix}")
    else:
        write_volume(NOISE, NOISE_GRID, tmp_path / f"a{suffix}")
    whole = (tmp_path / f"a{suffix}").read_bytes()
    (tmp_path / f"a{suffix}").write_bytes(whole[: int(share * len(whole))])

    assert "truncated" in refusal(tmp_path / f"a{suffix}")
    assert capfd.readouterr() == ("", ""), "ITK's own words on the terminal"


@pytest.mark.parametrize("suffix", [".nii.gz", ".mhd", ".mha", ".nrrd", ".png"])
def test_a_flipped_bit_in_compressed_voxels_is_never_read_in_silence(suffix, tmp_path):
    """Every compressed format has a checksum; nibabel and ITK's MetaImage do not check it."""
    if suffix == ".png":
        write_label_map(
            NOISE[:, :, 0] + 1000, Grid.from_lps((16, 14), (1, 1), (0, 0), np.eye(2)), tmp_path / "a.png"
        )
    else:
        write_volume(NOISE, NOISE_GRID, tmp_path / f"a{suffix}")
    data = tmp_path / ("a.zraw" if suffix == ".mhd" else f"a{suffix}")
    whole = data.read_bytes()
    for place in np.linspace(0.6, 0.98, 12):
        broken = bytearray(whole)
        broken[int(place * len(whole))] ^= 0x10
        data.write_bytes(broken)

        assert "corrupt" in refusal(tmp_path / f"a{suffix}")


@pytest.mark.parametrize("reader", [read_header, read_volume])
def test_a_short_nii_names_both_lengths(reader, tmp_path):
    save_nifti(tmp_path / "a.nii", NOISE)
    whole = (tmp_path / "a.nii").read_bytes()
    (tmp_path / "a.nii").write_bytes(whole[:-10])

    message = refusal(tmp_path / "a.nii", reader)
    assert f"truncated: {len(whole) - 10} bytes, its header asks for {len(whole)}" in message


def mhd_with_raw(folder, raw, lines="ElementDataFile = a.raw", ndims=3, size="16 14 12", kind="MET_SHORT"):
    (folder / "a.mhd").write_text(
        f"ObjectType = Image\nNDims = {ndims}\nDimSize = {size}\nElementType = {kind}\n{lines}\n"
    )
    if raw is not None:
        (folder / "a.raw").write_bytes(raw)
    return folder / "a.mhd"


@pytest.mark.parametrize("reader", [read_header, read_volume])
@pytest.mark.parametrize(
    ("raw", "rule"),
    [
        (None, "its voxel file a.raw is missing"),
        (b"", "voxel data in a.raw truncated: 0 bytes, the header asks for 5376"),
        (bytes(5375), "voxel data in a.raw truncated: 5375 bytes, the header asks for 5376"),
        (bytes(5376) + b"12", "2 bytes longer than the header says, not just zeros"),
        (bytes(5376 + 32), "32 bytes longer than the header says, zeros as the last voxels are"),
    ],
)
def test_the_voxel_file_of_an_mhd_must_have_the_length_of_its_header(reader, raw, rule, tmp_path, capfd):
    assert rule in refusal(mhd_with_raw(tmp_path, raw), reader)
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize(
    ("change", "rule"),
    [
        ({"lines": "Offset = 0 0 0"}, "ElementDataFile missing"),
        ({"lines": "ElementDataFile = LIST"}, "voxels in several files"),
        ({"lines": "ElementDataFile = a%02d.raw 1 9 1"}, "voxels in several files"),
        ({"size": "16 x 12"}, "DimSize = 16 x 12"),
        ({"size": "16 14 -12"}, "DimSize = 16 14 -12"),
        ({"kind": "MET_BANANA"}, "ElementType = MET_BANANA"),
        ({"lines": "HeaderSize = x1\nElementDataFile = a.raw"}, "HeaderSize = x1"),
        ({"lines": "ElementSpacing = 1 1 0\nElementDataFile = a.raw"}, ""),
        ({"lines": "TransformMatrix = 1 0 0 1 0 0 0 0 1\nElementDataFile = a.raw"}, ""),
    ],
)
def test_an_unusable_mhd_header_is_refused(change, rule, tmp_path):
    path = mhd_with_raw(tmp_path, NOISE.T.tobytes(), **change)

    assert rule in refusal(path, read_header)
    assert rule in refusal(path)


def test_a_voxel_stream_of_another_length_than_the_header_is_refused(tmp_path):
    stream = zlib.compress(NOISE.T.tobytes()[:-100])
    lines = f"CompressedData = True\nCompressedDataSize = {len(stream)}\nElementDataFile = a.raw"

    assert "unpacks to 5276 bytes, the header asks for 5376" in refusal(mhd_with_raw(tmp_path, stream, lines))


def test_a_compressed_mha_without_the_length_of_its_stream_is_refused(tmp_path):
    write_volume(NOISE, NOISE_GRID, tmp_path / "a.mha")
    whole = (tmp_path / "a.mha").read_bytes()
    (tmp_path / "a.mha").write_bytes(whole.replace(b"CompressedDataSize", b"Comment", 1))

    assert "CompressedDataSize missing" in refusal(tmp_path / "a.mha", read_header)


def test_a_stated_stream_length_that_cuts_the_stream_is_refused(tmp_path):
    """ITK reads CompressedDataSize bytes, and continues without a message if they do not unpack."""
    stream = zlib.compress(NOISE.T.tobytes())
    lines = f"CompressedData = True\nCompressedDataSize = {len(stream) - 50}\nElementDataFile = a.raw"

    assert "truncated" in refusal(mhd_with_raw(tmp_path, stream, lines))


@pytest.mark.parametrize(
    ("header", "rule"),
    [
        ({"srow_x": [np.nan, 0, 0, 0]}, "every value must be finite"),
        ({"srow_x": [0, 0, 0, 0]}, "must be above 0"),
        ({"srow_x": [1, 0, 1, 0], "srow_z": [0, 0, 0, 0], "srow_y": [0, 1, 0, 0]}, "singular"),
        ({"xyzt_units": 3}, "spatial unit micrometre: must be mm"),
        ({"xyzt_units": 1}, "spatial unit metre: must be mm"),
        ({"magic": b"abc"}, ""),
        ({"datatype": 3}, ""),
    ],
)
def test_an_unusable_nifti_header_is_refused(header, rule, tmp_path):
    save_nifti(tmp_path / "a.nii", NOISE)
    image = nibabel.load(tmp_path / "a.nii")
    header_bytes = image.header.copy()
    header_bytes["sform_code"], header_bytes["qform_code"] = 1, 0
    for key, value in header.items():
        header_bytes[key] = value
    with (tmp_path / "a.nii").open("r+b") as file:
        file.write(header_bytes.binaryblock)

    assert rule in refusal(tmp_path / "a.nii", read_header)
    assert rule in refusal(tmp_path / "a.nii")


@pytest.mark.parametrize(
    ("array", "rule"),
    [
        (np.zeros((3, 3, 3), np.complex64), "complex64 (datatype 32): must be real numbers"),
        (np.zeros((3, 3, 3, 2, 2), np.int16), "must be (x, y), (x, y, z) or (x, y, z, channels)"),
        (np.zeros(5, np.int16), "must be (x, y), (x, y, z) or (x, y, z, channels)"),
    ],
)
def test_a_nifti_that_is_no_scan_is_refused(array, rule, tmp_path):
    assert rule in refusal(save_nifti(tmp_path / "a.nii", array))


def test_a_gzip_that_holds_no_nifti_is_refused(tmp_path):
    (tmp_path / "a.nii.gz").write_bytes(gzip.compress(b"hello" * 100))

    assert "not a NIfTI file: begins with bytes 68 65 6c 6c" in refusal(tmp_path / "a.nii.gz")


def test_a_png_under_another_suffix_is_refused(tmp_path, picture_grid):
    write_label_map(np.zeros((5, 4), np.uint8), picture_grid, tmp_path / "a.png")
    (tmp_path / "a.png").rename(tmp_path / "a.jpg")

    assert "not a .jpg file: begins with bytes 89 50" in refusal(tmp_path / "a.jpg")


@pytest.mark.parametrize("reader", [read_header, read_volume])
def test_a_missing_path_an_unknown_suffix_and_a_stray_uid_are_refused(reader, tmp_path, grid, labels):
    (tmp_path / "a.bmp").write_bytes(b"BM")
    write_label_map(labels, grid, tmp_path / "a.nii")

    assert "No such file" in refusal(tmp_path / "nowhere.nii", reader)
    assert "segpipe reads .nii.gz, .nii, .mhd" in refusal(tmp_path / "a.bmp", reader)
    with pytest.raises(SegpipeError, match=r"series_uid 1\.2 chooses in a folder"):
        reader(tmp_path / "a.nii", series_uid="1.2")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
@pytest.mark.parametrize("suffix", [".nii", ".nii.gz", ".mhd", ".png"])
def test_a_file_without_read_permission_is_refused(suffix, tmp_path):
    (tmp_path / f"a{suffix}").write_bytes(b"x")
    (tmp_path / f"a{suffix}").chmod(0)

    assert "Permission denied" in refusal(tmp_path / f"a{suffix}")


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_voxels_that_are_no_numbers_are_counted_and_placed(bad, tmp_path):
    array = np.zeros(SIZE, np.float32)
    array[2, 3, 1] = array[4, 0, 2] = bad
    path = save_nifti(tmp_path / "a.nii.gz", array)

    message = refusal(path)
    volume = read_volume(path, check=False)

    assert "2 of 60 voxels are NaN or infinite, the first at (2, 3, 1) (x, y, z)" in message
    with pytest.raises(SegpipeError, match="NaN or infinite"):
        check_finite(volume)
