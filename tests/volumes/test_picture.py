"""Images to classify: the scale of their pixels, their order, and the refusal of files that are no single picture."""

from __future__ import annotations

import numpy as np
import pytest
import SimpleITK as sitk
from PIL import Image

from segpipe.errors import SegpipeError
from segpipe.volumes import Grid, checked_window, read_picture, write_volume

GREY = np.array([[0, 51, 255], [102, 204, 153]], np.uint8)  # 2 rows, 3 columns: fifths of 255
SHARES = np.array([[0, 0.2, 1], [0.4, 0.8, 0.6]], np.float32)


def save(path, pixels, **options):
    Image.fromarray(pixels).save(path, **options)
    return path


def save_itk(path, pixels):
    """Write rows first, as SimpleITK takes arrays."""
    sitk.WriteImage(sitk.GetImageFromArray(pixels), str(path))
    return path


def test_grey_8_bits_are_divided_by_255_with_rows_first(tmp_path):
    picture = read_picture(save(tmp_path / "a.png", GREY))

    np.testing.assert_array_equal(picture.pixels, SHARES[None])
    assert picture.pixels.dtype == np.float32
    assert (picture.rows, picture.columns, picture.stored_bits, picture.bits) == (2, 3, 8, 8)
    assert (picture.is_rgb, picture.is_coloured, picture.is_inverted) == (False, False, False)


def test_colour_stays_colour_and_grey_is_repeated(tmp_path):
    red = np.zeros((2, 3, 3), np.uint8)
    red[..., 0] = GREY

    colour, grey = read_picture(save(tmp_path / "c.png", red)), read_picture(save(tmp_path / "g.png", GREY))

    np.testing.assert_array_equal(colour.pixels, np.stack([SHARES, 0 * SHARES, 0 * SHARES]))
    assert colour.is_rgb
    assert colour.is_coloured
    np.testing.assert_array_equal(grey.three_channels(), np.stack([SHARES] * 3))


@pytest.mark.parametrize(
    ("top", "divisor", "bits"), [(255, 255, 8), (256, 4095, 12), (4095, 4095, 12), (4096, 65535, 16)]
)
def test_16_bits_are_scaled_by_the_bits_in_use(top, divisor, bits, tmp_path):
    values = np.array([[0, 100, top]], np.uint16)

    picture = read_picture(save_itk(tmp_path / "a.png", values))

    np.testing.assert_allclose(picture.pixels[0], values / divisor, rtol=1e-6)
    assert (picture.stored_bits, picture.bits) == (16, bits)


def test_jpeg_is_read_as_pillow_decodes_it(tmp_path):
    ramp = np.repeat(np.arange(0, 240, 10, dtype=np.uint8)[None], 16, 0)
    path = save(tmp_path / "a.jpeg", ramp, quality=100)

    picture = read_picture(path)

    np.testing.assert_array_equal(picture.pixels[0], np.asarray(Image.open(path)) / np.float32(255))


def test_copies_of_one_picture_have_one_hash(tmp_path):
    """The hash is of the picture: neither format, depth, nor a repeated grey changes it."""
    copies = [
        save(tmp_path / "a.png", GREY),
        save(tmp_path / "rgb.png", np.stack([GREY] * 3, axis=-1)),
        save(tmp_path / "rgba.png", np.stack([GREY] * 3 + [np.full_like(GREY, 255)], axis=-1)),
        save_itk(tmp_path / "a16.png", GREY.astype(np.uint16) * 257),
        save_itk(tmp_path / "a.mha", GREY),
    ]
    other = save(tmp_path / "turned.png", GREY[::-1])

    hashes = {read_picture(path).content_sha256 for path in copies}

    assert len(hashes) == 1
    assert read_picture(other).content_sha256 not in hashes


def test_rgb_with_equal_channels_is_rgb_without_colour(tmp_path):
    picture = read_picture(save(tmp_path / "a.png", np.stack([GREY] * 3, axis=-1)))

    assert picture.is_rgb
    assert not picture.is_coloured
    assert picture.pixels.shape == (3, 2, 3)


