"""Whether every shipped bundle exports in every form, how long it takes, and how far the scores are from PyTorch's.

    python benchmarks/exports.py --work /tmp/exports

Each export is what `segpipe export` writes. Then ONNX Runtime, TorchScript or OpenVINO computes random images with it:
batches of 1 and 3, of the export's own size and of the next one that the network takes. The difference counts as a
share of the largest score of the network. A line an export is printed; all go to results/exports.jsonl.
"""

from __future__ import annotations

import argparse
import os
import time
from importlib.metadata import version
from pathlib import Path
from typing import Any

from bundle_runs import append_line

from segpipe.bundle.opening import admitted_bundle, load_network
from segpipe.bundle.source import BundleSource
from segpipe.errors import SegpipeError
from segpipe.export import ExportOptions, export_bundle
from segpipe.export.bundle import FORMS
from segpipe.export.checking import compared
from segpipe.provenance import commit
from segpipe.training.run_folder import processor_name

RESULTS = Path(__file__).with_name("results") / "exports.jsonl"
BUNDLES = Path(__file__).parents[1] / "bundles"
BATCHES = (1, 3)
PACKAGES = ("torch", "onnx", "onnxruntime", "openvino")


def measured(bundle: Path, form: str, work: Path) -> dict[str, Any]:
    """Export a bundle, and compare the file's scores with PyTorch's."""
    output = work / f"{bundle.name}{FORMS[form].suffixes[0]}"
    since = time.process_time()
    try:
        done = export_bundle(bundle, form, output, ExportOptions(overwrite=True))
    except SegpipeError as error:
        return {"refused": str(error)}
    seconds = time.process_time() - since
    first = done.compared[0].shape
    with admitted_bundle(BundleSource(bundle, device="cpu"), None, ("network_def",), ()) as (root, admission):
        network = load_network(root, admission.parser, ()).network
    scores = FORMS[form].opened(output)
    shares = {}
    for longer in (0,) if done.step is None else (0, done.step):
        for batch in BATCHES:
            shape = (batch, first[1], *(length + longer for length in first[2:]))
            result = compared(network, scores, shape)
            shares["x".join(map(str, shape))] = float(f"{result.difference / result.largest:.2g}")
    megabytes = round(sum(path.stat().st_size for path in done.files) / 1e6, 1)
    return {
        "way": done.way,
        "step": done.step,
        "processor_seconds": round(seconds, 1),
        "megabytes": megabytes,
        "shares": shares,
    }


def main() -> None:
    """Export every bundle in every form."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--work", type=Path, required=True, help="folder for the files")
    work = parser.parse_args().work
    work.mkdir(parents=True, exist_ok=True)
    rows: dict[str, dict[str, Any]] = {}
    for bundle in sorted(path for path in BUNDLES.iterdir() if (path / "models" / "model.pt").is_file()):
        for form in FORMS:
            rows.setdefault(bundle.name, {})[form] = row = measured(bundle, form, work)
            print(bundle.name, form, row, flush=True)
    append_line(
        RESULTS,
        {
            "commit": commit(),
            "command": "python benchmarks/exports.py --work FOLDER",
            "machine": processor_name(),
            "processors": os.cpu_count(),
            "packages": {name: version(name) for name in PACKAGES},
            "bundles": rows,
        },
    )


if __name__ == "__main__":
    main()
