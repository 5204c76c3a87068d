"""How many good scans are warned of, and how many faults, where few patients made the reference ranges.

    python benchmarks/reference_ranges.py --bundle B --weights RUN/best.pt --manifest M --dataset-dir DIR \
        --other SCAN ... --patients 10 20 50 160 --subsets 20 --seed 1

The weights are of a run that held out a fold. Ranges are made of random subsets of the cases that trained the run; the
held-out cases are the good scans, and some of them get every fault in turn. Each scan is measured once and kept in
`--cache`. A line is added to results/reference_ranges.jsonl.
"""

from __future__ import annotations

import argparse
import pickle
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from bundle_runs import append_line
from monai.data import MetaTensor
from plausibility import as_noise, as_other, as_window, with_fault

from segpipe.bundle.open import open_bundle
from segpipe.bundle.source import BundleSource
from segpipe.dataset import load_manifest
from segpipe.errors import SegpipeError
from segpipe.inference.volumetry import class_volumes
from segpipe.networks.weights import read_sidecar
from segpipe.prediction.segmenter import Segmenter
from segpipe.provenance import commit
from segpipe.reference_ranges import Measures, ReferenceRanges
from segpipe.training.run_folder import processor_name
from segpipe.volumes import Grid

RESULTS = Path(__file__).with_name("results") / "reference_ranges.jsonl"
Labels = np.ndarray[Any, Any]


def scaled_spacing(*factors: float) -> Callable[[MetaTensor], MetaTensor]:
    """Return a fault: the header's spacing is wrong by factors along the axes."""

    def fault(loaded: MetaTensor) -> MetaTensor:
        affine = loaded.affine @ torch.diag(torch.tensor([*factors, 1.0], dtype=loaded.affine.dtype))
        return MetaTensor(loaded.as_tensor(), affine=affine, meta={**loaded.meta, "affine": affine})

    return fault


