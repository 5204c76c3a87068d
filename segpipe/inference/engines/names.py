"""Names of the engines, and what they need; nothing of an engine is loaded."""

from __future__ import annotations

import importlib.metadata
import importlib.util
from pathlib import Path
from typing import NamedTuple

from segpipe.errors import SegpipeError

TORCH, TORCH_COMPILE, OPENVINO, ONNXRUNTIME, TENSORRT = ENGINES = (
    *("torch", "torch-compile", "openvino", "onnxruntime"),
    "tensorrt",
)
"""Names of the engines. `torch` is PyTorch, whose float32 scores the others must give."""

AUTO = "auto"
_PACKAGES = {  # as they are imported; what installs them
    OPENVINO: (("openvino",), "openvino"),
    ONNXRUNTIME: (("onnx", "onnxscript", "onnxruntime"), "'segpipe[onnx]'"),
    TENSORRT: (("tensorrt", "polygraphy", "onnx", "onnxscript"), "tensorrt polygraphy onnx onnxscript"),
}
FLOAT32, BFLOAT16, INT8 = "float32", "bfloat16", "int8"


class Way(NamedTuple):
    """An engine, and the number format that it computes in."""

    engine: str
    precision: str

    def __str__(self) -> str:
        """Return the words of a message."""
        return f"{self.engine} in {self.precision}"


def is_installed(engine: str) -> bool:
    """Return whether the packages of an engine are installed."""
    packages, _ = _PACKAGES.get(engine, ((), ""))
    return all(importlib.util.find_spec(name) is not None for name in packages)


def engine_versions(engine: str) -> dict[str, str]:
    """Return the versions of PyTorch and of the packages of an engine that is installed."""
    packages, _ = _PACKAGES.get(engine, ((), ""))
    return {name: importlib.metadata.version(name) for name in ("torch", *packages)}


def require_engine(engine: str) -> None:
    """Refuse an engine that is unknown, or not installed.

    Raises:
        SegpipeError: the message has the names of the engines, or the command that installs this one.
    """
    if engine != AUTO and engine not in ENGINES:
        raise SegpipeError(f"--engine is {engine!r}; must be {AUTO} or one of {', '.join(ENGINES)}")
    packages, extra = _PACKAGES.get(engine, ((), ""))
    missing = [name for name in packages if importlib.util.find_spec(name) is None]
    if missing:
        raise SegpipeError(
            f"--engine {engine}: {', '.join(missing)} is not installed; run: pip install {extra}, or give "
            f"--engine {TORCH}"
        )


def require_engine_for(precision: str, engine: str) -> None:
    """Refuse an engine that does not compute in int8, where it is asked for.

    Raises:
        SegpipeError: the message has precision and engine; or OpenVINO, which computes in int8, is not installed.
    """
    if precision != INT8:
        return
    if engine not in (AUTO, OPENVINO):
        raise SegpipeError(
            f"--precision {INT8} is computed by {OPENVINO}, and --engine is {engine}; leave --engine out, or give "
            f"--precision {FLOAT32}"
        )
    require_engine(OPENVINO)


def require_processor(engine: str, device: object) -> None:
    """Refuse an engine that computes on processors alone where the device is another one, and the reverse.

    Args:
        engine: its name.
        device: of the network, or its name; None: the bundle's, which is not known yet.

    Raises:
        SegpipeError: the message has engine and device.
    """
    if device is None:
        return
    name = str(device)
    if engine == TENSORRT and not name.startswith("cuda"):
        raise SegpipeError(
            f"--engine {engine} computes on CUDA cards alone, and the device is {name}; give --device cuda, or "
            f"--engine {AUTO}"
        )
    if engine in (OPENVINO, ONNXRUNTIME) and not name.startswith("cpu"):
        raise SegpipeError(
            f"--engine {engine} computes on the processor, and the device is {name}; give --device cpu, or "
            f"--engine {TORCH}"
        )


def require_same_engine(folder: Path, engine: str) -> None:
    """Refuse to go on with a cohort whose engine is not installed here.

    Raises:
        SegpipeError: the message has the engine, and the command that installs it.
    """
    try:
        require_engine(engine)
    except SegpipeError as error:
        raise SegpipeError(
            f"{folder}: its scans were computed with {engine}, and a cohort keeps its engine: {error}, which computes "
            "all scans again"
        ) from error
