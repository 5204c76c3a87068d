"""U-Net against SegNet on the lung slices, as Saood & Hatem compare them, and what the balance of classes is worth.

Both networks in the bundles' size, twice as wide and in the paper's, four classes and (not the wide ones) infected or
not. The rows `unet_...` differ from `unet` in what their names say and in nothing else; `segnet` differs in the network
alone. The paper's networks have its norms, its middle learning rates, batches of four and no dropout, and the bundles'
loss, schedule and augmentation.

    python benchmarks/unet_vs_segnet.py --dataset-dir DATASET_DIR --rows unet segnet --folds 0 1 2
    python benchmarks/unet_vs_segnet.py --dataset-dir DATASET_DIR --rows unet --tasks classes --folds 0 1 2 3 4 --full
    python benchmarks/unet_vs_segnet.py --dataset-dir DATASET_DIR --tasks classes \
        --rows unet unet_separable unet_dynamic unet_multi_scale_context unet_balanced_cases
    python benchmarks/unet_vs_segnet.py                                  # prints the tables of what is done

Every finished run is one line in results/unet_vs_segnet.jsonl (or --results), with the confusion of every held-out
slice; a call skips what is done and resumes what broke off. Without --full, crops are of 320 and epochs few enough for
two cores; with it, the rows are the bundles as they are, and the paper's networks have its number of epochs.
"""

from __future__ import annotations

import argparse
import statistics
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from bundle_runs import ROOT, Training, append_line, read_lines, whole_minutes
from numpy.typing import NDArray
from scipy.stats import bootstrap
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from torch.utils.flop_counter import FlopCounterMode

from segpipe.evaluation import PooledScores
from segpipe.evaluation.summary import read_summary
from segpipe.provenance import commit

RESULTS = Path(__file__).with_name("results") / "unet_vs_segnet.jsonl"
CLASSES = ("background", "ground-glass", "consolidation", "effusion")
BINARY = ("background", "infected")
PAPER_UNET = {
    "batch_size": 4,
    "widths": [64, 128, 256],
    "norm": "none",
    "dropout": 0.0,
    "learning_rate": 0.0005,
}
PAPER_SEGNET = {
    "batch_size": 4,
    "stages": [[64, 64], [64, 64], [64, 64]],
    "norm": "batch",
    "norm_last": True,
    "dropout": 0.0,
    "learning_rate": 0.001,
}


@dataclass(frozen=True)
class Row:
    """One row of the comparison.

    Attributes:
        bundle: whose network it is.
        overrides: what differs from the bundle's own training.
        short: epochs on two cores.
        full: epochs with --full; None for the bundle's own.
    """

    bundle: str
    overrides: Mapping[str, Any] = field(default_factory=dict)
    short: int = 10
    full: int | None = None

    def training(self, fold: int, *, binary: bool, full: bool) -> Training:
        """Return the training of this row that holds a fold out."""
        size = {"patch_size": [320, 320], "epochs": self.short}
        if full:
            size = {} if self.full is None else {"epochs": self.full}
        files = ("train", "binary") if binary else ("train",)
        return Training(self.bundle, {**self.overrides, **size}, fold, files=files)


WIDE = [16, 32, 64, 128, 256, 256]
UNET, SEGNET = "ct_covid_unet", "ct_covid_segnet"
ROWS = {
    "paper_unet": Row(UNET, PAPER_UNET, short=3, full=160),
    "paper_segnet": Row(SEGNET, PAPER_SEGNET, short=3, full=160),
    "unet": Row(UNET),
    "segnet": Row(SEGNET),
    "unet_wide": Row(UNET, {"widths": WIDE}),
    "segnet_wide": Row(SEGNET, {"stages": [[width, width] for width in WIDE]}),
    "unet_no_weights": Row(UNET, {"weight_power": 0.0}),
    "unet_full_weights": Row(UNET, {"weight_power": 1.0}),
    "unet_no_dice": Row(UNET, {"dice_weight": 0.0}),
    "unet_no_dice_full_weights": Row(UNET, {"dice_weight": 0.0, "weight_power": 1.0}),
    "unet_no_dice_no_weights": Row(UNET, {"dice_weight": 0.0, "weight_power": 0.0}),
    "unet_separable": Row(UNET, {"conv": "separable"}),
    "unet_dynamic": Row(UNET, {"conv": "dynamic"}),
    "unet_multi_scale_context": Row(UNET, {"attention": "multi_scale_context"}),
    "unet_balanced_cases": Row(UNET, {"sampling": "rarest_class"}),
}
BOTH_TASKS = ("paper_unet", "paper_segnet", "unet", "segnet")


