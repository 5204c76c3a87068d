"""What do the classification bundles reach on held-out folds, beside the baseline of frozen last features?

    python benchmarks/classification_folds.py --data SHARED_DATA --work FOLDER --bundle cxr_findings_efficientnet
    python benchmarks/classification_folds.py --data TILES --work FOLDER --bundle ct_covid_tile_cnn

Needs `pip install segpipe[pretrained]`. Trains the bundle once for each fold of its manifest, with MONAI's own
run, and takes the logits of the last epoch on the held-out images. The baseline is the first head of
`frozen_features.py`, on the same folds. Differences have bootstrap intervals by patient, over all images together.
The tiles of `segpipe data tiles` have no baseline; the intervals of their figures are by slice. A training that is
there is not repeated, one that broke off resumes. A line is added to results/classification_folds.jsonl.
"""

from __future__ import annotations

import argparse
import csv
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from bundle_runs import ROOT, append_line
from frozen_features import HEADS, Array, features_of, held_out_logits, row_of, scored

from segpipe.dataset import Manifest, load_manifest
from segpipe.dataset.targets import target_of
from segpipe.evaluation.classification.statistics import drawn_weights
from segpipe.networks import read_sidecar
from segpipe.training.run_folder import processor_name

VARIANTS = {
    "unweighted": "weighting: null\n",
    "balanced": """weighting: null
train#sampler:
  _target_: segpipe.dataset.sampling.BalancedSampler
  dataset: "@train#dataset"
  weights:
    _target_: segpipe.bundle.image_draws
    cases: "@cases"
  seed: "@seed"
""",
    "fine_tuned": """unfreeze_after: 5
frozen_parts: 3
optimizer#params#backbone_rate: 0.01
""",
}
"""Overrides of train.yaml: no weights in the loss; draws of rare findings in place of weights; all parts of
EfficientNet-Lite0 behind the third trained after five epochs."""
DENSENET = "densenet121"
"""Variant that is a bundle of its own, of `segpipe plan --network densenet`: DenseNet121 from random numbers."""
TILES = "ct_covid_tile_cnn"
BUNDLES = ("cxr_findings_efficientnet", "oct_retina_efficientnet", TILES)
RESULTS = Path(__file__).with_name("results") / "classification_folds.jsonl"


def trained(bundle: str, dataset_dir: Path, work: Path, fold: int, variant: str) -> Path:
    """Train one fold of a bundle, validating after the last epoch alone; return the run's folder."""
    root = planned_densenet(dataset_dir, work) if variant == DENSENET else ROOT / "bundles" / bundle
    epochs = yaml.safe_load((root / "configs" / "train.yaml").read_text())["epochs"]
    run = work / f"{bundle}{'_' * bool(variant)}{variant}" / f"fold{fold}"
    if (run / "best_validation.csv").is_file():
        return run
    arguments = {
        **({"manifest": dataset_dir / "dataset.json", "patience": 0} if bundle == TILES else {}),
        "dataset_dir": dataset_dir,
        "output_dir": run.parent,
        "run_name": run.name,
        "fold": fold,
        "val_interval": epochs,
        "resume": run.is_dir(),
    }
    given = [text for name, value in arguments.items() for text in (f"--{name}", str(value))]
    files = ["configs/train.yaml"]
    if variant and variant != DENSENET:
        overlay = work / f"{variant}.yaml"
        overlay.write_text(VARIANTS[variant])
        files.append(str(overlay.resolve()))
    command = [sys.executable, "-m", "monai.bundle", "run", "--config_file", str(files), *given]
    subprocess.run(command, cwd=root, check=True)
    return run


def planned_densenet(dataset_dir: Path, work: Path) -> Path:
    """Return the bundle with a DenseNet121 that segpipe plans for a set, planned at the first call."""
    root = (work / f"{dataset_dir.name}_{DENSENET}").resolve()
    if not root.is_dir():
        options = ["--dataset-dir", str(dataset_dir), "--network", "densenet", "--output", str(root)]
        subprocess.run([sys.executable, "-m", "segpipe", "plan", dataset_dir.name, *options], check=True)
    return root


def logits_of(runs: list[Path], manifest: Manifest) -> Array:
    """Return the held-out logits of the runs, in the order of the manifest's training cases."""
    rows: dict[str, list[float]] = {}
    for run in runs:
        with (run / "best_validation.csv").open(newline="") as file:
            for row in csv.DictReader(file):
                rows[row["case"]] = [float(row[f"logit_{name}"]) for name in manifest.categories().names]
    return np.array([rows[case.case] for case in manifest.training])


