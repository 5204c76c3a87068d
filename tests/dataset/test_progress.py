"""The progress bar goes to a terminal only, and never into a program's output; a log file gets a line a minute."""

import logging
import sys
import time

import pytest

from segpipe.dataset.progress import time_in_words, with_progress


@pytest.mark.parametrize("show", [True, False])
def test_nothing_is_shown_where_there_is_no_terminal(show, capfd):
    assert list(with_progress(iter([3, 1]), "Loading", total=2, show=show)) == [3, 1]

    assert capfd.readouterr() == ("", "")


def test_a_bar_goes_to_stderr(monkeypatch, capsys):
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)

    assert list(with_progress([3, 1], "Loading cases")) == [3, 1]

    shown = capsys.readouterr()
    assert shown.out == ""
    assert "Loading cases" in shown.err


def test_a_log_file_gets_a_line_a_minute(monkeypatch, caplog):
    """Nine items of 25 s: a line after the third and the sixth item, with the time of those that are left."""
    seconds = [0.0]
    monkeypatch.setattr(time, "monotonic", lambda: seconds[0])

    with caplog.at_level(logging.INFO, logger="segpipe.dataset.progress"):
        for _ in with_progress(range(9), "Checking cases"):
            seconds[0] += 25

    assert caplog.messages == ["Checking cases: 3 of 9, 2 min left", "Checking cases: 6 of 9, 75 s left"]


def test_items_without_a_known_number_are_counted(monkeypatch, caplog):
    seconds = [0.0]
    monkeypatch.setattr(time, "monotonic", lambda: seconds[0])

    with caplog.at_level(logging.INFO, logger="segpipe.dataset.progress"):
        for _ in with_progress(iter("abc"), "Loading"):
            seconds[0] += 60

    assert caplog.messages == ["Loading: 1", "Loading: 2"]


@pytest.mark.parametrize(
    ("seconds", "words"), [(0.4, "0 s"), (99, "99 s"), (100, "2 min"), (5940, "99 min"), (12600, "3.5 h")]
)
def test_durations_in_words(seconds, words):
    assert time_in_words(seconds) == words
