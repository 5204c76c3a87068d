"""The commands that `inference.py` compares: each segments a folder of scans into another. Not run by itself."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

import torch
from inference_inputs import OVERLAP, Network
from inference_memory import SEGPIPE, Finished, finished
from nnunet_model import write_nnunet_model

from segpipe.inference import choose_precision

NO_CARD = {"CUDA_VISIBLE_DEVICES": ""}
REFERENCE = "segpipe, torch float32"
NNUNET = "nnU-Net"
ROWS = {
    "auto": "segpipe",
    "torch-float32": REFERENCE,
    "torch-bfloat16": "segpipe, torch bfloat16",
    "openvino-float32": "segpipe, openvino float32",
    "openvino-bfloat16": "segpipe, openvino bfloat16",
    "int8": "segpipe, openvino int8",
    "monai-float32": "MONAI, float32",
    "monai-bfloat16": "MONAI, bfloat16 autocast",
    "nnunet": NNUNET,
}
"""Name of a row on the command line -> name in the table."""
USUAL_ROWS = ("torch-float32", "auto", "monai-float32", "monai-bfloat16", "nnunet")
_INSTRUCTIONS = ("avx2", "avx512_vnni", "avx512_bf16", "amx_bf16", "amx_int8")

Command = Callable[[Path, Path], Finished]
"""Segments a folder of scans into another."""


def commands(
    network: Network, rows: Sequence[str], nnunet: Path | None, folder: Path, environment: Mapping[str, str]
) -> dict[str, Command]:
    """Return the commands of rows by their names in the table; those that cannot be run here are left out.

    Args:
        network: whose weights all rows run.
        rows: keys of `ROWS`.
        nnunet: nnUNetv2_predict_from_modelfolder; None: no such row.
        folder: where nnU-Net's model is written.
        environment: of segpipe's processes.
    """
    made: dict[str, Command] = {}
    for row in rows:
        kind, _, precision = row.partition("-")
        if precision == "bfloat16" and not computes_in_bfloat16():
            continue
        if kind == "monai":
            made[ROWS[row]] = by_monai(network, precision)
        elif kind == "nnunet":
            if nnunet is not None and network.filters:
                made[ROWS[row]] = by_nnunet(network, nnunet, folder / f"nnunet_{network.name}")
        else:
            engine = {"auto": "auto", "int8": "openvino"}.get(kind, kind)
            made[ROWS[row]] = by_segpipe(
                network, engine, precision or {"int8": "int8"}.get(kind, "auto"), environment
            )
    return made


def computes_in_bfloat16() -> bool:
    """Return whether this processor computes in bfloat16."""
    return choose_precision("auto", torch.device("cpu")) is torch.bfloat16


def instructions() -> list[str]:
    """Return which of the instruction sets that matter for networks this processor has."""
    return [name for name in _INSTRUCTIONS if torch.cpu.get_capabilities().get(name)]


def by_segpipe(network: Network, engine: str, precision: str, environment: Mapping[str, str]) -> Command:
    """Return the command of `segpipe predict`."""

    def command(scans: Path, output: Path) -> Finished:
        given = ["--bundle", network.bundle, "--weights", network.weights]
        given += ["--set", f"filters={list(network.filters)}"] if network.filters else []
        how = ["--engine", engine, "--precision", precision, "--device", "cpu", "--output", output]
        return finished([SEGPIPE, "predict", scans, *given, *how], environment=environment)

    return command


def by_monai(network: Network, precision: str) -> Command:
    """Return MONAI's command for the same bundle."""

    def command(scans: Path, output: Path) -> Finished:
        run = [sys.executable, "-m", "monai.bundle", "run", "--config_file", "configs/inference.yaml"]
        given = ["--weights", str([str(network.weights)])]
        given += ["--filters", str(list(network.filters))] if network.filters else []
        where = ["--dataset_dir", scans, "--output_dir", output, "--precision", precision]
        return finished([*run, *given, *where], cwd=network.bundle, environment=NO_CARD)

    return command


def by_nnunet(network: Network, executable: Path, model: Path) -> Command:
    """Return nnU-Net's command for the same network, whose model folder is written."""
    write_nnunet_model(model, network.filters, network.weights)

    def command(scans: Path, output: Path) -> Finished:
        named = output.with_name(f"{output.name}_scans")  # nnU-Net wants channels numbered
        named.mkdir()
        for scan in scans.iterdir():
            (named / scan.name.replace(".nii.gz", "_0000.nii.gz")).symlink_to(scan)
        where = ["-i", named, "-o", output, "-m", model, "-f", "0"]
        how = ["-step_size", str(1 - OVERLAP), "--disable_tta", "-device", "cpu"]
        return finished([executable, *where, *how], environment=NO_CARD)

    return command


@contextmanager
def busy(processes: int) -> Iterator[None]:
    """Keep so many other processes computing meanwhile."""
    started = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(processes)]
    try:
        yield
    finally:
        for process in started:
            process.kill()
            process.wait()
