"""The page of a data set: reads every case, makes tables, and draws some cases."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from segpipe.dataset import Case, CaseReport, Finding, Manifest, examine_cases
from segpipe.dataset.manifest_split import class_names, present_classes
from segpipe.dataset.progress import with_progress
from segpipe.errors import SegpipeError
from segpipe.files import is_folder, require_writable, write_atomically, write_text
from segpipe.labels import LabelTable, check_same_labels, same_name
from segpipe.overview.case_figures import CaseFigure, make_case_figure
from segpipe.overview.page import render_page
from segpipe.overview.selection import spread_choice
from segpipe.overview.sheet import contact_sheet
from segpipe.overview.summary import DatasetSummary, class_colors, summarize

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
    cards: Sequence[CaseFigure]
    left_out: Sequence[str]
    bad: Sequence[Finding]
    page: Path
    sheet: Path | None


def show_dataset(
    manifest: Manifest,
    dataset_dir: Path,
    output: Path,
    colors: LabelTable | None = None,
    *,
    cases: int = 24,
    seed: int = 0,
    overwrite: bool = False,
) -> Overview:
    """Read a data set and write a page of tables and pictures; the page names invalid cases.

    Args:
        manifest: manifest of the data set.
        dataset_dir: folder of the data set's files.
        output: folder of `index.html` and `contact_sheet.png`.
        colors: label table with the colours of the classes; None takes default colours.
        cases: largest number of drawn cases, spread over classes and folds.
        seed: seed of the selection of cases.
        overwrite: whether an existing page is replaced.

    Raises:
        SegpipeError: the page exists, would lie among the scans or cannot be written, there is no folder
            `dataset_dir`, or the manifest's labels differ from the table's.
    """
    _require_free(output, dataset_dir, overwrite=overwrite)
    table = manifest.label_table() if colors is None else _colored(manifest, colors)
    listed = [*manifest.training, *manifest.test]
    reports = examine_cases(listed, dataset_dir, manifest, table, checksums=False)
    summary = summarize(manifest, reports, table)
    of_case = {case.case: (case, report) for case, report in zip(listed, reports, strict=True)}
    strata = {
        name: (place_of(manifest, case), present_classes(manifest, case, report.facts))
        for name, (case, report) in of_case.items()
        if not report.has_errors
    }
    chosen, left_out = spread_choice(strata, cases, seed)
    cards = _cards({name: of_case[name] for name in chosen}, strata, dataset_dir, manifest, table)
    bad = [finding for report in reports for finding in report.findings if finding.severity == "error"]
    legend = list(zip(class_names(manifest), class_colors(manifest, table), strict=True))
    sheet = None
    (output / SHEET).unlink(missing_ok=True)
    if any(card.plain is not None for card in cards):
        title = f"{manifest.name}: {len(cards)} of {len(listed)} cases"
        picture = contact_sheet(cards, title, legend if manifest.target == "mask" else [])
        sheet = output / SHEET
        write_atomically(sheet, lambda file: picture.save(file, "PNG"))
    page = output / PAGE
    write_text(page, render_page(manifest, summary, cards, left_out, bad, legend))
    return Overview(summary, cards, left_out, bad, page, sheet)


def place_of(manifest: Manifest, case: Case) -> str:
    """Return the place of a case: its fold, else its part of the first split that names it, else its list."""
    if case.fold is not None:
        return f"fold {case.fold}"
    if any(case.case == other.case for other in manifest.test):
        return "test"
    for name, split in manifest.splits.items():
        for part in ("train", "validation", "test"):
            if case.case in getattr(split, part):
                return f"{part} of {name}"
    return "training"


def _colored(manifest: Manifest, colors: LabelTable) -> LabelTable:
    """Return the manifest's label table with the colours of another table of the same classes."""
    check_same_labels(colors, manifest.labels)
    color_of = {same_name(label.name): label.color for label in colors.labels}
    labels = manifest.label_table().labels
    return LabelTable(tuple(replace(label, color=color_of[same_name(label.name)]) for label in labels))


def _cards(
    chosen: Mapping[str, tuple[Case, CaseReport]],
    strata: Mapping[str, tuple[str, frozenset[str]]],
    dataset_dir: Path,
    manifest: Manifest,
    table: LabelTable,
) -> list[CaseFigure]:
    cards = []
    for name in with_progress(list(chosen), "Drawing cases"):
        case, report = chosen[name]
        place, present = strata[name]
        classes = [one for one in class_names(manifest) if one in present]
        cards.append(make_case_figure(case, place, classes, report, dataset_dir, manifest, table))
    return cards


def _require_free(output: Path, dataset_dir: Path, *, overwrite: bool) -> None:
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
