"""The overview of a set of images with a class or findings: its tables, and a contact sheet of each."""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from segpipe.dataset import Finding, Manifest, examine_images
from segpipe.errors import SegpipeError
from segpipe.files import write_atomically, write_text
from segpipe.overview.image_cards import CardGroup, card_groups
from segpipe.overview.image_sheet import class_sheet
from segpipe.overview.image_summary import ImageSetSummary, category_colors, summarize_images
from segpipe.overview.output import PAGE, SHEET, Overview, ShowOptions
from segpipe.overview.page import page_template, png

_PNG_SIDE = 100  # longer pictures are stored as JPEG
_QUALITY = 88


def show_images(manifest: Manifest, dataset_dir: Path, output: Path, options: ShowOptions) -> Overview:
    """Write the page of a set of images; see `segpipe.overview.show_dataset`."""
    if options.colors is not None:
        raise SegpipeError(
            f"{manifest.name}: --labels is for the colours of label maps, its target is {manifest.target}; leave it out"
        )
    listed = [*manifest.training, *manifest.test]
    reports = examine_images(listed, dataset_dir, manifest, checksums=False, window=options.window)
    summary = options.with_notes(summarize_images(manifest, reports, options.where))
    groups = card_groups(
        manifest,
        reports,
        category_colors(manifest),
        dataset_dir,
        number=options.cases,
        seed=options.seed,
        window=options.window,
    )
    cards = {card.case: card for group in groups for card in group.cards}
    left_out = [report.case for report in reports if not report.has_errors and report.case not in cards]
    bad = [finding for report in reports for finding in report.findings if finding.severity == "error"]
    sheet = None
    (output / SHEET).unlink(missing_ok=True)
    if groups:
        picture = class_sheet(groups, f"{manifest.name}: {len(cards)} of {len(listed)} cases")
        sheet = output / SHEET
        write_atomically(sheet, lambda file: picture.save(file, "PNG"))
    page = output / PAGE
    write_text(page, render_image_page(manifest, summary, groups, left_out, bad))
    return Overview(summary, list(cards.values()), left_out, bad, page, sheet)


def render_image_page(
    manifest: Manifest,
    summary: ImageSetSummary,
    groups: Sequence[CardGroup],
    left_out: Sequence[str],
    bad: Sequence[Finding],
) -> str:
    """Return the page.

    Args:
        manifest: of target class or findings.
        summary: its tables.
        groups: contact sheets.
        left_out: cases without errors that no sheet shows.
        bad: findings on the images that cannot be shown.
    """
    patients = {case.patient for case in (*manifest.training, *manifest.test)} - {None}
    return page_template("image_page.html").render(
        manifest=manifest,
        summary=summary,
        patients=len(patients),
        groups=groups,
        left_out=left_out,
        bad=bad,
        colors=category_colors(manifest),
        most=max((row.share for row in summary.classes), default=1.0) or 1.0,
        commonest=max((row.prevalence or 0 for row in summary.findings), default=1.0) or 1.0,
        thumbnail=_thumbnail,
    )


def _thumbnail(picture: NDArray[np.uint8]) -> str:
    """Return a picture as a data URI: small ones as PNG, others as JPEG."""
    if max(picture.shape) <= _PNG_SIDE:
        return png(picture)
    grey = bool((picture[..., :1] == picture).all())
    buffer = io.BytesIO()
    Image.fromarray(picture[..., 0] if grey else picture).save(buffer, "JPEG", quality=_QUALITY)
    return f"data:image/jpeg;base64,{base64.b64encode(buffer.getvalue()).decode()}"
