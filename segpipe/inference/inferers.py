"""MONAI inferers: reduced precision or mirror images for another inferer's network; a 2D network over volumes."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from itertools import combinations
from typing import Any

import monai.inferers
import torch
from monai.data import MetaTensor
from monai.inferers import Inferer

from segpipe.errors import SegpipeError
from segpipe.inference.agreement import disagreement
from segpipe.inference.option_values import require_flips
from segpipe.inference.precision import choose_precision

_logger = logging.getLogger(__name__)


class PrecisionInferer(Inferer):  # type: ignore[misc]  # MONAI is untyped
    """Runs the network of another inferer in reduced precision; scores come out in float32.

    Autocast is on for the network alone: a sliding window's sums, the loss and later steps stay in float32. Metadata
    is removed from each window first, since every tensor operation would carry it.

    Args:
        inferer: the inferer to wrap, e.g. MONAI's `SlidingWindowInferer`.
        precision: see `choose_precision`; `auto` chooses by the device of the input. On a processor, `auto` compares
            the first volume window of each shape with float32 outside of training, and stays in float32 where the
            scores differ: PyTorch's 3D convolutions in bfloat16 are wrong in some shapes
            (https://github.com/pytorch/pytorch/issues/169688).
    """

    def __init__(self, inferer: Inferer, precision: str = "auto") -> None:
        super().__init__()
        self.inferer = inferer
        self.precision = precision
        self._compared: set[tuple[int, ...]] = set()  # shapes of windows

    def __call__(
        self, inputs: torch.Tensor, network: Callable[..., torch.Tensor], *args: Any, **kwargs: Any
    ) -> Any:
        """Return float32 scores of `network` for `inputs`, both `(B, C, *spatial)`."""

        def reduced(window: torch.Tensor, *network_args: Any, **network_kwargs: Any) -> Any:
            plain = window.as_tensor() if isinstance(window, MetaTensor) else window
            dtype = choose_precision(self.precision, inputs.device)
            with torch.autocast(plain.device.type, dtype, enabled=dtype != torch.float32):
                scores = network(plain, *network_args, **network_kwargs)
            scores = scores.float() if isinstance(scores, torch.Tensor) else scores
            if dtype is torch.float32 or not self._is_to_compare(plain):
                return scores
            self._compared.add(tuple(plain.shape))
            return self._compared_with(scores, network(plain, *network_args, **network_kwargs))

        return self.inferer(inputs, reduced, *args, **kwargs)

    def _is_to_compare(self, window: torch.Tensor) -> bool:
        if self.precision != "auto" or window.device.type != "cpu" or torch.is_grad_enabled():
            return False
        return window.ndim == _BATCH_OF_VOLUMES_DIMS and tuple(window.shape) not in self._compared

    def _compared_with(self, scores: Any, exact: Any) -> Any:
        """Return scores that agree with those of float32; else go on in float32."""
        if not isinstance(exact, torch.Tensor):
            return scores
        difference = disagreement(scores, exact, "bfloat16")
        if difference is None:
            return scores
        self.precision = "float32"
        _logger.warning("computing in float32, since PyTorch is wrong in bfloat16 here: %s", difference)
        return exact


class FlipInferer(Inferer):  # type: ignore[misc]  # MONAI is untyped
    """Averages a network's scores over each window of another inferer and over the window's mirror images.

    Args:
        inferer: the inferer to wrap.
        flips: spatial axes of the network's input, from 0, to mirror along, in all combinations: n axes take 2 to the n
            times as long. Without axes nothing changes.

    Raises:
        SegpipeError: an axis is given twice or below 0; when called, an axis that the network's input does not have.
    """

    def __init__(self, inferer: Inferer, flips: Sequence[int] = ()) -> None:
        super().__init__()
        require_flips(flips)
        self.inferer = inferer
        self.flips = tuple(flips)

    def __call__(
        self, inputs: torch.Tensor, network: Callable[..., torch.Tensor], *args: Any, **kwargs: Any
    ) -> Any:
        """Return averaged scores of `network`, `(B, C, *spatial)` or `(B, C)`, for inputs `(B, C, *spatial)`."""
        if not self.flips:
            return self.inferer(inputs, network, *args, **kwargs)

        def averaged(window: torch.Tensor, *network_args: Any, **network_kwargs: Any) -> torch.Tensor:
            turns = mirror_dims(self.flips, window.ndim)
            total = network(window, *network_args, **network_kwargs)
            if not isinstance(total, torch.Tensor):
                raise SegpipeError(
                    f"--mirror (flips in YAML) is {list(self.flips)}, but the network returns a "
                    f"{type(total).__name__}, which has no mean; leave --mirror out"
                )
            for dims in turns:
                mirrored = network(window.flip(dims), *network_args, **network_kwargs)
                # a classifier's scores (B, C) have no axes to turn back
                total = total + (mirrored.flip(dims) if mirrored.ndim == window.ndim else mirrored)
            scores: torch.Tensor = total / 2 ** len(self.flips)
            return scores

        return self.inferer(inputs, averaged, *args, **kwargs)


def mirror_dims(flips: Sequence[int], dims: int) -> list[list[int]]:
    """Return the dimensions of each mirror image of windows `(B, C, *spatial)`, without the windows themselves.

    Args:
        flips: spatial axes, from 0, to mirror along, in all combinations.
        dims: number of dimensions of the windows.

    Raises:
        SegpipeError: an axis is none of the windows'.
    """
    axes = dims - 2
    if any(axis >= axes for axis in flips):
        raise SegpipeError(
            f"--mirror (flips in YAML) is {list(flips)}, but the network's input has the axes 0 to {axes - 1}"
        )
    counts = range(1, len(flips) + 1)
    return [[axis + 2 for axis in chosen] for count in counts for chosen in combinations(flips, count)]


class SliceInferer(Inferer):  # type: ignore[misc]  # MONAI is untyped
    """Runs a 2D network over slices as they are, and over volumes slice by slice along the last axis.

    MONAI's `SliceInferer` takes volumes only.

    Args:
        roi_size: the window's two sides; smaller images are padded with zeros, larger ones covered by several windows.
        sw_batch_size: windows per batch; in a volume, a batch takes windows of neighbouring slices.
        overlap: overlap of windows, as a share of their sides.
        mode: blending of overlapping windows, as in MONAI: "gaussian" or "constant".
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
        """Return scores `(B, C, x, y)` or `(B, C, x, y, z)` of `network` for images with the same axes."""
        inferer = self.on_slices if inputs.ndim == _BATCH_OF_SLICES_DIMS else self.on_volumes
        return inferer(inputs, network, *args, **kwargs)


_BATCH_OF_SLICES_DIMS, _BATCH_OF_VOLUMES_DIMS = 4, 5
