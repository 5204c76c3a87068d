"""What other weights are worth where only ten cases are labelled: from scratch against from weights, paired by case.

    python benchmarks/from_weights.py --manifest hippocampus --dataset-dir DATASET_DIR --start WEIGHTS --work FOLDER
    python benchmarks/from_weights.py                         # prints the table of what is done

WEIGHTS is a file or bundle of weights that were trained on other data. Trains on the first ten cases (`--cases`) of the
folds that are not held out, and scores the last epoch's weights on all cases of fold 0. The bundle is planned once with
`segpipe plan --from`, so that both arms have one network. The arms:

- `scratch`: random numbers, all epochs;
- `scratch_third`: random numbers, a third of the epochs;
- `weights`: from the weights, all epochs;
- `weights_third`: from the weights, a third of the epochs.

Each run has a whole cycle of the learning rate, so a third is a training of its own. A training that broke off resumes;
a run that is done is a line in results/from_weights.jsonl, and is not repeated. The weights pay where `weights_third`
is no worse than `scratch`, or `weights` is better by .02.
"""

from __future__ import annotations

import argparse
import csv
import json
import math
import statistics
import subprocess
import sys
from collections import defaultdict
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from bundle_runs import append_line, processor_seconds, read_lines

from segpipe.bundle.source_weights import source_weights
from segpipe.dataset import load_manifest, write_manifest
from segpipe.evaluation.intervals import paired_differences
from segpipe.provenance import commit
from segpipe.training.run_folder import processor_name

RESULTS = Path(__file__).with_name("results") / "from_weights.jsonl"
FOLD = 0
ARMS = {"scratch": (False, 1), "scratch_third": (False, 3), "weights": (True, 1), "weights_third": (True, 3)}
"""Name -> whether the training starts from the weights, and the part of the epochs."""


def segpipe(*arguments: object) -> None:
    """Run a command of segpipe as a user does; end with what it printed where it fails."""
    words = [sys.executable, "-m", "segpipe", *map(str, arguments)]
    done = subprocess.run(words, capture_output=True, text=True)
    if done.returncode != 0:
        sys.exit(f"{' '.join(words)}\n{done.stdout[-3000:]}\n{done.stderr[-3000:]}")


def small_manifest(name: str, cases: int, path: Path) -> Path:
    """Write a manifest of the held-out fold and of the first cases of the others."""
    if not path.is_file():
        described = load_manifest(name)
        held_out = [case for case in described.training if case.fold == FOLD]
        others = sorted(
            (case for case in described.training if case.fold != FOLD), key=lambda case: case.case
        )
        write_manifest(replace(described, training=(*others[:cases], *held_out), test=()), path)
    return path


def case_dice(scores: Path) -> dict[str, float]:
    """Return case -> mean Dice over its classes."""
    of_case = defaultdict(list)
    with (scores / "metrics.csv").open(newline="") as file:
        for row in csv.DictReader(file):
            if row["dice"]:
                of_case[row["case"]].append(float(row["dice"]))
    return {case: round(statistics.fmean(values), 5) for case, values in sorted(of_case.items())}


def last_epoch(run: Path) -> int:
    """Return the last epoch that a run has finished; 0 before the first."""
    sidecar = run / "last.json"
    return int(json.loads(sidecar.read_text())["training"]["epoch"]) if sidecar.is_file() else 0


