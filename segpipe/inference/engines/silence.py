"""Imports other programs without their usage statistics: nothing leaves the machine."""

from __future__ import annotations

import sys
from typing import Any


def silent_openvino() -> Any:
    """Import OpenVINO without its usage statistics: its converter would send them to a server."""
    sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]  # Python's way to forbid an import
    import openvino

    return openvino


def silent_onnxruntime() -> Any:
    """Import ONNX Runtime and switch its usage events off."""
    import onnxruntime

    onnxruntime.disable_telemetry_events()
    return onnxruntime
