"""The label table of the bundle that runs, read as data only: MONAI must not evaluate a class name."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from monai.bundle import ReferenceResolver

from segpipe.bundle.running import running_parser
from segpipe.errors import SegpipeError
from segpipe.labels import LabelTable, load_label_table
from segpipe.monai_run import refusal_ends_run


@refusal_ends_run()
def label_table(
    metadata: str | Path | None = None, rows: Sequence[Mapping[str, Any]] | None = None
) -> LabelTable:
    """Return a bundle's label table from its metadata.json, read here so that MONAI evaluates no class name.

    Args:
        metadata: path of the bundle's metadata.json. A program that has read the metadata itself, as MONAI's run does,
            does not need the file.
        rows: rows of a known table, see `LabelTable.from_rows`; bundles of earlier versions get them from MONAI.

    Raises:
        SegpipeError: the file is missing, `LabelTable` refuses the table, or it differs from the run's metadata.
    """
    if rows is not None:
        return LabelTable.from_rows(rows)
    path = Path(metadata or "configs/metadata.json")
    parser = running_parser()
    known = parser.get(parser.meta_key, {})
    if known.get("label_table") is None:
        return load_label_table(path)
    of_run = LabelTable.from_metadata(known)
    if not path.is_file():
        return of_run
    table = load_label_table(path)
    if _classes(table) != _classes(of_run):
        raise SegpipeError(
            f"{path}: its classes are {', '.join(table.names)}; the metadata that this run has read name "
            f"{', '.join(of_run.names)}; give --bundle_root the folder of the bundle that runs"
        )
    return table


def identity_rows(table: LabelTable) -> list[dict[str, Any]]:
    """Return the rows that weights remember: the classes, then the regions with the value that each is written as.

    Codes are left out: they change neither what the network computes nor the label map.
    """
    regions = [
        {
            "index": table.num_classes + place,
            "name": region.name,
            "value": table.values[region.written],
            "classes": list(region.classes),
        }
        for place, region in enumerate(table.regions)
    ]
    rows = [replace(label, codes=None).to_json() for label in table.labels]
    return [*rows, *regions]


def _classes(
    table: LabelTable,
) -> tuple[list[tuple[str, int]], list[tuple[str, tuple[int, ...], int]], int | None]:
    """Return names and values; names are in the form that MONAI gives them when it reads metadata."""
    known = ReferenceResolver.normalize_id
    return (
        [(known(label.name), label.value) for label in table.labels],
        [(known(region.name), region.classes, region.written) for region in table.regions],
        table.ignore_value,
    )
