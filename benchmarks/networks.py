"""Does nnU-Net's residual encoder reach a higher Dice than today's planned network, at equal processor time?

    OMP_NUM_THREADS=1 python benchmarks/networks.py --set hippocampus --dataset-dir DATASET_DIR --folds 0 1 2 3 4
    python benchmarks/networks.py                                          # prints the table of what is done

Both networks are planned afresh for the set, in OUTPUT_DIR. Steps of both are timed by turns in processor time, and the
residual encoder gets as many epochs as take the time of the other network's. Each is trained on all folds but one and
scored on it with the weights of the last epoch. A finished run is one line in results/networks.jsonl; a call skips what
is done and resumes what broke off. The paired differences are over the cases of all folds that both networks have, with
bootstrap intervals over patients.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from bundle_runs import ROOT, Training, append_line, read_lines, whole_minutes

from segpipe.dataset import load_manifest
from segpipe.evaluation.case_scores import CaseScores
from segpipe.evaluation.intervals import paired_differences
from segpipe.evaluation.metrics import METRICS
from segpipe.inference.heap import LARGEST_OF_A_STEP, keep_freed_memory
from segpipe.losses import DeepSupervision, DiceCrossEntropy
from segpipe.networks.group_norms import instance_to_group_norms
from segpipe.planning import Plan, PlanOptions, plan_bundle
from segpipe.planning.memory import made
from segpipe.provenance import commit

RESULTS = Path(__file__).with_name("results") / "networks.jsonl"
NETWORKS = ("unet", "resenc")
_ROUNDS = 8  # of timed steps, after one to warm up


def planned(name: str, dataset_dir: Path, output: Path, epochs: int | None) -> dict[str, int]:
    """Plan both networks and time their steps, unless that was done here before; return the epochs of each."""
    note = output / f"{Path(name).stem}_epochs.json"
    if note.exists():
        known: dict[str, int] = json.loads(note.read_text())
        return known
    plans = {
        network: plan_bundle(
            name, dataset_dir, output / f"{Path(name).stem}_{network}", PlanOptions(network=network)
        ).plan
        for network in NETWORKS
    }
    seconds = step_seconds(plans)
    first = epochs or plans["unet"].numbers["epochs"].value
    steps = {network: plan.numbers["batch_size"].value for network, plan in plans.items()}
    # an epoch has as many patches with both networks; a step has a batch
    cost = {network: seconds[network] / steps[network] for network in NETWORKS}
    wanted = {network: max(round(first * cost["unet"] / cost[network]), 1) for network in NETWORKS}
    note.write_text(json.dumps(wanted))
    print(f"processor seconds of a step: {seconds}; epochs: {wanted}")
    return wanted


def step_seconds(plans: dict[str, Plan]) -> dict[str, float]:
    """Return the median processor seconds of a training step of each plan's network, taken by turns."""
    keep_freed_memory(LARGEST_OF_A_STEP)
    loss = DeepSupervision(DiceCrossEntropy())
    networks, taken = {}, {network: [] for network in plans}
    for network, plan in plans.items():
        module = made(plan.architecture)
        instance_to_group_norms(module)  # as a training on a processor
        networks[network] = module, torch.optim.AdamW(module.parameters(), fused=True)
    for turn in range(_ROUNDS + 1):
        for network, (module, optimizer) in networks.items():
            numbers, of_plan = plans[network].numbers, plans[network].architecture
            shape = (numbers["batch_size"].value, of_plan.num_channels, *numbers["patch_size"].value)
            image = torch.randn(shape)
            label = torch.randint(0, of_plan.num_classes, (shape[0], 1, *shape[2:])).float()
            began = time.process_time()
            optimizer.zero_grad(set_to_none=True)
            loss(module(image), label).backward()
            optimizer.step()
            if turn:
                taken[network].append(time.process_time() - began)
    return {network: statistics.median(times) for network, times in taken.items()}


