"""A crash of OpenVINO happens in a process of its own, once, and PyTorch computes instead."""

import os
import subprocess
import sys
from types import SimpleNamespace

import pytest
import torch

from segpipe.inference.engines import names, trial, trial_child
from segpipe.inference.engines.cache import EngineCache
from segpipe.inference.engines.choice import EngineChoice
from segpipe.inference.engines.names import Way
from segpipe.inference.engines.trial import verdict_of

needs_openvino = pytest.mark.skipif(not names.is_installed("openvino"), reason="openvino is not installed")
WINDOW = torch.linspace(-1, 1, 64).reshape(1, 1, 4, 4, 4)
CRASH = "import os, signal; os.kill(os.getpid(), signal.SIGSEGV)"
FOUND = "OpenVINO crashes on this network (signal 11, SIGSEGV), as a trial in a process of its own found"


@pytest.fixture
def program(monkeypatch, tmp_path):
    """Return a function that sets the program of the trial."""

    def replaced(text):
        path = tmp_path / "stand_in.py"
        path.write_text(text)
        monkeypatch.setattr(trial, "_PROGRAM", path)

    return replaced


@pytest.fixture
def counted(monkeypatch):
    """Return a list that gets the verdict of each trial."""
    verdicts = []

    def tried(*arguments):
        verdicts.append(verdict_of(*arguments))
        return verdicts[-1]

    monkeypatch.setattr(trial, "verdict_of", tried)
    return verdicts


@pytest.fixture
def chosen(tmp_path):
    """Return a function that opens a small network in OpenVINO, and returns the way and the messages."""

    def opened(**cache):
        torch.manual_seed(0)
        said = []
        kept = EngineCache(tmp_path / "cache", said.append, **cache)
        network = torch.nn.Conv3d(1, 2, 3, padding=1).eval()
        choice = EngineChoice(network, "identity", "openvino", "float32", said.append, kept)
        scores, way = choice.opened(WINDOW, 1, 10)
        with torch.inference_mode():
            assert torch.allclose(scores(WINDOW), network(WINDOW), atol=1e-5)
        return way, said

    return opened


@needs_openvino
def test_a_crash_is_reported_and_pytorch_computes_and_the_next_run_does_not_try_again(
    program, counted, chosen, monkeypatch
):
    program(CRASH)
    expected = (
        Way("torch", "float32"),
        [f"computing with torch in float32 instead of openvino: {FOUND}"],
    )

    assert chosen() == expected
    from segpipe.inference.engines import openvino_engine

    monkeypatch.setattr(openvino_engine, "_converted", None)  # nothing is converted either
    assert chosen() == expected
    assert counted == [(FOUND, True)] * 2  # the second one without snippets


@needs_openvino
def test_a_network_that_computes_is_tried_once_for_a_processor(counted, chosen, monkeypatch):
    assert chosen() == chosen() == (Way("openvino", "float32"), [])
    assert counted == [("computes", True)]

    monkeypatch.setattr(trial, "processor_name", lambda: "another")
    monkeypatch.setattr(trial, "verdict_of", lambda *_: (FOUND, True))
    assert chosen()[0] == Way("torch", "float32")  # the converted network is in the cache, the verdict is not


@needs_openvino
def test_what_crashes_with_snippets_alone_is_computed_without_them(program, counted, chosen):
    program(f"import sys\nif 'SNIPPETS_MODE' not in sys.argv[2]:\n    {CRASH}")

    assert chosen() == chosen() == (Way("openvino", "float32"), [])
    assert counted == [(FOUND, True), ("computes", True)]


@needs_openvino
def test_a_trial_that_was_ended_from_outside_is_made_again(program, counted, chosen):
    program("import os, signal; os.kill(os.getpid(), signal.SIGKILL)")

    for _ in range(2):
        way, (message,) = chosen()
        assert way == Way("torch", "float32")
        assert message.endswith("was ended from outside (signal 9, SIGKILL), perhaps for lack of memory")
    assert len(counted) == 2


@pytest.mark.parametrize(
    ("text", "expected", "is_lasting"),
    [
        ("", "computes", True),
        ("raise SystemExit(3)", "computes", False),  # the engine meets the same exception
        ("import os; os.abort()", "OpenVINO crashes on this network (signal 6, SIGABRT)", True),
        ("raise ImportError('no numbers')", "exit code 1 (ImportError: no numbers)", False),
        ("import sys; sys.exit(5)", "exit code 5 (without a message)", False),
        ("import time; time.sleep(60)", "OpenVINO took more than 1 s to compile it and to compute", True),
    ],
)
def test_verdicts(program, monkeypatch, text, expected, is_lasting):
    program(text)
    monkeypatch.setattr(trial, "_LONGEST_S", 1.0 if "sleep" in text else 60.0)

    verdict, lasts = verdict_of(b"", b"", {})

    assert (expected in verdict, lasts) == (True, is_lasting)


def test_an_exception_of_windows_is_a_crash(monkeypatch):
    done = SimpleNamespace(returncode=0xC0000005, stderr="")
    monkeypatch.setattr(trial.subprocess, "run", lambda *_, **__: done)

    assert verdict_of(b"", b"", {}) == (FOUND.replace("signal 11, SIGSEGV", "0xc0000005"), True)


def test_a_system_that_starts_no_process_refuses(monkeypatch):
    def none(*_, **__):
        raise BlockingIOError(11, os.strerror(11))

    monkeypatch.setattr(trial.subprocess, "run", none)

    verdict, lasts = verdict_of(b"", b"", {})

    assert verdict.startswith("no process could be started to try OpenVINO in (")
    assert not lasts


@needs_openvino
def test_the_program_imports_neither_pytorch_nor_segpipe_and_refuses_a_damaged_file(tmp_path):
    (tmp_path / "network.xml").write_text("<net/>")
    text = (
        f"import runpy, sys; sys.argv[1:] = [{str(tmp_path / 'network.xml')!r}, '{{}}']\n"
        f"try: runpy.run_path({trial_child.__file__!r}, run_name='__main__')\n"
        "finally: print([name for name in ('torch', 'segpipe', 'openvino') if name in sys.modules])"
    )

    done = subprocess.run([sys.executable, "-P", "-c", text], capture_output=True, text=True, check=False)

    assert (done.returncode, done.stdout) == (trial_child.REFUSED, "['openvino']\n")


@pytest.mark.slow
@needs_openvino
def test_a_residual_encoder_is_computed_by_openvino_and_gives_the_same_scores(tmp_path):
    """OpenVINO 2026.4 crashes on it while it compiles, unless snippets are off."""
    from segpipe.networks import ResidualEncoderUNet

    torch.manual_seed(0)
    network = ResidualEncoderUNet(1, 3, (16, 32, 64), (1, 1, 2)).eval()
    window, said = torch.randn(1, 1, 32, 48, 40), []
    cache = EngineCache(tmp_path / "cache", said.append)

    scores, way = EngineChoice(network, "a", "openvino", "float32", said.append, cache).opened(window, 1, 10)

    assert (way, said) == (Way("openvino", "float32"), [])
    with torch.inference_mode():
        assert torch.allclose(scores(window), network(window), atol=1e-4)
