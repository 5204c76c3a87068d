"""A user's table of coded terms: for classes whose bundle has none, such as a bundle of the model zoo."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from segpipe.coded_terms import COLUMNS, CodedTerm, SegmentCodes, codes_of_row
from segpipe.csv_files import NoTableError, read_csv
from segpipe.documents import DocumentError, parse_yaml, read_document
from segpipe.errors import SegpipeError, shown
from segpipe.known_terms import listed_term
from segpipe.labels import LabelTable, same_name

_CLASS = "class"
_TABLES, _LISTS = (".csv",), (".yaml", ".yml", ".json")
_TERM = re.compile(r"(?P<scheme>[^:]+):(?P<code>[^:]+):(?P<meaning>.+)")


def read_segment_codes(path: Path) -> dict[str, SegmentCodes]:
    """Read a table of coded terms.

    Args:
        path: CSV with the columns class, category, type and, if wanted, modifier; or YAML or JSON, a list of such rows.
            A term is a code of SNOMED CT (`78961009`), SCHEME:CODE, a term as DICOM PS3.16 has it (`Spleen`), or
            SCHEME:CODE:MEANING for a code that DICOM does not list.

    Returns:
        Class as the file has it -> codes.

    Raises:
        SegpipeError: the file cannot be read, lacks a column, repeats a class, or has a term that is not known.
    """
    found: dict[str, SegmentCodes] = {}
    for number, row in enumerate(_rows(path), start=1):
        where = f"{path}: row {number}"
        known = {_CLASS, *COLUMNS}
        if not isinstance(row, Mapping) or not {_CLASS, *COLUMNS[:2]} <= set(row) <= known:
            raise SegpipeError(
                f"{where} is {row!r:.80}; must have {_CLASS}, {COLUMNS[0]}, {COLUMNS[1]} and, if wanted, {COLUMNS[2]}"
            )
        cells = {column: str(value).strip() for column, value in row.items() if value not in (None, "")}
        name = cells.pop(_CLASS, "")
        if not name or same_name(name) in map(same_name, found):
            raise SegpipeError(
                f"{where}: class {name!r} {'is there twice' if name else 'is empty'}; correct it"
            )
        terms = {
            column: _term(text, column, f"{where} ({name}): {column}").to_json()
            for column, text in cells.items()
        }
        codes = codes_of_row(terms, f"{where} ({name})")
        if codes is None:
            raise SegpipeError(
                f"{where} ({name}): has neither category nor type; add both, or remove the row"
            )
        found[name] = codes
    return found


def with_segment_codes(labels: LabelTable, path: Path) -> LabelTable:
    """Return a label table with the codes of a user's table, which replace those of the bundle.

    Args:
        labels: of the bundle.
        path: see `read_segment_codes`; its classes are classes or regions of the bundle, in any case.

    Raises:
        SegpipeError: see `read_segment_codes`; or a class is none of the bundle's.
    """
    table = read_segment_codes(path)
    given = {same_name(name): codes for name, codes in table.items()}
    segments = {same_name(target.name) for target in labels.targets}
    unknown = [name for name in table if same_name(name) not in segments]
    if unknown:
        raise SegpipeError(
            f"{path}: {shown(unknown)}: no such segment in the bundle, whose segments are "
            f"{shown(labels.target_names)}; correct the name, or remove the row"
        )
    if labels.regions:
        regions = tuple(
            replace(one, codes=given.get(same_name(one.name), one.codes)) for one in labels.regions
        )
        return replace(labels, regions=regions)
    rows = tuple(
        replace(row, codes=given.get(same_name(row.name), row.codes)) if row.index else row
        for row in labels.labels
    )
    return replace(labels, labels=rows)


def _rows(path: Path) -> list[Any]:
    """Return the rows of a file."""
    suffix = path.suffix.lower()
    if suffix not in (*_TABLES, *_LISTS):
        raise SegpipeError(
            f"{path}: a table of codes must be one of: {', '.join((*_TABLES, *_LISTS))}; rename the file"
        )
    try:
        if suffix in _TABLES:
            return list(read_csv(path, (_CLASS, *COLUMNS[:2])))
        content = parse_yaml(read_document(path))[1]
    except NoTableError as error:
        raise SegpipeError(
            f"{path}: {error}; a table of codes has the columns {_CLASS}, {', '.join(COLUMNS[:2])}"
        ) from error
    except DocumentError as error:
        raise SegpipeError(f"{path}: {error}") from error
    if not isinstance(content, list):
        raise SegpipeError(f"{path}: must be a list of rows with {_CLASS}, {', '.join(COLUMNS[:2])}")
    return content


def _term(text: str, column: str, where: str) -> CodedTerm:
    """Return the term of a cell."""
    whole = _TERM.fullmatch(text)
    if whole is not None:
        return CodedTerm(whole["code"], whole["scheme"], whole["meaning"])
    term = listed_term(text, column)
    if term is None:
        raise SegpipeError(
            f"{where} is {text!r}, which DICOM's dictionary does not list; give a code of SNOMED CT that it lists, or "
            f"SCHEME:CODE:MEANING, such as SCT:95436008:Lung consolidation"
        )
    return term
