"""A confusion matrix as a picture."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

_PAPER, _TEXT, _FAINT, _FULL = (255, 255, 255), (30, 30, 30), (110, 110, 110), (8, 69, 148)
_FONT_SIZE = 15
_CELL, _SMALLEST_CELL = 92, 26
_LONGEST_SIDE = 1000  # pixels of all cells together
_MARGIN = 14
_LONGEST_NAME = 24  # characters
_DARK = 0.55  # share from which text is white


def confusion_picture(counts: NDArray[np.int64], names: Sequence[str], title: str) -> NDArray[np.uint8]:
    """Draw the share of each true class that was predicted as each class.

    Args:
        counts: `(C, C)`, voxels of true class (row) and predicted class (column).
        names: names of the C classes.
        title: first line of the picture.

    Returns:
        `(height, width, 3)`. A row adds up to 100 %; the row of a class without a voxel is empty. Where numbers do not
        fit because of many classes, cells have only colours.
    """
    classes = len(names)
    totals = counts.sum(axis=1, keepdims=True)
    shares = np.divide(counts, totals, out=np.zeros(counts.shape), where=totals > 0)
    cell = int(np.clip(_LONGEST_SIDE // classes, _SMALLEST_CELL, _CELL))
    font = ImageFont.load_default(_FONT_SIZE)
    shown = [_shortened(name) for name in names]
    left = 2 * _MARGIN + _FONT_SIZE + max(int(font.getlength(name)) for name in shown)
    upright = max(font.getlength(name) for name in shown) > cell - 6
    head = max(int(font.getlength(name)) for name in shown) if upright else _FONT_SIZE
    top = 4 * _MARGIN + 2 * _FONT_SIZE + head
    width = max(left + classes * cell, int(font.getlength(title)) + _MARGIN) + _MARGIN
    canvas = Image.new("RGB", (width, top + classes * cell + _MARGIN), _PAPER)
    draw = ImageDraw.Draw(canvas)
    draw.text((_MARGIN, _MARGIN), title, _TEXT, font)
    middle = left + classes * cell / 2
    draw.text((middle, 2 * _MARGIN + _FONT_SIZE), "predicted", _FAINT, font, anchor="ma")
    _write_upright(canvas, "true", (_MARGIN // 2, top + classes * cell // 2 + _FONT_SIZE), font, _FAINT)
    for row, name in enumerate(shown):
        y = top + row * cell
        draw.text((left - _MARGIN / 2, y + cell / 2), name, _TEXT, font, anchor="rm")
        x = left + row * cell
        if upright:
            _write_upright(canvas, name, (x + (cell - _FONT_SIZE) // 2 - 3, top - 6), font, _TEXT)
        else:
            draw.text((x + cell / 2, top - 10), name, _TEXT, font, anchor="ms")
        for column in range(classes):
            box = (left + column * cell, y, left + (column + 1) * cell - 2, y + cell - 2)
            known = bool(totals[row, 0])
            _draw_cell(draw, box, float(shares[row, column]) if known else None, font)
    return np.asarray(canvas)


def _draw_cell(
    draw: ImageDraw.ImageDraw,
    box: tuple[int, int, int, int],
    share: float | None,
    font: ImageFont.FreeTypeFont | ImageFont.ImageFont,
) -> None:
    strength = share or 0.0
    ends = zip(_PAPER, _FULL, strict=True)
    red, green, blue = (round(paper + strength * (full - paper)) for paper, full in ends)
    draw.rectangle(box, fill=(red, green, blue), outline=(205, 205, 205))
    if box[2] - box[0] >= 2 * _FONT_SIZE + 12:
        text = "-" if share is None else f"{100 * share:.1f} %"
        at = ((box[0] + box[2]) / 2, (box[1] + box[3]) / 2)
        draw.text(at, text, _PAPER if strength > _DARK else _TEXT, font, anchor="mm")


def _write_upright(
    canvas: Image.Image,
    text: str,
    left_bottom: tuple[int, int],
    font: ImageFont.FreeTypeFont | ImageFont.ImageFont,
    color: tuple[int, int, int],
) -> None:
    """Write text upwards."""
    strip = Image.new("RGB", (int(font.getlength(text)) + 2, _FONT_SIZE + 5), _PAPER)
    ImageDraw.Draw(strip).text((0, 0), text, color, font)
    turned = strip.rotate(90, expand=True)
    canvas.paste(turned, (left_bottom[0], left_bottom[1] - turned.height))


def _shortened(name: str) -> str:
    return name if len(name) <= _LONGEST_NAME else f"{name[: _LONGEST_NAME - 3]}..."
