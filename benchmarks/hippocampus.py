"""Which configuration of the hippocampus bundle is the best, by validation on folds of the training cases.

Each variant is the bundle with some overrides. A variant is trained on four folds and scored on the fifth with the
weights of its last epoch, through the bundle's own commands:

    python benchmarks/hippocampus.py --dataset-dir DATASET_DIR --variants batch_4 soft --folds 0
    python benchmarks/hippocampus.py --dataset-dir DATASET_DIR --variants bundle --folds 0 1 2 3 4
    python benchmarks/hippocampus.py                                     # prints the table of what is done

Every finished run is one line in results/hippocampus.jsonl; a call skips what is done and resumes what broke off.
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import resource
import statistics
import subprocess
import sys
import time
from collections import defaultdict
from pathlib import Path
from typing import Any

from monai.bundle import ConfigParser

from segpipe.files import json_sha256
from segpipe.training.run_folder import commit, processor_name

ROOT = Path(__file__).resolve().parents[1]
BUNDLE = ROOT / "bundles" / "mri_hippocampus_unet"
RESULTS = Path(__file__).with_name("results") / "hippocampus.jsonl"

AFFINE = "random_transforms#3"
STRONG = {f"{AFFINE}#prob": 0.8, f"{AFFINE}#rotate_range": [0.35] * 3, f"{AFFINE}#scale_range": [0.2] * 3}
WEAK = {f"{AFFINE}#rotate_range": [0.1] * 3}  # raters drew in coronal planes, and part the classes along one
MIRROR = {
    "_target_": "monai.transforms.RandFlipd",
    "keys": ["image", "label"],
    "prob": 0.5,
    "spatial_axis": 0,
}
SOFT = {  # one-hot labels that are interpolated, not nearest labels: what a rotation does below a voxel is kept
    "random_transforms#1": {
        "_target_": "monai.transforms.Compose",
        "transforms": [
            {"_target_": "monai.transforms.EnsureTyped", "keys": ["image", "label"], "track_meta": False},
            {"_target_": "monai.transforms.AsDiscreted", "keys": "label", "to_onehot": 3},
        ],
    },
    f"{AFFINE}#mode": ["bilinear", "bilinear"],
    "loss#to_onehot_y": False,
}
# most scans are larger than this: next to no padding
SMALL_PATCH = {"patch_size": [32, 48, 32], "window_size": [32, 48, 32]}
VARIANTS: dict[str, dict[str, Any]] = {
    "bundle": {},
    "8_epochs": {"epochs": 8},
    "40_epochs": {"epochs": 40},
    "40_epochs_strong": {"epochs": 40, **STRONG},
    "batch_1": {"batch_size": 1},
    "batch_4": {"batch_size": 4},
    "low_rate": {"learning_rate": 0.0015},
    "mirrored": {"+random_transforms": [MIRROR]},
    "small_patch": SMALL_PATCH,
    "small_patch_strong": {**SMALL_PATCH, **STRONG},
    "small_patch_weak": {**SMALL_PATCH, **WEAK},
    "small_patch_wide": {**SMALL_PATCH, "filters": [16, 64, 128, 256]},
    "small_patch_14_epochs": {**SMALL_PATCH, "epochs": 14},
    "small_patch_40_epochs": {**SMALL_PATCH, "epochs": 40},
    "soft": SOFT,
    "strong": STRONG,
    "weak": WEAK,
    "wide_16_to_256": {"filters": [16, 64, 128, 256]},
    "wide_32_to_256": {"filters": [32, 64, 128, 256]},
}


def configuration(variant: str) -> str:
    """Return a hash of train.yaml with the variant's overrides: results of another configuration are others."""
    parser = ConfigParser()
    parser.read_config(BUNDLE / "configs" / "train.yaml")
    parser.update(VARIANTS[variant])
    return json_sha256(parser.get())[:12]


def finished() -> list[dict[str, Any]]:
    """Return the lines of the results file."""
    return [json.loads(line) for line in RESULTS.read_text().splitlines()] if RESULTS.exists() else []


def run_bundle(files: list[str], overrides: dict[str, Any]) -> None:
    """Do what the bundle's command does, in a process of its own; its log goes to stderr."""
    arguments = [part for name, value in overrides.items() for part in (f"--{name}", _as_text(value))]
    configs = str([f"configs/{name}.yaml" for name in files])
    command = [sys.executable, "-m", "monai.bundle", "run", "--config_file", configs, *arguments]
    subprocess.run(command, cwd=BUNDLE, check=True, stdout=sys.stderr)


