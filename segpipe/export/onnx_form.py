"""ONNX: a graph that ONNX Runtime and many other programs run."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from segpipe.export.form import INPUT, OUTPUT, Exportable, Form, Scores

_NAMES: dict[str, Any] = {"input_names": [INPUT], "output_names": [OUTPUT]}


def _exported(job: Exportable, path: Path) -> None:
    """Write what `torch.export` sees of the network."""
    free: dict[int, Any] = {0: "batch"}
    free |= dict.fromkeys(_axes(job), torch.export.Dim.DYNAMIC)  # names would refuse sizes that are multiples
    with _quiet():
        torch.onnx.export(
            job.network,
            (job.example,),
            path,
            dynamo=True,
            dynamic_shapes=(free,),
            external_data=False,
            verbose=False,
            **_NAMES,
        )
    _add_facts(job, path)


def _traced(job: Exportable, path: Path) -> None:
    """Write what a trace sees of the network."""
    free = {0: "batch"} | _axes(job)
    with torch.inference_mode():
        dims = job.network(job.example).ndim
    axes = {INPUT: free, OUTPUT: free if dims == job.example.ndim else {0: "batch"}}
    with _quiet():
        torch.onnx.export(job.network, (job.example,), str(path), dynamo=False, dynamic_axes=axes, **_NAMES)
    _add_facts(job, path)


def _axes(job: Exportable) -> dict[int, str]:
    """Return axis -> name of every axis whose length is free, but for the batch."""
    return {axis: f"size_{axis - 2}" for axis in range(2, job.example.ndim)} if job.any_size else {}


@contextmanager
def _quiet() -> Iterator[None]:
    """Silence PyTorch's exporters: they name packages that are not needed, and print the graph of a failure."""
    logger = logging.getLogger("torch.onnx")
    level = logger.level
    logger.setLevel(logging.ERROR)
    print_graphs: Any = getattr(torch._C, "_jit_set_onnx_log_enabled", lambda _: None)
    print_graphs(False)
    try:
        yield
    finally:
        logger.setLevel(level)


def _add_facts(job: Exportable, path: Path) -> None:
    import onnx

    model = onnx.load(str(path))
    onnx.helper.set_model_props(model, dict(job.facts))
    onnx.save(model, str(path))


def _opened(path: Path) -> Scores:
    import onnxruntime

    onnxruntime.disable_telemetry_events()
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])

    def scores(images: NDArray[np.float32]) -> NDArray[np.float32]:
        return np.asarray(session.run([OUTPUT], {INPUT: images})[0])

    return scores


def _facts_of(path: Path) -> dict[str, str]:
    import onnx

    return {entry.key: entry.value for entry in onnx.load(str(path), load_external_data=False).metadata_props}


FORM = Form(
    "onnx",
    (".onnx",),
    ("onnx", "onnxscript", "onnxruntime"),
    {
        "trace": _traced,
        "torch.export": _exported,
    },  # a trace takes seconds, torch.export minutes for 3D networks
    _opened,
    _facts_of,
)
