"""Draw what trainings logged, epoch by epoch: a panel a quantity, a colour a training, validation as a thick line.

    python scripts/draw_curves.py U-Net=RUN SegNet=RUN --output docs/images/article_curves.svg \
        --panels loss voxel_accuracy dice/mean --background voxel_accuracy=.9346

A panel has the curves of the quantity itself and of its ends `/train` and `/validation`, as the log has them. A dashed
line is the value of a label map that is background everywhere.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from markupsafe import Markup
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from segpipe.report.drawing import Scale, element, short_number

COLORS = ("#0b6e99", "#c2571a", "#5b3fa0", "#2b7a3d")
WIDTH, HEIGHT, LEFT, TOP, BOTTOM, RIGHT = 380, 250, 58, 34, 44, 14
KEY = 30  # pixels of the names above the panels
ENDS = ("/train", "/validation")
STYLE = """svg { background: #fff } text { font: 13px system-ui, "Liberation Sans", sans-serif; fill: #444 }
.name { fill: #111; font-weight: 600 } .middle { text-anchor: middle } .end { text-anchor: end }
.grid { stroke: #ddd } .limit { stroke: #111; stroke-dasharray: 5 4 }
.line { fill: none; stroke-width: 2.5; stroke-linejoin: round }
.thin { fill: none; stroke-width: 1.3; stroke-opacity: .75 }"""

Curve = list[tuple[int, float]]


def curves_of(run: Path, quantity: str) -> dict[str, Curve]:
    """Return the curves of a quantity: part, `/train` or `/validation` -> epochs and values.

    Raises:
        SystemExit: the log has none.
    """
    log = EventAccumulator(str(run / "tensorboard"), {"scalars": 0}).Reload()
    tags = log.Tags()["scalars"]
    known = {end: f"{quantity}{end}" for end in ENDS if f"{quantity}{end}" in tags}
    if quantity in tags:
        known["/validation"] = quantity
    if not known:
        raise SystemExit(f"{run}: its log has no {quantity}; it has {', '.join(sorted(tags))}")
    return {end: [(event.step, event.value) for event in log.Scalars(tag)] for end, tag in known.items()}


def panel(quantity: str, runs: Mapping[str, Mapping[str, Curve]], background: float | None) -> Markup:
    """Draw the curves of a quantity, with its axes."""
    drawn = [curve for parts in runs.values() for curve in parts.values()]
    values = [value for curve in drawn for _, value in curve] + ([] if background is None else [background])
    epochs = [float(epoch) for curve in drawn for epoch, _ in curve]
    across = Scale.of(np.array([0.0, *epochs]), LEFT, WIDTH - RIGHT)
    up = Scale.of(np.array(values), HEIGHT - BOTTOM, TOP)
    left, right = across(across.ticks[0]), across(across.ticks[-1])
    parts = [element("text", quantity.replace("_", " "), x=left, y=TOP - 14.0, klass="name")]
    for tick in up.ticks:
        parts.append(element("line", x1=left, x2=right, y1=up(tick), y2=up(tick), klass="grid"))
        parts.append(element("text", short_number(tick), x=left - 6, y=up(tick) + 4, klass="end"))
    under = HEIGHT - BOTTOM + 17.0
    parts += [
        element("text", short_number(tick), x=across(tick), y=under, klass="middle") for tick in across.ticks
    ]
    parts.append(element("text", "epoch", x=(left + right) / 2, y=under + 17, klass="middle"))
    if background is not None:
        parts.append(element("line", x1=left, x2=right, y1=up(background), y2=up(background), klass="limit"))
    for color, curves in zip(COLORS, runs.values(), strict=False):
        for end, curve in curves.items():
            points = " ".join(f"{across(epoch):.1f},{up(value):.1f}" for epoch, value in curve)
            klass = "line" if end == "/validation" else "thin"
            parts.append(element("polyline", points=points, stroke=color, klass=klass))
    return Markup("").join(parts)


def key(names: Sequence[str], with_background: bool) -> Markup:
    """Draw which colour and line is what."""
    parts, x = [], float(LEFT)
    entries = [
        (f"{name}, {part}", color, klass)
        for color, name in zip(COLORS, names, strict=False)
        for part, klass in (("training", "thin"), ("validation", "line"))
    ]
    entries += [("background everywhere", "#111", "limit")] * with_background
    for text, color, klass in entries:
        parts.append(element("line", x1=x, x2=x + 26, y1=16.0, y2=16.0, stroke=color, klass=klass))
        parts.append(element("text", text, x=x + 32, y=20.0, klass="text"))
        x += 54 + 7.2 * len(text)
    return Markup("").join(parts)


def main() -> None:
    """Write the picture."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("runs", nargs="+", metavar="NAME=RUN_FOLDER")
    parser.add_argument("--panels", nargs="+", required=True, metavar="QUANTITY")
    parser.add_argument("--background", nargs="*", default=[], metavar="QUANTITY=VALUE")
    parser.add_argument("--output", type=Path, required=True)
    given = parser.parse_args()
    runs = dict(run.split("=", 1) for run in given.runs)
    background = {name: float(value) for name, value in (one.split("=", 1) for one in given.background)}
    panels = [
        Markup('<g transform="translate({},{})">{}</g>').format(
            place * WIDTH,
            KEY,
            panel(
                quantity,
                {name: curves_of(Path(run), quantity) for name, run in runs.items()},
                background.get(quantity),
            ),
        )
        for place, quantity in enumerate(given.panels)
    ]
    width, height = WIDTH * len(panels), HEIGHT + KEY
    body = Markup("").join([key(list(runs), bool(background)), *panels])
    picture = Markup(
        '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {0} {1}" width="{0}" height="{1}">'
        "<style>{2}</style>{3}</svg>\n"
    ).format(width, height, Markup(STYLE), body)
    given.output.write_text(picture)


if __name__ == "__main__":
    main()
