"""The number format that a network computes in: chosen by name, by the device, or by measured time."""

from __future__ import annotations

import copy
import time
from collections.abc import Callable

import torch

from segpipe.inference.option_values import PRECISIONS, require_precision

_DTYPES: dict[str, torch.dtype] = {name: getattr(torch, name) for name in PRECISIONS}
_WORTH_IT = 1.1  # a reduced precision must be at least this much faster
_ROUNDS = 3


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
    require_precision(precision)
    if precision in _DTYPES:
        return _DTYPES[precision]
    if device.type == "cuda":
        return torch.bfloat16 if _computes_in_bfloat16(device) else torch.float16
    if device.type == "cpu" and torch.cpu.get_capabilities().get("avx512_bf16"):
        return torch.bfloat16
    return torch.float32


def measured_precision(network: torch.nn.Module, windows: torch.Tensor) -> str:
    """Return the faster precision for a network: float32, or the device's reduced one if it is clearly faster.

    Args:
        network: on its device, in evaluation mode.
        windows: `(B, C, *spatial)` on that device, as in inference.

    Returns:
        a name for `choose_precision`. On a device without reduced precision nothing is timed.
    """
    reduced = choose_precision("auto", windows.device)
    if reduced is torch.float32:
        return "float32"
    name = next(name for name, dtype in _DTYPES.items() if dtype is reduced)
    seconds = {
        precision: seconds_of(in_precision(network, precision), windows) for precision in ("float32", name)
    }
    return name if seconds["float32"] > _WORTH_IT * seconds[name] else "float32"


def in_precision(network: torch.nn.Module, precision: str) -> Callable[[torch.Tensor], torch.Tensor]:
    """Return a function that runs a network on windows in a given precision; its scores are float32.

    On a CPU, bfloat16 uses a copy of the network with bfloat16 weights, which saves autocast's conversion of every
    weight for every window. Elsewhere autocast is used.

    Args:
        network: on its device, in evaluation mode.
        precision: see `choose_precision`.
    """
    device = next((parameter.device for parameter in network.parameters()), torch.device("cpu"))
    dtype = choose_precision(precision, device)
    if dtype is torch.bfloat16 and device.type == "cpu":
        rounded = copy.deepcopy(network).to(torch.bfloat16)
        return lambda windows: _in_float32(rounded(windows.to(torch.bfloat16)))

    def scores(windows: torch.Tensor) -> torch.Tensor:
        with torch.autocast(device.type, dtype, enabled=dtype is not torch.float32):
            return _in_float32(network(windows))

    return scores


def _in_float32(answer: torch.Tensor) -> torch.Tensor:
    """Return a tensor in float32; anything else unchanged, for the caller to refuse."""
    return answer.float() if isinstance(answer, torch.Tensor) else answer


def needs_loss_scaling(device: torch.device | str, precision: str = "auto") -> bool:
    """Return whether training must scale its loss: in float16 on CUDA, where gradients would underflow.

    The result is for the `amp` option of MONAI's engines, whose GradScaler scales the loss. Otherwise
    `PrecisionInferer` is enough.

    Args:
        device: the device that trains.
        precision: precision of the `PrecisionInferer`.

    Raises:
        SegpipeError: an unknown precision.
    """
    device = torch.device(device)
    return device.type == "cuda" and choose_precision(precision, device) is torch.float16


def seconds_of(predictor: Callable[[torch.Tensor], torch.Tensor], windows: torch.Tensor) -> float:
    """Return the shortest of several times that a predictor takes for windows, after one call to warm up."""
    predictor(windows)
    times = []
    for _ in range(_ROUNDS):
        _wait(windows.device)
        since = time.perf_counter()
        predictor(windows)
        _wait(windows.device)
        times.append(time.perf_counter() - since)
    return min(times)


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def _computes_in_bfloat16(device: torch.device) -> bool:
    """Return whether a CUDA or ROCm card has bfloat16 units.

    `torch.cuda.is_bf16_supported` also returns True where bfloat16 is only emulated, and looks only at the current
    card.
    """
    return torch.version.hip is not None or torch.cuda.get_device_capability(device) >= (8, 0)
