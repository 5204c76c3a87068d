"""A picture of several views, with a title and a legend."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from segpipe.printable import printable

_TEXT, _FAINT = (235, 235, 235), (170, 170, 170)
_FONT_SIZE = 14
_LINE = _FONT_SIZE + 6
_MARGIN = 8
_SWATCH = 12


def captioned(
    views: Mapping[str, NDArray[np.uint8]],
    title: str,
    legend: Sequence[tuple[tuple[int, int, int], str]],
) -> NDArray[np.uint8]:
    """Arrange pictures in a column, or in a row if they are not wider than high, each under its name.

    Args:
        views: name -> picture `(height, width, 3)`, all of one size.
        title: first line of the picture.
        legend: lines below the views, each with its RGB colour.

    Returns:
        `(height, width, 3)`.
    """
    title, legend = printable(title), [(color, printable(text)) for color, text in legend]
    height, width, _ = next(iter(views.values())).shape
    across, down = (len(views), 1) if width <= height else (1, len(views))
    font = ImageFont.load_default(_FONT_SIZE)
    names = list(views) if len(views) == 1 else []  # beside each other, a name has the width of its view
    texts = [title, *names, *(text for _, text in legend)]
    size = (
        max(
            across * (width + _MARGIN) - _MARGIN,
            *(int(font.getlength(text)) + _SWATCH + _MARGIN for text in texts),
        )
        + 2 * _MARGIN,
        (1 + len(legend)) * _LINE + down * (height + _LINE + _MARGIN) + 2 * _MARGIN,
    )
    canvas = Image.new("RGB", size)
    draw = ImageDraw.Draw(canvas)
    draw.text((_MARGIN, _MARGIN), title, _TEXT, font)
    for position, (name, view) in enumerate(views.items()):
        x = _MARGIN + (position if across > 1 else 0) * (width + _MARGIN)
        y = _MARGIN + _LINE + (position if down > 1 else 0) * (height + _LINE + _MARGIN)
        draw.text((x, y), name, _FAINT, font)
        canvas.paste(Image.fromarray(view), (x, y + _LINE))
    below = _MARGIN + _LINE + down * (height + _LINE + _MARGIN)
    for line, (color, text) in enumerate(legend):
        y = below + line * _LINE
        draw.rectangle([_MARGIN, y + 2, _MARGIN + _SWATCH, y + 2 + _SWATCH], fill=color)
        draw.text((_MARGIN + _SWATCH + 6, y), text, _TEXT, font)
    return np.asarray(canvas)
