"""A dynamic convolution: its kernel is a mixture of several kernels, which the input chooses."""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional

from segpipe.errors import SegpipeError

_FEWEST_HIDDEN, _REDUCTION = 4, 4  # units of the attention: a quarter of the channels


class DynamicConvolution(nn.Module):
    """K kernels over 3 voxels along each axis, mixed for each image by attention over the image.

    The attention is the mean of each channel, a linear layer, ReLU, a linear layer and a softmax with a temperature. A
    batch is computed by one grouped convolution, a group an image. With one kernel it equals a plain convolution.

    With a `slice_axis` each slice along this axis of a volume (or each frame, where the axis is time) has its own
    mixture. The kernels are still three-dimensional and read the neighbouring slices.

    In an exported program (torch.export, ONNX, OpenVINO) the number of images is free, and a grouped convolution is not
    possible. There the outputs of all kernels are mixed: the same function, at K times the convolution's cost.

    Args:
        spatial_dims: 2 or 3.
        in_channels: of the input.
        out_channels: of the output.
        kernels: number of kernels, K.
        temperature: divides the attention's scores before the softmax; the larger, the more equal are the shares.
            Chen et al. begin with 30, which lets all kernels learn. It stays the same here during the training.
        dilation: distance of neighbouring kernel voxels.
        slice_axis: spatial axis, 0 to 2, along which each slice has its own mixture; None: one mixture an image.

    Raises:
        SegpipeError: kernels are no whole number of at least 1, the temperature is not above 0, or a `slice_axis` is no
            axis of a volume.

    Source: Chen et al., Dynamic Convolution: Attention over Convolution Kernels, CVPR 2020, arXiv 1912.03458.
    """

    def __init__(
        self,
        spatial_dims: int,
        in_channels: int,
        out_channels: int,
        kernels: int = 4,
        temperature: float = 30.0,
        dilation: int = 1,
        slice_axis: int | None = None,
    ) -> None:
        super().__init__()
        check_dynamic("DynamicConvolution", spatial_dims, kernels, slice_axis)
        if not temperature > 0:
            raise SegpipeError(f"DynamicConvolution: temperature is {temperature}; must be above 0")
        self.spatial_dims, self.dilation, self.temperature = spatial_dims, dilation, float(temperature)
        self.slice_axis = (
            -1 if slice_axis is None else slice_axis + 2
        )  # of the input, behind batch and channels
        bound = (in_channels * 3**spatial_dims) ** -0.5  # of each kernel, as torch starts a convolution
        weight = torch.empty(kernels, out_channels, in_channels, *[3] * spatial_dims)
        self.weight = nn.Parameter(weight.uniform_(-bound, bound))
        self.bias = nn.Parameter(torch.empty(kernels, out_channels).uniform_(-bound, bound))
        hidden = max(in_channels // _REDUCTION, _FEWEST_HIDDEN)
        self.attention = nn.Sequential(nn.Linear(in_channels, hidden), nn.ReLU(), nn.Linear(hidden, kernels))

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        """Return `(B, out_channels, *spatial)` for `(B, in_channels, *spatial)`."""
        shares = self.shares(features)
        if not torch.jit.is_scripting():  # type: ignore[attr-defined]
            is_exported = _in_an_export()  # TorchScript compiles nothing of this block
            if is_exported:
                return self._mixed_outputs(features, shares)
        weight = (shares @ self.weight.flatten(1)).reshape([-1] + list(self.weight.shape[2:]))  # noqa: RUF005  # TorchScript
        bias = (shares @ self.bias).flatten()
        if self.slice_axis >= 0:
            return self._mixed_slices(features, weight, bias)
        batch, around = features.size(0), [self.dilation] * self.spatial_dims
        groups = features.flatten(0, 1).unsqueeze(0)
        mixed = self._convolved(groups, weight, bias, around, batch)
        return mixed.reshape([batch, -1] + list(mixed.shape[2:]))  # noqa: RUF005

    def shares(self, features: torch.Tensor) -> torch.Tensor:
        """Return the kernels' shares in the mixtures, `(B, mixtures, kernels)`, which sum up to 1 in each mixture.

        Args:
            features: `(B, in_channels, *spatial)`. Without a `slice_axis` an image has one mixture, else one a slice.
        """
        if self.slice_axis < 0:
            means = features.flatten(2).mean(2).unsqueeze(1)
        else:
            means = features.movedim(self.slice_axis, 2).flatten(3).mean(3).transpose(1, 2)
        scores: torch.Tensor = self.attention(means)
        return torch.softmax(scores.to(self.weight.dtype) / self.temperature, dim=-1)

    def _mixed_slices(self, features: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor) -> torch.Tensor:
        """Convolve each slice, in a slab with the neighbours that the kernel reads, as an image of its own."""
        axis, around = self.slice_axis, self.dilation
        beside = [0] * (2 * self.spatial_dims)
        for side in range(2):
            beside[2 * (self.spatial_dims + 1 - axis) + side] = around
        slabs = functional.pad(features, beside).unfold(axis, 2 * around + 1, 1).movedim(axis, 1)
        batch, slices = slabs.size(0), slabs.size(1)
        groups = slabs.flatten(0, 2).unsqueeze(0)  # (1, B * slices * C, the other two axes, slab)
        mixed = self._convolved(groups, weight.movedim(axis, -1), bias, [around, around, 0], batch * slices)
        mixed = mixed.squeeze(-1)
        return mixed.reshape([batch, slices, -1] + list(mixed.shape[2:])).movedim(1, axis)  # noqa: RUF005

    def _mixed_outputs(self, features: torch.Tensor, shares: torch.Tensor) -> torch.Tensor:
        """Mix the outputs of all kernels, which equals the output of the mixed kernel."""
        around = [self.dilation] * self.spatial_dims
        outputs = self._convolved(features, self.weight.flatten(0, 1), self.bias.flatten(), around, 1)
        outputs = outputs.reshape([-1, *self.bias.shape, *outputs.shape[2:]])
        sizes = [-1, self.bias.shape[0], 1] + [1] * self.spatial_dims
        if self.slice_axis >= 0:
            sizes[self.slice_axis + 1] = shares.shape[1]
        mixed: torch.Tensor = (outputs * shares.transpose(1, 2).reshape(sizes)).sum(1)
        return mixed

    def _convolved(
        self,
        features: torch.Tensor,
        weight: torch.Tensor,
        bias: torch.Tensor,
        padding: list[int],
        groups: int,
    ) -> torch.Tensor:
        dilation = [self.dilation] * self.spatial_dims
        if self.spatial_dims == 3:
            return functional.conv3d(features, weight, bias, [1, 1, 1], padding, dilation, groups)
        return functional.conv2d(features, weight, bias, [1, 1], padding, dilation, groups)


def _in_an_export() -> bool:
    tracing: bool = torch.jit.is_tracing()  # type: ignore[attr-defined,no-untyped-call]
    return tracing or torch.compiler.is_exporting()


def check_dynamic(name: str, spatial_dims: int, kernels: int, slice_axis: int | None) -> None:
    """Refuse numbers that no dynamic convolution can have.

    Args:
        name: name of the network or layer, for the message.
        spatial_dims: 2 or 3.
        kernels: see `DynamicConvolution`.
        slice_axis: see `DynamicConvolution`.

    Raises:
        SegpipeError: the message has the rule and the given number.
    """
    if not isinstance(kernels, int) or isinstance(kernels, bool) or kernels < 1:
        raise SegpipeError(f"{name}: kernels is {kernels!r}; must be a whole number of at least 1")
    if slice_axis is None:
        return
    if spatial_dims == 2:
        raise SegpipeError(
            f"{name}: slice_axis is {slice_axis!r}, and spatial_dims is 2; only volumes have slices: leave it out"
        )
    if isinstance(slice_axis, bool) or slice_axis not in (0, 1, 2):
        raise SegpipeError(f"{name}: slice_axis is {slice_axis!r}; must be 0, 1 or 2, an axis of the volume")
