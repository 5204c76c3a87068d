"""nnU-Net's plain U-Net as MONAI's DynUNet, or as our variant of it: the same layers under other names."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from segpipe.errors import SegpipeError, shown
from segpipe.nnunet.configuration import NnunetConfiguration
from segpipe.nnunet.residual_network import residual_names, residual_refusals
from segpipe.nnunet.trainers import require_network_of_plans

_PLAIN, _RESIDUAL = "PlainConvUNet", "ResidualEncoderUNet"
_OF_NORMS_AND_BIASES = (".norm.weight", ".bias")
_TWO = 2  # convolutions of each block of DynUNet
_ACTIVATIONS = {"LeakyReLU": ("leakyrelu", {"negative_slope": 0.01}), "ReLU": ("relu", {})}
_FEWEST = 3  # stages of DynUNet


@dataclass(frozen=True)
class ImportedNetwork:
    """A network in the words of a bundle's YAML.

    Attributes:
        target: path of its class.
        numbers: ids of the configuration -> value: arguments of the same name.
        arguments: further arguments, without the numbers of channels and outputs.
        names: name of a tensor -> its name in nnU-Net, for each tensor that both may have.
    """

    target: str
    numbers: Mapping[str, Any]
    arguments: Mapping[str, Any]
    names: Mapping[str, str]


def network_form(configuration: NnunetConfiguration, where: Path) -> ImportedNetwork:
    """Return the network of a configuration: MONAI's DynUNet, or where kernels differ `segpipe.networks.PlainConvUNet`.

    Args:
        configuration: of nnU-Net's plans.
        where: path of plans.json, for messages.

    Raises:
        SegpipeError: the network is another one, or has layers that DynUNet does not have.
    """
    arguments, dims = configuration.network, configuration.dims
    if configuration.network_class not in (_PLAIN, _RESIDUAL):
        raise SegpipeError(
            f"{where}: its network is {configuration.network_class}; segpipe imports {_PLAIN} and {_RESIDUAL}"
        )
    is_residual = configuration.network_class == _RESIDUAL
    stages = _whole(arguments, "n_stages", where)
    lists = {
        name: _per_stage(arguments, name, stages, where)
        for name in ("features_per_stage", "kernel_sizes", "strides")
    }
    blocks = [
        *([] if is_residual else _per_stage(arguments, "n_conv_per_stage", stages, where)),
        *_per_stage(arguments, "n_conv_per_stage_decoder", stages - 1, where),
    ]
    each = 1 if is_residual else _TWO
    norm, activation = (str(arguments.get(name)).rpartition(".")[2] for name in ("norm_op", "nonlin"))
    norm_arguments, slope = arguments.get("norm_op_kwargs") or {}, arguments.get("nonlin_kwargs") or {}
    refused = {
        f"{stages} stages (at least {_FEWEST})": stages < _FEWEST,
        f"{blocks} convolutions a stage ({each} each)": any(count != each for count in blocks),
        f"the norm {norm} (InstanceNorm{dims}d)": norm != f"InstanceNorm{dims}d",
        f"the activation {activation} (LeakyReLU or ReLU)": activation not in _ACTIVATIONS,
        "nonlin_first (the norm first)": bool(arguments.get("nonlin_first")),
        f"norm_op_kwargs {norm_arguments}": bool(set(norm_arguments) - {"eps", "affine"}),
        "kernels and strides with another padding": not _same_padding(
            lists["kernel_sizes"], lists["strides"]
        ),
    }
    if is_residual:
        refused |= residual_refusals(arguments, norm_arguments, activation, slope)
    problem = next((what for what, is_wrong in refused.items() if is_wrong), None)
    if problem is not None:
        raise SegpipeError(f"{where}: its network has {problem}, which segpipe's network does not have")
    if is_residual:
        return _residual(lists, _per_stage(arguments, "n_blocks_per_stage", stages, where))
    strides = lists["strides"]
    name, defaults = _ACTIVATIONS[activation]
    known = {key: slope[key] for key in defaults if key in slope}
    return ImportedNetwork(
        "monai.networks.nets.DynUNet"
        if _is_uniform(lists["kernel_sizes"])
        else "segpipe.networks.PlainConvUNet",
        {
            "filters": lists["features_per_stage"],
            "kernel_size": lists["kernel_sizes"],
            "strides": strides,
            "upsample_kernel_size": strides[1:],
        },
        {
            "norm_name": ["instance", {"affine": False, "eps": 1e-5, **norm_arguments}],
            "act_name": [name, {"inplace": True, **defaults, **known}],
            "trans_bias": bool(arguments.get("conv_bias")),
        },
        _names(stages),
    )


def _residual(lists: Mapping[str, list[Any]], blocks: list[Any]) -> ImportedNetwork:
    numbers = dict(zip(("widths", "kernel_size", "strides"), lists.values(), strict=True))
    names = residual_names(lists["features_per_stage"], blocks, lists["strides"])
    return ImportedNetwork("segpipe.networks.ResidualEncoderUNet", {**numbers, "blocks": blocks}, {}, names)


def network_state(
    state: Mapping[str, torch.Tensor],
    form: ImportedNetwork,
    where: Path,
    trainer: str,
    *,
    as_planned: bool = False,
) -> dict[str, torch.Tensor]:
    """Return the tensors of nnU-Net's network under the names of a form.

    DynUNet has no bias of a convolution before an instance norm: the norm subtracts it.

    Args:
        state: tensors by nnU-Net's names.
        form: of the network.
        where: path of the checkpoint, for messages.
        trainer: class name of the trainer.
        as_planned: whether the user says that a foreign trainer builds the plans' network.

    Raises:
        SegpipeError: the trainer builds a network of its own, or the tensors are not those of the plans' network.
    """
    require_network_of_plans(trainer, where, as_planned=as_planned)
    taken = {ours: theirs for ours, theirs in form.names.items() if theirs in state}
    stages = len(form.numbers["strides"])
    left = set(state) - set(taken.values()) - set(_known_beside(state, stages))
    convolutions = [ours for ours, theirs in form.names.items() if not theirs.endswith(_OF_NORMS_AND_BIASES)]
    lacking = [form.names[ours] for ours in convolutions if ours not in taken]
    if left or lacking:
        what = f"has {shown(sorted(left))}" if left else f"lacks {shown(lacking)}"
        raise SegpipeError(
            f"{where}: its network is not that of the plans: it {what}; the trainer {trainer} builds another one, "
            "which segpipe cannot import"
        )
    return {ours: state[theirs] for ours, theirs in taken.items()}


def _names(stages: int) -> dict[str, str]:
    """Return DynUNet's name -> PlainConvUNet's name of each tensor that both may have."""
    down = ["input_block", *(f"downsamples.{index}" for index in range(stages - 2)), "bottleneck"]
    modules = {"output_block.conv.conv": f"decoder.seg_layers.{stages - 2}"}
    for stage, block in enumerate(down):
        modules |= _block(block, f"encoder.stages.{stage}.0")
    for stage in range(stages - 1):
        modules[f"upsamples.{stage}.transp_conv.conv"] = f"decoder.transpconvs.{stage}"
        modules |= _block(f"upsamples.{stage}.conv_block", f"decoder.stages.{stage}")
    return {
        f"{ours}.{kind}": f"{theirs}.{kind}"
        for ours, theirs in modules.items()
        for kind in ("weight", "bias")
        if kind == "weight" or not theirs.endswith(".conv")
    }


def _block(ours: str, theirs: str) -> dict[str, str]:
    """Return the modules of a block of two convolutions with their norms."""
    return {
        f"{ours}.{module}{index + 1}{'.conv' if module == 'conv' else ''}": f"{theirs}.convs.{index}.{module}"
        for index in range(_TWO)
        for module in ("conv", "norm")
    }


def _known_beside(state: Mapping[str, torch.Tensor], stages: int) -> Sequence[str]:
    """Return the tensors that are known and not taken: second names, biases before a norm, and other heads."""
    heads = tuple(f"decoder.seg_layers.{stage}." for stage in range(stages - 2))
    return [
        name
        for name in state
        if name.startswith(("decoder.encoder.", *heads))
        or ".all_modules." in name
        or name.endswith(".conv.bias")
    ]


def _is_uniform(kernels: Sequence[Any]) -> bool:
    """Return whether all levels have one kernel: then the decoder of MONAI's DynUNet is nnU-Net's."""
    return all(kernel == kernels[0] for kernel in kernels)


def _same_padding(kernels: Sequence[Any], strides: Sequence[Any]) -> bool:
    """Return whether MONAI pads each convolution as nnU-Net does: by half the kernel, rounded down."""
    pairs = [
        pair
        for kernel, stride in zip(kernels, strides, strict=True)
        for pair in ([(kernel, stride)] if isinstance(kernel, int) else zip(kernel, stride, strict=True))
    ]
    return all((kernel - stride + 1) // 2 == (kernel - 1) // 2 for kernel, stride in pairs)


def _whole(arguments: Mapping[str, Any], name: str, where: Path) -> int:
    value = arguments.get(name)
    if not isinstance(value, int) or isinstance(value, bool) or value < 1:
        raise SegpipeError(f"{where}: architecture: {name} is {value!r:.80}, must be a whole number above 0")
    return value


def _per_stage(arguments: Mapping[str, Any], name: str, count: int, where: Path) -> list[Any]:
    """Return one value a stage; a single number stands for all."""
    value = arguments.get(name)
    values = [value] * count if isinstance(value, int) and not isinstance(value, bool) else value
    if not isinstance(values, list) or len(values) != count:
        raise SegpipeError(
            f"{where}: architecture: {name} is {value!r:.80}, must have {count} entries; give the plans that the model "
            "was trained with"
        )
    return values
