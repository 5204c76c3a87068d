"""The end of MONAI's run by a refusal, and the error that any other program gets."""

import subprocess
import sys

import pytest

from segpipe import monai_run
from segpipe.errors import SegpipeError, segpipe_cause
from segpipe.monai_run import RunEnded, is_monai_run, refusal_ends_run


@pytest.fixture
def monais(monkeypatch):
    """Let this process appear as MONAI's run."""
    monkeypatch.setattr(monai_run, "is_monai_run", lambda: True)


def wrapped():
    """Raise an error as MONAI does around a transform's refusal."""
    try:
        raise SegpipeError("case_1: NaN")
    except SegpipeError as error:
        raise RuntimeError("applying transform") from error


@pytest.mark.usefixtures("monais")
def test_a_refusal_ends_the_process_with_its_message():
    with pytest.raises(SystemExit) as ended, refusal_ends_run():
        raise SegpipeError("case_1: label is missing")

    assert ended.value.code == "segpipe: case_1: label is missing"


@pytest.mark.usefixtures("monais")
def test_a_refusal_that_monai_wrapped_is_found():
    with pytest.raises(RunEnded) as ended, refusal_ends_run():
        wrapped()

    assert ended.value.code == "segpipe: case_1: NaN"


def test_another_program_catches_the_refusal_with_its_reason():
    with pytest.raises(SegpipeError, match=r"^case_1: label is missing$"), refusal_ends_run():
        raise SegpipeError("case_1: label is missing")
    with pytest.raises(RuntimeError) as raised, refusal_ends_run():
        wrapped()
    assert str(segpipe_cause(raised.value)) == "case_1: NaN"


@pytest.mark.usefixtures("monais")
def test_any_other_exception_passes_as_it_is():
    with pytest.raises(ZeroDivisionError), refusal_ends_run():
        raise ZeroDivisionError

    assert segpipe_cause(ZeroDivisionError()) is None


def test_a_log_does_not_repeat_the_message():
    assert str(RunEnded("segpipe: case_1: bad")) == "refused, for the reason below"


def test_this_process_is_no_run_of_monais():
    assert not is_monai_run()


@pytest.mark.parametrize("module", ["monai.bundle", "monai.bundle.__main__"])
def test_the_message_is_printed_once_and_the_status_is_1(tmp_path, module):
    """The test starts a process whose main program has the name of MONAI's."""
    code = (
        "import sys\n"
        "from importlib.machinery import ModuleSpec\n"
        f"sys.modules['__main__'].__spec__ = ModuleSpec({module!r}, None)\n"
        "from segpipe.errors import SegpipeError\n"
        "from segpipe.monai_run import refusal_ends_run\n"
        "with refusal_ends_run(): raise SegpipeError('case_1: bad')\n"
    )

    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)

    assert (done.returncode, done.stdout, done.stderr) == (1, "", "segpipe: case_1: bad\n")
