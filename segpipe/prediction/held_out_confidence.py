"""The features, true Dice and true volume of cases that a bundle's weights did not train on."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from monai.data import MetaTensor
from numpy.typing import NDArray

from segpipe.confidence import HeldOutTarget, ScoreFeatures
from segpipe.confusion import confusion_matrix
from segpipe.errors import SegpipeError
from segpipe.labels import LabelTable
from segpipe.prediction.segmenter import Segmenter
from segpipe.volumes import Grid


@dataclass(frozen=True)
class MeasuredCase:
    """One held-out case: values of each target of the label table.

    Attributes:
        features: of the network's scores.
        dice: true Dice; nan where neither label map nor reference has the target.
        volume_ratios: reference over labelled voxels; nan without a labelled voxel.
    """

    features: tuple[ScoreFeatures, ...]
    dice: tuple[float, ...]
    volume_ratios: tuple[float, ...]


@dataclass
class HeldOutCases:
    """The held-out cases of several folds.

    Attributes:
        labels: label table of the bundle.
        measured, patients, folds: of each case.
    """

    labels: LabelTable
    measured: list[MeasuredCase] = field(default_factory=list)
    patients: list[str] = field(default_factory=list)
    folds: list[str] = field(default_factory=list)

    def add(self, case: MeasuredCase, patient: str, fold: str) -> None:
        """Add a case."""
        self.measured.append(case)
        self.patients.append(patient)
        self.folds.append(fold)

    @property
    def targets(self) -> dict[str, HeldOutTarget]:
        """Name of each target -> its cases."""
        return {
            name: HeldOutTarget(
                [case.features[place] for case in self.measured],
                [case.dice[place] for case in self.measured],
                [case.volume_ratios[place] for case in self.measured],
                self.patients,
                self.folds,
            )
            for place, name in enumerate(self.labels.target_names)
        }


def measured_case(
    segmenter: Segmenter, loaded: MetaTensor, reference: NDArray[np.integer]
) -> MeasuredCase:
    """Segment a held-out case and compare its label map with the reference.

    Args:
        segmenter: segmenter of the bundle, with the weights that held out the case.
        loaded: scan as the bundle loads it; transforms may change the tensor.
        reference: class indices on the scan's grid; `labels.ignored_index` where nobody looked.

    Raises:
        SegpipeError: the reference has another size.
    """
    labels = segmenter.bundle.labels
    grid = Grid.from_affine(loaded.shape[1:], loaded.affine)
    segmented = segmenter.segment(segmenter.prepare(loaded), grid, features=True)
    if segmented.labels.shape != reference.shape:
        raise SegpipeError(
            f"the label map has {segmented.labels.shape} voxels and the reference {reference.shape}; must be equal: "
            "check the case with `segpipe data check`"
        )
    seen = reference < labels.num_classes
    dice, ratios = target_agreement(segmented.labels[seen], reference[seen], labels.target_classes)
    return MeasuredCase(segmented.features or (), dice, ratios)


def target_agreement(
    predicted: NDArray[np.integer], reference: NDArray[np.integer], targets: Sequence[Sequence[int]]
) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Return the Dice of each target, and the reference's voxels over those of the label map.

    Args:
        predicted: class index of each voxel.
        reference: of the same shape.
        targets: class indices of each target.
    """
    classes = 1 + max(max(held) for held in targets)
    classes = max(classes, int(predicted.max(initial=0)) + 1, int(reference.max(initial=0)) + 1)
    counts = confusion_matrix(predicted, reference, classes)
    dice, ratios = [], []
    for held in targets:
        both = int(counts[np.ix_(list(held), list(held))].sum())
        ours, theirs = (int(np.take(counts.sum(axis=axis), list(held)).sum()) for axis in _PREDICTED_REFERENCE)
        dice.append(2 * both / (ours + theirs) if ours + theirs else math.nan)
        ratios.append(theirs / ours if ours else math.nan)
    return tuple(dice), tuple(ratios)