def read_confusions(scores: Path, names: Sequence[str]) -> dict[str, list[list[int]]]:
    """Return the confusion matrix, true class by predicted, of every held-out slice."""
    matrices = {}
    for case, pairs in read_summary(scores)["confusion"]["cases"].items():
        matrix = np.zeros((len(names), len(names)), dtype=np.int64)
        for true, predicted, voxels in pairs:
            matrix[true, predicted] = voxels
        matrices[case] = matrix.tolist()
    return matrices


def seconds_per_epoch(run: Path) -> float:
    """Return the median over the run's epochs, as TensorBoard has them."""
    log = EventAccumulator(str(run / "tensorboard"))
    log.Reload()
    return statistics.median(event.value for event in log.Scalars("speed/seconds_per_epoch"))


def gflop(training: Training) -> float:
    """Return the GFLOP of the network on one slice of 512 x 512; a product and its addition are two operations."""
    with torch.device("meta"):
        network, image = training.setting("network_def"), torch.empty(1, 1, 512, 512)
    with FlopCounterMode(display=False) as counter:
        network.to("meta")(image)
    return round(counter.get_total_flops() / 1e9, 3)


def pooled_interval(confusions: NDArray[np.int64], index: int) -> tuple[float, float]:
    """Return the 95 % interval of a class's pooled Dice, by bootstrap over slices.

    Slices of one patient are alike, and which they are is unknown: the true interval is wider.

    Args:
        confusions: `(slices, C, C)`.
        index: of the class.
    """
    both = confusions.sum(axis=1)[:, index] + confusions.sum(axis=2)[:, index]

    def dice(agreed: NDArray[np.int64], either: NDArray[np.int64], axis: int) -> NDArray[np.float64]:
        whole = either.sum(axis=axis)
        return np.divide(2 * agreed.sum(axis=axis), whole, out=np.zeros(whole.shape), where=whole > 0)

    interval = bootstrap(
        (confusions[:, index, index], both), dice, paired=True, method="percentile", rng=0, n_resamples=2000
    ).confidence_interval
    return float(interval.low), float(interval.high)


def print_tables(lines: Sequence[dict[str, Any]]) -> None:
    """Print a table a task: a row a network, over all the folds that it was run on."""
    for names in (CLASSES, BINARY):
        runs = [line for line in lines if tuple(line["classes"]) == names]
        if runs:
            _print_table(runs, names)


def _print_table(lines: Sequence[dict[str, Any]], names: Sequence[str]) -> None:
    groups = defaultdict(list)
    for line in lines:
        groups[line["row"], line["configuration"]].append(line)
    several = len(names) > 2
    columns = [
        "row",
        "configuration",
        "folds",
        "crop",
        "epochs",
        "parameters",
        "GFLOP a slice",
        "seconds an epoch",
        "minutes x threads",
        "processor minutes a fold",
    ]
    columns += [f"Dice {name} (95 %)" for name in names[1:]]
    columns += ["mean Dice", "infected or not"] if several else []
    print(f"\n| {' | '.join([*columns, 'sensitivity', 'specificity', 'accuracy', 'commit'])} |")
    print("|---" * (len(columns) + 4) + "|")
    backgrounds = {}
    for (row, configuration), runs in groups.items():
        runs.sort(key=lambda run: run["fold"])
        slices = np.array([matrix for run in runs for matrix in run["confusions"].values()])
        scores = PooledScores.of(slices.sum(axis=0))
        folds = ",".join(str(run["fold"]) for run in runs)
        cells = [row, configuration, folds, str(runs[0]["crop"]), str(runs[0]["epochs"])]
        cells += [f"{runs[0]['parameters']:,}", str(runs[0].get("gflop", "-"))]
        cells += [f"{statistics.median(run['seconds_per_epoch'] for run in runs):.0f}"]
        cells += [f"{sum(_minutes(run) for run in runs):.0f}", whole_minutes(runs)]
        for index, dice in enumerate(scores.dice.tolist(), start=1):
            low, high = pooled_interval(slices, index)
            cells.append(f"{dice:.3f} ({low:.2f} to {high:.2f})")
        if several:
            cells += [f"{scores.dice.mean():.3f}", f"{_infected(slices):.3f}"]
        for figures in (scores.sensitivity, scores.specificity):
            cells.append(" / ".join(f"{figure:.3f}" for figure in figures.tolist()))
        commits = ", ".join(sorted({str(run["commit"]) for run in runs}))
        print(f"| {' | '.join([*cells, f'{scores.accuracy:.4f}', commits])} |")
        backgrounds[folds] = scores.background_accuracy
    for folds, accuracy in backgrounds.items():
        nothing = ["0"] * (len(names) - 1) + (["0", "0"] if several else [])
        cells = ["**all background**", "-", folds, "-", "-", "0", "0", "0", "0", "0", *nothing]
        cells += [" / ".join(["0"] * (len(names) - 1)), " / ".join(["1"] * (len(names) - 1))]
        print(f"| {' | '.join([*cells, f'{accuracy:.4f}', '-'])} |")


