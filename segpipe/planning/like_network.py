"""The network of other weights as a plan's network, so that a training can start from these weights."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from segpipe.bundle.network_definition import DYNUNET, SEGNET, UNET, NetworkDefinition, per_axis
from segpipe.bundle.source_weights import SourceWeights
from segpipe.errors import SegpipeError
from segpipe.planning.network_size import FittedPatch, network_numbers
from segpipe.planning.plans import Architecture, LikeNetwork, PlannedValue

_FORMS = "a DynUNet whose upsampling mirrors its strides, a UNet, or a SegNet with two equal widths a stage"


def like_network(source: SourceWeights) -> LikeNetwork:
    """Return the network of weights as a plan can repeat it.

    Args:
        source: weights with a sidecar of segpipe.

    Raises:
        SegpipeError: the sidecar is missing, or describes a network that no plan makes.
    """
    form = source.form
    if form is None:
        raise SegpipeError(
            f"{source.path}: has no sidecar that describes its network, so no plan can repeat the network; plan "
            "without --from, and name the weights in the training: from_weights=FILE"
        )
    architecture = _architecture(form)
    if architecture is None:
        raise SegpipeError(
            f"{source.path}: a plan cannot repeat its network, a {form.name}: it repeats {_FORMS}; plan without "
            "--from, and name the weights in the training: from_weights=FILE"
        )
    return LikeNetwork(architecture, source.name)


def like_dimensions(like: LikeNetwork | None, dims: PlannedValue) -> PlannedValue:
    """Return the dimensions of a plan's network, with the other network as their reason if there is one."""
    return dims if like is None else PlannedValue(dims.value, f"as in {like.name}")


def like_numbers(like: LikeNetwork | None, fitted: FittedPatch) -> dict[str, PlannedValue]:
    """Return the ids that the network's class takes, as the other network has them.

    Args:
        like: the other network; None: the network follows from the data.
        fitted: the planned network.
    """
    if like is None:
        return network_numbers(fitted)
    architecture = fitted.architecture
    as_there = f"as in {like.name}"
    numbers = {
        name: number if name == "dropout" else PlannedValue(number.value, as_there)
        for name, number in network_numbers(fitted).items()
    }
    if architecture.name != "DynUNet" and architecture.norm != "instance":
        numbers["norm"] = PlannedValue(architecture.norm or "none", as_there)
    return numbers


def like_warnings(like: LikeNetwork | None, median: NDArray[Any], patch: Sequence[int]) -> list[str]:
    """Return a sentence where a patch of the other network is larger than the median case.

    Args:
        like: the other network; None: the network follows from the data.
        median: voxels of the median case along each axis of the network.
        patch: voxels of a training patch along each axis.
    """
    if like is None or not any(size > length for size, length in zip(patch, median, strict=True)):
        return []
    units = " x ".join(map(str, like.architecture.units))
    return [
        f"the network of {like.name} halves a patch to 1/({units}), so a patch of {' x '.join(map(str, patch))} voxels "
        f"is larger than the median case of {' x '.join(f'{length:.0f}' for length in np.asarray(median))}, and is "
        "padded; a network planned for these data may do better: plan without --from, too"
    ]


def _architecture(form: NetworkDefinition) -> Architecture | None:
    arguments, dims = form.arguments, form.dims
    if dims is None or form.strides is None:
        return None
    if form.target == DYNUNET:
        kernels = per_axis(arguments.get("kernel_size"), dims)
        upsampling = per_axis(arguments.get("upsample_kernel_size"), dims)
        widths = _whole(arguments.get("filters"))
        fits = kernels is not None and upsampling == form.strides[1:] and len(widths) == len(form.strides)
        if kernels is None or not fits:
            return None
        return Architecture("DynUNet", dims, 1, 2, form.strides, kernels, widths)
    ones, threes = (1,) * dims, (3,) * dims
    norm = arguments.get("norm", "instance")
    norm = norm if norm is None or isinstance(norm, str) else "instance"
    plain = Architecture("UNet", dims, 1, 2, (), (), (), norm=None if norm == "none" else norm)
    if form.target == UNET:
        widths = _whole(arguments.get("widths"))
        levels = (ones, *form.strides)
        if not widths:
            return None
        kinds = {name: arguments[name] for name in ("conv", "attention") if name in arguments}
        return replace(plain, strides=levels, kernels=(threes,) * len(widths), widths=widths, **kinds)
    if form.target == SEGNET:
        stages = arguments.get("stages")
        pairs = isinstance(stages, list) and all(
            isinstance(stage, list) and len(stage) == 2 and len(set(stage)) == 1 for stage in stages
        )
        widths = _whole([stage[0] for stage in stages]) if pairs and stages else ()
        if not widths or len(widths) != len(form.strides):
            return None
        levels = (ones, *form.strides)
        return replace(plain, name="SegNet", strides=levels, kernels=(threes,) * len(levels), widths=widths)
    return None


def _whole(values: Any) -> tuple[int, ...]:
    """Return a list of whole numbers; empty where it is none."""
    whole = isinstance(values, list) and all(isinstance(one, int) for one in values)
    return tuple(values) if whole else ()
