"""Which number format a network computes in: by name, by what the device has, or by the clock."""

from __future__ import annotations

import copy
import time
from collections.abc import Callable

import torch

from segpipe.errors import SegpipeError

_DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}
_WORTH_IT = 1.1  # a reduced precision that is not this much faster is not taken
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
    if precision in _DTYPES:
        return _DTYPES[precision]
    if precision != "auto":
        raise SegpipeError(f"precision {precision!r} is unknown; use auto or one of {', '.join(_DTYPES)}")
    if device.type == "cuda":
        return torch.bfloat16 if _computes_in_bfloat16(device) else torch.float16
    if device.type == "cpu" and torch.cpu.get_capabilities().get("avx512_bf16"):
        return torch.bfloat16
    return torch.float32


def measured_precision(network: torch.nn.Module, windows: torch.Tensor) -> str:
    """Return the precision that is worth it for a network: float32, or the device's reduced one if that is faster.

    Args:
        network: on its device, in evaluation mode.
        windows: `(B, C, *spatial)` on that device, as the network will get them.

    Returns:
        a name that `choose_precision` takes. Where the device has no units for reduced precision nothing is timed.
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
    """Return a function that scores windows with a network in a precision; scores come out in float32.

    On a CPU in bfloat16 a copy of the network with bfloat16 weights is made, which spares autocast's casts of every
    weight for every window; elsewhere autocast is used.

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
    """Return scores in float32, and what is no tensor as it is: who blends the windows says so."""
    return answer.float() if isinstance(answer, torch.Tensor) else answer


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


def seconds_of(predictor: Callable[[torch.Tensor], torch.Tensor], windows: torch.Tensor) -> float:
    """Return the shortest of some times that a predictor takes for windows, after one that does not count."""
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
    """Tell whether a CUDA (or ROCm) card has bfloat16 units.

    `torch.cuda.is_bf16_supported` says yes where bfloat16 is only emulated, too, and only of the current
    card.
    """
    return torch.version.hip is not None or torch.cuda.get_device_capability(device) >= (8, 0)
