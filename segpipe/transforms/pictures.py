"""Random crops and colours of pictures, as networks for classes of photographs are trained with."""

from __future__ import annotations

import math
from collections.abc import Callable, Hashable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from monai.config import KeysCollection
from monai.transforms import MapTransform, RandomizableTransform
from monai.utils import convert_to_dst_type, convert_to_tensor
from skimage.color import hsv2rgb, rgb2hsv
from torch.nn import functional

from segpipe.errors import SegpipeError

_ATTEMPTS = 10  # of a crop that fits in the picture
_RED, _GREEN, _BLUE = 0.2989, 0.587, 0.114  # luminance of ITU-R BT.601
_RGB = 3


class RandResizedCropd(RandomizableTransform, MapTransform):  # type: ignore[misc]  # MONAI is untyped
    """Crop a random rectangle of a random area and aspect ratio, and resize the crop.

    Area and aspect ratio are drawn until the rectangle fits in the picture, ten times at most; then the largest
    central rectangle of an allowed aspect ratio is taken. All keys of a record get the same rectangle.

    Args:
        keys: pictures `(C, rows, cols)`, all of one size.
        size: rows and columns of the result, in pixels; one number for both.
        scale: smallest and largest area of the crop, as a share of the picture's, above 0, at most 1.
        ratio: smallest and largest aspect ratio, columns / rows; drawn uniformly in the logarithm.
        prob: share of records that are cropped; others are only resized.
        allow_missing_keys: of MONAI's MapTransform.

    Returns:
        per key float32 `(C, *size)`, interpolated linearly, with antialiasing where the crop is larger. The affine in
        a MetaTensor's metadata stays that of the whole picture.

    Raises:
        SegpipeError: at construction, a number is out of range; in a call, a picture is not `(C, rows, cols)`, or two
            keys differ in size.

    Source: Szegedy et al., CVPR 2015; torchvision's RandomResizedCrop.
    """

    def __init__(
        self,
        keys: KeysCollection,
        size: int | Sequence[int],
        scale: Sequence[float] = (0.08, 1.0),
        ratio: Sequence[float] = (3 / 4, 4 / 3),
        prob: float = 1.0,
        allow_missing_keys: bool = False,
    ) -> None:
        MapTransform.__init__(self, keys, allow_missing_keys)
        RandomizableTransform.__init__(self, _probability("RandResizedCropd", prob))
        self.size = (size, size) if isinstance(size, int) else tuple(size)
        if len(self.size) != 2 or min(self.size) < 1:
            raise SegpipeError(
                f"RandResizedCropd: size is {size!r}; must be one or two numbers of pixels, >= 1"
            )
        self.scale = _ends("RandResizedCropd", "scale", scale)
        self.ratio = _ends("RandResizedCropd", "ratio", ratio)
        if self.scale[1] > 1:
            raise SegpipeError(
                f"RandResizedCropd: scale is {scale!r}; a crop cannot be larger than the picture, at most 1"
            )

    def rectangle(self, rows: int, cols: int) -> tuple[int, int, int, int]:
        """Draw a crop of a picture: its first row, first column, number of rows, and of columns."""
        for _ in range(_ATTEMPTS):
            area = rows * cols * self.R.uniform(*self.scale)
            ratio = math.exp(self.R.uniform(*map(math.log, self.ratio)))
            height, width = round(math.sqrt(area / ratio)), round(math.sqrt(area * ratio))
            if 0 < height <= rows and 0 < width <= cols:
                first_row = int(self.R.randint(rows - height + 1))
                return first_row, int(self.R.randint(cols - width + 1)), height, width
        ratio = min(max(cols / rows, self.ratio[0]), self.ratio[1])
        height, width = min(rows, round(cols / ratio)), min(cols, round(rows * ratio))
        return (rows - height) // 2, (cols - width) // 2, height, width

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Crop and resize every key of one record."""
        cropped = dict(data)
        self.randomize(None)
        place: tuple[int, int, int, int] | None = None
        drawn_for: tuple[int, int] | None = None
        for key in self.key_iterator(cropped):
            picture = _picture("RandResizedCropd", key, cropped[key])
            rows, cols = (int(length) for length in picture.shape[1:])
            if place is None:
                place = self.rectangle(rows, cols) if self._do_transform else (0, 0, rows, cols)
                drawn_for = rows, cols
            elif drawn_for != (rows, cols):
                raise SegpipeError(
                    f"RandResizedCropd: {key} has {rows} x {cols} pixels, the first key {drawn_for}; give pictures of "
                    "one size"
                )
            row, col, height, width = place
            part = picture[:, row : row + height, col : col + width]
            resized = functional.interpolate(part[None], self.size, mode="bilinear", antialias=True)[0]
            cropped[key] = convert_to_dst_type(resized, cropped[key], dtype=torch.float32)[0]
        return cropped


class RandColorJitterd(RandomizableTransform, MapTransform):  # type: ignore[misc]  # MONAI is untyped
    """Change brightness, contrast, saturation and hue at random, in a random order.

    Each of the first three is a factor, drawn uniformly from 1 - x to 1 + x, not below 0. A factor of 0 gives black,
    the mean luminance, or the luminance of each pixel; 1 changes nothing. A record's keys get the same changes.

    Args:
        keys: pictures `(3, rows, cols)`, red, green and blue, 0 to 1.
        brightness: x of the factor of all values.
        contrast: x of the factor of the difference from the mean luminance.
        saturation: x of the factor of the difference from the pixel's luminance; changes no grey picture.
        hue: largest shift of the hue in turns, 0 to 0.5; changes no grey picture.
        prob: share of records that are changed.
        allow_missing_keys: of MONAI's MapTransform.

    Returns:
        per key float32 of the same shape, 0 to 1.

    Raises:
        SegpipeError: at construction, a number is out of range; in a call, a picture is not `(3, rows, cols)`.

    Source: Howard, arXiv 1312.5402, 2013; torchvision's ColorJitter.
    """

    def __init__(
        self,
        keys: KeysCollection,
        brightness: float = 0.0,
        contrast: float = 0.0,
        saturation: float = 0.0,
        hue: float = 0.0,
        prob: float = 1.0,
        allow_missing_keys: bool = False,
    ) -> None:
        MapTransform.__init__(self, keys, allow_missing_keys)
        RandomizableTransform.__init__(self, _probability("RandColorJitterd", prob))
        self.extents = {
            "brightness": brightness,
            "contrast": contrast,
            "saturation": saturation,
            "hue": hue,
        }
        for name, extent in self.extents.items():
            largest = 0.5 if name == "hue" else math.inf
            if not 0 <= extent <= largest or math.isinf(extent):
                limit = "0 to 0.5" if name == "hue" else "0 or more"
                raise SegpipeError(f"RandColorJitterd: {name} is {extent}; must be {limit}")

    def randomize(self, data: Any = None) -> list[tuple[str, float]]:
        """Draw the changes of one record: name and factor, or shift of the hue, in the order of their use."""
        super().randomize(data)
        drawn = []
        for name in self.R.permutation(list(self.extents)):
            extent = self.extents[name]
            low = -extent if name == "hue" else max(0.0, 1 - extent)
            value = float(self.R.uniform(low, extent if name == "hue" else 1 + extent))
            if extent > 0:
                drawn.append((str(name), value))
        return drawn

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Change the colours of every key of one record."""
        changed = dict(data)
        drawn = self.randomize()
        for key in self.key_iterator(changed):
            picture = _picture("RandColorJitterd", key, changed[key])
            if len(picture) != _RGB:
                raise SegpipeError(
                    f"RandColorJitterd: {key} has {len(picture)} channels; must have {_RGB}, red, green and blue"
                )
            if self._do_transform:
                for name, value in drawn:
                    picture = _CHANGES[name](picture, value).clamp(0, 1)
            changed[key] = convert_to_dst_type(picture, changed[key], dtype=torch.float32)[0]
        return changed