def cut(loaded: MetaTensor) -> MetaTensor:
    """Return a scan without its upper half."""
    return MetaTensor(loaded.as_tensor()[..., : loaded.shape[-1] // 2].clone(), meta=loaded.meta)


def blank_half(loaded: MetaTensor) -> MetaTensor:
    """Return a scan whose front half is black."""
    voxels = loaded.as_tensor().clone()
    voxels[:, :, voxels.shape[2] // 2 :] = voxels.min()
    return MetaTensor(voxels, meta=loaded.meta)


def thinned(labels: Labels) -> Labels:
    """Return a label map with a tenth of its foreground, the lowest."""
    kept = np.zeros_like(labels)
    places = np.argwhere(labels > 0)
    few = places[np.argsort(places[:, 2], kind="stable")[: len(places) // 10]]
    kept[tuple(few.T)] = labels[tuple(few.T)]
    return kept


RESULT_FAULTS: dict[str, Callable[[Labels], Labels]] = {
    "result: empty": np.zeros_like,
    "result: a tenth is left": thinned,
    "result: a class is missing": lambda labels: np.where(labels == 1, 0, labels),
}


def scan_faults(
    others: list[Path], random: np.random.Generator
) -> dict[str, Callable[[MetaTensor], MetaTensor]]:
    """Return the faults of scans by name."""
    voxels = {
        "another body part, resampled to size and intensities": as_other(others),
        "upside down": lambda scan, _: np.flip(scan, -1),
        "front to back": lambda scan, _: np.flip(scan, -2),
        "turned by a quarter": lambda scan, _: np.rot90(scan, 1, (-2, -1)),
        "dark for bright": lambda scan, _: scan.max() + scan.min() - scan,
        "window below the 30th percentile": as_window(0, 30),
        "noise of 25 % of the range": as_noise(0.25),
        "nothing but noise": lambda scan, draw: draw.uniform(scan.min(), scan.max(), scan.shape),
    }
    faults = {
        name: lambda loaded, fault=fault: with_fault(loaded, fault, random) for name, fault in voxels.items()
    }
    return {
        "header: spacing times 3": scaled_spacing(3, 3, 3),
        "header: spacing a third": scaled_spacing(1 / 3, 1 / 3, 1 / 3),
        "header: spacing along z times 3": scaled_spacing(1, 1, 3),
        **faults,
        "upper half cut off": cut,
        "front half black": blank_half,
    }


def measured(
    segmenter: Segmenter, loaded: MetaTensor, distorted: Callable[[Labels], Labels] = lambda labels: labels
) -> Measures:
    """Return the measures of a scan and of its label map, which may be distorted."""
    grid = Grid.from_affine(loaded.shape[1:], loaded.affine)
    image, of_scan = segmenter.prepared(loaded, grid)
    segmented = segmenter.segment(image, grid, uncertainty=True)
    labels = distorted(segmented.labels)
    volumes = class_volumes(labels, segmenter.bundle.labels.names, grid.spacing_mm)
    return of_scan.with_result(
        labels, grid, volumes, segmented.uncertainty, by_slices=segmenter.by_slices(grid)
    )


def measured_all(given: argparse.Namespace) -> dict[str, Any]:
    """Return the measures of training cases, held-out cases, and planted faults; from the cache if it has them."""
    if given.cache.is_file():
        content: dict[str, Any] = pickle.loads(given.cache.read_bytes())
        return content
    opened = open_bundle(BundleSource(given.bundle, weights=[given.weights]), with_ranges=False)
    segmenter = Segmenter(opened)
    sidecar = read_sidecar(given.weights)
    if sidecar is None:
        raise SystemExit(f"{given.weights}: has no sidecar")
    cases = {case.case: case for case in load_manifest(given.manifest).training}

    def read(name: str) -> MetaTensor:
        return opened.read([given.dataset_dir / image for image in cases[name].images])

    held_out = sorted(sidecar.training["validation_cases"])
    content = {
        "trained": [measured(segmenter, read(name)) for name in sorted(sidecar.training["cases"])],
        "good": [measured(segmenter, read(name)) for name in held_out],
        "fold": sidecar.training["fold"],
    }
    random = np.random.default_rng(0)
    faults: dict[str, list[Measures | None]] = {}
    for name in held_out[: given.faults_on]:
        for fault, plant in scan_faults(given.other, random).items():
            try:
                found = measured(segmenter, plant(read(name)))
            except SegpipeError:
                found = None  # refused, which is better than a warning
            faults.setdefault(fault, []).append(found)
        for fault, distorted in RESULT_FAULTS.items():
            faults.setdefault(fault, []).append(measured(segmenter, read(name), distorted))
    content["faults"] = faults
    given.cache.write_bytes(pickle.dumps(content))
    return content


def first_of(warnings: list[str]) -> str:
    """Return what the first warning is about."""
    return warnings[0].split(" is ")[0]


def main() -> None:
    """Run it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--bundle", type=Path, required=True)
    parser.add_argument("--weights", type=Path, required=True)
    parser.add_argument("--manifest", required=True)
    parser.add_argument("--dataset-dir", type=Path, required=True)
    parser.add_argument("--other", type=Path, nargs="+", required=True, help="Scans of another body part.")
    parser.add_argument("--cache", type=Path, required=True, help="File of the measures.")
    parser.add_argument("--faults-on", type=int, default=10, help="Held-out scans that get every fault.")
    parser.add_argument("--patients", type=int, nargs="+", default=[10, 20, 50, 160])
    parser.add_argument("--subsets", type=int, default=20)
    parser.add_argument("--seed", type=int, default=1)
    given = parser.parse_args()
    content = measured_all(given)
    random = np.random.default_rng(given.seed)
    table: dict[str, dict[int, float]] = {"good": {}, "all faults": {}}
    why: Counter[str] = Counter()
    for patients in given.patients:
        shares: dict[str, list[float]] = {}
        for _ in range(given.subsets if patients < len(content["trained"]) else 1):
            chosen = random.choice(len(content["trained"]), patients, replace=False)
            ranges = ReferenceRanges.of([content["trained"][case] for case in chosen], ["none"], {})
            for name, scans in {"good": content["good"], **content["faults"]}.items():
                found = [["refused"] if scan is None else ranges.warnings(scan) for scan in scans]
                shares.setdefault(name, []).append(float(np.mean([bool(each) for each in found])))
                if name == "good":
                    why.update(f"{patients}: {first_of(each)}" for each in found if each)
        for name, own in shares.items():
            table.setdefault(name, {})[patients] = round(float(np.mean(own)), 3)
        table["all faults"][patients] = round(
            float(np.mean([np.mean(own) for name, own in shares.items() if name != "good"])), 3
        )
    print(f"| warned of | {' | '.join(f'{patients} patients' for patients in given.patients)} |")
    print("|---|" + "---|" * len(given.patients))
    for name, row in table.items():
        print(f"| {name} | {' | '.join(f'{row[patients]:.1%}' for patients in given.patients)} |")
    for text, times in why.most_common(12):
        print(f"good scans, {text}: {times}")
    append_line(
        RESULTS,
        {
            "bundle": given.bundle.name,
            "fold": content["fold"],
            "good": len(content["good"]),
            "faults_on": given.faults_on,
            "subsets": given.subsets,
            "seed": given.seed,
            "warned": table,
            "machine": processor_name(),
            "commit": commit(),
        },
    )


if __name__ == "__main__":
    main()
