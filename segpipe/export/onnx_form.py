"""ONNX: a graph that ONNX Runtime and many other programs run."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from segpipe.export.form import INPUT, OUTPUT, Exportable, Form, Scores
from segpipe.inference.engines.onnxruntime_engine import quiet_exporter
from segpipe.inference.engines.silence import silent_onnxruntime
from segpipe.networks.blocks import CellMeans


def _exported(job: Exportable, path: Path) -> None:
    """Write what `torch.export` sees of the network."""
    free: dict[int, Any] = {0: "batch"}
    if job.any_size:  # axes with names would have to take every size, not only multiples
        free |= dict.fromkeys(range(2, job.example.ndim), torch.export.Dim.DYNAMIC)
    with quiet_exporter():
        torch.onnx.export(
            _poolable(job.network),
            (job.example,),
            path,
            dynamo=True,
            dynamic_shapes=(free,),
            external_data=False,
            verbose=False,
            input_names=[INPUT],
            output_names=[OUTPUT],
        )
    _add_facts(job, path)


def _poolable(network: torch.nn.Module) -> torch.nn.Module:
    """Return a copy whose pooling over a grid is by matrices: ONNX has such pooling for one size alone."""
    changed = copy.deepcopy(network)
    for module in list(changed.modules()):
        for name, part in list(module.named_children()):
            if type(part) is torch.nn.AdaptiveAvgPool2d and isinstance(part.output_size, int):
                setattr(module, name, CellMeans(part.output_size))
    return changed


def _add_facts(job: Exportable, path: Path) -> None:
    import onnx

    model = onnx.load(str(path))
    onnx.helper.set_model_props(model, dict(job.facts))
    onnx.save(model, str(path))


def _opened(path: Path) -> Scores:
    onnxruntime = silent_onnxruntime()
    from onnxruntime.capi import onnxruntime_pybind11_state as states

    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])

    def scores(images: NDArray[np.float32]) -> NDArray[np.float32]:
        try:
            return np.asarray(session.run([OUTPUT], {INPUT: images})[0])
        except (states.Fail, states.InvalidArgument, states.RuntimeException) as error:
            raise RuntimeError(str(error)) from error  # its own errors have no common class

    return scores


def _facts_of(path: Path) -> dict[str, str]:
    import onnx

    return {entry.key: entry.value for entry in onnx.load(str(path), load_external_data=False).metadata_props}


FORM = Form(
    "onnx",
    (".onnx",),
    ("onnx", "onnxscript", "onnxruntime"),
    {"torch.export": _exported},
    _opened,
    _facts_of,
)
