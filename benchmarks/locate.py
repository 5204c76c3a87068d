"""What a locator saves, and what it costs in Dice, on held-out cases: `segpipe predict` with and without.

    python benchmarks/locate.py BUNDLE --manifest M --dataset-dir DIR --runs RUNS --locators RUNS --folds 0 1 2 3

BUNDLE is a folder of `segpipe plan --locate`; RUNS holds `fold0`, `fold1` and so on, the runs of its network and of
its locator. For each fold both last weights are promoted into a copy. The margin comes from the held-out cases of the
other folds' locators, so that the scored cases decide nothing. Nothing is trained here. Both commands run in turn,
`--repeats` times, on the fold's scans; the medians count. A line is added to results/locate.jsonl.
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import resource
import shlex
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from bundle_runs import append_line

from segpipe.bundle.locator_margin import LOCATOR_FOLDER, LocatorMargin, margin_path
from segpipe.dataset import Case, Manifest, load_manifest
from segpipe.evaluation.intervals import mean_intervals
from segpipe.labels import load_label_table
from segpipe.prediction.ledger import VOLUMES_FILE, Ledger
from segpipe.provenance import commit
from segpipe.training.run_folder import processor_name
from segpipe.volumes import read_volume

RESULTS = Path(__file__).with_name("results") / "locate.jsonl"
WAYS = {"located": (), "whole": ("--no-locate",)}


@dataclass(frozen=True)
class Fold:
    """One fold: a copy of the bundle with promoted weights, and its held-out cases."""

    number: int
    bundle: Path
    cases: Sequence[Case]
    margin: LocatorMargin


def segpipe(*arguments: str | Path) -> None:
    """Run a command of segpipe."""
    subprocess.run([sys.executable, "-m", "segpipe", *map(str, arguments)], check=True)


def prepared(asked: argparse.Namespace, manifest: Manifest, number: int, folder: Path) -> Fold:
    """Promote the weights of a fold into a copy of the bundle."""
    bundle = folder / f"fold{number}"
    shutil.copytree(asked.bundle, bundle, ignore=shutil.ignore_patterns("runs", "*.pt", "models"))
    locator = bundle / LOCATOR_FOLDER
    for root in (bundle, locator):
        (root / "models").mkdir()
    segpipe("promote", asked.runs / f"fold{number}" / "last.pt", "--bundle", bundle)
    others = [run for run in sorted(asked.locators.glob("fold*")) if run.name != f"fold{number}"]
    options = [part for run in others for part in ("--margin-run", run)]
    segpipe("promote", asked.locators / f"fold{number}" / "last.pt", "--bundle", locator, *options)
    cases = [case for case in manifest.training if case.fold == number]
    return Fold(number, bundle, cases, LocatorMargin.read(margin_path(locator / "models" / "model.pt")))


def predicted(fold: Fold, scans: Path, output: Path, options: Sequence[str]) -> dict[str, float]:
    """Segment scans with one command; return its wall time, its processor time, and the time of the scans alone."""
    before, since = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    fixed = ("--no-overlays", "--engine", "torch", "--precision", "float32", "--quiet")
    segpipe("predict", scans, "--bundle", fold.bundle, "--output", output, *fixed, *options)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return {
        "wall_s": time.perf_counter() - since,
        "processor_s": after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime,
        "scans_s": sum(entry.seconds for entry in Ledger(output).entries.values()),
    }


def dice(output: Path, case: Case, manifest: Manifest, folder: Path, bundle: Path) -> float:
    """Return the mean Dice over the classes of a case."""
    table = load_label_table(bundle / "configs" / "metadata.json")
    made = table.to_indices(read_volume(output / f"{case.case}.nii.gz").array)
    truth = table.to_indices(read_volume(folder / str(case.label)).array, manifest.labels)
    scores = []
    for one in range(1, table.num_classes):
        both = (made == one).sum() + (truth == one).sum()
        if both:
            scores.append(2 * ((made == one) & (truth == one)).sum() / both)
    return float(np.mean(scores))


def located(output: Path) -> dict[str, str]:
    """Return case -> what `volumes.csv` says of the located part."""
    with (output / VOLUMES_FILE).open(newline="") as file:
        return {row["case"]: row["located"] for row in csv.DictReader(file)}


def of_fold(fold: Fold, asked: argparse.Namespace, manifest: Manifest, folder: Path) -> dict[str, Any]:
    """Run both ways on a fold's scans and score them."""
    scans = folder / f"scans{fold.number}"
    for case in fold.cases:
        (image,) = case.images
        (scans / case.case).mkdir(parents=True)
        shutil.copy(asked.dataset_dir / image, scans / case.case)
    times: dict[str, list[dict[str, float]]] = {way: [] for way in WAYS}
    for repeat in range(asked.repeats):
        for way, options in WAYS.items():
            output = folder / f"{way}{fold.number}_{repeat}"
            times[way].append(predicted(fold, scans, output, options))
    outputs = {way: folder / f"{way}{fold.number}_0" for way in WAYS}
    parts = located(outputs["located"])
    rows = {
        case.case: {
            "part": parts[case.case],
            **{way: dice(outputs[way], case, manifest, asked.dataset_dir, fold.bundle) for way in WAYS},
        }
        for case in fold.cases
    }
    medians = {
        way: {name: statistics.median(one[name] for one in runs) for name in runs[0]}
        for way, runs in times.items()
    }
    return {"fold": fold.number, "margin_mm": fold.margin.margin_mm, "cases": rows, "seconds": medians}


