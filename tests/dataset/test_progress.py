"""The progress bar goes to a terminal only, and never into a program's output."""

import sys

import pytest

from segpipe.dataset.progress import with_progress


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
