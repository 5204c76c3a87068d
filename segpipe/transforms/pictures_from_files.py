"""Load images that are classified as a whole."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from typing import Any

import torch
from monai.config import KeysCollection
from monai.transforms import MapTransform
from monai.utils import ensure_tuple

from segpipe.errors import SegpipeError
from segpipe.transforms.given_images import given_picture, is_given
from segpipe.volumes import Picture, checked_window, read_picture


class LoadPictured(MapTransform):  # type: ignore[misc]  # MONAI is untyped
    """Read each key's image file as `segpipe.volumes.read_picture` does, with grey repeated three times.

    Args:
        keys: of the records; each is the path of one file, or an image that a program has read itself, see
            `segpipe.transforms.given_images.given_picture`.
        window: lowest and highest value in the files' units, needed where the files state no scale, such as slices in
            HU, see `read_picture`; None refuses such files.
        channels: 3, or 1 for a network of grey images: the mean of red, green and blue.
        allow_missing_keys: of MONAI's MapTransform.

    Returns:
        per key a plain float32 tensor (channels, rows, columns), 0 black to 1 white, before any normalisation.

    Raises:
        SegpipeError: as `read_picture`, with the file; or a record has several files; or `channels` is not 1 or 3.
    """

    def __init__(
        self,
        keys: KeysCollection,
        window: Sequence[float] | None = None,
        channels: int = 3,
        allow_missing_keys: bool = False,
    ) -> None:
        super().__init__(keys, allow_missing_keys)
        if channels not in (1, 3):
            raise SegpipeError(f"LoadPictured: channels is {channels!r}, must be 1 or 3")
        self.channels = channels
        self.window = None if window is None else checked_window(window)

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Load every key of one record."""
        loaded = dict(data)
        for key in self.key_iterator(loaded):
            if is_given(loaded[key]):
                picture = given_picture(loaded[key], self.window)
            else:
                picture = self._read(ensure_tuple(loaded[key]))
            pixels = torch.from_numpy(picture.three_channels())
            loaded[key] = pixels if self.channels == len(pixels) else pixels.mean(0, keepdim=True)
        return loaded

    def _read(self, paths: Sequence[Any]) -> Picture:
        if len(paths) != 1:
            raise SegpipeError(
                f"{', '.join(map(str, paths))}: {len(paths)} files of one image; an image to classify is one file"
            )
        return read_picture(paths[0], window=self.window)
