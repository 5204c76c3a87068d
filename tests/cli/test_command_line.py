"""The command line shows its help at once, a refusal as one message, and a defect as a traceback."""

import subprocess
import sys

import pytest
import typer
from typer.testing import CliRunner

import segpipe
from segpipe.cli import app
from segpipe.errors import SegpipeError


@pytest.mark.parametrize("option", ["--version", "-V"])
def test_version(option):
    result = CliRunner().invoke(app, [option])

    assert (result.exit_code, result.stdout) == (0, f"segpipe {segpipe.__version__}\n")


def test_help_lists_the_commands():
    result = CliRunner().invoke(app, ["--help"])

    assert result.exit_code == 0
    for command in ("phantoms", "data", "check", "train", "evaluate", "predict"):
        assert command in result.stdout


def test_help_needs_neither_torch_nor_monai():
    """Importing torch and MONAI makes help slow; a count of modules does not depend on the load."""
    heavy = "{'torch', 'monai', 'ignite', 'SimpleITK', 'nibabel', 'numpy', 'matplotlib'}"
    code = f"import segpipe.cli, sys; print({heavy} & set(sys.modules))"

    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert result.stdout == "set()\n"


def test_unknown_command_is_a_usage_error():
    assert CliRunner().invoke(app, ["segment"]).exit_code == 2


def failing_app(error):
    """The program's error handling around a command that fails."""
    frame = typer.Typer(cls=app.info.cls, pretty_exceptions_enable=False)

    @frame.callback()
    def options():
        pass

    @frame.command()
    def fail():
        raise error

    return frame


def test_a_refusal_has_no_line_of_a_name():
    """A message may have several lines; a name in the message neither starts a line nor moves the cursor."""
    error = SegpipeError("2 scans failed:", "a\n16 scans: 16 done\x1b[1A: cut short")

    result = CliRunner().invoke(failing_app(error), ["fail"])

    assert result.stderr == "segpipe: 2 scans failed:\na\\n16 scans: 16 done\\x1b[1A: cut short\n"


def test_a_refusal_is_one_message():
    result = CliRunner().invoke(failing_app(SegpipeError("a: broken; mend it")), ["fail"])

    assert (result.exit_code, result.stdout) == (2, "")
    assert result.stderr == "segpipe: a: broken; mend it\n"


def test_a_defect_keeps_its_exception():
    with pytest.raises(ZeroDivisionError):
        CliRunner().invoke(failing_app(ZeroDivisionError()), ["fail"], catch_exceptions=False)
