"""How a run ends with the one message of a SegpipeError."""

import subprocess
import sys

import pytest

from segpipe.errors import RunEnded, SegpipeError, exit_with_message, segpipe_cause


def test_a_refusal_ends_the_process_with_its_message():
    with pytest.raises(SystemExit) as ended, exit_with_message():
        raise SegpipeError("case_1: label is missing")

    assert ended.value.code == "segpipe: case_1: label is missing"


def test_a_refusal_that_monai_wrapped_is_found():
    with pytest.raises(RunEnded) as ended, exit_with_message():  # noqa: PT012 - the wrapping is the subject
        try:
            raise SegpipeError("case_1: NaN")
        except SegpipeError as error:
            raise RuntimeError("applying transform") from error

    assert ended.value.code == "segpipe: case_1: NaN"


def test_any_other_exception_passes_as_it_is():
    with pytest.raises(ZeroDivisionError), exit_with_message():
        raise ZeroDivisionError

    assert segpipe_cause(ZeroDivisionError()) is None


def test_the_message_is_printed_once_and_the_status_is_1():
    code = "import segpipe.errors as e\nwith e.exit_with_message(): raise e.SegpipeError('case_1: bad')"

    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)

    assert (done.returncode, done.stdout, done.stderr) == (1, "", "segpipe: case_1: bad\n")


def test_a_log_does_not_repeat_the_message():
    assert str(RunEnded("segpipe: case_1: bad")) == "refused, for the reason below"
