"""Measures the reference ranges of a run's weights when its training has ended, in a process of its own.

A process of its own, since nothing that happens there may cost the training its result: not a full memory, nor a bundle
whose `inference.yaml` does not fit the run.
"""

from __future__ import annotations

import os
import shlex
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any

from segpipe.bundle.next_commands import short, weights_of
from segpipe.reference_ranges import RANGES_SUFFIX
from segpipe.training.signals import Stopped

MOST_PATIENTS = 60  # more hardly narrow an interval: limits of 60 patients are 7 % wider than of 1000


def forget_ranges(run: Path) -> None:
    """Remove the reference ranges of a run that goes on, since its weights will be others."""
    for path in run.glob(f"*{RANGES_SUFFIX}"):
        path.unlink()


def measure_run(run: Path, configuration: Mapping[str, Any], log: Callable[[str], None]) -> None:
    """Run `segpipe reference-ranges` for a run's weights, on a sample of the training patients.

    Whatever happens is logged. One process of several starts nothing, since the others would wait.

    Args:
        run: folder of the run.
        configuration: of the run; `bundle_root`, `manifest`, `dataset_dir` and `device` are used.
        log: called with each message for the user.

    Raises:
        Stopped: SIGTERM or SIGHUP arrived; the process that measures was ended.
    """
    arguments = ranges_arguments(run, configuration)
    if arguments is None:
        return
    command = shlex.join(["segpipe", *arguments])
    if os.environ.get("WORLD_SIZE", "1") != "1":
        log(f"next: {command}")
        return
    log(
        f"Measuring training cases of at most {MOST_PATIENTS} patients, so that segpipe predict can warn of unlike "
        "scans; Ctrl-C ends this, the weights are saved"
    )
    since = time.monotonic()
    sampled = ["--most-patients", str(MOST_PATIENTS), "--no-checksums"]
    stopped: Stopped | None = None
    try:
        with _raising_stopped():
            done = subprocess.run(  # noqa: S603 - segpipe itself
                [sys.executable, "-P", "-X", "utf8", "-m", "segpipe", *arguments, *sampled],
                stdout=subprocess.PIPE,
                encoding="utf-8",
                check=False,
            )
        why = "" if done.returncode == 0 else f"exit status {done.returncode}, the reason stands above"
    except KeyboardInterrupt:
        why = "stopped by Ctrl-C"
    except Stopped as reason:  # `subprocess.run` has ended the other process
        stopped, why = reason, str(reason)
    except OSError as error:
        why = str(error)
    if why:
        log(f"No reference ranges were made ({why}); the training is complete. To make them: {command}")
    else:
        log(f"Reference ranges: {done.stdout.strip()}, measured in {time.monotonic() - since:.0f} s")
    if stopped is not None:
        raise stopped


@contextmanager
def _raising_stopped() -> Iterator[None]:
    """Raise `Stopped` on SIGTERM and SIGHUP, which would end this process alone; ignored signals stay ignored."""

    def stop(number: int, _: FrameType | None) -> None:
        raise Stopped(number)

    handled = [
        number
        for number in (signal.SIGTERM, signal.SIGHUP)
        if signal.getsignal(number) is signal.SIG_DFL
        and threading.current_thread() is threading.main_thread()
    ]
    for number in handled:
        signal.signal(number, stop)
    try:
        yield
    finally:
        for number in handled:
            signal.signal(number, signal.SIG_DFL)


def ranges_arguments(run: Path, configuration: Mapping[str, Any]) -> list[str] | None:
    """Return the arguments of `segpipe` that measure a run's weights; None if the configuration lacks a path."""
    root, manifest, dataset_dir, device = (
        str(configuration.get(name, "$")) for name in ("bundle_root", "manifest", "dataset_dir", "device")
    )
    if any(text.startswith("$") for text in (root, manifest, dataset_dir)):
        return None
    return [
        *("reference-ranges", short(root)),
        *("--weights", short(weights_of(run))),
        *("--manifest", short(manifest)),
        *("--dataset-dir", short(dataset_dir)),
        *(["--device", device] if device.startswith(("cpu", "cuda")) else []),
    ]
