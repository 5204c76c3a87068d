"""Tries a converted network in a process of its own: a crash of OpenVINO must not end the run."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from signal import Signals
from typing import Any

from segpipe.inference.engines import trial_child
from segpipe.inference.engines.engine import CannotComputeError, EngineJob
from segpipe.inference.engines.kept import cache_key
from segpipe.inference.engines.names import INT8, OPENVINO
from segpipe.inference.engines.threads import processor_name

_PROGRAM = Path(trial_child.__file__)
_LONGEST_S = 300.0
COMPUTES, _GOOD_WITHOUT = "computes", "computes without snippets"
_WITHOUT = {
    "SNIPPETS_MODE": "DISABLE"
}  # OpenVINO 2026.4's fusion of norms crashes on residual blocks with two norms
_GRAPH, _NUMBERS = "network.xml", "network.bin"
_CRASHES = ("SIGSEGV", "SIGABRT", "SIGBUS", "SIGILL", "SIGFPE", "SIGTRAP", "SIGSYS")
_CRASH = "OpenVINO crashes on this network"
_MOST_REASON = 200  # characters of another program's message


class EngineTrial:
    """The trial of a network in OpenVINO: once for a network, window, precision, version and processor.

    The verdict is a note in the job's cache, good or bad. A process that was ended from outside gives no verdict.

    Args:
        job: network and windows.
        precision: that OpenVINO computes in.
        settings: what OpenVINO compiles with.
    """

    def __init__(self, job: EngineJob, precision: str, settings: Mapping[str, Any]) -> None:
        self._cache, self._settings = job.cache, dict(settings)
        quantised = {} if precision != INT8 or job.quantised is None else {INT8: job.quantised.sha256}
        self._key = {
            **cache_key(job, OPENVINO),
            **quantised,
            "note": "trial",
            "precision": precision,
            "settings": self._settings,
            "instead": _WITHOUT,
            "processor": processor_name(),
        }

    def guarded(self, convert: Callable[[], dict[str, bytes]]) -> Callable[[], dict[str, bytes]]:
        """Return a conversion that is not begun where an earlier trial was bad."""

        def converted() -> dict[str, bytes]:
            self._refuse(self._cache.noted(self._key))
            return convert()

        return converted

    def settings_for(self, graph: bytes, numbers: bytes) -> dict[str, Any]:
        """Try the network, unless an earlier run did, and return what OpenVINO compiles it with.

        Where OpenVINO crashes, its fusion of small layers ("snippets") is switched off, and the network tried again.

        Raises:
            CannotComputeError: OpenVINO crashed, or took too long, now or in an earlier run.
        """
        verdict = self._cache.noted(self._key)
        if not isinstance(verdict, str):
            verdict, is_lasting = verdict_of(graph, numbers, self._settings)
            if verdict.startswith(_CRASH) and is_lasting:
                again = verdict_of(graph, numbers, {**self._settings, **_WITHOUT})
                verdict = _GOOD_WITHOUT if again == (COMPUTES, True) else verdict
            if is_lasting:
                self._cache.note(self._key, verdict)
        self._refuse(verdict)
        return {**self._settings, **(_WITHOUT if verdict == _GOOD_WITHOUT else {})}

    def _refuse(self, verdict: object) -> None:
        if isinstance(verdict, str) and verdict not in (COMPUTES, _GOOD_WITHOUT):
            raise CannotComputeError(verdict)


def verdict_of(graph: bytes, numbers: bytes, settings: Mapping[str, Any]) -> tuple[str, bool]:
    """Compile a network of OpenVINO and compute one window of zeros, in another process.

    Args:
        graph: the XML of the network, with one fixed shape of windows.
        numbers: its weights.
        settings: what OpenVINO compiles with, its number of threads too.

    Returns:
        "computes", or why it does not, as the end of a sentence; and whether another trial would end like this one.
    """
    with tempfile.TemporaryDirectory() as folder:
        Path(folder, _GRAPH).write_bytes(graph)
        Path(folder, _NUMBERS).write_bytes(numbers)
        # -P: no module is imported from the program's folder
        command = [sys.executable, "-P", str(_PROGRAM), str(Path(folder, _GRAPH)), json.dumps(dict(settings))]
        try:
            done = subprocess.run(  # noqa: S603 - a file of segpipe
                command,
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                errors="replace",
                timeout=_LONGEST_S,
                check=False,
            )
        except subprocess.TimeoutExpired:
            return f"OpenVINO took more than {_LONGEST_S:.0f} s to compile it and to compute a window", True
        except OSError as error:
            return f"no process could be started to try OpenVINO in ({error.strerror})", False
    return _verdict(done.returncode, done.stderr)


def _verdict(code: int, said: str) -> tuple[str, bool]:
    """Return what an exit code means, and whether it would come again."""
    if code == 0:
        return COMPUTES, True
    if code == trial_child.REFUSED:
        return COMPUTES, False  # the engine meets the same exception, and reports it
    if code < 0:
        name = Signals(-code).name if -code in list(Signals) else ""
        text = f"signal {-code}, {name}" if name else f"signal {-code}"
        if name in _CRASHES:
            return (
                f"{_CRASH} ({text}), as a trial in a process of its own found",
                True,
            )
        return f"the trial of OpenVINO was ended from outside ({text}), perhaps for lack of memory", False
    if code > 0x7FFFFFFF:  # an exception of Windows
        return f"{_CRASH} ({code:#x}), as a trial in a process of its own found", True
    lines = said.strip().splitlines() or ["without a message"]
    return f"the trial of OpenVINO failed with exit code {code} ({lines[-1][:_MOST_REASON]})", False
