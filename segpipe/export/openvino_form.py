"""OpenVINO: a graph for Intel's processors, graphics and neural units, as an XML file with its weights beside it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from segpipe.export.form import INPUT, OUTPUT, Exportable, Form, Scores
from segpipe.inference.engines.silence import silent_openvino

_FACTS = "segpipe"  # their place in the model's information


def _converted(job: Exportable, path: Path) -> None:
    openvino = silent_openvino()
    spatial = [-1 if job.any_size else length for length in job.example.shape[2:]]
    model = openvino.convert_model(
        job.network, example_input=job.example, input=[[-1, job.example.shape[1], *spatial]]
    )
    model.inputs[0].get_tensor().set_names({INPUT})
    model.outputs[0].get_tensor().set_names({OUTPUT})
    for key, value in job.facts.items():
        model.set_rt_info(value, [_FACTS, key])
    openvino.save_model(model, path, compress_to_fp16=False)


def _opened(path: Path) -> Scores:
    core = silent_openvino().Core()
    compiled = core.compile_model(str(path), "CPU", {"INFERENCE_PRECISION_HINT": "f32"})

    def scores(images: NDArray[np.float32]) -> NDArray[np.float32]:
        return np.asarray(compiled([images])[0])

    return scores


def _facts_of(path: Path) -> dict[str, str]:
    model = silent_openvino().Core().read_model(str(path))
    entries = model.get_rt_info([_FACTS]).value
    return {str(key): str(model.get_rt_info([_FACTS, key]).value) for key in entries}


FORM = Form("openvino", (".xml",), ("openvino",), {"trace": _converted}, _opened, _facts_of, beside=(".bin",))
