"""Trains a small model with nnU-Net's own planner and trainer. Run by nnU-Net's Python; see nnunet_import.py.

nnU-Net's environment variables name the folders. The plans are nnU-Net's, with another spacing, a smaller window, fewer
channels, and fewer steps an epoch, so that a processor trains a fold in minutes. The checkpoint is what the trainer
`nnUNetTrainer` writes.
"""

from __future__ import annotations

import argparse
import json
import os
from pathlib import Path

import torch

STEPS = 25  # an epoch; nnU-Net takes 250
EPOCHS = 5
TRAINER = "nnUNetTrainer"
CHANGES = {
    # data set -> configuration -> entries that replace the planner's
    "hippocampus": {
        "3d_fullres": {"spacing": [1.1, 0.9, 1.0], "patch_size": [24, 32, 24], "batch_size": 2},
        "2d": {"spacing": [0.9, 1.1], "patch_size": [32, 32], "batch_size": 8},
    },
    "sts_ct": {
        "3d_fullres": {"spacing": [3.27, 1.6, 1.6], "patch_size": [16, 64, 64], "batch_size": 2},
        "2d": {"spacing": [1.6, 1.6], "patch_size": [64, 64], "batch_size": 8},
    },
}
KERNELS = {"hippocampus": [[3, 3, 3]] * 3, "sts_ct": [[1, 3, 3], [3, 3, 3], [3, 3, 3]]}
STRIDES = {"hippocampus": [[1, 1, 1], [2, 2, 2], [2, 2, 2]], "sts_ct": [[1, 1, 1], [1, 2, 2], [2, 2, 2]]}
FEATURES = [16, 32, 64]


def smaller(plans: dict, name: str, configuration: str) -> dict:
    """Return the plans with the changes of a data set in one configuration."""
    changed = plans["configurations"][configuration]
    changed |= CHANGES[name][configuration]
    dims = len(changed["patch_size"])
    arguments = changed["architecture"]["arch_kwargs"]
    stages = len(FEATURES)
    arguments |= {
        "n_stages": stages,
        "features_per_stage": FEATURES,
        "kernel_sizes": [kernel[3 - dims :] for kernel in KERNELS[name]],
        "strides": [stride[3 - dims :] for stride in STRIDES[name]],
        "n_conv_per_stage_decoder": [2] * (stages - 1),
    }
    if "n_blocks_per_stage" in arguments:
        arguments |= {"n_blocks_per_stage": [1, 2, 2], "n_conv_per_stage_decoder": [1] * (stages - 1)}
    else:
        arguments["n_conv_per_stage"] = [2] * stages
    return plans


def main() -> None:
    """Plan, preprocess and train."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--name", choices=CHANGES, required=True)
    parser.add_argument("--dataset", required=True, help="such as Dataset104_hippocampus")
    parser.add_argument("--configuration", choices=("3d_fullres", "2d"), nargs="+", required=True)
    parser.add_argument(
        "--planner", default="ExperimentPlanner", help="nnUNetPlannerResEncM for residual encoders"
    )
    parser.add_argument("--folds", nargs="+", default=["0", "1"])
    given = parser.parse_args()
    os.environ["nnUNet_n_proc_DA"] = "1"  # noqa: SIM112  # nnU-Net's name; the planner needs one
    from nnunetv2.experiment_planning import plan_and_preprocess_api as api
    from nnunetv2.run.run_training import run_training
    from nnunetv2.training.nnUNetTrainer.nnUNetTrainer import nnUNetTrainer

    number = int(given.dataset[7:10])
    folder = Path(os.environ["nnUNet_preprocessed"]) / given.dataset  # noqa: SIM112  # nnU-Net's name
    if not (folder / "dataset_fingerprint.json").is_file():
        api.extract_fingerprints([number], num_processes=1)
    plans_name = "nnUNetPlans" if given.planner == "ExperimentPlanner" else "nnUNetResEncUNetMPlans"
    path = folder / f"{plans_name}.json"
    if not path.is_file():
        api.plan_experiments([number], given.planner)
    plans = json.loads(path.read_text())
    for configuration in given.configuration:
        plans = smaller(plans, given.name, configuration)
    path.write_text(json.dumps(plans))
    missing = [name for name in given.configuration if not (folder / f"{plans_name}_{name}").is_dir()]
    if missing:
        api.preprocess([number], plans_name, configurations=missing, num_processes=[1] * len(missing))

    os.environ["nnUNet_n_proc_DA"] = "0"  # noqa: SIM112  # no other process
    initialize = nnUNetTrainer.initialize

    def short(trainer: nnUNetTrainer) -> None:
        initialize(trainer)
        trainer.num_iterations_per_epoch, trainer.num_val_iterations_per_epoch = STEPS, 2
        trainer.num_epochs = EPOCHS

    nnUNetTrainer.initialize = short
    nnUNetTrainer.perform_actual_validation = lambda *_, **__: None
    torch.set_num_threads(1)
    for configuration in given.configuration:
        for fold in given.folds:
            run_training(given.dataset, configuration, fold, TRAINER, plans_name, device=torch.device("cpu"))


if __name__ == "__main__":
    main()
