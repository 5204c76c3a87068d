"""A program of its own: it compiles a network in OpenVINO and computes one window of zeros.

`trial` starts this file, and not the package, so that neither PyTorch nor segpipe is imported. It ends with 0 where the
window was computed, with `REFUSED` where OpenVINO raised an exception, and by a signal where OpenVINO crashed.
"""

from __future__ import annotations

import json
import sys
from contextlib import suppress

REFUSED = 3


def main(graph: str, settings: str) -> int:
    """Compile a network and compute a window.

    Args:
        graph: the file of the graph, its numbers beside it.
        settings: what OpenVINO compiles with, as JSON.

    Returns:
        the exit code of the program.
    """
    with suppress(ImportError, OSError, ValueError):  # Windows has no such limits
        import resource

        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))  # a crash leaves no copy of the memory on disk
    sys.modules["openvino_telemetry"] = None  # type: ignore[assignment]  # as in `silence`: no usage statistics
    import numpy as np
    import openvino

    try:
        core = openvino.Core()
        program = core.compile_model(core.read_model(graph), "CPU", json.loads(settings))
        program([np.zeros(list(program.inputs[0].shape), np.float32)])
    except (RuntimeError, ValueError, TypeError, OSError, AttributeError):
        return REFUSED  # the engine meets the same exception, and reports it
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