def _as_text(value: Any) -> str:
    return value if isinstance(value, str) else repr(value)


def train_and_score(
    variant: str, fold: int, dataset_dir: Path, output_dir: Path, seed: int, version: str | None
) -> dict[str, Any]:
    """Train a variant on the other folds, score it on this one and return the line of the results file."""
    name = f"{variant}-fold{fold}-seed{seed}"
    folder = output_dir / name
    where = {"dataset_dir": str(dataset_dir), "output_dir": str(output_dir), "run_name": name}
    experiment = {**VARIANTS[variant], "fold": fold, "seed": seed, "val_interval": 1000, "patience": 0}
    resumed = (folder / "training_state.pt").exists()
    before, began = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    if not (folder / "finished").exists():
        run_bundle(["train"], {**where, **experiment, "resume": resumed})
        (folder / "finished").touch()
    after, seconds = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter() - began
    run_bundle(["train", "evaluate"], {**where, **experiment, "weights": [str(folder / "last.pt")]})
    with (folder / "evaluation" / f"last-fold{fold}" / "scores.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    return {
        "variant": variant,
        "configuration": configuration(variant),
        "overrides": VARIANTS[variant],
        "fold": fold,
        "seed": seed,
        "cases": len(rows),
        "dice": {
            column.removeprefix("dice_"): statistics.fmean(float(row[column]) for row in rows)
            for column in rows[0]
            if column != "case"
        },
        "wall_minutes": round(seconds / 60, 2),
        "cpu_minutes": round((after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime) / 60, 2),
        "resumed": resumed,
        "threads": int(os.environ.get("OMP_NUM_THREADS", os.cpu_count() or 1)),
        "commit": version,
        "machine": processor_name(),
    }


def print_table(lines: list[dict[str, Any]]) -> None:
    """Print a row a variant: mean Dice over its folds, against the bundle's own on these, and what a training cost."""
    by_configuration = defaultdict(list)
    for line in lines:
        by_configuration[line["variant"], line["configuration"]].append(line)
    own = {run["fold"]: _mean(run) for run in by_configuration.get(("bundle", configuration("bundle")), [])}
    columns = ("variant", "configuration", "folds", "anterior", "posterior", "mean", "against bundle")
    print(f"| {' | '.join(columns)} | processor minutes a training | commit |")
    print("|---|---|---|---|---|---|---|---|---|")
    rows = []
    for (variant, version), runs in by_configuration.items():
        runs.sort(key=lambda run: run["fold"])
        anterior, posterior = (
            statistics.fmean(run["dice"][name] for run in runs) for name in ("anterior", "posterior")
        )
        mean = statistics.fmean(_mean(run) for run in runs)
        gains = [_mean(run) - own[run["fold"]] for run in runs if run["fold"] in own]
        against = ", ".join(f"{gain:+.4f}" for gain in gains) or "-"
        whole = [run["cpu_minutes"] for run in runs if not run["resumed"]]
        cost = f"{statistics.fmean(whole):.1f}" if whole else "-"
        folds = ",".join(str(run["fold"]) for run in runs)
        commits = ", ".join(sorted({str(run["commit"]) for run in runs}))
        dice = f"{anterior:.4f} | {posterior:.4f} | {mean:.4f} | {against}"
        rows.append((folds, -mean, f"| {variant} | {version} | {folds} | {dice} | {cost} | {commits} |"))
    for _, _, text in sorted(rows):
        print(text)


def _mean(run: dict[str, Any]) -> float:
    return statistics.fmean(run["dice"].values())


def main() -> None:
    """Run what is asked for and not yet done; print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--dataset-dir", type=Path)
    parser.add_argument("--output-dir", type=Path, default=Path("runs/hippocampus"))
    parser.add_argument("--variants", nargs="*", default=[], choices=sorted(VARIANTS))
    parser.add_argument("--folds", nargs="*", type=int, default=[0])
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    version = commit(ROOT / "segpipe")  # before the results of this call change a tracked file
    done = {(line["configuration"], line["fold"], line["seed"]) for line in finished()}
    for variant in arguments.variants:
        for fold in arguments.folds:
            if (configuration(variant), fold, arguments.seed) in done:
                continue
            line = train_and_score(
                variant,
                fold,
                arguments.dataset_dir.resolve(),
                arguments.output_dir.resolve(),
                arguments.seed,
                version,
            )
            RESULTS.parent.mkdir(exist_ok=True)
            with RESULTS.open("a") as file:
                file.write(json.dumps(line) + "\n")
    print_table(finished())


if __name__ == "__main__":
    main()
