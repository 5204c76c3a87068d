"""Read an image that is classified as a whole: grey or RGB pixels between 0 and 1, rows first.

The scale comes from the file, so that one picture is read alike in training and in use:

- 8-bit pixels are divided by 255.
- 16-bit pixels without a sign are divided by 255, 4095 or 65535: the smallest of these that is not below the largest
  pixel, since many detectors and converters store 8 or 12 bits in 16.
- Pixels with a sign and fractions have no scale of their own: the caller gives a window.
- DICOM: `segpipe.volumes.dicom_picture`.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from segpipe.errors import SegpipeError
from segpipe.volumes.dicom_picture import DicomPicture, read_dicom_picture
from segpipe.volumes.formats import is_dicom_file
from segpipe.volumes.reading import read_volume
from segpipe.volumes.volume import Volume

_DEPTHS = (8, 12, 16)
_OWN_SCALE = (np.uint8, np.uint16)  # the other types need a window
_GREY, _RGB, _RGBA = 1, 3, 4
_FEWEST_VALUES = 2  # of a window: low and high


@dataclass(frozen=True, eq=False)
class Picture:
    """One image to classify, and what its file says about the pixels.

    Attributes:
        path: the file.
        pixels: float32 of shape (1, rows, columns) for grey, (3, rows, columns) for RGB; 0 black to 1 white.
        stored_bits: bits of one value in the file, such as 8 or 16; of a DICOM file BitsStored.
        bits: bits that the scale of the pixels assumes: 8, 12 or 16; equal to `stored_bits` where a window or DICOM
            sets the scale.
        is_inverted: True for a DICOM file of MONOCHROME1, whose low values are white; `pixels` are turned already.
        modality: of a DICOM file, such as "DX"; empty for other formats.
    """

    path: Path
    pixels: NDArray[np.float32]
    stored_bits: int
    bits: int
    is_inverted: bool = False
    modality: str = ""

    @property
    def rows(self) -> int:
        """Height in pixels."""
        return int(self.pixels.shape[1])

    @property
    def columns(self) -> int:
        """Width in pixels."""
        return int(self.pixels.shape[2])

    @property
    def is_rgb(self) -> bool:
        """True if the file stores three values a pixel, whether they differ or not."""
        return len(self.pixels) == _RGB

    @cached_property
    def is_coloured(self) -> bool:
        """True if red, green and blue differ anywhere; a grey picture can be stored as RGB."""
        return self.is_rgb and bool((self.pixels[1:] != self.pixels[:1]).any())

    def three_channels(self) -> NDArray[np.float32]:
        """Return the pixels with grey repeated: (3, rows, columns), which is what networks take."""
        return np.ascontiguousarray(np.broadcast_to(self.pixels, (_RGB, self.rows, self.columns)))

    @cached_property
    def content_sha256(self) -> str:
        """SHA-256 of size and pixels, in hex: equal for every copy, whatever the format, depth or number of channels.

        A grey picture that is stored as RGB has the hash of the grey picture.
        """
        pixels = self.pixels if self.is_coloured else self.pixels[:1]
        digest = hashlib.sha256(f"{pixels.shape}".encode())
        digest.update(np.ascontiguousarray(pixels).data)
        return digest.hexdigest()


def read_picture(path: str | Path, *, window: Sequence[float] | None = None) -> Picture:
    """Read an image file that is classified as a whole.

    Args:
        path: .png, .jpg, one slice as .mhd, .mha, .nrrd, .nii or .nii.gz, or one DICOM file. Rows and columns stay in
            the file's order.
        window: lowest and highest value, in the file's units such as HU; they become 0 and 1. Needed for pixels with a
            sign, for fractions, and for DICOM files of CT, MR and PT; ignored where the file has a scale of its own.

    Returns:
        the picture; an alpha channel that is opaque everywhere is left out.

    Raises:
        SegpipeError: the file cannot be read, see `segpipe.volumes.read_volume`; it holds several slices or frames,
            neither one nor three values a pixel, or transparent pixels; a window is needed or is no range; or all
            pixels are equal.
    """
    path = Path(path)
    window = None if window is None else checked_window(window)
    if path.is_dir():
        raise SegpipeError(
            f"{path}: a folder; an image to classify is one file: give its path, or convert the series to one image"
        )
    if is_dicom_file(path):
        return _not_blank(_of_dicom(read_dicom_picture(path, window)), window)
    return picture_of_volume(read_volume(path), window)


def picture_of_volume(volume: Volume, window: tuple[float, float] | None = None) -> Picture:
    """Return one slice that was read as a volume as an image to classify.

    Args:
        volume: one slice, its axes x (columns) and y (rows).
        window: see `read_picture`.

    Raises:
        SegpipeError: as `read_picture`.
    """
    picture = _of_volume(volume.path, volume, window)
    return _not_blank(picture, None if volume.channels.dtype in _OWN_SCALE else window)


def _not_blank(picture: Picture, window: tuple[float, float] | None) -> Picture:
    path = picture.path
    low, high = float(picture.pixels.min()), float(picture.pixels.max())
    if low == high:
        inside = "" if window is None else f" inside the window {window[0]:g} to {window[1]:g}"
        raise SegpipeError(
            f"{path}: a blank image: every pixel is {low:.3g} of 1{inside}; export it again or leave it out"
        )
    return picture


def checked_window(window: Sequence[float]) -> tuple[float, float]:
    """Return a window as two numbers.

    Raises:
        SegpipeError: the window is not two finite numbers, the lower first.
    """
    try:
        values = [float(value) for value in window]
    except (TypeError, ValueError):
        values = []
    if len(values) != _FEWEST_VALUES or not np.isfinite(values).all() or values[0] >= values[1]:
        raise SegpipeError(
            f"window is {window!r:.80}, must be two numbers, the lower first, such as [-1350, 150] for the lung in HU"
        )
    return values[0], values[1]


def _of_dicom(read: DicomPicture) -> Picture:
    return Picture(
        read.path, read.pixels[None], read.bits_stored, read.bits_stored, read.is_inverted, read.modality
    )


def _of_volume(path: Path, volume: Volume, window: tuple[float, float] | None) -> Picture:
    values = _rows_first(path, volume)
    stored_bits = 8 * values.dtype.itemsize
    values = _without_alpha(path, values)
    if len(values) not in (_GREY, _RGB):
        raise SegpipeError(
            f"{path}: {len(values)} values a pixel; an image to classify is grey (1) or RGB (3): save one image of one "
            "of these kinds"
        )
    if values.dtype in _OWN_SCALE:
        top = int(values.max())
        bits = next(bits for bits in _DEPTHS if bits >= _DEPTHS[0] and top < 1 << bits)
        return Picture(path, values.astype(np.float32) / np.float32((1 << bits) - 1), stored_bits, bits)
    if window is None:
        low, high = float(values.min()), float(values.max())
        raise SegpipeError(
            f"{path}: pixels of type {values.dtype} from {low:g} to {high:g} have no scale of their own, only 8 and "
            "16 bits without sign have; give the window of values to use (--window, or window of LoadPictured in "
            "YAML), or save the image as PNG"
        )
    return Picture(path, scaled(values, window), stored_bits, stored_bits)


def scaled(values: NDArray[Any], window: tuple[float, float]) -> NDArray[np.float32]:
    """Map the window's low and high value to 0 and 1; values outside are cut off."""
    low, high = window
    return np.clip((values.astype(np.float64) - low) / (high - low), 0, 1).astype(np.float32)


def _rows_first(path: Path, volume: Volume) -> NDArray[Any]:
    """Return the values as (C, rows, columns)."""
    channels: NDArray[Any] = volume.channels
    if volume.grid.spatial_dims > 2:
        if volume.grid.size[2] != 1:
            raise SegpipeError(
                f"{path}: 3D, size {volume.grid.size} voxels (x, y, z); an image to classify is one slice: write the "
                "slices as single files"
            )
        channels = channels[..., 0]
    return np.swapaxes(channels, 1, 2)


def _without_alpha(path: Path, values: NDArray[Any]) -> NDArray[Any]:
    """Return RGB of RGBA whose pixels are all opaque; other values unchanged."""
    if len(values) != _RGBA or values.dtype not in _OWN_SCALE:
        return values
    opaque = np.iinfo(values.dtype).max
    transparent = int(np.count_nonzero(values[_RGB] != opaque))
    if transparent:
        raise SegpipeError(
            f"{path}: {transparent} of {values[_RGB].size} pixels are transparent (RGBA), so their colour depends on "
            "the background; save the image without transparency"
        )
    return values[:_RGB]
