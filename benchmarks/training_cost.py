"""What a training costs in processor time, before and after a change: two checkouts in turn, on the same cases.

    python benchmarks/training_cost.py --before CHECKOUT --data SHARED_DATA --bundle mri_hippocampus_unet
    python benchmarks/training_cost.py --before CHECKOUT --data SHARED_DATA --bundle ct_covid_unet --precision float32

CHECKOUT is a working tree of an earlier commit (`git worktree add --detach CHECKOUT COMMIT`). Every run is MONAI's own
command on the checkout's bundle, with few cases and one thread. Processor time is the user's and the system's. The
first epoch reads the cases, so it is left out. Steps and validated cases are counted apart, and added up as a fold has
them.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from ignite.engine import Engine, Events

ROOT = Path(__file__).resolve().parents[1]
FOLDS = {  # data set, training and validation cases of fold 0, epochs, validations
    "mri_hippocampus_unet": ("hippocampus", 160, 40, 24, 12),
    "ct_covid_unet": ("covid_ct_512", 65, 17, 100, 100),
    "ct_covid_segnet": ("covid_ct_512", 65, 17, 100, 100),
}


class Clock:
    """A handler of a trainer or an evaluator that appends the process's times at the start and end of each epoch.

    Args:
        path: file of one JSON list a line: name, whether the epoch ends, seconds of the user and of the system, page
            faults, peak in MB, mean loss of the epoch.
        name: of the engine.
    """

    def __init__(self, path: str, name: str) -> None:
        self.path = Path(path)
        self.name = name
        self.losses: list[float] = []

    def attach(self, engine: Engine) -> None:
        """Attach to the engine, last of its handlers."""
        engine.add_event_handler(Events.EPOCH_STARTED, self._note, False)
        engine.add_event_handler(Events.ITERATION_COMPLETED, self._keep)
        engine.add_event_handler(Events.EPOCH_COMPLETED, self._note, True)

    def _keep(self, engine: Engine) -> None:
        output = engine.state.output
        first = output[0] if isinstance(output, list) else output
        if isinstance(first, dict) and "loss" in first:
            self.losses.append(float(first["loss"]))

    def _note(self, _: Engine, ends: bool) -> None:
        used = resource.getrusage(resource.RUSAGE_SELF)
        loss = statistics.fmean(self.losses) if self.losses else 0.0
        self.losses = []
        line = [self.name, ends, used.ru_utime, used.ru_stime, used.ru_minflt, used.ru_maxrss / 1024, loss]
        with self.path.open("a") as file:
            file.write(json.dumps(line) + "\n")


def train(checkout: Path, arguments: argparse.Namespace) -> dict[str, float]:
    """Train a few epochs; return seconds a training case and a validated case, and what else is compared."""
    data = FOLDS[arguments.bundle][0]
    root = checkout / "bundles" / arguments.bundle
    with tempfile.TemporaryDirectory() as folder:
        notes = Path(folder) / "times"
        clocks = Path(folder) / "clocks.json"
        clocks.write_text(
            json.dumps(
                {
                    f"+{engine}#handlers": [
                        {"_target_": "training_cost.Clock", "path": str(notes), "name": engine}
                    ]
                    for engine in ("train", "validate")
                }
            )
        )
        options: dict[str, Any] = {
            "config_file": [str(root / "configs" / "train.yaml"), str(clocks)],
            "bundle_root": str(root),
            "dataset_dir": str(arguments.data / data),
            "output_dir": folder,
            "run_name": "cost",
            "fold": 0,
            "epochs": arguments.epochs,
            "val_interval": 1,
            "patience": 0,
            "precision": arguments.precision,
            "reference_ranges": False,
            "checksums": False,
            "train#dataset#data": f"$@cases.train[:{arguments.cases}]",
            "validate#dataset#data": f"$@cases.validation[:{arguments.validated}]",
        }
        environment = os.environ | {
            "PYTHONPATH": os.pathsep.join((str(checkout), str(ROOT / "benchmarks"))),
            "OMP_NUM_THREADS": "1",
        }
        command = [sys.executable, "-P", "-X", "utf8", "-W", "ignore", "-m", "monai.bundle", "run"]
        command += [f"--{name}={value}" for name, value in options.items()]
        subprocess.run(command, check=True, env=environment, stdout=subprocess.DEVNULL)
        lines = [json.loads(line) for line in notes.read_text().splitlines()]
    return costs(lines, arguments)


def costs(lines: list[list[Any]], arguments: argparse.Namespace) -> dict[str, float]:
    """Return medians over the epochs after the first."""
    epochs: dict[str, list[tuple[float, float, float]]] = {"train": [], "validate": []}
    began: dict[str, list[Any]] = {}
    losses = []
    for line in lines:
        name, ends, *_, loss = line
        if not ends:
            began[name] = line
            continue
        epochs[name].append(tuple(line[place] - began[name][place] for place in (2, 3, 4)))  # type: ignore[arg-type]
        if name == "train":
            losses.append(loss)
    validation = [min(user + system for user, system, _ in epochs["validate"][1:])]
    # validation runs within the trainer's epoch
    training = [
        (both[0] - inner[0], both[1] - inner[1], both[2] - inner[2])
        for both, inner in zip(epochs["train"][1:], epochs["validate"][1:], strict=True)
    ]
    user, system, faults = min(training, key=lambda epoch: epoch[0] + epoch[1])
    return {
        "case": (user + system) / arguments.cases,
        "system_share": system / (user + system),
        "faults_a_case": faults / arguments.cases,
        "validated_case": validation[0] / arguments.validated,
        "peak_mb": lines[-1][5],
        "loss": losses[-1],
    }


def fold_minutes(cost: dict[str, float], bundle: str) -> float:
    """Return the processor minutes of a fold as the bundle trains it."""
    _, cases, validated, epochs, validations = FOLDS[bundle]
    return (epochs * cases * cost["case"] + validations * validated * cost["validated_case"]) / 60


def main() -> None:
    """Measure both checkouts in turn; print one row each and the line for the results file."""
    from segpipe.provenance import commit
    from segpipe.training.run_folder import processor_name

    arguments = parse_arguments()
    checkouts = {"before": arguments.before.resolve(), "after": ROOT}
    runs: dict[str, list[dict[str, float]]] = {name: [] for name in checkouts}
    for _ in range(arguments.rounds):
        for name, checkout in checkouts.items():
            runs[name].append(train(checkout, arguments))
    print(
        "| checkout | s a training case | of which the system | page faults | s a validated case "
        "| minutes a fold | peak, MB | loss |"
    )
    print("|---|---|---|---|---|---|---|---|")
    result: dict[str, Any] = {"bundle": arguments.bundle, "precision": arguments.precision}
    for name, measured in runs.items():
        best = min(measured, key=lambda cost: fold_minutes(cost, arguments.bundle))
        minutes = fold_minutes(best, arguments.bundle)
        print(
            f"| {name} | {best['case']:.3f} | {best['system_share']:.1%} | {best['faults_a_case']:.0f} | "
            f"{best['validated_case']:.3f} | {minutes:.1f} | {best['peak_mb']:.0f} | {best['loss']:.5f} |"
        )
        digits = {key: round(value, 5) for key, value in best.items()}
        result[name] = {
            **digits,
            "minutes_a_fold": round(minutes, 2),
            "commit": commit(checkouts[name] / "segpipe"),
        }
    result["ratio"] = round(result["after"]["minutes_a_fold"] / result["before"]["minutes_a_fold"], 3)
    print(f"\nratio of a fold {result['ratio']:.2f}")
    result |= {
        "rounds": arguments.rounds,
        "machine": processor_name(),
        "command": "python benchmarks/training_cost.py --before CHECKOUT --data SHARED_DATA --bundle "
        f"{arguments.bundle} --precision {arguments.precision} --cases {arguments.cases} --rounds {arguments.rounds}",
    }
    print(json.dumps(result))


def parse_arguments() -> argparse.Namespace:
    """Return the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--before", type=Path, required=True, help="working tree of an earlier commit")
    parser.add_argument("--data", type=Path, required=True, help="folder of the data sets")
    parser.add_argument("--bundle", default="mri_hippocampus_unet", choices=FOLDS)
    parser.add_argument("--precision", default="auto")
    parser.add_argument("--cases", type=int, default=16)
    parser.add_argument("--validated", type=int, default=4)
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--rounds", type=int, default=2)
    return parser.parse_args()


if __name__ == "__main__":
    main()
