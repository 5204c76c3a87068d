"""The contact sheet of a set of images as one picture: a block for each class or finding."""

from __future__ import annotations

from collections.abc import Sequence

from PIL import Image, ImageDraw, ImageFont

from segpipe.overview.image_cards import CardGroup
from segpipe.overview.sheet import fitting

_SIDE, _COLUMNS, _GAP, _MARGIN = 160, 12, 8, 24
_FONT, _LINE, _SWATCH = 14, 22, 14
_BACK, _TEXT, _FAINT, _CARD = (16, 18, 22), (236, 238, 242), (160, 166, 178), (0, 0, 0)


def class_sheet(groups: Sequence[CardGroup], title: str) -> Image.Image:
    """Draw the images of each class or finding in rows of twelve, under its name.

    Args:
        groups: at least one, each with a card.
        title: first line of the sheet.
    """
    font = ImageFont.load_default(_FONT)
    columns = min(_COLUMNS, max(len(group.cards) for group in groups))
    width = 2 * _MARGIN + max(columns, 3) * (_SIDE + _GAP) - _GAP
    heights = [_LINE + _GAP + -(-len(group.cards) // columns) * (_SIDE + _GAP) + _GAP for group in groups]
    canvas = Image.new("RGB", (width, 2 * _MARGIN + _LINE + sum(heights)), _BACK)
    draw = ImageDraw.Draw(canvas)
    draw.text((_MARGIN, _MARGIN), fitting(title, font, width - 2 * _MARGIN), _TEXT, font)
    top = _MARGIN + _LINE + _GAP
    for group, height in zip(groups, heights, strict=True):
        left = _MARGIN
        if group.color is not None:
            draw.rectangle([left, top + 3, left + _SWATCH, top + 3 + _SWATCH], fill=group.color)
            left += _SWATCH + 8
        name = fitting(f"{group.name}: {len(group.cards)} of {group.number}", font, width - left - _MARGIN)
        draw.text((left, top), name, _TEXT if group.color else _FAINT, font)
        for position, card in enumerate(group.cards):
            row, column = divmod(position, columns)
            x, y = _MARGIN + column * (_SIDE + _GAP), top + _LINE + _GAP // 2 + row * (_SIDE + _GAP)
            draw.rectangle([x, y, x + _SIDE - 1, y + _SIDE - 1], fill=_CARD)
            picture = Image.fromarray(card.picture)
            scale = _SIDE / max(picture.size)
            fitted = picture.resize(
                [max(round(scale * side), 1) for side in picture.size], Image.Resampling.LANCZOS
            )
            canvas.paste(fitted, (x + (_SIDE - fitted.width) // 2, y + (_SIDE - fitted.height) // 2))
        top += height
    return canvas
