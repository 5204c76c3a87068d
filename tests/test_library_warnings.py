"""Warnings of libraries go to the log of a run; segpipe's own are printed."""

import logging
import sys
import warnings

import pytest

from segpipe.disk import log_to
from segpipe.library_warnings import held_library_warnings, library_warnings_to

OWN = str(sys.modules["segpipe.disk"].__file__)


def warn(text, filename="/site-packages/a_library/reader.py"):
    warnings.warn_explicit(text, UserWarning, filename, 7, registry={})


@pytest.fixture
def printed(monkeypatch):
    """Return what reaches `warnings.showwarning`, as (message, file)."""
    shown = []
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        monkeypatch.setattr(
            warnings, "showwarning", lambda message, _, file, *__: shown.append((str(message), file))
        )
        yield shown


def test_earlier_and_later_warnings_of_libraries_are_in_the_log_once(tmp_path, printed, capsys):
    with held_library_warnings():
        warn("no fast reader")
        with log_to(tmp_path / "predict.log") as log, library_warnings_to(log):
            warn("a default has changed")
            warn("no fast reader")

    lines = (tmp_path / "predict.log").read_text().splitlines()
    assert [line.partition("WARNING ")[2] for line in lines] == [
        "a library warns: /site-packages/a_library/reader.py:7: UserWarning: no fast reader",
        "a library warns: /site-packages/a_library/reader.py:7: UserWarning: a default has changed",
    ]
    assert (printed, capsys.readouterr()) == ([], ("", ""))


def test_segpipes_own_warnings_are_printed(printed):
    with held_library_warnings():
        warn("weights without a sidecar", OWN)

    assert printed == [("weights without a sidecar", OWN)]


def test_a_library_without_a_log_handler_is_held_and_segpipe_is_not(tmp_path, monkeypatch, capsys):
    last = logging.StreamHandler(sys.stderr)
    last.setLevel(logging.WARNING)
    monkeypatch.setattr(logging, "lastResort", last)
    monkeypatch.setattr(logging.getLogger(), "handlers", [])  # pytest's own
    with held_library_warnings(), log_to(tmp_path / "predict.log") as log, library_warnings_to(log):
        logging.getLogger("a_library.plugins").warning("no plugin")
        logging.getLogger("segpipe.bundle").warning("ranges of an earlier version")

    assert "a library warns: a_library.plugins: no plugin" in (tmp_path / "predict.log").read_text()
    assert capsys.readouterr().err == "ranges of an earlier version\n"
    assert logging.lastResort is last


@pytest.mark.parametrize(
    ("options", "expected"),
    [([], ""), (["default"], "/site-packages/a_library/reader.py:7: UserWarning: no fast reader\n")],
)
def test_without_a_log_they_are_printed_only_if_asked_for(options, expected, printed, monkeypatch, capsys):
    monkeypatch.setattr(sys, "warnoptions", options)
    with held_library_warnings():
        warn("no fast reader")

    assert capsys.readouterr().err == expected
    assert printed == []
