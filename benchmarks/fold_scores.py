"""Segments the held-out cases of trained folds in several ways, and scores each way; what two benchmarks share.

Every way gets the same preprocessed scan. Not run by itself.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from segpipe.bundle.open import OpenBundle, open_bundle
from segpipe.bundle.source import BundleSource
from segpipe.dataset import load_manifest
from segpipe.evaluation import dice_per_class
from segpipe.evaluation.intervals import paired_differences
from segpipe.prediction.segmenter import Segmenter
from segpipe.volumes import read_volume

Way = Callable[[OpenBundle], Segmenter]


@dataclass
class Scores:
    """Of one way, a row a case.

    Attributes:
        dice: of each foreground class.
        seconds: processor time of the windows, of blending and of the way back to the scan's grid.
        windows: of the case.
        labels: the label maps.
    """

    dice: list[NDArray[np.float64]]
    seconds: list[float]
    windows: list[int]
    labels: list[NDArray[np.integer]]


@dataclass
class FoldScores:
    """All ways on the same held-out cases; patients, one a case."""

    ways: dict[str, Scores]
    patients: list[str]
    classes: Sequence[str]

    def row(self, name: str, first: str) -> dict[str, object]:
        """Return what a line of results has for one way: means, and paired differences from the first way."""
        own, other = self.ways[name], self.ways[first]
        gains = paired_differences(np.array(own.dice), np.array(other.dice), self.patients)
        equal = [np.mean(one == two) for one, two in zip(own.labels, other.labels, strict=True)]
        return {
            "way": name,
            "cases": len(own.dice),
            "windows": round(float(np.mean(own.windows)), 1),
            "seconds": round(float(np.mean(own.seconds)), 3),
            "dice": dict(zip(self.classes, np.nanmean(own.dice, axis=0).round(4).tolist(), strict=True)),
            "gain": [[round(float(end), 5) for end in (gain.mean, gain.low, gain.high)] for gain in gains],
            "voxels_equal": float(np.mean(equal)),
        }


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments that `of_folds` takes."""
    parser.add_argument("--bundle", type=Path)
    parser.add_argument("--manifest")
    parser.add_argument("--dataset-dir", type=Path)
    parser.add_argument(
        "--fold", action="append", default=[], metavar="NUMBER=WEIGHTS", help="Each fold's weights."
    )
    parser.add_argument("--most-cases", type=int, default=1000)


def of_folds(given: argparse.Namespace, ways: Mapping[str, Way]) -> FoldScores:
    """Segment the held-out cases of each fold in each way."""
    scores = {name: Scores([], [], [], []) for name in ways}
    patients, manifest = [], load_manifest(given.manifest)
    for number, weights in (fold.split("=", 1) for fold in given.fold):
        bundle = open_bundle(BundleSource(given.bundle, weights=[Path(weights)]), with_ranges=False)
        segmenters = {name: way(bundle) for name, way in ways.items()}
        cases = [case for case in manifest.training if str(case.fold) == number]
        for case in cases[: given.most_cases]:
            patients.append(case.patient or case.case)
            files = [given.dataset_dir / name for name in case.images]
            grid = read_volume(files[0]).grid
            values = read_volume(given.dataset_dir / str(case.label)).array
            reference = bundle.labels.to_indices(values)
            image = next(iter(segmenters.values())).prepare(bundle.read(files))
            for name, segmenter in segmenters.items():
                since = time.process_time()
                segmentation = segmenter.segment(image, grid)
                own = scores[name]
                own.seconds.append(time.process_time() - since)
                own.windows.append(segmentation.windows)
                own.labels.append(segmentation.labels)
                own.dice.append(dice_per_class(segmentation.labels, reference, bundle.labels.num_classes))
    return FoldScores(scores, patients, bundle.labels.target_names)
