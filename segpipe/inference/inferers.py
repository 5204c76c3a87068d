"""MONAI inferers: reduced precision and mirror images round the network of another, and a 2D network over volumes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import combinations
from typing import Any

import monai.inferers
import torch
from monai.data import MetaTensor
from monai.inferers import Inferer

from segpipe.errors import SegpipeError

_DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}


def choose_precision(precision: str, device: torch.device) -> torch.dtype:
    """Return the dtype the network's convolutions run in.

    Args:
        precision: `float32`, `bfloat16`, `float16`, or `auto`: bfloat16 where the device computes in it
            natively (CUDA cards from Ampere on, CPUs with AVX512-BF16), float16 on older CUDA cards, float32
            elsewhere.
        device: where the network is.

    Raises:
        SegpipeError: an unknown name.
    """
    if precision in _DTYPES:
        return _DTYPES[precision]
    if precision != "auto":
        raise SegpipeError(f"precision {precision!r} is unknown; use auto or one of {', '.join(_DTYPES)}")
    if device.type == "cuda":
        return torch.bfloat16 if _computes_in_bfloat16(device) else torch.float16
    if device.type == "cpu" and torch.cpu.get_capabilities().get("avx512_bf16"):
        return torch.bfloat16
    return torch.float32


def _computes_in_bfloat16(device: torch.device) -> bool:
    """Tell whether a CUDA (or ROCm) card has bfloat16 units.

    `torch.cuda.is_bf16_supported` says yes where bfloat16 is only emulated, too, and only of the current
    card.
    """
    return torch.version.hip is not None or torch.cuda.get_device_capability(device) >= (8, 0)


class PrecisionInferer(Inferer):  # type: ignore[misc]  # MONAI is untyped
    """Run the network of another inferer in reduced precision; scores come out in float32.

    The autocast is round the network alone: a sliding window's sums, the loss and everything after stay in
    float32. Metadata is taken off each window before the network, where every tensor operation would carry
    it.

    Args:
        inferer: the inferer to wrap, e.g. MONAI's `SlidingWindowInferer`.
        precision: see `choose_precision`; `auto` decides by the device of the input.
    """

    def __init__(self, inferer: Inferer, precision: str = "auto") -> None:
        super().__init__()
        self.inferer = inferer
        self.precision = precision

    def __call__(
        self, inputs: torch.Tensor, network: Callable[..., torch.Tensor], *args: Any, **kwargs: Any
    ) -> Any:
        """Return float32 scores of `network` for `inputs`, both `(B, C, *spatial)`."""
        dtype = choose_precision(self.precision, inputs.device)

        def reduced(window: torch.Tensor, *network_args: Any, **network_kwargs: Any) -> torch.Tensor:
            plain = window.as_tensor() if isinstance(window, MetaTensor) else window
            with torch.autocast(plain.device.type, dtype, enabled=dtype != torch.float32):
                scores = network(plain, *network_args, **network_kwargs)
            return scores.float()

        return self.inferer(inputs, reduced, *args, **kwargs)


class FlipInferer(Inferer):  # type: ignore[misc]  # MONAI is untyped
    """Average a network's scores over each window of another inferer and its mirror images, laid back.

    Args:
        inferer: the inferer to wrap.
        flips: spatial axes of the network's input, from 0, along which it is mirrored: alone and together, so
            that n axes take 2 to the n times as long. None of them changes nothing.

    Raises:
        SegpipeError: an axis twice or below 0; on the way forward, one that the network's input does not have.
    """

    def __init__(self, inferer: Inferer, flips: Sequence[int] = ()) -> None:
        super().__init__()
        if len(set(flips)) < len(flips) or any(not isinstance(axis, int) or axis < 0 for axis in flips):
            raise SegpipeError(
                f"flips are {list(flips)}; each must be an axis, from 0, and none may come twice"
            )
        self.inferer = inferer
        self.flips = tuple(flips)

    def __call__(
        self, inputs: torch.Tensor, network: Callable[..., torch.Tensor], *args: Any, **kwargs: Any
    ) -> Any:
        """Return averaged scores of `network` for `inputs`, both `(B, C, *spatial)`."""

        def averaged(window: torch.Tensor, *network_args: Any, **network_kwargs: Any) -> torch.Tensor:
            axes = window.ndim - 2
            if any(axis >= axes for axis in self.flips):
                raise SegpipeError(
                    f"flips are {list(self.flips)}, but the network's input has the axes 0 to {axes - 1}"
                )
            total = network(window, *network_args, **network_kwargs)
            for count in range(1, len(self.flips) + 1):
                for chosen in combinations(self.flips, count):
                    dims = [axis + 2 for axis in chosen]
                    total = total + network(window.flip(dims), *network_args, **network_kwargs).flip(dims)
            scores: torch.Tensor = total / 2 ** len(self.flips)
            return scores

        return self.inferer(inputs, averaged, *args, **kwargs)


class SliceInferer(Inferer):  # type: ignore[misc]  # MONAI is untyped
    """Run a 2D network over slices as they are, and over volumes slice by slice along the last axis.

    MONAI's own of this name takes volumes only.

    Args:
        roi_size: the window's two sides; smaller images are padded with zeros, larger ones covered by several.
        sw_batch_size: windows that the network gets at a time, of neighbouring slices in a volume.
        overlap: of windows, as a part of their sides.
        mode: of MONAI's blending, "gaussian" or "constant".
    """

    def __init__(
        self, roi_size: Sequence[int], sw_batch_size: int = 1, overlap: float = 0.25, mode: str = "gaussian"
    ) -> None:
        super().__init__()
        settings: dict[str, Any] = {
            "roi_size": tuple(roi_size),
            "sw_batch_size": sw_batch_size,
            "overlap": overlap,
            "mode": mode,
        }
        self.on_slices = monai.inferers.SlidingWindowInferer(**settings)
        self.on_volumes = monai.inferers.SliceInferer(spatial_dim=2, **settings)

    def __call__(
        self, inputs: torch.Tensor, network: Callable[..., torch.Tensor], *args: Any, **kwargs: Any
    ) -> Any:
        """Return scores `(B, C, x, y)` or `(B, C, x, y, z)` of `network` for images of that many axes."""
        inferer = self.on_slices if inputs.ndim == _BATCH_OF_SLICES_DIMS else self.on_volumes
        return inferer(inputs, network, *args, **kwargs)


_BATCH_OF_SLICES_DIMS = 4


def needs_loss_scaling(device: torch.device | str, precision: str = "auto") -> bool:
    """Tell whether training must scale its loss: in float16 on CUDA, where gradients would underflow.

    For the `amp` of MONAI's engines, whose GradScaler does that; elsewhere `PrecisionInferer` is all there is
    to it.

    Args:
        device: that trains.
        precision: the one given to `PrecisionInferer`.

    Raises:
        SegpipeError: an unknown precision.
    """
    device = torch.device(device)
    return device.type == "cuda" and choose_precision(precision, device) is torch.float16
