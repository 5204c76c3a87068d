"""Pictures of a scan's channels side by side, each with its name."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from segpipe.pictures.layout import GAP
from segpipe.printable import printable

_TEXT, _EDGE = (235, 235, 235), (0, 0, 0)
_FONT_SIZE = 18
_IN_A_ROW = 4


def montage(pictures: Sequence[NDArray[np.uint8]], names: Sequence[str]) -> NDArray[np.uint8]:
    """Arrange pictures in rows of at most four, each with its name in its upper left corner.

    Args:
        pictures: `(height, width, 3)`, all of one size.
        names: one name a picture; a name that is wider than its picture is cut.

    Returns:
        `(height, width, 3)`.
    """
    height, width, _ = pictures[0].shape
    columns = min(len(pictures), _IN_A_ROW)
    rows = -(-len(pictures) // columns)
    canvas = Image.new("RGB", (columns * (width + GAP) - GAP, rows * (height + GAP) - GAP))
    font = ImageFont.load_default(_FONT_SIZE)
    for position, (picture, name) in enumerate(zip(pictures, names, strict=True)):
        named = Image.fromarray(picture)
        ImageDraw.Draw(named).text((5, 3), printable(name), _TEXT, font, stroke_width=2, stroke_fill=_EDGE)
        row, column = divmod(position, columns)
        canvas.paste(named, (column * (width + GAP), row * (height + GAP)))
    return np.asarray(canvas)
