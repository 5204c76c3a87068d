"""Trainings killed at random moments: does each go on, and end with the weights of one that nobody disturbed?

    python benchmarks/training_kills.py --kills 200

Each trial trains a small network of the hippocampus bundle on phantoms in a process of its own, sends it one signal at
a random moment, and goes on with it until it is finished: by a plain start where the kill left nothing, by a resume
where it left a run. A trial fails where a state cannot be read, neither start works, the process does not end within
10 s of SIGTERM, SIGINT or SIGHUP with exit status 128 and the signal's number, or the weights are not bit-equal.
Moments and signals come from the seed. Prints one JSON line a failure and one for all; exit status 1 after a failure.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import signal
import sys
import tempfile
import time
from importlib.util import find_spec
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")

import monai.bundle
import torch

import segpipe.bundle  # what a run imports, once for all
import segpipe.networks
import segpipe.transforms
from segpipe.phantoms.files import MRI, write_phantom_dataset

BUNDLE = Path(__file__).parents[1] / "bundles" / "mri_hippocampus_unet"
IMPORTED = (segpipe.bundle, segpipe.transforms)  # what a run imports, once for all
SIGNALS = (signal.SIGKILL, signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
SOFT_S = 10.0
SMALL = {
    "epochs": 3,
    "val_interval": 1,
    "patch_size": [16, 16, 16],
    "window_size": [32, 32, 32],
    "filters": [4, 8, 16],
    "kernel_size": [3, 3, 3],
    "strides": [1, 2, 2],
    "upsample_kernel_size": [2, 2],
    "batch_size": 1,
    "precision": "float32",
    "device": "cpu",
    "reference_ranges": False,  # they are measured after a training has ended
}


def train(manifest: Path, runs: Path, log: Path, **overrides: Any) -> int:
    """Begin a training in a child process, which has imported all that it needs; return its number."""
    child = os.fork()
    if child:
        return child
    status = 70
    try:
        with log.open("a") as file:
            os.dup2(file.fileno(), 1)
            os.dup2(file.fileno(), 2)
        torch.set_num_threads(1)
        # what tells MONAI's run of a bundle from other programs, whose signals segpipe leaves alone
        sys.modules["__main__"].__spec__ = find_spec("monai.bundle.__main__")
        monai.bundle.run(
            config_file=str(BUNDLE / "configs" / "train.yaml"),
            bundle_root=str(BUNDLE),
            manifest=str(manifest),
            dataset_dir=str(manifest.parent),
            output_dir=str(runs),
            **{**SMALL, **overrides},
        )
        status = 0
    except SystemExit as ended:
        status = ended.code if isinstance(ended.code, int) else 1
        if not isinstance(ended.code, int):
            os.write(2, f"{ended.code}\n".encode())
    except BaseException as error:  # as Python ends
        os.write(2, f"{error!r}\n".encode())
    finally:
        os._exit(status)


def wait(child: int) -> int:
    """Return the exit status, negative for a signal that ended the process."""
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def weights(run: Path, name: str) -> dict[str, torch.Tensor]:
    return torch.load(run / name, weights_only=True)


def same(one: Path, other: Path) -> bool:
    for name in ("last.pt", "best.pt"):
        first, second = weights(one, name), weights(other, name)
        if first.keys() != second.keys() or any(not torch.equal(first[k], second[k]) for k in first):
            return False
    return True


class TrialError(Exception):
    """A trial went wrong."""


def kill(child: int, number: int, run: Path) -> int:
    """Send a process a signal and return its exit status, having made sure that it is right."""
    os.kill(child, number)
    since = time.monotonic()
    status = wait(child)
    seconds = time.monotonic() - since
    # before it has come to listen, the system's default ends it; and it may have been finished
    right = {-number, 0} if number == signal.SIGKILL or not run.exists() else {0}
    if status not in right | {128 + number}:
        raise TrialError(f"exit {status}")
    if seconds > SOFT_S:
        raise TrialError(f"took {seconds:.1f} s to end")
    return status


def batches(state: Path) -> int:
    """Return how many steps of an epoch are in a state."""
    if not state.exists():
        return 0
    try:
        return int(torch.load(state, weights_only=True)["batches"])
    except Exception as error:  # whatever it is, the state is no good
        raise TrialError(f"state cannot be read: {error!r}") from error


def trial(
    manifest: Path, runs: Path, whole: Path, name: str, number: int, after: float, workers: int
) -> bool:
    """Kill one training and go on with it; return whether it went on within an epoch."""
    run, log = runs / name, runs.parent / f"{name}.txt"
    child = train(manifest, runs, log, run_name=name, num_workers=workers)
    time.sleep(after)
    status = kill(child, number, run)
    within = batches(run / "training_state.pt") > 0
    if status:
        status = wait(train(manifest, runs, log, run_name=name, num_workers=workers, resume=run.exists()))
        # one that was stopped when all was done says so
        if status and "this run is finished" not in log.read_text():
            raise TrialError(f"does not go on: exit {status}")
    if not same(whole, run):
        raise TrialError("other weights")
    return within


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--kills", type=int, default=200)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--keep", type=Path, help="folder for runs and logs; a temporary one without")
    arguments = parser.parse_args()
    chance = random.Random(arguments.seed)
    with tempfile.TemporaryDirectory() as temporary:
        place = arguments.keep or Path(temporary)
        place.mkdir(parents=True, exist_ok=True)
        manifest = write_phantom_dataset(place / "data", num_cases=8, seed=0, kind=MRI)
        runs = place / "runs"
        seconds = {}
        for workers in (0, 2):
            since = time.monotonic()
            status = wait(
                train(manifest, runs, place / "whole.txt", run_name=f"whole{workers}", num_workers=workers)
            )
            seconds[workers] = time.monotonic() - since
            if status:
                sys.exit((place / "whole.txt").read_text())
        failures = within = 0
        since = time.monotonic()
        for index in range(arguments.kills):
            workers = 2 if index % 4 == 3 else 0
            number = chance.choice(SIGNALS)
            after = chance.uniform(0, seconds[workers])
            name = f"killed{index}"
            try:
                within += trial(manifest, runs, runs / "whole0", name, number, after, workers)
            except TrialError as failed:
                failures += 1
                about = {"trial": index, "signal": signal.Signals(number).name, "workers": workers}
                about |= {"after_s": round(after, 3), "wrong": str(failed)}
                print(json.dumps({**about, "log": (place / f"{name}.txt").read_text()[-2000:]}), flush=True)
        took = round(time.monotonic() - since, 1)
        print(
            json.dumps(
                {
                    "kills": arguments.kills,
                    "seed": arguments.seed,
                    "failures": failures,
                    "went_on_within_an_epoch": within,
                    "seconds_of_one_run": round(seconds[0], 2),
                    "seconds": took,
                }
            )
        )
    sys.exit(1 if failures else 0)


if __name__ == "__main__":
    main()
