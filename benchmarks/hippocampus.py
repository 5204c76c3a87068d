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
import statistics
from collections import defaultdict
from pathlib import Path
from typing import Any

from bundle_runs import ROOT, Training, append_line, read_lines, whole_minutes

from segpipe.evaluation.summary import read_summary
from segpipe.provenance import commit

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


def training(variant: str, fold: int, seed: int) -> Training:
    """Return the bundle's training with a variant's overrides."""
    return Training("mri_hippocampus_unet", VARIANTS[variant], fold, seed)


def mean_dice(folder: Path) -> tuple[int, dict[str, float]]:
    """Return how many cases an evaluation scored, and the mean Dice of each class."""
    summary = read_summary(folder)
    return summary["cases"], {name: of["dice"]["mean"] for name, of in summary["classes"].items()}


def print_table(lines: list[dict[str, Any]]) -> None:
    """Print a row a variant: mean Dice over its folds, against the bundle's own on these, and what a training cost."""
    by_configuration = defaultdict(list)
    for line in lines:
        by_configuration[line["variant"], line["configuration"]].append(line)
    own = {
        run["fold"]: _mean(run)
        for run in by_configuration.get(("bundle", training("bundle", 0, 0).configuration), [])
    }
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
        folds = ",".join(str(run["fold"]) for run in runs)
        commits = ", ".join(sorted({str(run["commit"]) for run in runs}))
        dice = f"{anterior:.4f} | {posterior:.4f} | {mean:.4f} | {against}"
        cost = whole_minutes(runs)
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
    done = {(line["configuration"], line["fold"], line["seed"]) for line in read_lines(RESULTS)}
    for variant in arguments.variants:
        for fold in arguments.folds:
            run = training(variant, fold, arguments.seed)
            if (run.configuration, fold, arguments.seed) in done:
                continue
            name = f"{variant}-fold{fold}-seed{arguments.seed}"
            line, scores = run.run(arguments.dataset_dir.resolve(), arguments.output_dir.resolve(), name)
            cases, dice = mean_dice(scores)
            append_line(
                RESULTS, {"variant": variant, **line, "cases": cases, "dice": dice, "commit": version}
            )
    print_table(read_lines(RESULTS))


if __name__ == "__main__":
    main()
