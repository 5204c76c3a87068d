"""Coded terms of a class: what DICOM SEG says about a segment besides its name, in SNOMED CT or DICOM's own codes."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from segpipe.errors import SegpipeError
from segpipe.names import name_problem

COLUMNS = ("category", "type", "modifier")
"""Columns of a label table's row, or a region's; the third is optional."""
_KEYS = ("code", "scheme", "meaning")
_LONGEST = {"code": 16, "scheme": 16, "meaning": 64}  # characters of DICOM's SH and LO


@dataclass(frozen=True)
class CodedTerm:
    """One coded term.

    Attributes:
        code: such as 91723000; up to 16 characters.
        scheme: coding scheme designator: SCT for SNOMED CT, DCM for DICOM's own terms; up to 16 characters.
        meaning: text of the term, such as Anatomical Structure; up to 64 characters.
    """

    code: str
    scheme: str
    meaning: str

    def to_json(self) -> dict[str, str]:
        """Return the term as metadata.json has it."""
        return {"code": self.code, "scheme": self.scheme, "meaning": self.meaning}


@dataclass(frozen=True)
class SegmentCodes:
    """The codes of one class or region.

    Attributes:
        category: segmented property category, such as Anatomical Structure (DICOM PS3.16, CID 7150).
        type: segmented property type, such as Spleen (CID 7151).
        modifier: of the type, such as Left; None without.
    """

    category: CodedTerm
    type: CodedTerm
    modifier: CodedTerm | None = None

    @property
    def text(self) -> str:
        """The type, with its modifier and its code."""
        modifier = f", {self.modifier.meaning}" if self.modifier else ""
        return f"{self.type.meaning}{modifier}, {self.type.scheme} {self.type.code}"

    def to_json(self) -> dict[str, dict[str, str]]:
        """Return the columns of a row, without an empty one."""
        terms = zip(COLUMNS, (self.category, self.type, self.modifier), strict=True)
        return {column: term.to_json() for column, term in terms if term is not None}


def codes_of_row(row: Mapping[str, Any], where: str) -> SegmentCodes | None:
    """Return the codes of a row of a label table, or of a region; None for a row without them.

    Args:
        row: `{"category": {"code": "91723000", "scheme": "SCT", "meaning": "Anatomical Structure"}, "type": {...}}`
            beside other entries.
        where: place of the row, for messages.

    Raises:
        SegpipeError: category or type is missing beside the other; or a term is not three short texts.
    """
    terms = {column: _term(row[column], f"{where}: {column}") for column in COLUMNS if column in row}
    if not terms:
        return None
    lacking = [column for column in COLUMNS[:2] if column not in terms]
    if lacking:
        raise SegpipeError(
            f"{where}: has {', '.join(terms)} without {' and '.join(lacking)}; add what is missing, or take all out"
        )
    return SegmentCodes(terms["category"], terms["type"], terms.get("modifier"))


def _term(value: object, where: str) -> CodedTerm:
    if (
        not isinstance(value, Mapping)
        or set(value) != set(_KEYS)
        or not all(isinstance(value[key], str) and value[key].strip() for key in _KEYS)
    ):
        raise SegpipeError(
            f"{where} is {value!r:.120}, must be {{...}} with the texts {', '.join(_KEYS)}, such as "
            '{"code": "91723000", "scheme": "SCT", "meaning": "Anatomical Structure"}'
        )
    for key, longest in _LONGEST.items():
        text = value[key]
        problem = name_problem(text)
        if problem is None and (len(text) > longest or "\\" in text):
            problem = f"has {len(text)} characters; DICOM allows {longest}, none of them a backslash"
        if problem is not None:
            raise SegpipeError(f"{where}: {key} {text!r:.120} {problem}")
    if not re.fullmatch(r"[!-~]+", value["code"]):
        raise SegpipeError(f"{where}: code {value['code']!r} must be letters and digits without spaces")
    return CodedTerm(value["code"], value["scheme"], value["meaning"])
