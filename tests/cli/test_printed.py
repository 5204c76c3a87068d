r"""The output of commands holds no escape sequence, forged line or markup from a name."""

import os
import subprocess
import sys

import pytest
from typer.testing import CliRunner

from segpipe.cli import app
from segpipe.cli.printed import print_table, say

FORGED = "x\n16 scans: 16 done\x1b[2K"


def test_a_line_stays_one_line(capsys):
    say(f"{FORGED}: bad", "and more")
    say(FORGED, err=True, bold=True)

    out, err = capsys.readouterr()
    assert out == "x\\n16 scans: 16 done\\x1b[2K: bad\nand more\n"
    assert err == "x\\n16 scans: 16 done\\x1b[2K\n"


@pytest.mark.parametrize("err", [False, True])
def test_names_in_a_table_are_text(capsys, monkeypatch, err):
    monkeypatch.setenv("COLUMNS", "120")

    print_table(["class", "[bold]x\x1b"], [["[red]a[/]:smile:", ["1", FORGED]]], title="[i]2\x1b", err=err)

    shown = capsys.readouterr()[err]
    assert "\x1b" not in shown
    for text in ("[bold]x\\x1b", "[red]a[/]:smile:", "x\\n16 scans: 16 done\\x1b[2K", "[i]2\\x1b"):
        assert text in shown
    assert not [line for line in shown.splitlines() if line.startswith("16 scans")]


@pytest.mark.parametrize("encoding", ["utf-8", "ascii", "latin-1"])
def test_any_name_prints_on_any_terminal(encoding):
    """The names have bytes that are no UTF-8, and letters outside the encoding; click writes UTF-8 for ASCII."""
    code = (
        "import os, segpipe.cli as cli; from segpipe.cli.printed import say; "
        "name = os.fsdecode(b'caf\\xff\\xe8\\x85\\xab'); "
        "cli.app = lambda: (say(name), say(name, err=True)); cli.main()"
    )
    environment = {**os.environ, "LC_ALL": "C", "PYTHONIOENCODING": encoding}

    done = subprocess.run([sys.executable, "-c", code], capture_output=True, env=environment, check=True)

    letter = b"\\u816b" if encoding == "latin-1" else "腫".encode()
    assert done.stdout == done.stderr == b"caf\\udcff" + letter + b"\n"


QUOTING = """
import logging, sys, warnings
import segpipe.cli as cli
def quote():
    warnings.warn("tag \\x1b[31m\\nforged")
    logging.getLogger("library").warning("file \\x1b[31m\\nforged")
    raise RuntimeError("name \\x1b[31m")
cli.app = quote
cli.main()
"""


def test_what_libraries_say_of_files_is_shown_escaped():
    """pydicom quotes tags in its warnings; a defect keeps its traceback."""
    done = subprocess.run([sys.executable, "-c", QUOTING], capture_output=True, text=True, check=False)

    assert (done.returncode, done.stdout) == (1, "")
    assert "\x1b" not in done.stderr
    assert r"UserWarning: tag \x1b[31m\nforged" in done.stderr
    assert r"file \x1b[31m\nforged" in done.stderr
    assert "Traceback (most recent call last):" in done.stderr
    assert done.stderr.endswith("RuntimeError: name \\x1b[31m\n")


@pytest.mark.parametrize(
    "wrong",
    [
        ["--\x1b[31m.nii.gz"],
        ["compare", "a", "b", "c\x1b[31m\nforged"],
        ["no\x1b[31m"],
        ["predict", "\x1b[31m"],
    ],
)
def test_a_wrong_argument_is_shown_escaped(wrong):
    """A shell may expand a file's name into an argument."""
    result = CliRunner().invoke(app, wrong)

    assert result.exit_code == 2
    assert "\x1b" not in result.output