@pytest.mark.parametrize("suffix", [".mha", ".nii.gz"])
def test_a_slice_in_hu_is_scaled_by_the_window(suffix, tmp_path):
    values = np.array([[-2000, -1000], [-500, 0], [500, 1000]], np.int16)  # (x, y)
    grid = Grid.from_lps((3, 2), (1, 1), (0, 0), np.eye(2))
    if suffix == ".nii.gz":  # one slice along z
        values, grid = values[..., None], Grid.from_lps((3, 2, 1), (1, 1, 1), (0, 0, 0), np.eye(3))
    write_volume(values, grid, tmp_path / f"a{suffix}")

    picture = read_picture(tmp_path / f"a{suffix}", window=(-1000, 1000))

    np.testing.assert_array_equal(picture.pixels[0], [[0, 0.25, 0.75], [0, 0.5, 1]])


@pytest.mark.parametrize("factor", [1, 257])
def test_a_window_leaves_pixels_with_a_scale_as_they_are(factor, tmp_path):
    path = save(tmp_path / "a.png", GREY if factor == 1 else GREY.astype(np.uint16) * factor)

    np.testing.assert_array_equal(read_picture(path, window=(0, 100)).pixels[0], SHARES)


def transparent(path):
    pixels = np.stack([GREY, GREY, GREY, GREY], axis=-1)
    return save(path, pixels)


def turned(path):
    exif = Image.Exif()
    exif[0x0112] = 6
    return save(path, GREY, exif=exif)


def animated(path):
    frames = [Image.fromarray(GREY), Image.fromarray(GREY[::-1])]
    frames[0].save(path, save_all=True, append_images=frames[1:])
    return path


def cut(path):
    save(path, np.random.default_rng(0).integers(0, 256, (64, 64)).astype(np.uint8))
    path.write_bytes(path.read_bytes()[:-200])
    return path


def palette(path):
    Image.fromarray(np.stack([GREY] * 3, axis=-1)).convert("P").save(path)
    return path


def cmyk(path):
    Image.fromarray(np.stack([GREY] * 3, axis=-1)).convert("CMYK").save(path)
    return path


def stack(path):
    return save_itk(path, np.zeros((4, 2, 3), np.uint8))


def folder(path):
    path.mkdir()
    return path


@pytest.mark.parametrize(
    ("name", "make", "message"),
    [
        ("a.png", transparent, "5 of 6 pixels are transparent"),
        ("a.jpg", turned, "EXIF orientation 6"),
        ("a.png", animated, "several frames"),
        ("a.png", cut, "truncated"),
        ("a.jpg", cut, "truncated"),
        ("a.png", palette, "colours from a palette"),
        ("a.jpg", cmyk, "JPEG of 8 bits with 4 components (CMYK): must be 8 bits, grey or RGB"),
        ("a.mha", stack, "3D, size (3, 2, 4) voxels (x, y, z); an image to classify is one slice"),
        ("a.mha", lambda path: save_itk(path, GREY.astype(np.int16)), "pixels of type int16 from 0 to 255"),
        ("a.mha", lambda path: save_itk(path, GREY / 7.0), "pixels of type float64"),
        ("a.png", lambda path: save(path, 0 * GREY + 51), "a blank image: every pixel is 0.2 of 1;"),
        ("a.gif", lambda path: save(path, GREY), "no known format"),
        ("a.png", folder, "a folder; an image to classify is one file"),
    ],
)
def test_a_file_that_is_no_single_picture_is_refused_by_name(name, make, message, tmp_path):
    path = make(tmp_path / name)

    with pytest.raises(SegpipeError) as refused:
        read_picture(path)

    assert str(path) in str(refused.value)
    assert message in str(refused.value)


def test_a_window_beside_the_values_is_named(tmp_path):
    path = save_itk(tmp_path / "a.mha", GREY.astype(np.int16))

    with pytest.raises(SegpipeError, match="every pixel is 0 of 1 inside the window 300 to 400"):
        read_picture(path, window=(300, 400))


@pytest.mark.parametrize("window", [(1, 1), (2, 1), (0,), (0, 1, 2), (0, np.inf), ("low", 1), 3])
def test_a_window_is_two_numbers_the_lower_first(window):
    with pytest.raises(SegpipeError, match="must be two numbers, the lower first"):
        checked_window(window)
