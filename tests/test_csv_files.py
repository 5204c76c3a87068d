r"""segpipe's tables are safe in a spreadsheet, and every text comes back exactly."""

import csv
import io
import math
import os

import pytest
from hypothesis import given
from hypothesis import strategies as st

from segpipe.csv_files import NoTableError, csv_text, protected, read_csv, unprotected
from segpipe.errors import SegpipeError


def cells(text):
    return list(csv.reader(io.StringIO(text)))


CELLS = {
    "formula": ("=cmd|' /C calc'!A0", "'=cmd|' /C calc'!A0"),
    "plus": ("+1+1", "'+1+1"),
    "minus": ("-2+3", "'-2+3"),
    "a name of a number": ("-3", "'-3"),
    "at": ("@SUM(1+1)", "'@SUM(1+1)"),
    "full width": ("\uff1d1+1", "'\uff1d1+1"),
    "behind a space": (" =1", "' =1"),
    "tab": ("\t=1", "\\t=1"),
    "carriage return": ("\r@a", "\\r@a"),
    "prefixed already": ("'=1", "''=1"),
    "twice": ("''-1", "'''-1"),
    "a quote alone": ("'quoted'", "'quoted'"),
    "line end": ("a\nb", "a\\nb"),
    "escape sequence": ("\x1b[31m", "\\x1b[31m"),
    "looks like an escape": ("a\\x1b", "a\\\\x1b"),
    "backslash before an escape": ("\\\x1b", "\\\\\\x1b"),
    "backslash": ("a\\b", "a\\b"),
    "bytes that are no UTF-8": ("\udcff", "\\udcff"),
    "inside": ("a=b+c-d@e", "a=b+c-d@e"),
    "letters": ("Lésion 腫瘍", "Lésion 腫瘍"),
    "nothing": ("", ""),
}


@pytest.mark.parametrize(("text", "cell"), CELLS.values(), ids=CELLS)
def test_a_text_is_protected_and_comes_back(text, cell):
    assert cells(csv_text(["case"], [[text]])) == [["case"], [cell]]
    assert unprotected(cell) == text


TRICKY = st.text(st.sampled_from("'=+-@ \t\r\n\\nrtxuU01bf\x1b\u202e\udcffa,\""), max_size=12)


@given(st.one_of(TRICKY, st.text(st.characters(exclude_categories=()))))
def test_any_text_comes_back(text):
    cell = protected(text)

    assert unprotected(cell) == text
    assert cell.lstrip()[:1] not in tuple("=+-@")
    assert "\n" not in cell


@given(st.lists(st.tuples(TRICKY, st.floats()), min_size=1))
def test_a_whole_table_comes_back(tmp_path_factory, rows):
    path = tmp_path_factory.mktemp("table") / "t.csv"
    path.write_text(csv_text(["case", "@value"], rows, ".17g"), encoding="utf-8")

    table = read_csv(path, ["case", "@value"])

    assert [row["case"] for row in table] == [case for case, _ in rows]
    for row, (_, value) in zip(table, rows, strict=True):
        assert (row["@value"] == "") if math.isnan(value) else (float(row["@value"]) == value)


def test_numbers_stay_plain_numbers():
    text = csv_text(["a", "b", "c", "d", "e"], [[-3.5, -2, -math.inf, math.nan, None]])

    assert text == "a,b,c,d,e\n-3.5,-2,-inf,,\n"


def test_a_table_of_an_earlier_version_is_read(tmp_path):
    (tmp_path / "t.csv").write_text('case,dice\n=1+1,0.5\n"a\nb",-1\n\n')

    assert read_csv(tmp_path / "t.csv") == [{"case": "=1+1", "dice": "0.5"}, {"case": "a\nb", "dice": "-1"}]


@pytest.mark.parametrize("first", ["case", "\ufeffcase"])
def test_a_table_that_excel_saved_is_read(tmp_path, first):
    """Excel writes a byte order mark and ends lines with CR LF; a mark within a name stays."""
    text = csv_text([first, "dice"], [["a", 0.5]])
    (tmp_path / "table.csv").write_bytes(b"\xef\xbb\xbf" + text.replace("\n", "\r\n").encode())

    assert read_csv(tmp_path / "table.csv", [first]) == [{first: "a", "dice": "0.5"}]


def test_a_missing_table_is_named_once(tmp_path):
    with pytest.raises(NoTableError, match=r"^cannot be read: No such file or directory$"):
        read_csv(tmp_path / "t.csv")


def test_a_pipe_is_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "t.csv")

    with pytest.raises(SegpipeError, match=r"t\.csv: is no regular file"):
        read_csv(tmp_path / "t.csv")


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"case\n\xff", "cannot be read"),
        (b'case\n"a', "cannot be read"),
        (b"", "has no column case"),
        (b"name\na", "has no column case"),
        (b"case,dice,dice\na,1,2", "has two columns of one name"),
        (b"case\na,b", "has rows of another length than its head"),
    ],
)
def test_what_is_no_table(tmp_path, content, reason):
    (tmp_path / "t.csv").write_bytes(content)

    with pytest.raises(NoTableError, match=reason):
        read_csv(tmp_path / "t.csv", ["case"])
