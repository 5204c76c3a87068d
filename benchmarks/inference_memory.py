"""What a large CT takes in memory: `segpipe predict` against MONAI's own run of the same bundle.

    python benchmarks/inference_memory.py                                # 512 x 512 x 600, 16 classes
    python benchmarks/inference_memory.py --monai-limit-gb 23            # and MONAI's own run under that limit
    python benchmarks/inference_memory.py --size 96 96 60 --window 48 48 32 --monai-limit-gb 23      # a minute

A scan of 0.8 x 0.8 x 1.2 mm and a bundle in the layout of MONAI's model zoo that resamples to 1 mm, with a tiny
untrained network, are written into a temporary folder: 1 GB there, 10 minutes on two cores. Peaks are of resident
memory, as Linux reports them (VmHWM); from each is taken what the same command takes for a scan of 32 x 32 x 32 voxels.
A line is added to results/inference_memory.jsonl.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import torch
from bundle_runs import ROOT, append_line, processor_seconds
from monai.networks.nets import UNet

from segpipe.provenance import commit
from segpipe.training.run_folder import processor_name

RESULTS = Path(__file__).with_name("results") / "inference_memory.jsonl"
SEGPIPE = Path(sys.executable).with_name("segpipe")
SPACING_MM = (0.8, 0.8, 1.2)
CLASSES = 16
NETWORK = {
    "spatial_dims": 3,
    "in_channels": 1,
    "out_channels": CLASSES,
    "channels": [8, 16],
    "strides": [2],
    "num_res_units": 0,
}
TARGET_GB = 2.5
_POLL_S = 0.02
_SHOWN = 2000  # characters of what a failed process said last


@dataclass(frozen=True)
class Finished:
    """A process that ended.

    Attributes:
        code: its exit status, below 0 the signal that ended it.
        seconds: from start to end.
        peak_bytes: of its resident memory, without that of its children.
        said: on stdout and stderr.
        processor_s: user and system time of all its threads and of the processes that it has waited for.
    """

    code: int
    seconds: float
    peak_bytes: int
    said: str
    processor_s: float

    def require_success(self) -> Finished:
        """Return this, or end with what the process said."""
        if self.code:
            raise SystemExit(f"a process ended with {self.code}:\n{self.said[-_SHOWN:]}")
        return self


def finished(
    command: Sequence[str | Path],
    *,
    cwd: Path | None = None,
    environment: Mapping[str, str] | None = None,
    memory_limit_bytes: int | None = None,
) -> Finished:
    """Run a command to its end and watch its memory."""

    def limit() -> None:
        if memory_limit_bytes is not None:
            resource.setrlimit(resource.RLIMIT_DATA, (memory_limit_bytes, memory_limit_bytes))

    with tempfile.TemporaryFile() as said:
        began, before = time.perf_counter(), processor_seconds()
        process = subprocess.Popen(
            [str(part) for part in command],
            cwd=cwd,
            env={**os.environ, **(environment or {})},
            stdout=said,
            stderr=subprocess.STDOUT,
            preexec_fn=limit,
        )
        peak = 0
        while process.poll() is None:
            peak = max(peak, _peak_bytes(process.pid))
            with suppress(subprocess.TimeoutExpired):
                process.wait(_POLL_S)
        seconds = time.perf_counter() - began
        said.seek(0)
        text = said.read().decode(errors="replace")
        return Finished(process.returncode, seconds, peak, text, processor_seconds() - before)


def _peak_bytes(process: int) -> int:
    """Return the largest resident memory that a process has had; 0 where it is gone."""
    try:
        status = Path(f"/proc/{process}/status").read_text()
    except OSError:
        return 0
    found = [line.split()[1] for line in status.splitlines() if line.startswith("VmHWM")]
    return int(found[0]) * 1024 if found else 0


def write_scan(path: Path, size: Sequence[int]) -> None:
    """Write a body of soft tissue with noise in air, int16 HU, on a grid of 0.8 x 0.8 x 1.2 mm, LPS as scanners do."""
    random = np.random.default_rng(0)
    x, y = np.meshgrid(*(np.linspace(-1, 1, length) for length in size[:2]), indexing="ij")
    scan = np.empty(size, np.int16, order="F")
    for index, z in enumerate(np.linspace(-1, 1, size[2])):
        body = (x / 0.9) ** 2 + (y / 0.6) ** 2 + (z / 1.4) ** 2 < 1
        organs = 60 * np.sin(9 * x + 3 * z) * np.cos(7 * y - 5 * z)
        scan[..., index] = np.where(body, 40 + organs, -1000) + random.integers(-8, 9, size[:2])
    image = nibabel.Nifti1Image(scan, np.diag([-SPACING_MM[0], -SPACING_MM[1], SPACING_MM[2], 1.0]))
    image.header.set_xyzt_units("mm")
    path.parent.mkdir(parents=True, exist_ok=True)
    nibabel.save(image, path)


def write_bundle(root: Path, window: Sequence[int], overlap: float) -> None:
    """Write a bundle in the layout of MONAI's model zoo, with untrained weights."""
    classes = {str(index): f"class {index}" if index else "background" for index in range(CLASSES)}
    metadata = {
        "version": "0.0.1",
        "network_data_format": {
            "inputs": {"image": {"num_channels": 1, "spatial_shape": list(window)}},
            "outputs": {"pred": {"num_channels": CLASSES, "channel_def": classes}},
        },
    }
    torch.manual_seed(0)
    network = UNet(**NETWORK)
    for folder in ("configs", "models"):
        (root / folder).mkdir(parents=True)
    (root / "configs" / "metadata.json").write_text(json.dumps(metadata))
    (root / "configs" / "inference.json").write_text(json.dumps(_configuration(window, overlap)))
    torch.save(network.state_dict(), root / "models" / "model.pt")