def summary(folds: Sequence[dict[str, Any]], manifest: Manifest) -> dict[str, Any]:
    """Return the paired difference of Dice, located minus whole, and the ratios of times."""
    rows = {case: row for fold in folds for case, row in fold["cases"].items()}
    patients = {case.case: case.patient or case.case for case in manifest.training}
    columns = {
        "located": [row["located"] for row in rows.values()],
        "whole": [row["whole"] for row in rows.values()],
        "difference": [row["located"] - row["whole"] for row in rows.values()],
    }
    intervals = mean_intervals(np.array(list(columns.values())).T, [patients[case] for case in rows])
    ratios = {
        name: sum(fold["seconds"]["whole"][name] for fold in folds)
        / sum(fold["seconds"]["located"][name] for fold in folds)
        for name in ("wall_s", "processor_s", "scans_s")
    }
    return {
        "cases": len(rows),
        "dice": {
            name: {"mean": one.mean, "low": one.low, "high": one.high}
            for name, one in zip(columns, intervals, strict=True)
        },
        "times_faster": ratios,
    }


def main() -> None:
    """Run all folds, print a table and add a line to the results."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("bundle", type=Path)
    parser.add_argument("--manifest", required=True)
    parser.add_argument("--dataset-dir", type=Path, required=True)
    parser.add_argument("--runs", type=Path, required=True)
    parser.add_argument("--locators", type=Path, required=True)
    parser.add_argument("--folds", type=int, nargs="+", required=True)
    parser.add_argument("--repeats", type=int, default=3)
    asked = parser.parse_args()
    manifest = load_manifest(asked.manifest)
    folds = []
    with tempfile.TemporaryDirectory() as scratch:
        for number in asked.folds:
            fold = prepared(asked, manifest, number, Path(scratch))
            folds.append(of_fold(fold, asked, manifest, Path(scratch)))
            for case, row in folds[-1]["cases"].items():
                print(f"{case}: located {row['located']:.4f}, whole {row['whole']:.4f} ({row['part']})")
            print(json.dumps(folds[-1]["seconds"]))
    found = summary(folds, manifest)
    print(json.dumps(found, indent=2))
    line = {
        "command": shlex.join(
            ["python", "benchmarks/locate.py", "BUNDLE", "--folds", *map(str, asked.folds)]
        ),
        "data": manifest.name,
        "commit": commit(),
        "machine": processor_name(),
        "threads": torch.get_num_threads(),
        "load": os.getloadavg()[0],
        "repeats": asked.repeats,
        **found,
        "folds": folds,
    }
    append_line(RESULTS, line)


if __name__ == "__main__":
    main()
