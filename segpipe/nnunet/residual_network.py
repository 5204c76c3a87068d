"""nnU-Net's residual encoder U-Net under the names of `segpipe.networks.ResidualEncoderUNet`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any


def residual_names(widths: Sequence[int], blocks: Sequence[int], strides: Sequence[Any]) -> dict[str, str]:
    """Return our name -> nnU-Net's name of each tensor.

    Args:
        widths: channels of each stage.
        blocks: residual blocks of each stage.
        strides: downsampling of each stage, a number or a number an axis.
    """
    modules = {"stem": "encoder.stem.convs.0"}
    for stage, count in enumerate(blocks):
        for block in range(count):
            ours, theirs = f"encoder.{stage}.{block}", f"encoder.stages.{stage}.blocks.{block}"
            modules |= {f"{ours}.first": f"{theirs}.conv1", f"{ours}.second": f"{theirs}.conv2"}
        if widths[stage] != widths[max(stage - 1, 0)]:
            place = int(_halves(strides[stage]))  # behind a pooling
            modules[f"encoder.{stage}.0.skip.{place}"] = f"encoder.stages.{stage}.blocks.0.skip.{place}"
    modules |= {f"decoder.{stage}": f"decoder.stages.{stage}.convs.0" for stage in range(len(widths) - 1)}
    names = {
        f"{ours}.{own}.{kind}": f"{theirs}.{other}.{kind}"
        for ours, theirs in modules.items()
        for own, other in (("conv", "conv"), ("adn.N", "norm"))
        for kind in ("weight", "bias")
    }
    for kind in ("weight", "bias"):
        names |= {
            f"enlarge.{stage}.{kind}": f"decoder.transpconvs.{stage}.{kind}"
            for stage in range(len(widths) - 1)
        }
        names[f"heads.0.{kind}"] = f"decoder.seg_layers.{len(widths) - 2}.{kind}"
    return names


def residual_refusals(
    arguments: Mapping[str, Any], norm: Mapping[str, Any], activation: str, slope: Mapping[str, Any]
) -> dict[str, bool]:
    """Return what `ResidualEncoderUNet` does not have -> whether the plans have it."""
    return {
        "a block, a stem or bottlenecks of its own": any(
            arguments.get(name) for name in ("bottleneck_channels", "stem_channels")
        )
        or str(arguments.get("block", "BasicBlockD")).rpartition(".")[2] != "BasicBlockD",
        f"norm_op_kwargs {norm}": norm != {"eps": 1e-5, "affine": True},
        f"the activation {activation} {slope}": activation != "LeakyReLU"
        or slope.get("negative_slope", 0.01) != 0.01,
        "convolutions without bias": not arguments.get("conv_bias"),
    }


def _halves(stride: int | Sequence[int]) -> bool:
    return max([stride] if isinstance(stride, int) else stride) > 1