def _configuration(window: Sequence[int], overlap: float) -> dict[str, Any]:
    monai = "monai.transforms"
    return {
        "imports": ["$import glob", "$import os", "$import torch"],
        "bundle_root": ".",
        "dataset_dir": ".",
        "output_dir": ".",
        "device": "cpu",
        "datalist": "$sorted(glob.glob(os.path.join(@dataset_dir, '*.nii.gz')))",
        "network_def": {"_target_": "monai.networks.nets.UNet", **NETWORK},
        "network": "$@network_def.to(@device)",
        "preprocessing": {
            "_target_": f"{monai}.Compose",
            "transforms": [
                {"_target_": f"{monai}.LoadImaged", "keys": "image"},
                {"_target_": f"{monai}.EnsureChannelFirstd", "keys": "image"},
                {"_target_": f"{monai}.Orientationd", "keys": "image", "axcodes": "RAS", "labels": None},
                {"_target_": f"{monai}.Spacingd", "keys": "image", "pixdim": [1.0, 1.0, 1.0]},
                {
                    "_target_": f"{monai}.ScaleIntensityRanged",
                    "keys": "image",
                    "a_min": -1000,
                    "a_max": 400,
                    "b_min": 0.0,
                    "b_max": 1.0,
                    "clip": True,
                },
            ],
        },
        "dataset": {
            "_target_": "monai.data.Dataset",
            "data": "$[{'image': path} for path in @datalist]",
            "transform": "@preprocessing",
        },
        "dataloader": {"_target_": "monai.data.DataLoader", "dataset": "@dataset", "batch_size": 1},
        "inferer": {
            "_target_": "monai.inferers.SlidingWindowInferer",
            "roi_size": list(window),
            "sw_batch_size": 2,
            "overlap": overlap,
            "mode": "gaussian",
        },
        "postprocessing": {
            "_target_": f"{monai}.Compose",
            "transforms": [
                {"_target_": f"{monai}.Activationsd", "keys": "pred", "softmax": True},
                {
                    "_target_": f"{monai}.Invertd",
                    "keys": "pred",
                    "transform": "@preprocessing",
                    "orig_keys": "image",
                    "nearest_interp": False,
                    "to_tensor": True,
                },
                {"_target_": f"{monai}.AsDiscreted", "keys": "pred", "argmax": True},
                {"_target_": f"{monai}.SaveImaged", "keys": "pred", "output_dir": "@output_dir"},
            ],
        },
        "evaluator": {
            "_target_": "monai.engines.SupervisedEvaluator",
            "device": "@device",
            "val_data_loader": "@dataloader",
            "network": "@network",
            "inferer": "@inferer",
            "postprocessing": "@postprocessing",
        },
        "initialize": ["$@network.load_state_dict(torch.load(@bundle_root + '/models/model.pt'))"],
        "run": ["$@evaluator.run()"],
    }


def by_segpipe(scan: Path, root: Path, output: Path) -> Finished:
    """Segment a scan with `segpipe predict`."""
    command = [SEGPIPE, "predict", scan, "--bundle", root, "--output", output, "--precision", "float32"]
    return finished(command).require_success()


