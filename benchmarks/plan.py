"""What a plan reaches, beside the bundle that is shipped for the same data: Dice, time, memory, and where they differ.

    python benchmarks/plan.py --set hippocampus --dataset-dir DATASET_DIR --folds 0
    python benchmarks/plan.py --set covid_ct_512 --dataset-dir DATASET_DIR --folds 0 --only planned
    python benchmarks/plan.py --set mine.json --dataset-dir DATASET_DIR --folds 0     # no bundle is shipped for it
    python benchmarks/plan.py                                                        # prints the table of what is done

The set is planned afresh, in OUTPUT_DIR, which must be new for another plan; both bundles are trained on all folds
but one and scored on it with the weights of the last epoch. Every finished run is one line in results/plan.jsonl; a
call skips what is done and resumes what broke off. Then the numbers in which the two configurations differ are printed,
with the plan's reasons.
"""

from __future__ import annotations

import argparse
import statistics
from pathlib import Path
from typing import Any

import yaml
from bundle_runs import ROOT, Training, append_line, read_lines, whole_minutes

from segpipe.evaluation.summary import read_summary
from segpipe.planning import PlanOptions, plan_bundle
from segpipe.provenance import commit

RESULTS = Path(__file__).with_name("results") / "plan.jsonl"
SHIPPED = {"hippocampus": "mri_hippocampus_unet", "covid_ct_512": "ct_covid_unet"}


def planned(name: str, dataset_dir: Path, root: Path, wishes: PlanOptions) -> float:
    """Plan a set afresh, unless that was done here before; return the peak of memory that is planned, in GB."""
    note = root.with_suffix(".peak")
    if not root.exists():
        note.write_text(str(plan_bundle(name, dataset_dir, root, wishes).plan.peak_gb))
    return float(note.read_text())


def mean_dice(folder: Path) -> tuple[int, float]:
    """Return how many cases an evaluation scored, and the mean over classes of the mean Dice of their cases."""
    summary = read_summary(folder)
    means = [of["dice"]["mean"] for of in summary["classes"].values()]
    return summary["cases"], statistics.fmean(mean for mean in means if mean is not None)


def print_differences(shipped: Path, plan: Path) -> None:
    """Print the numbers that stand in both files and differ, and those of the plan alone."""
    theirs, text = (path / "configs" / "train.yaml" for path in (shipped, plan))
    before, after = yaml.safe_load(theirs.read_text()), yaml.safe_load(text.read_text())
    reasons = {
        line.partition(":")[0]: line.rpartition("# ")[2]
        for line in text.read_text().splitlines()
        if "# " in line
    }
    print("\n| number | shipped | planned | why |\n|---|---|---|---|")
    for name, value in after.items():
        is_number = not isinstance(value, dict) and name in reasons and name != "dataset_dir"
        if is_number and before.get(name, "not there") != value:
            print(f"| {name} | {before.get(name, 'not there')} | {value} | {reasons[name]} |")


def print_table(lines: list[dict[str, Any]]) -> None:
    """Print a row a configuration."""
    columns = ("set", "bundle", "configuration", "folds", "Dice, mean of cases", "Dice, voxels pooled")
    print(f"| {' | '.join(columns)} | processor minutes | peak, GB | planned, GB | commit |")
    print("|---|---|---|---|---|---|---|---|---|---|")
    groups: dict[tuple[str, ...], list[dict[str, Any]]] = {}
    for line in lines:
        groups.setdefault((line["set"], line["bundle"], line["configuration"]), []).append(line)
    for key, runs in sorted(groups.items()):
        folds = ",".join(str(run["fold"]) for run in sorted(runs, key=lambda run: run["fold"]))
        dice, pooled = (statistics.fmean(run[name] for run in runs) for name in ("dice", "pooled"))
        peak = max(run["peak_gb"] for run in runs)
        wanted = runs[0]["planned_gb"]
        commits = ", ".join(sorted({str(run["commit"]) for run in runs}))
        said = "-" if wanted is None else f"{wanted:.2f}"
        found = f"{dice:.4f} | {pooled:.4f} | {whole_minutes(runs)} | {peak:.2f} | {said}"
        print(f"| {' | '.join(key)} | {folds} | {found} | {commits} |")


def main() -> None:
    """Plan, train and score what is asked for and not yet done; print the tables."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--set", help="name of a shipped manifest, or path of one with folds")
    parser.add_argument("--dataset-dir", type=Path)
    parser.add_argument("--output-dir", type=Path, default=Path("runs/plan"))
    parser.add_argument("--folds", nargs="*", type=int, default=[0])
    parser.add_argument("--only", choices=("planned", "shipped"))
    parser.add_argument("--epochs", type=int, help="of the plan; default: as planned")
    parser.add_argument("--memory-gb", type=float, default=8.0)
    arguments = parser.parse_args()
    if arguments.set:
        output, dataset_dir = arguments.output_dir.resolve(), arguments.dataset_dir.resolve()
        name = Path(arguments.set).stem
        root = output / f"{name}_plan"
        output.mkdir(parents=True, exist_ok=True)
        version = commit(ROOT / "segpipe")
        wishes = PlanOptions(memory_gb=arguments.memory_gb, epochs=arguments.epochs)
        peak = planned(arguments.set, dataset_dir, root, wishes)
        bundles = {"planned": str(root), "shipped": SHIPPED.get(name)}
        done = {(line["configuration"], line["fold"]) for line in read_lines(RESULTS)}
        for kind, bundle in bundles.items():
            if bundle is None or arguments.only not in (None, kind):
                continue
            for fold in arguments.folds:
                run = Training(bundle, {}, fold)
                if (run.configuration, fold) in done:
                    continue
                line, scores = run.run(dataset_dir, output, f"{name}-{kind}-fold{fold}")
                cases, dice = mean_dice(scores)
                pooled = read_summary(scores)["pooled"]["dice"]
                result = {
                    "set": name,
                    "bundle": kind,
                    **line,
                    "cases": cases,
                    "dice": dice,
                    "pooled": statistics.fmean(pooled.values()),
                    "planned_gb": peak if kind == "planned" else None,
                    "commit": version,
                }
                append_line(RESULTS, result)
    print_table(read_lines(RESULTS))
    if arguments.set and name in SHIPPED:
        print_differences(ROOT / "bundles" / SHIPPED[name], root)


if __name__ == "__main__":
    main()
