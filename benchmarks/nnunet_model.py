"""The hippocampus bundle's DynUNet as a model folder of nnU-Net 2.8.1. Not run by itself.

nnU-Net's PlainConvUNet is the same network: each tensor stands under its name there, and scores are equal to the bit.
"""

from __future__ import annotations

import json
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from inference_inputs import CLASSES, WINDOW


def write_nnunet_model(folder: Path, filters: Sequence[int], weights: Path) -> None:
    """Write what nnU-Net's training leaves behind: plans, data set and the weights of one fold.

    Args:
        folder: of the model, which is made.
        filters: of the stages of the DynUNet.
        weights: of the DynUNet.
    """
    stages = len(filters)
    resampling = {"is_seg": False, "order": 1, "order_z": 0, "force_separate_z": None}
    configuration = {
        "data_identifier": "none",
        "preprocessor_name": "DefaultPreprocessor",
        "batch_size": 2,
        "patch_size": list(WINDOW),
        "median_image_size_in_voxels": list(WINDOW),
        "spacing": [1.0, 1.0, 1.0],
        "normalization_schemes": ["ZScoreNormalization"],
        "use_mask_for_norm": [False],
        "resampling_fn_data": "resample_data_or_seg_to_shape",
        "resampling_fn_data_kwargs": resampling,
        "resampling_fn_seg": "resample_data_or_seg_to_shape",
        "resampling_fn_seg_kwargs": resampling,
        "resampling_fn_probabilities": "resample_data_or_seg_to_shape",
        "resampling_fn_probabilities_kwargs": resampling,
        "batch_dice": False,
        "architecture": {
            "network_class_name": "dynamic_network_architectures.architectures.unet.PlainConvUNet",
            "arch_kwargs": {
                "n_stages": stages,
                "features_per_stage": list(filters),
                "conv_op": "torch.nn.Conv3d",
                "kernel_sizes": [[3, 3, 3]] * stages,
                "strides": [[1, 1, 1], *[[2, 2, 2]] * (stages - 1)],
                "n_conv_per_stage": [2] * stages,
                "n_conv_per_stage_decoder": [2] * (stages - 1),
                "conv_bias": False,
                "norm_op": "torch.nn.InstanceNorm3d",
                "norm_op_kwargs": {"eps": 1e-5, "affine": True},
                "dropout_op": None,
                "dropout_op_kwargs": None,
                "nonlin": "torch.nn.LeakyReLU",
                "nonlin_kwargs": {"negative_slope": 0.01, "inplace": True},
            },
            "_kw_requires_import": ["conv_op", "norm_op", "dropout_op", "nonlin"],
        },
    }
    plans = {
        "dataset_name": "Dataset001_Volumes",
        "plans_name": "nnUNetPlans",
        "image_reader_writer": "SimpleITKIO",
        "transpose_forward": [2, 1, 0],  # SimpleITK's z, y, x to the bundle's x, y, z
        "transpose_backward": [2, 1, 0],
        "configurations": {"3d_fullres": configuration},
        "experiment_planner_used": "ExperimentPlanner",
        "label_manager": "LabelManager",
        "foreground_intensity_properties_per_channel": {"0": {}},
    }
    dataset = {
        "channel_names": {"0": "MRI"},
        "labels": {"background": 0, "anterior": 1, "posterior": 2},
        "numTraining": 1,
        "file_ending": ".nii.gz",
    }
    (folder / "fold_0").mkdir(parents=True)
    for name, content in (("plans", plans), ("dataset", dataset)):
        (folder / f"{name}.json").write_text(json.dumps(content))
    checkpoint = {
        "network_weights": plain_conv_unet_state(torch.load(weights, weights_only=True), stages),
        "trainer_name": "nnUNetTrainer",
        "init_args": {"configuration": "3d_fullres"},
        "inference_allowed_mirroring_axes": None,
    }
    torch.save(checkpoint, folder / "fold_0" / "checkpoint_final.pth")


def plain_conv_unet_state(state: Mapping[str, torch.Tensor], stages: int) -> dict[str, torch.Tensor]:
    """Return a DynUNet's weights under the names of nnU-Net's PlainConvUNet, where many stand twice."""
    down = ["input_block", *(f"downsamples.{index}" for index in range(stages - 2)), "bottleneck"]
    renamed = {"output_block.conv.conv": [f"decoder.seg_layers.{stages - 2}"]}
    for stage, block in enumerate(down):
        encoder = f"encoder.stages.{stage}.0"
        renamed |= _blocks(block, [encoder, f"decoder.{encoder}"])
    for stage in range(stages - 1):
        renamed[f"upsamples.{stage}.transp_conv.conv"] = [f"decoder.transpconvs.{stage}"]
        renamed |= _blocks(f"upsamples.{stage}.conv_block", [f"decoder.stages.{stage}"])
    named = {
        f"{name}.{kind}": state[f"{module}.{kind}"]
        for module, names in renamed.items()
        for kind in ("weight", "bias")
        if f"{module}.{kind}" in state
        for name in names
    }
    for stage in range(stages - 2):  # of deep supervision, and not run
        features = state[f"upsamples.{stage}.conv_block.norm2.weight"].numel()
        named[f"decoder.seg_layers.{stage}.weight"] = torch.zeros(CLASSES, features, 1, 1, 1)
        named[f"decoder.seg_layers.{stage}.bias"] = torch.zeros(CLASSES)
    return named


def _blocks(block: str, stages: Sequence[str]) -> dict[str, list[str]]:
    """Return the modules of a block of two convolutions, and their names in nnU-Net's stages."""
    return {
        f"{block}.{module}{index + 1}{'.conv' if module == 'conv' else ''}": [
            f"{stage}.convs.{index}.{name}"
            for stage in stages
            for name in (module, f"all_modules.{position}")
        ]
        for index in range(2)
        for position, module in enumerate(("conv", "norm"))
    }


def nnunet_version(executable: Path) -> str:
    """Return the version of the nnU-Net whose command this is."""
    command = "import importlib.metadata; print(importlib.metadata.version('nnunetv2'))"
    python = [executable.with_name("python"), "-c", command]
    return subprocess.run(python, capture_output=True, text=True, check=True).stdout.strip()