def train_and_score(bundle: Path, manifest: Path, options: argparse.Namespace, arm: str) -> dict[str, Any]:
    """Train an arm, or go on with what broke off, and return its line."""
    from_weights, part = ARMS[arm]
    epochs = max(options.epochs // part, 1)
    run = bundle / "runs" / f"{arm}_seed{options.seed}"
    start = [] if from_weights else ["from_weights=none"]
    began, resumed = processor_seconds(), run.is_dir()
    if last_epoch(run) < epochs:
        settings = [
            f"run_name={run.name}",
            f"epochs={epochs}",
            f"seed={options.seed}",
            f"val_interval={epochs}",
        ]
        more = [f"resume={str(resumed).lower()}", "reference_ranges=false", *start, *options.set]
        segpipe("train", bundle, *settings, *more)
    minutes = (processor_seconds() - began) / 60
    scores = run / "scores"
    where = ["--manifest", manifest, "--dataset-dir", options.dataset_dir, "--split", FOLD]
    segpipe("evaluate", "--bundle", bundle, "--weights", run / "last.pt", *where, "-o", scores)
    dice = case_dice(scores)
    return {
        "set": load_manifest(options.manifest).name,
        "arm": arm,
        "start_sha256": source_weights(options.start).sha256[:12],
        "training_cases": options.cases,
        "epochs": epochs,
        "of_epochs": options.epochs,
        "seed": options.seed,
        "settings": options.set,
        "dice": round(statistics.fmean(dice.values()), 5),
        "case_dice": dice,
        "cpu_minutes": round(minutes, 2),
        "resumed": resumed,
        "commit": commit(),
        "machine": processor_name(),
    }


def key_of(line: dict[str, Any]) -> tuple[str, ...]:
    """Return what the arms of one comparison have in common."""
    names = ("set", "start_sha256", "training_cases", "of_epochs", "seed", "settings")
    return tuple(str(line[name]) for name in names)


def print_table(lines: list[dict[str, Any]]) -> None:
    """Print a row an arm, with the paired difference against the training from scratch."""
    print(
        "| set | weights | training cases | arm | epochs | Dice | against scratch, 95 % | processor minutes |"
    )
    print("|---|---|---|---|---|---|---|---|")
    groups = defaultdict(list)
    for line in lines:
        groups[key_of(line)].append(line)
    for group in groups.values():
        scratch = next((line for line in group if line["arm"] == "scratch"), None)
        for line in group:
            against = "-" if scratch in (None, line) else difference(line["case_dice"], scratch["case_dice"])
            minutes = "-" if line["resumed"] else f"{line['cpu_minutes']:.1f}"
            figures = [line["set"], line["start_sha256"], line["training_cases"], line["arm"], line["epochs"]]
            print(f"| {' | '.join(map(str, figures))} | {line['dice']:.4f} | {against} | {minutes} |")


def difference(first: dict[str, float], second: dict[str, float]) -> str:
    """Return the mean paired difference with its interval."""
    cases = sorted(first.keys() & second.keys())
    columns = [np.array([[values[case]] for case in cases]) for values in (first, second)]
    (found,) = paired_differences(*columns, cases)
    ends = [f"{end:+.4f}" for end in (found.low, found.high) if not math.isnan(end)]
    return f"{found.mean:+.4f} ({' to '.join(ends) or 'one case'})"


def main() -> None:
    """Plan, train and score what is asked for and not yet done; print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--manifest", help="name of a shipped manifest with folds, or path of one")
    parser.add_argument("--dataset-dir", type=Path)
    parser.add_argument("--start", help="file or bundle of weights, trained on other data")
    parser.add_argument("--work", type=Path, help="folder for manifest, bundle and runs; one a comparison")
    parser.add_argument("--cases", type=int, default=10)
    parser.add_argument("--epochs", type=int, default=60)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--arms", nargs="+", default=list(ARMS), choices=list(ARMS))
    parser.add_argument("--set", nargs="*", default=[], metavar="ID=VALUE", help="further overrides")
    options = parser.parse_args()
    if options.manifest:
        work = options.work.resolve()
        work.mkdir(parents=True, exist_ok=True)
        manifest = small_manifest(options.manifest, options.cases, work / "manifest.json")
        bundle = work / "bundle"
        if not bundle.is_dir():
            where = ["--dataset-dir", options.dataset_dir.resolve(), "-o", bundle]
            segpipe("plan", manifest, *where, "--from", options.start, "--no-cuda")
        done = {(key_of(line), line["arm"]) for line in read_lines(RESULTS)}
        for arm in options.arms:
            wanted = {
                "set": load_manifest(options.manifest).name,
                "start_sha256": source_weights(options.start).sha256[:12],
                "training_cases": options.cases,
                "of_epochs": options.epochs,
                "seed": options.seed,
                "settings": options.set,
            }
            if (key_of(wanted), arm) not in done:
                append_line(RESULTS, train_and_score(bundle, manifest, options, arm))
    print_table(read_lines(RESULTS))


if __name__ == "__main__":
    main()
