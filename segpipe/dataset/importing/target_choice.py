"""Decide whether a folder has label maps, one class an image, or findings."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from segpipe.dataset.importing.folder_classes import class_folders, has_label_maps, looks_like_classes
from segpipe.dataset.importing.image_files import image_files
from segpipe.dataset.importing.known_layouts import known_layout
from segpipe.dataset.importing.label_columns import label_columns, why_no_labels
from segpipe.dataset.importing.label_tables import FolderTables, label_tables_in, rows_of_labels
from segpipe.dataset.importing.table_rows import tables_in
from segpipe.dataset.importing.tables import has_label_maps_column, names_label_maps
from segpipe.dataset.manifest import Target
from segpipe.errors import SegpipeError, shown
from segpipe.volumes import look_for_scans

_DESCRIPTION = "dataset.json"


def chosen_target(
    folder: Path, given: Target | None, table: Path | None, mask_options: Sequence[str]
) -> Target | None:
    """Return the target of a folder: as given, else by options, tables and names.

    Args:
        folder: of the data set.
        given: the user's choice; None to decide.
        table: a CSV that the user gives.
        mask_options: options of the user that only label maps have, such as --label.

    Returns:
        "mask", "class" or "findings"; None for a class or findings, whichever a table tells.

    Raises:
        SegpipeError: options of label maps are given for another target, or the folder looks like classes and like
            label maps.
    """
    if given in ("class", "findings") and mask_options:
        raise SegpipeError(
            f"--target {given} is given with {shown(mask_options)}, which only label maps have; leave one out"
        )
    if given is not None or mask_options:
        return given or "mask"
    if not folder.is_dir():
        return "mask"  # refused with label maps
    if table is not None:
        return _of_table(table, folder)
    if (folder / _DESCRIPTION).is_file():
        return "mask"
    return _of_folder(folder)


def _of_folder(folder: Path) -> Target | None:
    """Return the target that the tables and names of a folder tell.

    Raises:
        SegpipeError: the folder looks like classes and like label maps, or only a table could tell the labels and
            cannot be read.
    """
    files = image_files(folder, strict=False)
    has_maps = has_label_maps(files.images)
    # beside label maps a note names such a table
    tables = FolderTables() if has_maps else label_tables_in(folder, files)
    if len(tables.listed) > 1:
        return None  # refused with the tables' names
    if tables.listed:
        return _of_table(tables.listed[0], folder)
    if any(has_label_maps_column(path, folder) for path in tables_in(folder)):
        return "mask"
    classes = class_folders(files.images)
    if not (looks_like_classes(files.images) or (not files.images and looks_like_classes(files.unread))):
        # a table of scans may be anything; a table beside pictures is of their labels
        reasons = [*(tables.unreadable if files.are_pictures else ()), *tables.unlabelled.values()]
        if reasons and not _is_known(folder):
            raise SegpipeError(reasons[0])
        return "mask"
    if not has_maps:
        return "class"
    if _is_known(folder):
        return "mask"
    raise SegpipeError(
        f"{folder}: has a folder for each of {shown(classes.names)}, which may be classes, and files that are label "
        "maps by their names; say which counts: --target class, or --target mask"
    )


def _of_table(table: Path, folder: Path) -> Target | None:
    """Return the target that a table tells."""
    files = image_files(folder, strict=False)
    rows = rows_of_labels(table, files)
    has_maps = has_label_maps_column(table, folder)
    columns = label_columns(rows, files, table)
    if columns is None and not has_maps and not names_label_maps(rows):
        raise SegpipeError(why_no_labels(rows, files, table))
    if columns is None or (has_maps and columns.label is None):
        return "mask"
    if has_maps:
        raise SegpipeError(
            f"{table}: has a column of label maps, and one of {columns.target}; say which counts: --target mask, or "
            f"--target {columns.target}"
        )
    return columns.target


def _is_known(folder: Path) -> bool:
    """Return whether a folder has the layout of a public data set with label maps."""
    scans = [(scan, scan.path.relative_to(folder).as_posix()) for scan in look_for_scans(folder).scans]
    return known_layout(folder, scans) is not None
