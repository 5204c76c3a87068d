"""The kinds of convolution and of attention that a network may have, by name."""

from __future__ import annotations

from segpipe.errors import SegpipeError
from segpipe.networks.blocks import MakeConvolution
from segpipe.networks.dynamic import DynamicConvolution, check_dynamic
from segpipe.networks.separable import SeparableConvolution

CONVOLUTIONS = ("plain", "separable", "dynamic")
ATTENTIONS = ("none", "multi_scale_context")


def require_kinds(name: str, conv: str, attention: str) -> None:
    """Refuse a kind that does not exist.

    Args:
        name: name of the network or command, for the message.
        conv: must be in `CONVOLUTIONS`.
        attention: must be in `ATTENTIONS`.

    Raises:
        SegpipeError: the message has the allowed names.
    """
    for option, value, allowed in (("conv", conv, CONVOLUTIONS), ("attention", attention, ATTENTIONS)):
        if value not in allowed:
            raise SegpipeError(f"{name}: {option} is {value!r}; choose one of {', '.join(allowed)}")


def convolution_maker(
    name: str, conv: str, spatial_dims: int, kernels: int = 4, slice_axis: int | None = None
) -> MakeConvolution | None:
    """Return what makes a network's convolutions over 3 voxels along each axis; None for plain ones.

    Args:
        name: name of the network, for messages.
        conv: kind in `CONVOLUTIONS`.
        spatial_dims: 2 or 3.
        kernels: number of kernels of a dynamic convolution.
        slice_axis: axis along which each slice has its own mixture, see `DynamicConvolution`.

    Raises:
        SegpipeError: numbers that no dynamic convolution can have, or a `slice_axis` for another kind.
    """
    check_dynamic(name, spatial_dims, kernels, slice_axis)
    if slice_axis is not None and conv != "dynamic":
        raise SegpipeError(
            f"{name}: slice_axis is {slice_axis}, and conv is {conv}; only dynamic convolutions have mixtures: leave "
            "it out, or set conv to dynamic"
        )
    if conv == "separable":
        return lambda entry, width, dilation: SeparableConvolution(spatial_dims, entry, width, dilation)
    if conv == "dynamic":
        return lambda entry, width, dilation: DynamicConvolution(
            spatial_dims, entry, width, kernels, dilation=dilation, slice_axis=slice_axis
        )
    return None
