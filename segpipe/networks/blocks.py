"""Building blocks of the networks: convolutions with normalisation and activation, and pooling that can be undone."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Collection, Sequence
from itertools import pairwise

import torch
from monai.networks.blocks import ADN, Convolution
from monai.networks.layers.factories import Pool
from torch import nn

from segpipe.errors import SegpipeError

MakeConvolution = Callable[[int, int, int], nn.Module]
"""Makes a convolution from its input channels, output channels and dilation; it keeps the image's size."""


def convolutions(
    spatial_dims: int,
    channels: list[int],
    norm: str | None,
    dropout: float = 0.0,
    bare_last: bool = False,
    convolution: MakeConvolution | None = None,
) -> nn.Sequential:
    """Chain convolutions over 3 voxels along each axis, each with normalisation, ReLU and dropout.

    Args:
        spatial_dims: 2 or 3.
        channels: of the input, then of each convolution's output.
        norm: see `norm_of`; None leaves it out.
        dropout: share of activations that are set to zero in training, after each ReLU.
        bare_last: nothing follows the last convolution, whose outputs are logits; only of plain convolutions.
        convolution: makes convolutions of another kind; None: plain ones.

    Returns:
        a module that takes `(B, channels[0], *spatial)` to `(B, channels[-1], *spatial)`.
    """
    if convolution is not None:
        return nn.Sequential(
            *(
                normalised(convolution(entry, width, 1), spatial_dims, width, norm, dropout)
                for entry, width in pairwise(channels)
            )
        )
    last = len(channels) - 2
    return nn.Sequential(
        *(
            Convolution(
                spatial_dims,
                in_channels,
                out_channels,
                act="relu",
                norm=norm_of(norm, out_channels),
                dropout=dropout or None,
                adn_ordering="NAD",
                conv_only=bare_last and position == last,
            )
            for position, (in_channels, out_channels) in enumerate(pairwise(channels))
        )
    )


def normalised(
    convolution: nn.Module, spatial_dims: int, channels: int, norm: str | None, dropout: float = 0.0
) -> nn.Sequential:
    """Return a convolution with normalisation, ReLU and dropout behind it, under the names of MONAI's `Convolution`.

    Args:
        convolution: with `channels` output channels.
        spatial_dims: 2 or 3.
        channels: number of channels that are normalised.
        norm: see `norm_of`; None leaves it out.
        dropout: share of activations that are set to zero in training, after the ReLU.
    """
    adn = ADN("NAD", channels, "relu", norm_of(norm, channels), spatial_dims, dropout or None, 1)
    return nn.Sequential(OrderedDict(conv=convolution, adn=adn))


def norm_of(norm: str | None, channels: int) -> str | tuple[str, dict[str, int]] | None:
    """Return the name of a normalisation in the form that MONAI's layer factory takes.

    "instance" becomes group norm with one group per channel: the same function, with a learnt scale and shift, and
    faster on a processor. On images of 512 x 512 keep torch's default memory format: with channels-last, torch adds the
    squares of a channel one by one in float32, and the lung networks' logits change by 1 and more.

    Args:
        norm: name in MONAI's factory, such as "batch" or "instance"; None or "none" for no normalisation. (MONAI's
            bundle run silently drops an override that is None.)
        channels: number of channels that are normalised.
    """
    if norm == "none":
        return None
    return ("group", {"num_groups": channels}) if norm == "instance" else norm


