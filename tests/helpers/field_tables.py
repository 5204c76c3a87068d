"""The tables of header fields in docs/reference/file_formats, row by row."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from segpipe.errors import SegpipeError
from segpipe.volumes import Volume, read_header, read_volume

PAGES = Path(__file__).parents[2] / "docs" / "reference" / "file_formats"
VERDICTS = {"used", "checked", "refused", "ignored"}


@dataclass(frozen=True)
class Reads:
    """The expected voxels and affine of a changed file."""

    array: np.ndarray
    affine: np.ndarray


Expected = Reads | str
"""A str is what the refusal must say."""


def rows(page: str) -> dict[str, str]:
    """Return field -> verdict of a page's table."""
    verdicts: dict[str, str] = {}
    for line in (PAGES / page).read_text(encoding="utf-8").splitlines():
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        if line.startswith("|") and cells[1] in VERDICTS:
            assert cells[0] not in verdicts, f"{cells[0]} stands twice"
            verdicts[cells[0]] = cells[1]
    assert verdicts, f"{page} has no table"
    return verdicts


def require_a_case_for_each_row(page: str, cases: dict[str, list[Expected]], original: Reads) -> None:
    """Require a test case for every field of a page, with the outcome that the verdict demands."""
    verdicts = rows(page)
    assert cases.keys() == verdicts.keys()
    for field, expected in cases.items():
        refused = [case for case in expected if isinstance(case, str)]
        read = [case for case in expected if not isinstance(case, str)]
        same = [case for case in read if case is original]
        wanted = {
            "used": len(read) > len(same) or bool(refused and same),
            "checked": bool(refused),
            "refused": bool(refused),
            "ignored": bool(same) and len(same) == len(expected),
        }
        assert wanted[verdicts[field]], f"{field} is {verdicts[field]}, its cases show something else"


def require(path: Path, expected: Expected, read: Callable[[Path], Volume] = read_volume) -> None:
    """Read a file and compare it with the expectation."""
    if isinstance(expected, str):
        with pytest.raises(SegpipeError) as caught:
            read(path)
        assert expected in str(caught.value), str(caught.value)
        return
    volume = read(path)
    np.testing.assert_array_equal(volume.array, expected.array)
    np.testing.assert_allclose(volume.grid.affine, expected.affine, atol=1e-6)
    assert read_header(path).grid == volume.grid
