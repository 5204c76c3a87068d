"""How fast a large case is scored, against MONAI's three distance metrics, and whether both find the same.

    python benchmarks/metrics.py --dataset-dir DATASET_DIR

The spleen set's CT, 512 x 512 voxels, its slices interpolated to 300. The reference has background, soft tissue, bone
and spleen, the first three by their Hounsfield units; the prediction is the same of the CT smoothed and moved by two
voxels. Scored in turn, in one process: every score of segpipe's, and MONAI's HausdorffDistanceMetric,
SurfaceDistanceMetric and SurfaceDiceMetric. A line is added to results/metrics.jsonl. A round takes three minutes.
"""

from __future__ import annotations

import argparse
import statistics
import time
import warnings
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import torch
from bundle_runs import ROOT, append_line
from monai.metrics import HausdorffDistanceMetric, SurfaceDiceMetric, SurfaceDistanceMetric
from numpy.typing import NDArray
from scipy import ndimage

from segpipe.evaluation.metrics import CaseMetrics, class_masks
from segpipe.evaluation.surfaces import surface_distances
from segpipe.provenance import commit
from segpipe.training.run_folder import processor_name

RESULTS = Path(__file__).with_name("results") / "metrics.jsonl"
CLASSES = 4
TOLERANCE_MM = 1.0
MONAIS = {
    "hd95_mm": HausdorffDistanceMetric(percentile=95),
    "asd_mm": SurfaceDistanceMetric(symmetric=True),
    "surface_dice": SurfaceDiceMetric([TOLERANCE_MM] * (CLASSES - 1)),
}


def label_maps(dataset_dir: Path, slices: int) -> tuple[NDArray[np.uint8], NDArray[np.uint8], list[float]]:
    """Return prediction, reference and spacing in mm."""
    image, label = (
        nibabel.load(next((dataset_dir / name).glob("*.nii.gz"))) for name in ("imagesTr", "labelsTr")
    )
    times = slices / image.shape[2]
    ct = ndimage.zoom(np.asarray(image.dataobj, np.float32), (1, 1, times), order=1)
    spleen = ndimage.zoom(np.asarray(label.dataobj), (1, 1, times), order=0) > 0
    moved = np.roll(ndimage.gaussian_filter(ct, 1), (2, -1, 1), (0, 1, 2))
    found = []
    for values, organ in ((moved, np.roll(spleen, (2, -1, 1), (0, 1, 2))), (ct, spleen)):
        classes = np.digitize(values, (-200, 200)).astype(np.uint8)
        classes[organ] = 3
        found.append(classes)
    x, y, z = map(float, image.header.get_zooms())
    return found[0], found[1], [x, y, z / times]


def by_monai(
    prediction: NDArray[np.uint8], reference: NDArray[np.uint8], spacing: list[float]
) -> dict[str, Any]:
    """Return the scores of MONAI's metrics, and the seconds they took once both maps have a channel a class."""
    channels = [
        torch.stack([torch.as_tensor(classes == index) for index in range(CLASSES)])[None]
        for classes in (prediction, reference)
    ]
    since, found = time.perf_counter(), {}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # of a call within MONAI
        for name, metric in MONAIS.items():
            found[name] = metric(*channels, spacing=spacing)[0].tolist()
    return {"seconds": round(time.perf_counter() - since, 2), **found}


def by_segpipe(
    prediction: NDArray[np.uint8], reference: NDArray[np.uint8], spacing: list[float]
) -> dict[str, Any]:
    """Return segpipe's scores, the seconds of all of them, and those of the distances alone."""
    since = time.perf_counter()
    for masks in class_masks(prediction, reference, CLASSES):
        surface_distances(*masks, spacing)
    distances = round(time.perf_counter() - since, 2)
    since = time.perf_counter()
    found = CaseMetrics.of(prediction, reference, CLASSES, spacing, TOLERANCE_MM)
    seconds = round(time.perf_counter() - since, 2)
    return {
        "distances": distances,
        "seconds": seconds,
        **{name: getattr(found, name).tolist() for name in MONAIS},
    }


def main() -> None:
    """Score with both in turn."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--dataset-dir", type=Path, required=True, help="of the spleen set")
    parser.add_argument("--slices", type=int, default=300)
    parser.add_argument("--rounds", type=int, default=1)
    given = parser.parse_args()
    prediction, reference, spacing = label_maps(given.dataset_dir, given.slices)
    rounds = [
        {
            "segpipe": by_segpipe(prediction, reference, spacing),
            "monai": by_monai(prediction, reference, spacing),
        }
        for _ in range(given.rounds)
    ]
    line = {
        "size": prediction.shape,
        "rounds": rounds,
        "threads": torch.get_num_threads(),
        "machine": processor_name(),
        "commit": commit(ROOT / "segpipe"),
    }
    append_line(RESULTS, line)
    seconds = {
        name: statistics.median(own[name]["seconds"] for own in rounds) for name in ("segpipe", "monai")
    }
    apart = max(
        abs(a - b) / b
        for name in MONAIS
        for a, b in zip(*(rounds[0][of][name] for of in rounds[0]), strict=True)
    )
    distances = statistics.median(own["segpipe"]["distances"] for own in rounds)
    print(
        "| size | distances, s | all scores, s | MONAI, distances, s | times | largest difference | commit |"
    )
    print("|---|---|---|---|---|---|---|")
    print(
        f"| {' x '.join(map(str, prediction.shape))} | {distances} | {seconds['segpipe']} "
        f"| {seconds['monai']} | {seconds['monai'] / distances:.1f} | {apart:.1g} | {line['commit']} |"
    )


if __name__ == "__main__":
    main()
