"""How many planted faults `segpipe predict` warns of, and of how many good scans it warns for nothing.

    python benchmarks/plausibility.py --bundle B --weights RUN/best.pt --manifest M --dataset-dir DIR --other DIR

The weights are of a run that held out a fold: the limits are of the cases that trained it, the held-out cases are the
good scans, and some of them get every fault in turn. `--other` is a folder of scans of another modality, which are
brought to the size and the intensities of the scan that they stand for. Faults are planted here alone; nothing that
limits are made of knows them. A line is added to results/plausibility.jsonl.
"""

from __future__ import annotations

import argparse
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from bundle_runs import append_line
from monai.data import MetaTensor
from numpy.typing import NDArray
from scipy import ndimage
from skimage.transform import resize

from segpipe.bundle.open import open_bundle
from segpipe.bundle.source import BundleSource
from segpipe.dataset import Case, load_manifest
from segpipe.errors import SegpipeError
from segpipe.networks.weights import read_sidecar
from segpipe.prediction.measured_ranges import measured_scan
from segpipe.prediction.segmenter import Segmenter
from segpipe.provenance import commit
from segpipe.reference_ranges import ReferenceRanges
from segpipe.training.run_folder import processor_name
from segpipe.volumes import find_scans, read_volume

RESULTS = Path(__file__).with_name("results") / "plausibility.jsonl"
Scan = NDArray[Any]
Fault = Callable[[Scan, np.random.Generator], Scan]


def as_window(low: float, high: float) -> Fault:
    """Return a fault: all below and above two percentiles is lost."""

    def window(scan: Scan, _: np.random.Generator) -> Scan:
        first, last = np.percentile(scan, (low, high))
        return scan.min() + np.clip((scan - first) / max(last - first, 1e-6), 0, 1) * np.ptp(scan)

    return window


def as_noise(share: float) -> Fault:
    """Return a fault: Gaussian noise, its standard deviation a share of the scan's range."""

    def noise(scan: Scan, random: np.random.Generator) -> Scan:
        return np.clip(scan + random.normal(0, share * np.ptp(scan), scan.shape), scan.min(), scan.max())

    return noise


def as_other(scans: list[Path]) -> Fault:
    """Return a fault: a scan of another modality, in the size and the range of intensities of the right one."""

    def other(scan: Scan, random: np.random.Generator) -> Scan:
        volume = read_volume(scans[random.integers(len(scans))])
        own = np.asarray(next(iter(volume.channels)), np.float32)
        while own.ndim > scan.ndim - 1:
            own = own[..., own.shape[-1] // 2]
        low, high = np.percentile(own, (0.5, 99.5))
        resized = resize(
            np.clip((own - low) / max(high - low, 1e-6), 0, 1), scan.shape[1:], anti_aliasing=True
        )
        return np.broadcast_to(scan.min() + resized * np.ptp(scan), scan.shape)

    return other


def faults(others: list[Path], up: int) -> dict[str, Fault]:
    """Return the faults by name; `up` is the axis of arrays along which upside down turns."""
    return {
        "another modality": as_other(others),
        "upside down": lambda scan, _: np.flip(scan, up),
        "turned by a quarter": lambda scan, _: np.rot90(scan, 1, (-2, -1)),
        "dark for bright": lambda scan, _: scan.max() + scan.min() - scan,
        "window of the 60th to the 80th percentile": as_window(60, 80),
        "window below the 30th percentile": as_window(0, 30),
        "window above the 90th percentile": as_window(90, 100),
        "noise of 25 % of the range": as_noise(0.25),
        "noise of 10 % of the range": as_noise(0.1),
        "nothing but noise": lambda scan, random: random.uniform(scan.min(), scan.max(), scan.shape),
        "smoothed by 3 voxels": lambda scan, _: np.stack(
            [ndimage.gaussian_filter(own.astype(np.float32), 3) for own in scan]
        ),
    }


def with_fault(loaded: MetaTensor, fault: Fault, random: np.random.Generator) -> MetaTensor:
    """Return a scan with a fault, in its own type."""
    scan = loaded.as_tensor().numpy()
    voxels = np.ascontiguousarray(fault(scan.astype(np.float32), random)).astype(scan.dtype)
    return MetaTensor(torch.as_tensor(voxels), meta=loaded.meta)


def main() -> None:
    """Run it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--bundle", type=Path, required=True)
    parser.add_argument("--weights", type=Path, required=True)
    parser.add_argument("--manifest", required=True)
    parser.add_argument("--dataset-dir", type=Path, required=True)
    parser.add_argument("--other", type=Path, required=True)
    parser.add_argument("--up", type=int, default=-1, help="Axis of upside down; -2 of the lung slices.")
    parser.add_argument("--faults-on", type=int, default=10, help="Held-out scans that get every fault.")
    given = parser.parse_args()
    opened = open_bundle(BundleSource(given.bundle, weights=[given.weights]), with_ranges=False)
    segmenter = Segmenter(opened)
    sidecar = read_sidecar(given.weights)
    if sidecar is None:
        raise SystemExit(f"{given.weights}: has no sidecar")
    cases = {case.case: case for case in load_manifest(given.manifest).training}

    def read(case: Case) -> MetaTensor:
        return opened.read([given.dataset_dir / name for name in case.images])

    trained = [measured_scan(segmenter, read(cases[name])) for name in sidecar.training["cases"]]
    limits = ReferenceRanges.of(trained, opened.weights_sha256, {})
    held_out = sorted(sidecar.training["validation_cases"])
    planted = faults([scan.path for scan in find_scans(given.other)], given.up)
    random = np.random.default_rng(0)
    flagged: dict[str, list[list[str]]] = {name: [] for name in ("good", *planted)}
    for number, name in enumerate(held_out):
        flagged["good"].append(limits.warnings(measured_scan(segmenter, read(cases[name]))))
        for fault, plant in planted.items() if number < given.faults_on else ():
            try:
                found = limits.warnings(
                    measured_scan(segmenter, with_fault(read(cases[name]), plant, random))
                )
            except SegpipeError as refused:
                found = [f"refused: {refused}"]
            flagged[fault].append(found)
    rows = {
        name: {
            "scans": len(own),
            "warned": sum(bool(found) for found in own),
            "first": Counter(found[0].split(" is ")[0] for found in own if found).most_common(3),
        }
        for name, own in flagged.items()
    }
    for name, row in rows.items():
        print(f"| {name} | {row['warned']} of {row['scans']} | {row['first']} |")
    for name, found in zip(held_out, flagged["good"], strict=True):
        for warning in found:
            print(f"good {name}: {warning}")
    line = {
        "bundle": given.bundle.name,
        "fold": sidecar.training["fold"],
        "training_cases": len(trained),
        "precision": segmenter.precision,
        "rows": rows,
        "machine": processor_name(),
        "commit": commit(),
    }
    append_line(RESULTS, line)


if __name__ == "__main__":
    main()
