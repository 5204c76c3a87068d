"""The contact sheet as one picture: cards side by side with captions, and a legend above."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from PIL import Image, ImageDraw, ImageFont

from segpipe.overview.case_figures import CaseFigure
from segpipe.overview.summary import Color
from segpipe.printable import printable

_WIDTH, _COLUMNS = 320, 6
_MARGIN, _GAP = 24, 16
_FONT, _LINE, _SWATCH = 14, 20, 14
_BACK, _CARD, _TEXT, _FAINT = (16, 18, 22), (0, 0, 0), (236, 238, 242), (160, 166, 178)


def contact_sheet(
    cards: Sequence[CaseFigure], title: str, legend: Sequence[tuple[str, Color]]
) -> Image.Image:
    """Draw the cards in rows.

    Args:
        cards: one card per case.
        title: first line of the sheet.
        legend: name and colour of each class.
    """
    font = ImageFont.load_default(_FONT)
    columns = max(min(_COLUMNS, len(cards)), 3)
    width = 2 * _MARGIN + columns * _WIDTH + (columns - 1) * _GAP
    rows = _legend_rows(legend, font, width - 2 * _MARGIN)
    pictures = [_picture(card) for card in cards]
    heights = [
        max(picture.height for picture in pictures[start : start + columns])
        for start in range(0, len(cards), columns)
    ]
    below = 2 * _LINE + _GAP
    top = _MARGIN + _LINE * (1 + len(rows)) + _GAP
    canvas = Image.new("RGB", (width, top + sum(heights) + below * len(heights) + _MARGIN), _BACK)
    draw = ImageDraw.Draw(canvas)
    draw.text((_MARGIN, _MARGIN), fitting(title, font, width - 2 * _MARGIN), _TEXT, font)
    for number, row in enumerate(rows, start=1):
        _draw_legend(draw, row, _MARGIN + number * _LINE, font)
    for position, (card, picture) in enumerate(zip(cards, pictures, strict=True)):
        line, column = divmod(position, columns)
        left, height = _MARGIN + column * (_WIDTH + _GAP), heights[line]
        upper = top + sum(heights[:line]) + below * line
        draw.rectangle([left, upper, left + _WIDTH - 1, upper + height - 1], fill=_CARD)
        canvas.paste(picture, (left + (_WIDTH - picture.width) // 2, upper + (height - picture.height) // 2))
        draw.text((left, upper + height + 2), fitting(f"{card.case}  ({card.place})", font), _TEXT, font)
        parts = (card.size, card.spacing, card.view, " | ".join(card.channels))
        caption = ", ".join(part for part in parts if part)
        draw.text((left, upper + height + 2 + _LINE), fitting(caption, font), _FAINT, font)
    return canvas


def _picture(card: CaseFigure) -> Image.Image:
    """Return a card's picture, at most as wide as a column."""
    drawn = card.tinted if card.tinted is not None else card.plain
    if drawn is None:
        return Image.new("RGB", (_WIDTH, _WIDTH), _CARD)
    picture = Image.fromarray(drawn)
    picture.thumbnail((_WIDTH, _WIDTH), Image.Resampling.LANCZOS)
    return picture


def fitting(text: str, font: Any, width: int = _WIDTH) -> str:
    """Return one line of text, cut to a width in pixels."""
    text = printable(" ".join(text.split()))
    if font.getlength(text) <= width:
        return text
    while text and font.getlength(f"{text}...") > width:
        text = text[:-1]
    return f"{text}..."


def _legend_rows(
    legend: Sequence[tuple[str, Color]], font: Any, width: int
) -> list[list[tuple[int, str, Color]]]:
    """Return the rows of the legend: left edge in pixels, name and colour of each class."""
    rows: list[list[tuple[int, str, Color]]] = []
    left = width + 1
    for name, color in legend:
        name = fitting(name, font)
        needed = int(font.getlength(name)) + _SWATCH + 28
        if left + needed > width:
            rows.append([])
            left = 0
        rows[-1].append((_MARGIN + left, name, color))
        left += needed
    return rows


def _draw_legend(
    draw: ImageDraw.ImageDraw, row: Sequence[tuple[int, str, Color]], top: int, font: Any
) -> None:
    for left, name, color in row:
        draw.rectangle([left, top + 3, left + _SWATCH, top + 3 + _SWATCH], fill=color)
        draw.text((left + _SWATCH + 6, top), name, _TEXT, font)
