"""The number format that a network computes in: chosen by name, by the device, or by measured time."""

from __future__ import annotations

import copy
import time
from collections.abc import Callable

import torch

from segpipe.inference.agreement import disagreement
from segpipe.inference.option_values import PRECISIONS, require_precision

DTYPES: dict[str, torch.dtype] = {name: getattr(torch, name) for name in PRECISIONS}
FASTER_BY = 1.1  # a reduced precision must be at least this much faster
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
    if precision in DTYPES:
        return DTYPES[precision]
    if device.type == "cuda":
        return torch.bfloat16 if _computes_in_bfloat16(device) else torch.float16
    if device.type == "cpu" and torch.cpu.get_capabilities().get("avx512_bf16"):
        return torch.bfloat16
    return torch.float32


def measured_precision(network: torch.nn.Module, windows: torch.Tensor) -> str:
    """Return the faster precision for a network: float32, or the device's reduced one if it is clearly faster.

    The reduced one is only taken where its scores of the windows agree with those of float32: in some shapes PyTorch
    gives wrong 3D convolutions in bfloat16 on processors.

    Args:
        network: on its device, in evaluation mode.
        windows: `(B, C, *spatial)` on that device, as in inference.

    Returns:
        a name for `choose_precision`. On a device without reduced precision nothing is timed.
    """
    reduced = choose_precision("auto", windows.device)
    if reduced is torch.float32:
        return "float32"
    name = next(name for name, dtype in DTYPES.items() if dtype is reduced)
    ways = {precision: in_precision(network, precision) for precision in ("float32", name)}
    exact = ways["float32"](windows)
    if isinstance(exact, torch.Tensor) and disagreement(ways[name](windows), exact, name) is not None:
        return "float32"
    seconds = {precision: seconds_of(way, windows) for precision, way in ways.items()}
    return name if seconds["float32"] > FASTER_BY * seconds[name] else "float32"


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
        synchronize(windows.device)
        since = time.perf_counter()
        predictor(windows)
        synchronize(windows.device)
        times.append(time.perf_counter() - since)
    return min(times)


def synchronize(device: torch.device) -> None:
    """Wait until a CUDA card has finished; other devices have when a call returns."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def _computes_in_bfloat16(device: torch.device) -> bool:
    """Return whether a CUDA or ROCm card has bfloat16 units.

    `torch.cuda.is_bf16_supported` also returns True where bfloat16 is only emulated, and looks only at the current
    card.
    """
    return torch.version.hip is not None or torch.cuda.get_device_capability(device) >= (8, 0)
