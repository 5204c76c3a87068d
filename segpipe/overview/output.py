"""The files that an overview writes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeVar

from segpipe.dataset import Finding
from segpipe.errors import SegpipeError
from segpipe.files import is_folder, require_writable
from segpipe.labels import LabelTable
from segpipe.overview.case_figures import CaseFigure
from segpipe.overview.image_cards import ImageCard
from segpipe.overview.summary import DatasetSummary

_Summary = TypeVar("_Summary", bound=DatasetSummary)

PAGE, SHEET = "index.html", "contact_sheet.png"


@dataclass(frozen=True)
class Overview:
    """The written overview of a data set.

    Attributes:
        summary: tables of the data set.
        cards: cards of the cases shown.
        left_out: number of valid cases that are not shown.
        bad: findings on the cases that cannot be shown.
        page: path of the HTML file.
        sheet: path of the PNG file beside the page; None where no case could be drawn.
    """

    summary: DatasetSummary
    cards: Sequence[CaseFigure] | Sequence[ImageCard]
    left_out: Sequence[str]
    bad: Sequence[Finding]
    page: Path
    sheet: Path | None


@dataclass(frozen=True)
class ShowOptions:
    """What to draw of a data set; see `segpipe.overview.show_dataset`.

    Attributes:
        notes: remarks on the data set as a whole.
    """

    colors: LabelTable | None
    cases: int
    seed: int
    window: tuple[float, float] | None
    where: str
    notes: tuple[str, ...] = ()

    def with_notes(self, summary: _Summary) -> _Summary:
        """Return tables whose notes begin with those on the data set as a whole."""
        return replace(summary, notes=[*self.notes, *summary.notes])


def require_free(output: Path, dataset_dir: Path, *, overwrite: bool) -> None:
    """Refuse a folder whose files would be replaced, that lies among the scans, or that cannot be written.

    Raises:
        SegpipeError: see above; with the remedy.
    """
    there = [name for name in (PAGE, SHEET) if (output / name).exists()] if is_folder(output) else []
    if there and not overwrite:
        raise SegpipeError(
            f"{output / there[0]}: exists already; choose another --output, or add --overwrite"
        )
    if output.resolve().is_relative_to(dataset_dir.resolve()):
        raise SegpipeError(
            f"{output}: lies inside the data set's folder {dataset_dir}, where its pictures might be taken for scans; "
            "choose another --output"
        )
    require_writable(output)
