"""The picture of where a classifier looked: the image in grey, and beside it each map in colours on the image."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from skimage.transform import resize

from segpipe.pictures.captioned import captioned

WARNING = "where the network looked, not where the disease is"
_SIDE = 320  # pixels of the longer side of each view
_OPACITY = 0.75
_NAME_LENGTH = 38  # characters of a name above a view
_LEVELS = np.linspace(0, 1, 6)
# dark blue, violet, red, orange, yellow, white: brighter is more, in grey and for colour-blind readers too
_COLORS = np.array(
    [(10, 10, 60), (90, 20, 110), (185, 45, 80), (240, 115, 35), (250, 200, 50), (255, 255, 225)], float
)


def heat_colors(values: NDArray[np.floating]) -> NDArray[np.uint8]:
    """Return colours of values from 0 to 1, `(*shape, 3)`; brighter is more."""
    channels = [np.interp(values, _LEVELS, _COLORS[:, channel]) for channel in range(3)]
    return np.round(np.stack(channels, -1)).astype(np.uint8)


def heatmap_picture(
    image: NDArray[Any],
    maps: NDArray[np.floating],
    names: Sequence[str],
    probabilities: Sequence[float],
    title: str,
    kind: str,
) -> NDArray[np.uint8]:
    """Draw an image, and each map on it, with a caption.

    Args:
        image: the network's input `(C, rows, columns)`, any scale.
        maps: `(N, rows, columns)`, 0 to 1.
        names: N classes or findings.
        probabilities: N, 0 to 1.
        title: name of the image.
        kind: how the maps were made, such as Grad-CAM.

    Returns:
        `(height, width, 3)`, 0 to 255.
    """
    grey = np.asarray(image, float).mean(0)
    low, high = np.percentile(grey, (0.5, 99.5))
    shape = np.maximum(np.round(np.array(grey.shape) * _SIDE / max(grey.shape)).astype(int), 1)
    levels = np.clip((_resized(grey, shape) - low) / ((high - low) or 1.0), 0, 1)
    plain = np.repeat(levels[..., None], 3, -1) * 255
    views = {"as the network gets it": np.round(plain).astype(np.uint8)}
    legend = []
    for name, probability, values in zip(names, probabilities, maps, strict=True):
        large = np.clip(_resized(np.asarray(values, float), shape), 0, 1)
        opacity = _OPACITY * np.sqrt(large)[..., None]
        tinted = plain * (1 - opacity) + heat_colors(large) * opacity
        shown = name if len(name) <= _NAME_LENGTH else f"{name[: _NAME_LENGTH - 3]}..."
        views[f"{len(views)}: {shown}"] = np.round(tinted).astype(np.uint8)
        nothing = "" if values.max() > 0 else "; nothing in the image speaks for it"
        legend.append(((0, 0, 0), f"{name}: probability {probability:.3f}{nothing}"))
    for value, text in ((1.0, "most"), (0.5, "half of it"), (0.15, "little")):
        r, g, b = heat_colors(np.array(value)).tolist()
        legend.append(((r, g, b), f"{text} ({kind})" if value == 1 else text))
    return captioned(views, title, [*legend, ((0, 0, 0), WARNING)])


def _resized(plane: NDArray[np.floating], shape: NDArray[np.integer]) -> NDArray[np.floating]:
    large: NDArray[np.floating] = resize(
        plane,
        tuple(shape),
        order=1,
        mode="edge",
        anti_aliasing=bool((shape < plane.shape).any()),
        preserve_range=True,
    )
    return large