class MaxPool(nn.Module):
    """Max-pools, and returns the positions of the maxima.

    Where a window exceeds the image, it ends with the image, so that no voxel is left out.

    Args:
        spatial_dims: 2 or 3.
        stride: voxels of a window along each axis; one number for all axes.
    """

    def __init__(self, spatial_dims: int, stride: int | Sequence[int] = 2) -> None:
        super().__init__()
        window = stride if isinstance(stride, int) else tuple(stride)
        self.pool = Pool["max", spatial_dims](
            kernel_size=window, stride=window, ceil_mode=True, return_indices=True
        )

    def forward(self, features: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Return the maxima, of the size over the stride (rounded up), and their flat positions in a channel, int64."""
        pooled, indices = self.pool(features)
        return pooled, indices


class MaxUnpool(nn.Module):
    """Puts maxima back at the positions from `MaxPool`, zeros elsewhere: bit for bit as `nn.MaxUnpool2d` and `3d`.

    torch's layers can be neither scripted nor exported, and deterministic algorithms refuse them; a scatter works.
    """

    def forward(self, pooled: torch.Tensor, indices: torch.Tensor, like: torch.Tensor) -> torch.Tensor:
        """Return `(B, C, *spatial)` with the spatial shape of `like`.

        Args:
            pooled: `(B, C, *pooled size)`.
            indices: positions from `MaxPool`, of the same shape.
            like: the input of the pooling, or any tensor of its spatial shape, `(B, any, *spatial)`.
        """
        size = list(pooled.shape[:2]) + list(like.shape[2:])
        flat = torch.zeros(size, dtype=pooled.dtype, device=pooled.device).flatten(2)
        return flat.scatter(2, indices.flatten(2), pooled.flatten(2)).reshape(size)


def check_architecture(
    name: str, spatial_dims: int, widths: Sequence[int], fewest: int, in_channels: int, out_channels: int
) -> None:
    """Refuse numbers that no network of this family can have.

    Args:
        name: name of the network, for the message.
        spatial_dims: 2 or 3.
        widths: channels of every convolution or level.
        fewest: smallest allowed number of widths.
        in_channels: channels of the images.
        out_channels: number of classes.

    Raises:
        SegpipeError: the message has the rule and the given numbers.
    """
    if spatial_dims not in (2, 3):
        raise SegpipeError(f"{name}: spatial_dims is {spatial_dims}; must be 2 for slices or 3 for volumes")
    listed = isinstance(widths, Sequence) and all(isinstance(width, int) for width in widths)
    if not listed or len(widths) < fewest or min(widths, default=0) < 1:
        raise SegpipeError(
            f"{name}: widths are {widths}; needs at least {fewest} whole numbers, each at least 1"
        )
    if in_channels < 1 or out_channels < 2:
        raise SegpipeError(
            f"{name}: {in_channels} channel(s) in and {out_channels} class(es) out; needs at least 1 and 2"
        )


class CellMeans(nn.Module):
    """Adaptive average pooling that is exported for any size, see `cell_means`."""

    def __init__(self, grid: int) -> None:
        super().__init__()
        self.grid = grid

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        """Return `(B, C, grid, grid)`."""
        return cell_means(features, self.grid)


def train_except(module: nn.Module, frozen: Collection[int]) -> None:
    """Change a module to training, but its frozen parts to evaluation.

    A trainer does this before each step. A frozen part that is in evaluation already is not walked through, which would
    take some per cent of a small network's step.

    Args:
        module: the network, or a part of it.
        frozen: `id` of each frozen part.
    """
    if id(module) not in frozen:
        module.training = True
        for inner in module.children():
            train_except(inner, frozen)
    elif module.training:
        module.eval()


def cell_means(features: torch.Tensor, grid: int) -> torch.Tensor:
    """Return the means of cells as adaptive pooling has them, by matrices, which every program can run for any size.

    Args:
        features: `(B, C, rows, columns)`.
        grid: rows and columns of cells.

    Returns:
        `(B, C, grid, grid)`.
    """
    rows, columns = (_cell_shares(features.shape[axis], grid).to(features) for axis in (2, 3))
    return rows @ features @ columns.T


def _cell_shares(length: int, grid: int) -> torch.Tensor:
    """Return `(grid, length)`: the share of each place in the mean of each cell."""
    place, cell = torch.arange(length), torch.arange(grid)[:, None]
    inside = (place >= cell * length // grid) & (place < ((cell + 1) * length + grid - 1) // grid)
    return inside / inside.sum(dim=1, keepdim=True)
