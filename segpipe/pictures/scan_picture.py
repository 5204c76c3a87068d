"""The picture of a scan with its label map: planes through the foreground, legend, orientation marks."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from segpipe.pictures.layout import Panel, panels
from segpipe.pictures.overlay import in_ras_order, label_centre, overlay_pair
from segpipe.printable import printable

_TEXT, _EDGE = (235, 235, 235), (0, 0, 0)
_FONT_SIZE = 14
_MARGIN = 8
_SWATCH = 12
_SIDES = (("A", "P"), ("R", "L"), ("R", "L"))  # left and right side of sagittal, coronal, axial planes


def scan_picture(
    image: NDArray[Any],
    label_map: NDArray[np.integer],
    affine: NDArray[np.float64],
    title: str,
    legend: Sequence[tuple[str, str, tuple[int, int, int]]],
    colors: Sequence[tuple[int, int, int]],
) -> NDArray[np.uint8]:
    """Draw a scan twice: unchanged above, with the classes of its label map tinted below.

    Args:
        image: intensities `(x, y[, z])` in any orientation.
        label_map: class indices of the same shape.
        affine: (4, 4), voxel to RAS mm; for a 2D image only the spacing is used.
        title: first line of the picture.
        legend: name of each foreground class or region, its text in the legend, and its colour.
        colors: RGB, 0 to 255, by class index.

    Returns:
        `(height, width, 3)`, 0 to 255. Volumes show the axial, coronal and sagittal plane through the foreground voxel
        nearest the foreground's centre of gravity, the patient's right on the left. Of a stack of few slices, all
        slices are shown.
    """
    volume = image.ndim == 3
    (image, label_map), spacing_mm = in_ras_order(affine, image, label_map)
    centre = label_centre(label_map)
    plain, tinted = overlay_pair(image, label_map, colors, centre, spacing_mm)
    views = Image.fromarray(np.concatenate([plain, np.zeros_like(plain[:_MARGIN]), tinted]))
    font = ImageFont.load_default(_FONT_SIZE)
    line = _FONT_SIZE + 6
    title, rows = printable(title), [printable(f"{name}  {text}") for name, text, _ in legend]
    width = (
        max([views.width, *(_width(font, text) + _SWATCH + 6 for text in rows), _width(font, title)])
        + 2 * _MARGIN
    )
    height = views.height + line * (len(rows) + 1) + 3 * _MARGIN
    canvas = Image.new("RGB", (width, height))
    draw = ImageDraw.Draw(canvas)
    draw.text((_MARGIN, _MARGIN), title, _TEXT, font)
    top = _MARGIN + line
    canvas.paste(views, (_MARGIN, top))
    if volume:
        _mark_sides(draw, panels(image.shape, spacing_mm, centre), top, font)
    for index, (text, (_, _, color)) in enumerate(zip(rows, legend, strict=True)):
        y = top + views.height + _MARGIN + line * index
        draw.rectangle([_MARGIN, y + 2, _MARGIN + _SWATCH, y + 2 + _SWATCH], fill=color)
        draw.text((_MARGIN + _SWATCH + 6, y), text, _TEXT, font)
    return np.asarray(canvas)


def _mark_sides(draw: ImageDraw.ImageDraw, placed: Sequence[Panel], top: int, font: Any) -> None:
    """Write the patient's sides at the left and right of each plane of the pictures without labels."""
    for panel in placed:
        first, second = _SIDES[panel.axis]
        left, above = _MARGIN + panel.left, top + panel.top + 1
        draw.text((left + 3, above), first, _TEXT, font, stroke_width=1, stroke_fill=_EDGE)
        at = (left + panel.width - _width(font, second) - 3, above)
        draw.text(at, second, _TEXT, font, stroke_width=1, stroke_fill=_EDGE)


def _width(font: Any, text: str) -> int:
    return int(np.ceil(font.getlength(text)))
