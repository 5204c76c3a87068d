"""TorchScript: a program that PyTorch runs from Python, C++ or MONAI Deploy without the network's source."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from monai.data import load_net_with_metadata, save_net_with_metadata
from numpy.typing import NDArray

from segpipe.export.form import Exportable, Form, Scores


def _script(job: Exportable, path: Path) -> None:
    _save(torch.jit.script(job.network), job, path)


def _trace(job: Exportable, path: Path) -> None:
    trace: Any = torch.jit.trace  # untyped
    _save(trace(job.network, job.example), job, path)


def _save(program: Any, job: Exportable, path: Path) -> None:
    save_net_with_metadata(program, str(path.with_suffix("")), meta_values=dict(job.facts))
    written = path.with_suffix(".ts")
    if written != path:
        written.rename(path)


def _opened(path: Path) -> Scores:
    load: Any = torch.jit.load  # untyped
    program = load(str(path), map_location="cpu").eval()

    def scores(images: NDArray[np.float32]) -> NDArray[np.float32]:
        with torch.inference_mode():
            result: NDArray[np.float32] = program(torch.from_numpy(images)).numpy()
        return result

    return scores


def _facts_of(path: Path) -> dict[str, str]:
    _, facts, _ = load_net_with_metadata(str(path), map_location="cpu")
    return {key: value for key, value in facts.items() if isinstance(value, str)}


FORM = Form("torchscript", (".ts", ".pt"), (), {"script": _script, "trace": _trace}, _opened, _facts_of)