def _luminance(picture: torch.Tensor) -> torch.Tensor:
    red, green, blue = picture.unbind()
    return _RED * red + _GREEN * green + _BLUE * blue


def _brightness(picture: torch.Tensor, factor: float) -> torch.Tensor:
    return picture * factor


def _contrast(picture: torch.Tensor, factor: float) -> torch.Tensor:
    mean = _luminance(picture).mean()
    return mean + factor * (picture - mean)


def _saturation(picture: torch.Tensor, factor: float) -> torch.Tensor:
    luminance = _luminance(picture)
    return luminance + factor * (picture - luminance)


def _hue(picture: torch.Tensor, shift: float) -> torch.Tensor:
    values = rgb2hsv(picture.numpy(), channel_axis=0)
    values[0] = (values[0] + shift) % 1.0
    return torch.as_tensor(hsv2rgb(values, channel_axis=0), dtype=torch.float32)


_CHANGES: dict[str, Callable[[torch.Tensor, float], torch.Tensor]] = {
    "brightness": _brightness,
    "contrast": _contrast,
    "saturation": _saturation,
    "hue": _hue,
}


def _picture(owner: str, key: Hashable, value: Any) -> torch.Tensor:
    """Return a record's picture as a plain float32 tensor on the CPU."""
    picture: torch.Tensor = convert_to_tensor(value, dtype=torch.float32, device="cpu", track_meta=False)
    if picture.ndim != 3 or 0 in picture.shape:
        raise SegpipeError(
            f"{owner}: {key} is of shape {tuple(picture.shape)}; must be (channels, rows, cols), none of them 0"
        )
    return picture


def _probability(owner: str, prob: float) -> float:
    if not 0 <= prob <= 1:
        raise SegpipeError(f"{owner}: prob is {prob}; must be 0 to 1")
    return prob


def _ends(owner: str, name: str, ends: Sequence[float]) -> tuple[float, float]:
    numbers = np.asarray(ends, dtype=float)
    if numbers.shape != (2,) or not 0 < numbers[0] <= numbers[1] < math.inf:
        raise SegpipeError(f"{owner}: {name} is {ends!r}; must be two numbers above 0, the smaller first")
    return float(numbers[0]), float(numbers[1])
