"""Quantises a network after its training: weights and activations in int8, with NNCF."""

from __future__ import annotations

import contextlib
import importlib.metadata
import importlib.util
import io
import logging
from collections.abc import Sequence
from typing import Any

import torch

from segpipe.errors import SegpipeError
from segpipe.inference.engines.engine import CannotComputeError
from segpipe.inference.engines.openvino_engine import converted_model, model_files
from segpipe.inference.engines.quantised import BIN, XML
from segpipe.inference.engines.silence import silent_openvino
from segpipe.inference.engines.threads import usable_threads
from segpipe.inference.engines.trial import COMPUTES, verdict_of

_PACKAGES = ("nncf", "openvino")
_MOST_REASON = 300  # characters of another program's message


def require_nncf() -> None:
    """Refuse to quantise without the packages.

    Raises:
        SegpipeError: the message has the command that installs them.
    """
    missing = [name for name in _PACKAGES if importlib.util.find_spec(name) is None]
    if missing:
        raise SegpipeError(
            f"segpipe quantize: {', '.join(missing)} is not installed; run: pip install 'segpipe[int8]'"
        )


def quantiser_versions() -> dict[str, str]:
    """Return the versions of the packages that a network in int8 depends on."""
    return {name: importlib.metadata.version(name) for name in ("torch", *_PACKAGES)}


def quantised_files(network: torch.nn.Module, windows: Sequence[torch.Tensor]) -> dict[str, bytes]:
    """Return the two files of a network in int8.

    Weights are symmetric, a scale a channel; activations asymmetric, a scale a tensor, since most follow an activation
    function. The biases are corrected by the mean of their errors. Weights use half of the range of int8: processors
    without VNNI add products in 16 bits, which would overflow, and give other labels than these.

    Args:
        network: in evaluation mode, on the CPU.
        windows: `(1, C, *spatial)` of one shape, float32, on which the ranges of activations are measured.

    Returns:
        suffix of each file -> its bytes.

    Raises:
        SegpipeError: the network cannot be converted or quantised.
    """
    nncf = silent_nncf()
    try:
        model: Any = converted_model(network, windows[0])
        _require_no_crash(model)
        with contextlib.redirect_stdout(io.StringIO()):  # of progress bars
            quantised = nncf.quantize(
                model,
                nncf.Dataset([window.numpy() for window in windows]),
                preset=nncf.QuantizationPreset.MIXED,
                target_device=nncf.TargetDevice.CPU,
                subset_size=len(windows),
                fast_bias_correction=True,
                advanced_parameters=nncf.AdvancedQuantizationParameters(overflow_fix=nncf.OverflowFix.ENABLE),
            )
        graph, numbers = model_files(quantised)
    except (CannotComputeError, RuntimeError, ValueError, TypeError, AttributeError, KeyError) as error:
        text = " ".join(str(error).split())[:_MOST_REASON]
        raise SegpipeError(
            f"the network cannot be quantised ({type(error).__name__}: {text}); no file was written"
        ) from error
    return {XML: graph, BIN: numbers}


def _require_no_crash(model: Any) -> None:
    """Refuse a network that OpenVINO crashes on, as NNCF computes with it in this process."""
    settings = {"INFERENCE_PRECISION_HINT": "f32", "INFERENCE_NUM_THREADS": usable_threads()}
    verdict, _ = verdict_of(*model_files(model), settings)
    if verdict != COMPUTES:
        raise CannotComputeError(verdict)


def silent_nncf() -> Any:
    """Import NNCF without its usage statistics, progress bars and log lines."""
    silent_openvino()  # forbids the module that NNCF would send with
    import nncf

    nncf.set_log_level(logging.ERROR)
    return nncf