def run(name: str, dataset_dir: Path, output: Path, folds: list[int], epochs: int | None) -> None:
    """Train and score what is asked for and not yet done."""
    wanted = planned(name, dataset_dir, output, epochs)
    stem, version = Path(name).stem, commit(ROOT / "segpipe")
    done = {(line["configuration"], line["fold"]) for line in read_lines(RESULTS)}
    for fold in folds:
        for network in NETWORKS:
            bundle = str(output / f"{stem}_{network}")
            training = Training(bundle, {"epochs": wanted[network]}, fold)
            if (training.configuration, fold) in done:
                continue
            line, folder = training.run(dataset_dir, output, f"{stem}-{network}-fold{fold}")
            scores = CaseScores.read(folder)
            dice = scores.values[:, METRICS.index("dice")]
            append_line(
                RESULTS,
                {
                    "set": stem,
                    "network": network,
                    **line,
                    "classes": scores.class_names,
                    "patients": scores.drawn,
                    "dice": {
                        case: [None if np.isnan(one) else round(float(one), 5) for one in row]
                        for case, row in zip(scores.cases, dice, strict=True)
                    },
                    "commit": version,
                },
            )


def print_table(lines: list[dict[str, Any]]) -> None:
    """Print a row a set and network, and the paired differences of a set."""
    print(
        "| set | network | folds | epochs | cases | Dice of each class | processor minutes a fold | commit |"
    )
    print("|---|---|---|---|---|---|---|---|")
    by_fold: dict[str, dict[str, dict[int, dict[str, Any]]]] = {}
    for line in lines:
        by_fold.setdefault(line["set"], {}).setdefault(line["network"], {})[line["fold"]] = line
    for name, networks in by_fold.items():
        for network, runs in networks.items():
            dice = np.array([row for one in runs.values() for row in one["dice"].values()], float)
            means = ", ".join(f"{mean:.4f}" for mean in np.nanmean(dice, axis=0))
            folds = ",".join(map(str, sorted(runs)))
            epochs = next(iter(runs.values()))["overrides"]["epochs"]
            commits = ", ".join(sorted({str(one["commit"]) for one in runs.values()}))
            minutes = whole_minutes(list(runs.values()))
            print(
                f"| {name} | {network} | {folds} | {epochs} | {len(dice)} | {means} | {minutes} | {commits} |"
            )
    for name, networks in by_fold.items():
        both = sorted(set.intersection(*(set(networks.get(network, {})) for network in NETWORKS)))
        if both:
            print(f"\n{name}, folds {both}, resenc minus unet, with 95 % intervals over patients:")
            print_differences([networks[network][fold] for fold in both for network in NETWORKS])


def print_differences(runs: list[dict[str, Any]]) -> None:
    """Print the paired difference of each class, and of the mean of the classes; runs: unet and resenc by turns."""
    first, second, patients = [], [], []
    for plain, residual in zip(runs[::2], runs[1::2], strict=True):
        for (case, own), patient in zip(residual["dice"].items(), residual["patients"], strict=True):
            first.append(own)
            second.append(plain["dice"][case])
            patients.append(patient)
    one, other = np.array(first, float), np.array(second, float)
    columns = [np.column_stack([dice, np.nanmean(dice, axis=1)]) for dice in (one, other)]
    for name, gain in zip([*runs[0]["classes"], "mean"], paired_differences(*columns, patients), strict=True):
        print(f"  {name}: {gain.mean:+.4f} ({gain.low:+.4f} to {gain.high:+.4f}), {gain.cases} cases")


def main() -> None:
    """Run what is asked for; print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--set", help="name of a shipped manifest, or path of one with folds")
    parser.add_argument("--dataset-dir", type=Path)
    parser.add_argument("--output-dir", type=Path, default=Path("runs/networks"))
    parser.add_argument("--folds", nargs="*", type=int, default=[0])
    parser.add_argument("--epochs", type=int, help="of today's network; default: as planned")
    arguments = parser.parse_args()
    if arguments.set:
        load_manifest(arguments.set)  # an unknown name, before any folder is made
        torch.set_num_threads(1)
        output = arguments.output_dir.resolve()
        output.mkdir(parents=True, exist_ok=True)
        run(arguments.set, arguments.dataset_dir.resolve(), output, arguments.folds, arguments.epochs)
    print_table(read_lines(RESULTS))


if __name__ == "__main__":
    main()
