"""How much Dice is lost where only some coronal slices are labelled and nobody looked at the others.

    python benchmarks/sparse_labels.py --data SHARED_DATA --work FOLDER [--every 4 10]

Makes nnU-Net folders of the hippocampus set in which every n-th coronal slice of a training case keeps its labels and
all other voxels have the value `ignore`; fold 0 keeps all labels. Plans and trains each as a user does, with the same
number of steps, and scores each on fold 0. A training that broke off resumes, one that is there is not repeated. A line
for each n, 1 for full labels, is added to results/sparse_labels.jsonl.
"""

from __future__ import annotations

import argparse
import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import nibabel
import numpy as np
from bundle_runs import append_line

from segpipe.dataset import load_manifest
from segpipe.provenance import commit
from segpipe.training.run_folder import processor_name

RESULTS = Path(__file__).with_name("results") / "sparse_labels.jsonl"
FOLD, IGNORED = 0, 3
RUN = "seed0"


def segpipe(*arguments: object) -> str:
    """Run a command of segpipe as a user does; return what it printed, or end with it where it fails."""
    words = [sys.executable, "-m", "segpipe", *map(str, arguments)]
    done = subprocess.run(words, capture_output=True, text=True)
    if done.returncode != 0:
        sys.exit(f"{' '.join(words)}\n{done.stdout[-3000:]}\n{done.stderr[-3000:]}")
    return done.stdout + done.stderr


def write_sparse_set(data: Path, folder: Path, every: int) -> None:
    """Write an nnU-Net folder in which every n-th coronal slice of the training cases is labelled."""
    for name in ("imagesTr", "labelsTr"):
        (folder / name).mkdir(parents=True)
    cases = load_manifest("hippocampus").training
    for place, case in enumerate(cases):
        shutil.copy(data / case.images[0], folder / "imagesTr" / f"{case.case}_0000.nii.gz")
        stored = nibabel.load(data / str(case.label))
        labels = np.asarray(stored.dataobj).astype(np.uint8)
        if case.fold != FOLD:
            axis = next(i for i, code in enumerate(nibabel.aff2axcodes(stored.affine)) if code in "AP")
            slices = np.moveaxis(labels, axis, 0)  # a view
            labelled = np.arange(len(slices)) % every == place % every
            slices[~labelled] = IGNORED
        nibabel.save(nibabel.Nifti1Image(labels, stored.affine), folder / "labelsTr" / f"{case.case}.nii.gz")
    description = {
        "channel_names": {"0": "MRI"},
        "labels": {"background": 0, "anterior": 1, "posterior": 2, "ignore": IGNORED},
        "numTraining": len(cases),
        "file_ending": ".nii.gz",
    }
    (folder / "dataset.json").write_text(json.dumps(description))


def planned_bundle(data: Path, work: Path, every: int) -> Path:
    """Return a bundle that was planned on the set; made if it is not there."""
    bundle, manifest = work / f"bundle_{every}", work / f"every_{every}.json"
    if bundle.is_dir():
        return bundle
    if every == 1:
        segpipe("plan", "hippocampus", "--dataset-dir", data, "-o", bundle)
        return bundle
    write_sparse_set(data, work / f"every_{every}", every)
    segpipe("data", "create", work / f"every_{every}", "-o", manifest, "--no-checksums")
    content = json.loads(manifest.read_text())
    fold_of = {case.case: case.fold for case in load_manifest("hippocampus").training}
    for case in content["training"]:
        case["fold"] = fold_of[case["case"]]
    manifest.write_text(json.dumps(content))
    segpipe("plan", manifest, "-o", bundle)
    return bundle


def last_epoch(run: Path) -> int:
    """Return the last epoch that a run has finished; 0 before the first."""
    sidecar = run / "last.json"
    return int(json.loads(sidecar.read_text())["training"]["epoch"]) if sidecar.is_file() else 0


def seconds_per_epoch(run: Path) -> float:
    """Return the median of a run's seconds per epoch, from TensorBoard's log."""
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    log = EventAccumulator(str(run / "tensorboard"))
    log.Reload()
    return float(np.median([event.value for event in log.Scalars("speed/seconds_per_epoch")]))


def main() -> None:
    """Train and score each set, print the table and add the lines."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, required=True, help="folder with hippocampus/")
    parser.add_argument("--work", type=Path, required=True, help="folder for sets, bundles and runs")
    parser.add_argument("--every", type=int, nargs="+", default=[4, 10])
    options = parser.parse_args()
    data = (options.data / "hippocampus").resolve()
    options.work.mkdir(parents=True, exist_ok=True)
    print("| labelled slices | Dice anterior | Dice posterior | epochs | s an epoch |\n|---|---|---|---|---|")
    for every in (1, *options.every):
        bundle = planned_bundle(data, options.work, every)
        run = bundle / "runs" / RUN
        (epochs,) = re.findall(
            r"^epochs: (\d+)", (bundle / "configs" / "train.yaml").read_text(), re.MULTILINE
        )
        if last_epoch(run) < int(epochs):
            segpipe(
                "train",
                bundle,
                f"run_name={RUN}",
                "reference_ranges=false",
                *(["resume=true"] if run.is_dir() else []),
            )
        scores = bundle / "scores"
        segpipe(
            *("evaluate", "--bundle", bundle, "--weights", run / "last.pt", "--manifest", "hippocampus"),
            *("--dataset-dir", data, "--split", FOLD, "-o", scores),
        )
        summary = json.loads((scores / "summary.json").read_text())
        dice = {name: summary["classes"][name]["dice"]["mean"] for name in ("anterior", "posterior")}
        line = {
            "every": every,
            **{f"dice_{name}": round(value, 4) for name, value in dice.items()},
            "cases": summary["cases"],
            "epochs": int(epochs),
            "seconds_per_epoch": round(seconds_per_epoch(run), 1),
            "commit": commit(),
            "machine": processor_name(),
        }
        figures = [f"1 in {every}", *(f"{value:.4f}" for value in dice.values()), epochs]
        print(f"| {' | '.join(figures)} | {line['seconds_per_epoch']} |", flush=True)
        append_line(RESULTS, line)


if __name__ == "__main__":
    main()
