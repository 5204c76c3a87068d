"""The page of a data set: reads every case, makes tables, and draws some cases."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

from segpipe.dataset import Case, CaseReport, Manifest, examine_cases
from segpipe.dataset.file_findings import refuse_window
from segpipe.dataset.manifest import Target
from segpipe.dataset.manifest_split import class_names, present_classes
from segpipe.dataset.progress import with_progress
from segpipe.dataset.set_checks import without_absent_tests
from segpipe.files import write_atomically, write_text
from segpipe.labels import LabelTable, check_same_labels, same_name
from segpipe.overview.case_figures import CaseFigure, make_case_figure
from segpipe.overview.image_set import show_images
from segpipe.overview.output import PAGE, SHEET, Overview, ShowOptions, require_free
from segpipe.overview.page import render_page
from segpipe.overview.selection import places_of, spread_choice
from segpipe.overview.sheet import contact_sheet
from segpipe.overview.summary import summarize


def show_dataset(
    manifest: Manifest,
    dataset_dir: Path,
    output: Path,
    colors: LabelTable | None = None,
    *,
    cases: int = 24,
    seed: int = 0,
    window: tuple[float, float] | None = None,
    where: str = "",
    overwrite: bool = False,
) -> Overview:
    """Read a data set and write a page of tables and pictures; the page names invalid cases.

    Args:
        manifest: manifest of the data set.
        dataset_dir: folder of the data set's files.
        output: folder of `index.html` and `contact_sheet.png`.
        colors: label table with the colours of the classes of label maps; None takes default colours.
        cases: largest number of drawn cases, spread over classes and folds; of images, of each class or finding.
        seed: seed of the selection of cases.
        window: of images of a class or findings without a scale of their own, see `segpipe.volumes.read_picture`.
        where: the manifest on a command line, for commands on the page; empty: the manifest's name.
        overwrite: whether an existing page is replaced.

    Raises:
        SegpipeError: the page exists, would lie among the scans or cannot be written, there is no folder
            `dataset_dir`, the manifest's labels differ from the table's, or an option belongs to another target.
    """
    require_free(output, dataset_dir, overwrite=overwrite)
    present, absent = without_absent_tests(manifest, dataset_dir)
    notes = tuple(finding.message for finding in absent)
    options = ShowOptions(colors, cases, seed, window, where or manifest.name, notes)
    return _SHOWS[manifest.target](present, dataset_dir, output, options)


def _show_label_maps(manifest: Manifest, dataset_dir: Path, output: Path, options: ShowOptions) -> Overview:
    refuse_window(manifest, options.window)
    table = manifest.label_table() if options.colors is None else _colored(manifest, options.colors)
    listed = [*manifest.training, *manifest.test]
    reports = examine_cases(listed, dataset_dir, manifest, table, checksums=False)
    summary = options.with_notes(summarize(manifest, reports, table))
    of_case = {case.case: (case, report) for case, report in zip(listed, reports, strict=True)}
    place = places_of(manifest)
    strata = {
        name: (place[case.case], present_classes(manifest, case, report.facts))
        for name, (case, report) in of_case.items()
        if not report.has_errors
    }
    chosen, left_out = spread_choice(strata, options.cases, options.seed)
    cards = _cards({name: of_case[name] for name in chosen}, strata, dataset_dir, manifest, table)
    bad = [finding for report in reports for finding in report.findings if finding.severity == "error"]
    legend = list(zip(table.foreground_names, table.colors[1:], strict=True))
    sheet = None
    (output / SHEET).unlink(missing_ok=True)
    if any(card.plain is not None for card in cards):
        title = f"{manifest.name}: {len(cards)} of {len(listed)} cases"
        picture = contact_sheet(cards, title, legend)
        sheet = output / SHEET
        write_atomically(sheet, lambda file: picture.save(file, "PNG"))
    page = output / PAGE
    write_text(page, render_page(manifest, summary, cards, left_out, bad, legend))
    return Overview(summary, cards, left_out, bad, page, sheet)


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


_SHOWS: Mapping[Target, Callable[[Manifest, Path, Path, ShowOptions], Overview]] = {
    "mask": _show_label_maps,
    "class": show_images,
    "findings": show_images,
}
