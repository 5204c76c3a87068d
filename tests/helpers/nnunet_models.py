"""Model folders as nnU-Net 2 leaves them, with random weights, and its plain U-Net written with torch alone."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

FEATURES = [4, 6, 8]
CT_NUMBERS = {"mean": 40.0, "std": 20.0, "percentile_00_5": -50.0, "percentile_99_5": 150.0}


class _Convolution(nn.Module):
    def __init__(self, dims: int, before: int, after: int, kernel: Any, stride: Any) -> None:
        super().__init__()
        convolution, norm = (nn.Conv2d, nn.InstanceNorm2d) if dims == 2 else (nn.Conv3d, nn.InstanceNorm3d)
        self.conv = convolution(before, after, kernel, stride, [(side - 1) // 2 for side in kernel])
        self.norm = norm(after, affine=True)
        self.all_modules = nn.Sequential(self.conv, self.norm, nn.LeakyReLU())

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        return self.all_modules(image)


class _Block(nn.Module):
    def __init__(self, dims: int, before: int, after: int, kernel: Any, stride: Any) -> None:
        super().__init__()
        ones = [1] * dims
        first = _Convolution(dims, before, after, kernel, stride)
        self.convs = nn.Sequential(first, _Convolution(dims, after, after, kernel, ones))

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        return self.convs(image)


class PlainNetwork(nn.Module):
    """The layers of nnU-Net's PlainConvUNet under its names."""

    def __init__(self, dims: int, channels: int, outputs: int, kernels: Any, strides: Any) -> None:
        super().__init__()
        befores = [channels, *FEATURES]
        stages = zip(befores, FEATURES, kernels, strides, strict=False)
        self.encoder, self.decoder = nn.Module(), nn.Module()
        self.encoder.stages = nn.Sequential(*(nn.Sequential(_Block(dims, *stage)) for stage in stages))
        self.decoder.encoder = self.encoder
        transposed, heads = (nn.ConvTranspose2d, nn.Conv2d) if dims == 2 else (nn.ConvTranspose3d, nn.Conv3d)
        below = list(zip(FEATURES[:0:-1], FEATURES[-2::-1], strides[:0:-1], kernels[-2::-1], strict=True))
        self.decoder.transpconvs = nn.ModuleList(
            transposed(one, two, step, step) for one, two, step, _ in below
        )
        ones = [1] * dims
        self.decoder.stages = nn.ModuleList(
            _Block(dims, 2 * two, two, kernel, ones) for _, two, _, kernel in below
        )
        self.decoder.seg_layers = nn.ModuleList(heads(two, outputs, 1) for _, two, _, _ in below)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        """Return the scores of the finest head."""
        skips = []
        for stage in self.encoder.stages:
            image = stage(image)
            skips.append(image)
        for up, stage, skip in zip(self.decoder.transpconvs, self.decoder.stages, skips[-2::-1], strict=True):
            image = stage(torch.cat((up(image), skip), 1))
        return self.decoder.seg_layers[-1](image)