def measure(bundle: str, data: Path, work: Path, variant: str) -> dict[str, Any]:
    """Return the line of one bundle; a variant is compared with the bundle, the bundle with the baseline."""
    config = yaml.safe_load((ROOT / "bundles" / bundle / "configs" / "train.yaml").read_text())
    dataset = config["manifest"]
    manifest = load_manifest(dataset)
    categories, cases = manifest.categories(), manifest.training
    folds = np.array([case.fold for case in cases])
    targets = np.array([target_of(case, categories) for case in cases], dtype=float)
    if categories.exclusive:
        targets = np.eye(categories.num)[targets.astype(int)]

    def runs_of(which: str) -> list[Path]:
        return [trained(bundle, data / dataset, work, int(fold), which) for fold in np.unique(folds)]

    runs = runs_of(variant)
    whole = np.ones((1, len(cases)))
    weights = np.concatenate(list(drawn_weights(tuple(str(case.patient) for case in cases))))

    def both(logits: Array) -> list[list[Array]]:
        return [list(scored(logits, targets, categories.exclusive, drawn)) for drawn in (whole, weights)]

    ours = both(logits_of(runs, manifest))
    baseline = HEADS[dataset][0]
    if variant:
        first = both(logits_of(runs_of(""), manifest))
    else:
        files = [data / dataset / case.images[0] for case in cases]
        views = [features_of(dataset, files, baseline, work, mirror=False)]
        first = both(held_out_logits(baseline, views, targets, folds, categories.exclusive))
    line = row_of(dataset, baseline, ours[0], first[0], [ours[1], first[1]])
    figures = {name: float(first[0][place][0]) for place, name in enumerate(("auroc", "accuracy"))}
    compared = {name: round(value, 4) for name, value in figures.items() if np.isfinite(value)}
    line["bundle" if variant else "baseline"] = compared
    line |= {
        "head": bundle,
        "variant": variant or None,
        "size": config["image_size"][0],
        "C": None,
        "command": f"python benchmarks/classification_folds.py --data SHARED_DATA --work FOLDER --bundle {bundle}"
        + (f" --variant {variant}" if variant else ""),
    }
    return line | provenance_of(runs)


def measure_tiles(data: Path, work: Path) -> dict[str, Any]:
    """Return the line of the tile bundle, with intervals by slice."""
    manifest = load_manifest(data / "dataset.json")
    folds = sorted({int(case.fold) for case in manifest.training if case.fold is not None})
    runs = [trained(TILES, data, work, fold, "") for fold in folds]
    categories, cases = manifest.categories(), manifest.training
    targets = np.eye(categories.num)[[int(target_of(case, categories)) for case in cases]]
    logits = logits_of(runs, manifest)
    weights = np.concatenate(list(drawn_weights(tuple(str(case.patient) for case in cases))))
    line: dict[str, Any] = {"set": manifest.name, "head": TILES}
    now, drawn = (scored(logits, targets, True, given) for given in (np.ones((1, len(cases))), weights))
    for name, figure, samples in zip(("auroc", "accuracy"), now, drawn, strict=True):
        low, high = np.nanpercentile(samples, [2.5, 97.5])
        line |= {
            name: round(float(figure[0]), 4),
            f"{name}_95": [round(float(low), 4), round(float(high), 4)],
        }
    return (
        line
        | provenance_of(runs)
        | {
            "command": f"python benchmarks/classification_folds.py --data TILES --work FOLDER --bundle {TILES}"
        }
    )


def provenance_of(runs: list[Path]) -> dict[str, Any]:
    """Return commits of the runs, and the machine."""
    sidecars = [read_sidecar(run / "best.pt") for run in runs]
    commits = {one.training["environment"]["commit"] for one in sidecars if one is not None}
    return {"commit": sorted(commits), "machine": processor_name()}


def main() -> None:
    """Measure one bundle."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--data", type=Path, required=True, help="folder with oct2017/ and nih_cxr64/, or of the tiles"
    )
    parser.add_argument("--work", type=Path, required=True, help="folder for runs and features")
    parser.add_argument("--bundle", required=True, choices=BUNDLES)
    parser.add_argument(
        "--variant", choices=[*sorted(VARIANTS), DENSENET], default="", help="overrides of the training"
    )
    options = parser.parse_args()
    options.work.mkdir(parents=True, exist_ok=True)
    if options.bundle == TILES:
        line = measure_tiles(options.data, options.work)
    else:
        line = measure(options.bundle, options.data, options.work, options.variant)
    print(line)
    append_line(RESULTS, line)


if __name__ == "__main__":
    main()
