r"""Names from users are shown everywhere as one line of visible characters."""

import io
import logging
import pickle

import pytest
from hypothesis import given
from hypothesis import strategies as st

from segpipe.errors import SegpipeError
from segpipe.monai_run import RunEnded, refusal_ends_run
from segpipe.printable import PrintableFormatter, printable, printable_output

HIDDEN = {
    "escape sequence": ("esc\x1b]0;PWN\x07\x1b[31mred", r"esc\x1b]0;PWN\x07\x1b[31mred"),
    "line end": ("x\n16 scans: 16 done", r"x\n16 scans: 16 done"),
    "carriage return": ("a\rb\tc", r"a\rb\tc"),
    "delete and C1": ("a\x7f\x9b31mb\x85", r"a\x7f\x9b31mb\x85"),
    "direction of text": ("\u202egpj.exe\u2066\u2069", r"\u202egpj.exe\u2066\u2069"),
    "zero width": ("a\u200bb\u200d\ufeff", r"a\u200bb\u200d\ufeff"),
    "line and paragraph separators": ("a\u2028b\u2029", r"a\u2028b\u2029"),
    "bytes that are no UTF-8": ("a\udcff", r"a\udcff"),
    "beyond the first plane": ("a\U000e0041", r"a\U000e0041"),
}


@pytest.mark.parametrize(("name", "shown"), HIDDEN.values(), ids=HIDDEN)
def test_what_is_not_visible_is_an_escape(name, shown):
    assert printable(name) == shown


@pytest.mark.parametrize(
    "name", ["Lésion ü", "e\u0301", "腫瘍", "ورم", "[red]a[/]", r"a\b", "50 %", "a\u00a0b", "🩻"]
)
def test_what_is_visible_stays(name):
    assert printable(name) == name


@given(st.text(st.characters(exclude_categories=())))
def test_any_text_is_one_line_that_can_be_printed(text):
    shown = printable(text)

    assert printable(shown) == shown
    assert shown.splitlines() in ([], [shown])
    shown.encode()


def test_a_message_holds_no_line_but_its_own():
    error = SegpipeError("2 scans failed:", "x\n16 scans: 16 done\x1b[2K")

    assert str(error) == "2 scans failed:\nx\\n16 scans: 16 done\\x1b[2K"
    assert str(pickle.loads(pickle.dumps(error))) == str(error)


def test_the_last_words_of_a_process_are_printable(monkeypatch):
    monkeypatch.setattr("segpipe.monai_run.is_monai_run", lambda: True)

    with pytest.raises(RunEnded) as ended, refusal_ends_run():
        raise SegpipeError("a\x1b: broken")

    assert ended.value.code == "segpipe: a\\x1b: broken"


def logged(write):
    stream = io.StringIO()
    handler = logging.StreamHandler(stream)
    handler.setFormatter(PrintableFormatter("%(levelname)s %(message)s"))
    log = logging.Logger("a")
    log.addHandler(handler)
    write(log)
    return stream.getvalue()


def test_a_name_forges_no_record_of_a_log():
    text = logged(lambda log: log.info("%s: done", "x\n2026-01-01 INFO case_2\x1b[1A"))

    assert text == "INFO x\\n2026-01-01 INFO case_2\\x1b[1A: done\n"


def test_a_traceback_in_a_log_is_indented():
    def write(log):
        try:
            raise ValueError("a\nERROR case_2: failed")
        except ValueError:
            log.exception("%s: failed", "case_1")

    first, *lines = logged(write).splitlines()

    assert first == "ERROR case_1: failed"
    assert lines[-2:] == ["    ValueError: a", "    ERROR case_2: failed"]
    assert all(line.startswith("    ") for line in lines)


def test_a_page_shows_names_as_they_are_printed_and_keeps_markup():
    class Drawing(str):
        __slots__ = ()

        def __html__(self):
            return self

    drawing = Drawing("<svg>\n</svg>")

    assert printable_output("a\x1b") == "a\\x1b"
    assert printable_output(drawing) is drawing
    assert printable_output(1.5) == 1.5