def by_monai(scan: Path, root: Path, output: Path, limit_bytes: int) -> Finished:
    """Segment a scan with MONAI's own command, in at most so many bytes of its own."""
    command = [sys.executable, "-m", "monai.bundle", "run", "--config_file", "configs/inference.json"]
    where = ["--dataset_dir", scan.parent, "--output_dir", output]
    return finished([*command, *where], cwd=root, memory_limit_bytes=limit_bytes)


def equal_labels(first: Path, second: Path) -> float:
    """Return the share of voxels that two label maps agree in."""
    maps = [np.asarray(nibabel.load(path).dataobj) for path in (first, second)]
    return float(np.mean(maps[0] == maps[1]))


def main() -> None:
    """Write scans and bundle, run what is asked for, print the table and add a line to the results."""
    arguments = parse_arguments()
    version = commit(ROOT / "segpipe")  # before the result changes a tracked file
    with tempfile.TemporaryDirectory(dir=arguments.scratch_dir) as name:
        folder = Path(name)
        large, small = folder / "large" / "scan.nii.gz", folder / "small" / "scan.nii.gz"
        write_scan(large, arguments.size)
        write_scan(small, (32, 32, 32))
        root = folder / "bundle"
        write_bundle(root, arguments.window, arguments.overlap)
        runs = {
            "segpipe": (
                by_segpipe(large, root, folder / "ours"),
                by_segpipe(small, root, folder / "ours_small"),
            )
        }
        agreement = None
        if arguments.monai_limit_gb is not None:
            limit = int(arguments.monai_limit_gb * 1e9)
            runs["MONAI"] = (
                by_monai(large, root, folder / "theirs", limit),
                by_monai(small, root, folder / "theirs_small", limit),
            )
            for theirs in folder.glob("theirs/scan/*.nii.gz"):
                agreement = equal_labels(folder / "ours" / "scan.nii.gz", theirs)
    report(arguments, runs, agreement, version)


def report(
    arguments: argparse.Namespace,
    runs: Mapping[str, tuple[Finished, Finished]],
    agreement: float | None,
    version: str | None,
) -> None:
    """Print the table and add the line to the results file."""
    print("| run | outcome | peak, GB | above the opened bundle, GB | seconds |")
    print("|---|---|---|---|---|")
    rows = {}
    for name, (large, small) in runs.items():
        said = [text for text in large.said.splitlines() if "Error" in text] or ["nothing said"]
        outcome = "done" if large.code == 0 else f"ended with {large.code}: {said[0][:120]}"
        peak, above = large.peak_bytes / 1e9, (large.peak_bytes - small.peak_bytes) / 1e9
        rows[name] = {
            "outcome": outcome,
            "peak_gb": round(peak, 2),
            "above_opened_bundle_gb": round(above, 2),
            "seconds": round(large.seconds, 1),
        }
        print(f"| {name} | {outcome} | {peak:.2f} | {above:.2f} | {large.seconds:.0f} |")
    print(f"\ntarget: segpipe at most {TARGET_GB} GB above the opened bundle, for 512 x 512 x 600")
    if agreement is not None:
        print(f"equal labels: {agreement:.4%}")
    given = [
        f"--size {' '.join(map(str, arguments.size))}",
        f"--window {' '.join(map(str, arguments.window))}",
        f"--overlap {arguments.overlap}",
        *([] if arguments.monai_limit_gb is None else [f"--monai-limit-gb {arguments.monai_limit_gb:g}"]),
    ]
    line = {
        "runs": rows,
        "equal_labels": agreement,
        "threads": torch.get_num_threads(),
        "machine": processor_name(),
        "commit": version,
        "command": f"python benchmarks/inference_memory.py {' '.join(given)}",
    }
    append_line(arguments.results, line)


def parse_arguments() -> argparse.Namespace:
    """Return the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--size", type=int, nargs=3, default=(512, 512, 600))
    parser.add_argument("--window", type=int, nargs=3, default=(96, 96, 64))
    parser.add_argument("--overlap", type=float, default=0.25)
    parser.add_argument("--monai-limit-gb", type=float, help="of memory that it may allocate (RLIMIT_DATA)")
    parser.add_argument(
        "--scratch-dir", type=Path, help="of the scan and the label maps; default: the system's"
    )
    parser.add_argument("--results", type=Path, default=RESULTS)
    return parser.parse_args()


if __name__ == "__main__":
    main()
