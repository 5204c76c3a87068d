"""The tables, histograms and cards of a data set as one HTML page that needs no other file."""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from pathlib import Path

import jinja2
import numpy as np
from numpy.typing import NDArray
from PIL import Image

import segpipe
from segpipe.dataset import Finding, Manifest
from segpipe.overview.case_figures import CaseFigure
from segpipe.overview.charts import histogram
from segpipe.overview.summary import Color, DatasetSummary
from segpipe.printable import printable_output


def render_page(
    manifest: Manifest,
    summary: DatasetSummary,
    cards: Sequence[CaseFigure],
    left_out: Sequence[str],
    bad: Sequence[Finding],
    legend: Sequence[tuple[str, Color]],
) -> str:
    """Return the page.

    Args:
        manifest: manifest of the data set.
        summary: tables of the data set.
        cards: cards of the cases shown.
        left_out: number of valid cases that are not shown.
        bad: findings on the cases that cannot be shown.
        legend: name and colour of each class.
    """
    patients = {case.patient for case in (*manifest.training, *manifest.test)} - {None}
    return page_template("page.html").render(
        manifest=manifest,
        summary=summary,
        patients=len(patients),
        cards=cards,
        left_out=left_out,
        bad=bad,
        legend=legend,
        most=max((row.share for row in summary.classes), default=1.0) or 1.0,
        png=png,
    )


def page_template(name: str) -> jinja2.Template:
    """Return a template of this folder; every value in the page is escaped and printable.

    Templates can use `number`, `percent`, `css` (of a colour), `histogram` and `version`.
    """
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        finalize=printable_output,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
    )
    environment.globals.update(
        number=_number, percent=_percent, css=_css, histogram=histogram, version=segpipe.__version__
    )
    return environment.get_template(name)


def _number(value: float) -> str:
    """Return a number as text, with separated thousands or four significant digits."""
    if float(value).is_integer():
        return f"{int(value):,}".replace(",", "\u202f")
    return f"{value:.4g}"


def _percent(share: float) -> str:
    return f"{100 * share:.3g} %"


def _css(color: Color) -> str:
    return "#{:02x}{:02x}{:02x}".format(*color)


def png(picture: NDArray[np.uint8]) -> str:
    """Return a picture as a PNG data URI; a grey picture is stored with one channel."""
    grey = bool((picture[..., :1] == picture).all())
    buffer = io.BytesIO()
    Image.fromarray(picture[..., 0] if grey else picture).save(buffer, "PNG")
    return f"data:image/png;base64,{base64.b64encode(buffer.getvalue()).decode()}"