def plans(dims: int = 3, **changes: Any) -> dict[str, Any]:
    """Return plans with one configuration, `3d_fullres` or `2d`; `changes` are of the configuration."""
    resampling = {"is_seg": False, "order": 3, "order_z": 0, "force_separate_z": None}
    kernels = [[1, 3, 3], [3, 3, 3], [3, 3, 3]]
    strides = [[1, 1, 1], [1, 2, 2], [2, 2, 2]]
    configuration = {
        "preprocessor_name": "DefaultPreprocessor",
        "patch_size": [8, 16, 12][-dims:],
        "spacing": [3.0, 1.5, 1.25][-dims:],
        "normalization_schemes": ["ZScoreNormalization"],
        "use_mask_for_norm": [False],
        "resampling_fn_data": "resample_data_or_seg_to_shape",
        "resampling_fn_data_kwargs": resampling,
        "resampling_fn_probabilities": "resample_data_or_seg_to_shape",
        "resampling_fn_probabilities_kwargs": {**resampling, "order": 1},
        "architecture": {
            "network_class_name": "dynamic_network_architectures.architectures.unet.PlainConvUNet",
            "arch_kwargs": {
                "n_stages": len(FEATURES),
                "features_per_stage": FEATURES,
                "conv_op": f"torch.nn.modules.conv.Conv{dims}d",
                "kernel_sizes": [kernel[-dims:] for kernel in kernels],
                "strides": [stride[-dims:] for stride in strides],
                "n_conv_per_stage": [2, 2, 2],
                "n_conv_per_stage_decoder": [2, 2],
                "conv_bias": True,
                "norm_op": f"torch.nn.modules.instancenorm.InstanceNorm{dims}d",
                "norm_op_kwargs": {"eps": 1e-05, "affine": True},
                "dropout_op": None,
                "dropout_op_kwargs": None,
                "nonlin": "torch.nn.LeakyReLU",
                "nonlin_kwargs": {"inplace": True},
            },
        },
        **changes,
    }
    return {
        "dataset_name": "Dataset007_Knee",
        "plans_name": "nnUNetPlans",
        "image_reader_writer": "SimpleITKIO",
        "transpose_forward": [0, 1, 2],
        "label_manager": "LabelManager",
        "configurations": {name_of(dims): configuration},
        "foreground_intensity_properties_per_channel": {"0": CT_NUMBERS},
    }


def dataset(**changes: Any) -> dict[str, Any]:
    """Return a dataset.json."""
    labels = {"background": 0, "femur": 1, "tibia": 2}
    names = {"channel_names": {"0": "T1"}, "labels": labels, "numTraining": 3, "file_ending": ".nii.gz"}
    return {**names, **changes}


def name_of(dims: int) -> str:
    """Return the name of a configuration."""
    return "2d" if dims == 2 else "3d_fullres"


def network_of(of_plans: dict[str, Any], channels: int = 1, outputs: int = 3, seed: int = 0) -> PlainNetwork:
    """Return the network of the plans with random weights, in evaluation mode."""
    (configuration,) = of_plans["configurations"].values()
    arguments = configuration["architecture"]["arch_kwargs"]
    torch.manual_seed(seed)
    network = PlainNetwork(
        len(configuration["patch_size"]), channels, outputs, arguments["kernel_sizes"], arguments["strides"]
    )
    with torch.no_grad():
        for name, tensor in network.named_parameters():
            tensor.normal_(1 if name.endswith("norm.weight") else 0, 0.3)
    return network.eval()


def write_model(
    folder: Path,
    of_plans: dict[str, Any] | None = None,
    of_dataset: dict[str, Any] | None = None,
    folds: int = 1,
    outputs: int = 3,
    channels: int = 1,
    **changes: Any,
) -> Path:
    """Write a model folder with the weights of seeds 0, 1, ...; `changes` are of the checkpoints."""
    of_plans = plans() if of_plans is None else of_plans
    folder.mkdir(parents=True)
    (folder / "plans.json").write_text(json.dumps(of_plans))
    (folder / "dataset.json").write_text(json.dumps(dataset() if of_dataset is None else of_dataset))
    (name,) = of_plans["configurations"]
    dims = len(of_plans["configurations"][name]["patch_size"])
    for fold in range(folds):
        checkpoint = {
            "network_weights": network_of(of_plans, channels, outputs, fold).state_dict(),
            "logging": {"train_losses": [np.float32(0.5), np.float64(0.25)]},
            "_best_ema": np.float64(0.75),
            "current_epoch": 5,
            "init_args": {
                "plans": of_plans,
                "configuration": name,
                "fold": fold,
                "device": torch.device("cpu"),
            },
            "trainer_name": "nnUNetTrainer_5epochs",
            "inference_allowed_mirroring_axes": tuple(range(dims)),
            **changes,
        }
        (folder / f"fold_{fold}").mkdir()
        torch.save(checkpoint, folder / f"fold_{fold}" / "checkpoint_final.pth")
    return folder
