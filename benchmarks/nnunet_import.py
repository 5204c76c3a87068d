"""Does an imported model of nnU-Net segment as nnU-Net's own prediction does?

    python benchmarks/nnunet_import.py --data SHARED_DATA --nnunet BIN --work DIR --set hippocampus \
        --configuration 3d_fullres

BIN holds the commands of nnU-Net 2 (nnUNetv2_predict_from_modelfolder and others) in an environment of its own. The
first call trains a small model of two folds with nnU-Net's own trainer on cases of the set, some minutes on a
processor, below DIR; later calls take it from there. Then nnU-Net predicts scans that it has not seen, `segpipe import
nnunet` makes a bundle, `segpipe predict` segments the same scans, and both label maps are compared class by class. A
line is added to results/nnunet_import.jsonl.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import time
from pathlib import Path

import nibabel
import numpy as np
from bundle_runs import ROOT, append_line
from nnunet_model import nnunet_version

from segpipe.provenance import commit
from segpipe.training.run_folder import processor_name

RESULTS = Path(__file__).with_name("results") / "nnunet_import.jsonl"
TRAINING = Path(__file__).with_name("nnunet_training.py")
DATASETS = {"hippocampus": "Dataset104_hippocampus", "sts_ct": "Dataset106_sts"}
TRAINED_ON = {"hippocampus": 30, "sts_ct": 8}
NUMBER = {"hippocampus": 10, "sts_ct": 4}
"""Scans that are compared."""
CHANNEL = {"hippocampus": "MRI", "sts_ct": "CT"}
LABELS = {
    "hippocampus": {"background": 0, "anterior": 1, "posterior": 2},
    "sts_ct": {"background": 0, "tumour": 1},
}


def pairs(data: Path, name: str) -> list[tuple[Path, Path]]:
    """Return the scans of a set with their label maps."""
    if name == "hippocampus":
        scans = sorted((data / "hippocampus/imagesTr").glob("*.nii.gz"))
        return [(scan, data / "hippocampus/labelsTr" / scan.name) for scan in scans]
    folders = sorted((data / "sts_ct").iterdir())
    return [(folder / "CT_image.nii.gz", folder / "CT_mask.nii.gz") for folder in folders]


def write_raw(folder: Path, data: Path, name: str) -> None:
    """Lay a set out as nnU-Net wants it: links for the training, and the other scans below imagesTs."""
    known = pairs(data, name)
    trained, others = known[: TRAINED_ON[name]], known[TRAINED_ON[name] :][: NUMBER[name]]
    for part, chosen in (("Tr", trained), ("Ts", others)):
        for kind in ("images", "labels"):
            (folder / f"{kind}{part}").mkdir(parents=True)
        for number, (scan, label) in enumerate(chosen):
            case = f"case_{part}_{number:03d}"
            (folder / f"images{part}" / f"{case}_0000.nii.gz").symlink_to(scan)
            (folder / f"labels{part}" / f"{case}.nii.gz").symlink_to(label)
    dataset = {
        "channel_names": {"0": CHANNEL[name]},
        "labels": LABELS[name],
        "numTraining": len(trained),
        "file_ending": ".nii.gz",
    }
    (folder / "dataset.json").write_text(json.dumps(dataset))


def seconds_of(command: list[object], environment: dict[str, str]) -> float:
    """Run a command and return its processor time."""
    before = os.times()
    subprocess.run(list(map(str, command)), check=True, env=environment, stdout=subprocess.DEVNULL)
    after = os.times()
    return after.children_user + after.children_system - before.children_user - before.children_system


def agreement(ours: Path, theirs: Path, classes: int) -> dict[str, object]:
    """Compare the label maps of two folders."""
    dice: list[list[float]] = [[] for _ in range(classes)]
    counts = np.zeros(classes, int)
    differing = total = 0
    for path in sorted(theirs.glob("*.nii.gz")):
        own = next(ours.glob(f"{path.name.removesuffix('.nii.gz')}*.nii.gz"))
        reference, labels = (np.asarray(nibabel.load(file).dataobj) for file in (path, own))
        differing += int((reference != labels).sum())
        total += labels.size
        for index in range(classes):
            one, other = reference == index, labels == index
            counts[index] += int(one.sum())
            if one.any() or other.any():
                dice[index].append(2 * (one & other).sum() / (one.sum() + other.sum()))
    return {
        "scans": len(list(theirs.glob("*.nii.gz"))),
        "differing_voxels": differing,
        "of_voxels": total,
        "voxels_of_class": counts.tolist(),
        "mean_dice": [round(float(np.mean(one)), 6) if one else None for one in dice],
        "lowest_dice": [round(float(np.min(one)), 6) if one else None for one in dice],
    }


def main() -> None:
    """Train where needed, predict with both, print and add the line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--nnunet", type=Path, required=True, help="folder with nnU-Net's commands")
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--set", dest="name", choices=DATASETS, default="hippocampus")
    parser.add_argument("--configuration", choices=("3d_fullres", "2d"), default="3d_fullres")
    parser.add_argument("--planner", default="ExperimentPlanner")
    parser.add_argument("--folds", nargs="+", default=["0", "1"])
    parser.add_argument("--keep", action="store_true", help="take nnU-Net's label maps of an earlier call")
    given = parser.parse_args()
    work, dataset = given.work.resolve(), DATASETS[given.name]
    folders = {name: str(work / name) for name in ("nnUNet_raw", "nnUNet_preprocessed", "nnUNet_results")}
    one = {"OMP_NUM_THREADS": "1", "nnUNet_def_n_proc": "1", "nnUNet_compile": "f"}
    environment = {**os.environ, **folders, **one}
    raw = work / "nnUNet_raw" / dataset
    if not raw.is_dir():
        write_raw(raw, given.data.resolve(), given.name)
    plans = "nnUNetPlans" if given.planner == "ExperimentPlanner" else "nnUNetResEncUNetMPlans"
    model = work / "nnUNet_results" / dataset / f"nnUNetTrainer__{plans}__{given.configuration}"
    if not (model / f"fold_{given.folds[-1]}" / "checkpoint_final.pth").is_file():
        command: list[object] = [
            given.nnunet / "python",
            TRAINING,
            "--name",
            given.name,
            "--dataset",
            dataset,
            "--folds",
            *given.folds,
        ]
        seconds_of(
            [*command, "--configuration", given.configuration, "--planner", given.planner], environment
        )
    key = f"{given.name}_{given.configuration}_{plans}"
    theirs, ours, bundle = (work / f"{key}_{what}" for what in ("nnunet", "segpipe", "bundle"))
    seconds: dict[str, float] = {}
    if not (given.keep and theirs.is_dir()):
        shutil.rmtree(theirs, ignore_errors=True)
        command = [given.nnunet / "nnUNetv2_predict_from_modelfolder", "-i", raw / "imagesTs", "-o", theirs]
        command += [
            "-m",
            model,
            "-f",
            *given.folds,
            "-npp",
            "1",
            "-nps",
            "1",
            "-device",
            "cpu",
            "--disable_progress_bar",
        ]
        seconds["nnunet"] = seconds_of(command, environment)
    shutil.rmtree(bundle, ignore_errors=True)
    shutil.rmtree(ours, ignore_errors=True)
    seconds["import"] = seconds_of(
        [
            "segpipe",
            "import",
            "nnunet",
            model,
            "-o",
            bundle,
            *(part for fold in given.folds for part in ("--fold", fold)),
        ],
        environment,
    )
    command = [
        "segpipe",
        "predict",
        raw / "imagesTs",
        "--bundle",
        bundle,
        "--output",
        ours,
        "--device",
        "cpu",
    ]
    seconds["segpipe"] = seconds_of([*command, "--engine", "torch"], environment)
    line = {
        "set": given.name,
        "configuration": given.configuration,
        "plans": plans,
        "folds": len(given.folds),
        **agreement(ours, theirs, len(LABELS[given.name])),
        "processor_seconds": {name: round(value, 1) for name, value in seconds.items()},
        "nnunet": nnunet_version(given.nnunet / "nnUNetv2_predict"),
        "commit": commit(ROOT / "segpipe"),
        "machine": processor_name(),
        "started": time.strftime("%Y-%m-%d"),
    }
    print(json.dumps(line, indent=2))
    append_line(RESULTS, line)


if __name__ == "__main__":
    main()