def _minutes(run: Mapping[str, Any]) -> float:
    """Return the minutes of all epochs times threads, which a training that was broken off and resumed has too."""
    return float(run["seconds_per_epoch"] * run["epochs"] * run["threads"] / 60)


def _infected(confusions: NDArray[np.int64]) -> float:
    """Return the pooled Dice of any class but the background, of maps of several."""
    total = confusions.sum(axis=0)
    agreed = total[1:, 1:].sum()
    return float(2 * agreed / (2 * agreed + total[0, 1:].sum() + total[1:, 0].sum()))


def main() -> None:
    """Run what is asked for and not yet done; print the tables."""
    arguments = parse_arguments()
    version = commit(ROOT / "segpipe")  # before the results of this call change a tracked file
    results = arguments.results
    done = {(line["configuration"], line["fold"], line["seed"]) for line in read_lines(results)}
    rows = list(ROWS) if arguments.rows == ["all"] else arguments.rows
    for row in rows:
        for task in arguments.tasks if row in BOTH_TASKS else {"classes"} & set(arguments.tasks):
            binary = task == "infected"
            for fold in arguments.folds:
                training = ROWS[row].training(fold, binary=binary, full=arguments.full)
                if (training.configuration, fold, training.seed) in done:
                    continue
                name = f"{row}-{'binary-' if binary else ''}{training.configuration}-fold{fold}"
                output_dir = arguments.output_dir.resolve()
                line, scores = training.run(arguments.dataset_dir.resolve(), output_dir, name)
                names = BINARY if binary else CLASSES
                measured = {
                    "classes": names,
                    "epochs": training.setting("epochs"),
                    "crop": training.setting("patch_size")[0],
                    "parameters": sum(p.numel() for p in training.setting("network_def").parameters()),
                    "gflop": gflop(training),
                    "seconds_per_epoch": round(seconds_per_epoch(output_dir / name), 2),
                    "confusions": read_confusions(scores, names),
                    "commit": version,
                }
                append_line(results, {"row": row, **line, **measured})
    print_tables(read_lines(results))


def parse_arguments() -> argparse.Namespace:
    """Return the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--dataset-dir", type=Path)
    parser.add_argument("--output-dir", type=Path, default=Path("runs/unet_vs_segnet"))
    parser.add_argument("--results", type=Path, default=RESULTS, help="file of the results, a line a run")
    parser.add_argument("--rows", nargs="*", default=[], choices=["all", *ROWS])
    parser.add_argument(
        "--tasks", nargs="+", default=["classes", "infected"], choices=["classes", "infected"]
    )
    parser.add_argument("--folds", nargs="*", type=int, default=[0, 1, 2])
    parser.add_argument(
        "--full", action="store_true", help="the bundles as they are; hours a fold on two cores"
    )
    return parser.parse_args()


if __name__ == "__main__":
    main()
