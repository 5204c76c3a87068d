"""Records that a program gives a training in place of a manifest's cases, as MONAI Label does."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from segpipe.dataset.manifest import Case, Manifest, Split
from segpipe.errors import SegpipeError
from segpipe.labels import IGNORE, LabelTable
from segpipe.volumes.formats import suffix_format

GIVEN = "given"
"""Name of the split of given records, in the sidecar of weights that were trained on them."""

_REMEDY = "give each record as {image: PATH, label: PATH}"


def case_name(record: Mapping[str, Any]) -> str:
    """Return the name of a record's case: its `case`, else the name of its first image file without the suffix."""
    if "case" in record:
        return str(record["case"])
    first = next(iter(_paths(record.get("image"))), "")
    known = suffix_format(Path(first))
    return Path(first).name.removesuffix(known[1] if known else "")


def given_manifest(
    train: Sequence[Mapping[str, Any]],
    validation: Sequence[Mapping[str, Any]],
    labels: LabelTable,
    modality: Sequence[str],
) -> tuple[Manifest, Path]:
    """Describe given records as a manifest, so that they are checked as any training cases are.

    Args:
        train: records to train on: `image` (a path, or one path a channel), `label` (a path), and optionally `case`.
            The label maps store the values of the label table.
        validation: records to validate with, in the same form; may be empty.
        labels: the bundle's label table.
        modality: name of each channel.

    Returns:
        the manifest, whose split `GIVEN` divides the cases if there are records to validate with, and the folder in
        which its paths begin.

    Raises:
        SegpipeError: there is no record to train on, or a record lacks an image or a label map.
    """
    if not train:
        raise SegpipeError(
            "train#dataset#data: no record to train on; label some scans first, or give a manifest"
        )
    parts = {"train": list(train), "validate": list(validation)}
    files = [
        file for part, records in parts.items() for number, record in enumerate(records)
        for file in _files(record, f"{part}#dataset#data#{number}")
    ]  # fmt: skip
    folder = Path(os.path.commonpath([Path(file).absolute().parent for file in files]))
    names = _distinct([case_name(record) for records in parts.values() for record in records])
    cases = tuple(
        Case(
            next(names),
            tuple(_below(folder, path) for path in _paths(record["image"])),
            label=_below(folder, record["label"]),
        )
        for records in parts.values()
        for record in records
    )
    ids = tuple(case.case for case in cases)
    split = Split(ids[: len(train)], ids[len(train) :], about="records that a program gave")
    stored = {label.value: label.name for label in labels.labels}
    if labels.ignore_value is not None:
        stored[labels.ignore_value] = IGNORE
    manifest = Manifest(
        name="given records",
        modality=tuple(modality),
        labels=stored,
        training=cases,
        splits={GIVEN: split} if validation else {},
    )
    return manifest, folder


def _files(record: Any, where: str) -> list[str]:
    if not isinstance(record, Mapping) or not _paths(record.get("image")) or not record.get("label"):
        raise SegpipeError(f"{where}: {record!r:.120} is no record of a scan and its label map; {_REMEDY}")
    return [*_paths(record["image"]), str(record["label"])]


def _paths(image: Any) -> list[str]:
    if isinstance(image, str | Path):
        return [str(image)]
    return [str(path) for path in image] if isinstance(image, list | tuple) else []


def _below(folder: Path, path: str | Path) -> str:
    return Path(path).absolute().relative_to(folder).as_posix()


def _distinct(names: Sequence[str]) -> Iterator[str]:
    """Yield the names; a name that came before gets a number."""
    seen: Counter[str] = Counter()
    for name in names:
        seen[name] += 1
        yield name if seen[name] == 1 else f"{name}_{seen[name]}"
