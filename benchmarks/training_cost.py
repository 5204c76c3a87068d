"""What a training costs in processor time, before and after a change: two checkouts, side by side.

    python benchmarks/training_cost.py --before CHECKOUT --data SHARED_DATA --bundle mri_hippocampus_unet
    python benchmarks/training_cost.py --before CHECKOUT --data SHARED_DATA --bundle ct_covid_unet --precision float32

CHECKOUT is a working tree of an earlier commit (`git worktree add --detach CHECKOUT COMMIT`). Every run is MONAI's own
command on the checkout's bundle, with few cases and one thread. Processor time is the user's and the system's. The
first epoch reads the cases, so it is left out. Steps and validated cases are counted apart, and added up as a fold has
them. Both trainings run at the same time: what else the machine does disturbs both alike.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import resource
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import yaml
from ignite.engine import Engine, Events

ROOT = Path(__file__).resolve().parents[1]
FOLDS = {  # data set, training cases and validation cases of fold 0
    "mri_hippocampus_unet": ("hippocampus", 160, 40),
    "ct_covid_unet": ("covid_ct_512", 65, 17),
    "ct_covid_segnet": ("covid_ct_512", 65, 17),
}


class Clock:
    """A handler of a trainer or an evaluator that appends the process's times of each epoch to a file.

    A line is a JSON list: name of the engine, then the process's figures when the epoch begins, after its last
    iteration and when all its handlers are done, then the mean loss. Figures are seconds of the user, seconds of the
    system, page faults and the peak in MB.

    Args:
        path: the file.
        name: of the engine.
    """

    def __init__(self, path: str, name: str) -> None:
        self.path = Path(path)
        self.name = name

    def attach(self, engine: Engine) -> None:
        """Attach to the engine, last of its handlers."""
        engine.add_event_handler(Events.EPOCH_STARTED, self._begin)
        engine.add_event_handler(Events.ITERATION_COMPLETED, self._step)
        engine.add_event_handler(Events.EPOCH_COMPLETED, self._end)

    def _begin(self, _: Engine) -> None:
        self.losses: list[float] = []
        self.began = figures()

    def _step(self, engine: Engine) -> None:
        self.stepped = figures()
        output = engine.state.output
        first = output[0] if isinstance(output, list) else output
        self.losses.append(float(first.get("loss", 0.0)))

    def _end(self, _: Engine) -> None:
        line = [self.name, self.began, self.stepped, figures(), statistics.fmean(self.losses)]
        with self.path.open("a") as file:
            file.write(json.dumps(line) + "\n")


def figures() -> tuple[float, float, int, float]:
    """Return this process's seconds of the user and of the system, page faults, and peak in MB."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime, used.ru_stime, used.ru_minflt, used.ru_maxrss / 1024


def start(checkout: Path, folder: str, arguments: argparse.Namespace) -> subprocess.Popen[bytes]:
    """Start a training of a few epochs, which writes its times into the folder."""
    data = FOLDS[arguments.bundle][0]
    root = checkout / "bundles" / arguments.bundle
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
    return subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL)


def trained(checkouts: dict[str, Path], arguments: argparse.Namespace) -> dict[str, dict[str, float]]:
    """Train with all checkouts side by side, and return the costs of each."""
    with tempfile.TemporaryDirectory() as folder:
        folders = {name: Path(folder) / name for name in checkouts}
        for made in folders.values():
            made.mkdir()
        started = [start(checkouts[name], str(folders[name]), arguments) for name in checkouts]
        codes = [process.wait() for process in started]
        if any(codes):
            raise SystemExit("a training failed")
        texts = {name: (made / "times").read_text() for name, made in folders.items()}
    return {
        name: costs([json.loads(line) for line in text.splitlines()], arguments)
        for name, text in texts.items()
    }


def costs(lines: list[list[Any]], arguments: argparse.Namespace) -> dict[str, float]:
    """Return the figures of the cheapest epoch after the first; a validation lies within its epoch of the training."""
    epochs = {name: [line[1:] for line in lines if line[0] == name][1:] for name in ("train", "validate")}
    steps = min(
        (
            [after - before for before, after in zip(began, stepped, strict=True)]
            for began, stepped, *_ in epochs["train"]
        ),
        key=lambda epoch: epoch[0] + epoch[1],
    )
    rest = min(
        seconds(stepped, ended) - seconds(inner[0], inner[2])
        for (_, stepped, ended, _), inner in zip(epochs["train"], epochs["validate"], strict=True)
    )
    return {
        "case": (steps[0] + steps[1]) / arguments.cases,
        "system_share": steps[1] / (steps[0] + steps[1]),
        "faults_a_case": steps[2] / arguments.cases,
        "rest_of_an_epoch": rest,
        "validated_case": min(seconds(inner[0], inner[1]) for inner in epochs["validate"])
        / arguments.validated,
        "rest_of_a_validation": min(seconds(inner[1], inner[2]) for inner in epochs["validate"]),
        "peak_mb": epochs["train"][-1][2][3],
        "loss": epochs["train"][-1][3],
    }


def seconds(began: list[float], ended: list[float]) -> float:
    """Return the processor seconds between two of the figures."""
    return ended[0] + ended[1] - began[0] - began[1]


def fold_minutes(cost: dict[str, float], checkout: Path, bundle: str) -> float:
    """Return the processor minutes of a fold as the checkout's bundle trains it."""
    _, cases, validated = FOLDS[bundle]
    numbers = yaml.safe_load((checkout / "bundles" / bundle / "configs" / "train.yaml").read_text("utf-8"))
    epochs = numbers["epochs"]
    training = epochs * (cases * cost["case"] + cost["rest_of_an_epoch"])
    validation = validated * cost["validated_case"] + cost["rest_of_a_validation"]
    return (training + math.ceil(epochs / numbers["val_interval"]) * validation) / 60


def main() -> None:
    """Measure both checkouts; print one row each and the line for the results file."""
    from segpipe.provenance import commit
    from segpipe.training.run_folder import processor_name

    arguments = parse_arguments()
    checkouts = {"before": arguments.before.resolve(), "after": ROOT}
    runs: dict[str, list[dict[str, float]]] = {name: [] for name in checkouts}
    for _ in range(arguments.rounds):
        for name, cost in trained(checkouts, arguments).items():
            runs[name].append(cost)
    print(
        "| checkout | s a training case | of which the system | page faults | s a validated case "
        "| minutes a fold | peak, MB | loss |"
    )
    print("|---|---|---|---|---|---|---|---|")
    result: dict[str, Any] = {"bundle": arguments.bundle, "precision": arguments.precision}
    for name, measured in runs.items():
        best = min(measured, key=lambda cost: cost["case"])
        minutes = fold_minutes(best, checkouts[name], arguments.bundle)
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
    parser.add_argument("--cases", type=int, default=24)
    parser.add_argument("--validated", type=int, default=8)
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--rounds", type=int, default=2)
    return parser.parse_args()


if __name__ == "__main__":
    main()
