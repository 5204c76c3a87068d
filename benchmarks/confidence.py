r"""How well the Dice of a label map is predicted without its reference, on cases of folds that took no part in the fit.

    python benchmarks/confidence.py --bundle B --manifest M --dataset-dir DIR \
        --fold 0=RUN0/best.pt --fold 1=RUN1/best.pt --fold 2=RUN2/best.pt

Each fold's weights segment the cases that its run held out. The cases of a fold are predicted with a model of the other
folds, intervals included. The table has the mean absolute error beside that of a constant (the other folds' median),
Spearman's correlation, the AUROC of failure (the tenth of the cases with the lowest Dice) with its 95 % interval, and
the coverage of the 90 % intervals. With one fold, parts of its cases stand in for folds (`--parts`), which says less:
their weights are the same. `--cache` keeps the measured cases. A line is added to results/confidence.jsonl.
"""

from __future__ import annotations

import argparse
import pickle
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
from bundle_runs import ROOT, append_line
from scipy import stats

from segpipe.bundle.open import open_bundle
from segpipe.bundle.source import BundleSource
from segpipe.confidence import FEATURES, HeldOutTarget, assess
from segpipe.dataset import load_manifest
from segpipe.errors import SegpipeError
from segpipe.prediction.accuracy import WindowSettings
from segpipe.prediction.held_out_confidence import HeldOutCases, measured_case
from segpipe.prediction.segmenter import Segmenter
from segpipe.provenance import commit
from segpipe.training.run_folder import processor_name
from segpipe.volumes import read_volume

RESULTS = Path(__file__).with_name("results") / "confidence.jsonl"


def measured(given: argparse.Namespace) -> dict[str, HeldOutTarget]:
    """Segment the held-out cases of each fold with its weights."""
    manifest, cases = load_manifest(given.manifest), None
    for number, weights in (fold.split("=", 1) for fold in given.fold):
        bundle = open_bundle(BundleSource(given.bundle, weights=[Path(weights)]), with_ranges=False)
        cases = cases or HeldOutCases(bundle.labels)
        windows = WindowSettings(flips=tuple(given.mirror)) if given.mirror else None
        segmenter = Segmenter(bundle, given.precision, windows=windows)
        held_out = [case for case in manifest.training if str(case.fold) == number]
        for case in held_out[: given.most_cases]:
            stored = read_volume(given.dataset_dir / str(case.label)).array
            reference = bundle.labels.to_indices(stored)
            loaded = bundle.read([given.dataset_dir / name for name in case.images], case.frame)
            cases.add(measured_case(segmenter, loaded, reference), case.patient or case.case, number)
    return {} if cases is None else cases.targets


def main() -> None:
    """Measure, print a row a target and add the line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--bundle", type=Path, required=True)
    parser.add_argument("--manifest", required=True)
    parser.add_argument("--dataset-dir", type=Path, required=True)
    parser.add_argument(
        "--fold", action="append", default=[], metavar="NUMBER=WEIGHTS", help="Each fold's weights."
    )
    parser.add_argument("--precision", default="bfloat16")
    parser.add_argument("--mirror", type=int, nargs="*", default=[])
    parser.add_argument("--most-cases", type=int, default=1000, help="Of each fold.")
    parser.add_argument("--parts", type=int, default=0, help="Parts that stand in for folds.")
    parser.add_argument("--cache", type=Path)
    parser.add_argument("--note", default="", help="What the line says of the weights.")
    given = parser.parse_args()
    if given.cache is not None and given.cache.is_file():
        targets: dict[str, HeldOutTarget] = pickle.loads(given.cache.read_bytes())
    else:
        targets = measured(given)
        if given.cache is not None:
            given.cache.write_bytes(pickle.dumps(targets))
    rows = [row(name, held_out, given.parts) for name, held_out in targets.items()]
    for one in rows:
        print(one)
    run = {
        "bundle": given.bundle.name,
        "manifest": Path(given.manifest).stem,
        "folds": [fold.split("=")[0] for fold in given.fold],
        "parts": given.parts,
        "precision": given.precision,
        "mirror": given.mirror,
        "note": given.note,
    }
    append_line(
        RESULTS, {**run, "targets": rows, "commit": commit(ROOT / "segpipe"), "machine": processor_name()}
    )


def row(name: str, held_out: HeldOutTarget, parts: int) -> dict[str, Any]:
    """Return the assessment of one target, and the rank correlation of each feature alone with the true Dice."""
    if parts:
        names = sorted(set(held_out.patients))
        part_of = {patient: str(place % parts) for place, patient in enumerate(names)}
        held_out = replace(held_out, folds=[part_of[patient] for patient in held_out.patients])
    usable = held_out.usable()
    alone = {
        feature: float(stats.spearmanr([getattr(one, feature) for one in usable.features], usable.dice)[0])
        for feature in (*FEATURES, "log_expected_ratio")
    }
    try:
        assessed = {**asdict(made := assess(held_out, name)), "gain": made.gain}
    except SegpipeError as error:
        assessed = {"reason": str(error)}
    return {"target": name, **_rounded(assessed), "spearman_alone": _rounded(alone)}


def _rounded(values: dict[str, Any]) -> dict[str, Any]:
    return {
        name: (None if np.isnan(value) else round(value, 4)) if isinstance(value, float) else value
        for name, value in values.items()
    }


if __name__ == "__main__":
    main()
