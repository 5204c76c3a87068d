"""The features, true Dice and true volume of cases that a bundle's weights did not train on."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from monai.data import MetaTensor
from numpy.typing import NDArray

from segpipe.confidence import HeldOutTarget, ScoreFeatures
from segpipe.confidence.temperature import fitted_temperature
from segpipe.confusion import confusion_matrix, foreground_dice, target_counts
from segpipe.labels import LabelTable
from segpipe.prediction.segmenter import Segmenter
from segpipe.prediction.side_files import array_on_disk
from segpipe.volumes import Grid

_SAMPLED = 20_000  # voxels of a case that the temperature is fitted on


@dataclass(frozen=True)
class MeasuredCase:
    """One held-out case: values of each target of the label table.

    Attributes:
        features: of the network's scores.
        dice: true Dice; nan where neither label map nor reference has the target.
        volume_ratios: reference over labelled voxels; nan without a labelled voxel.
        probabilities: of a sample of voxels, `(outputs, voxels)`; empty where MONAI's own chain segmented the case.
        present: whether the output is true of the voxel, of the same shape.
    """

    features: tuple[ScoreFeatures, ...]
    dice: tuple[float, ...]
    volume_ratios: tuple[float, ...]
    probabilities: NDArray[np.float16]
    present: NDArray[np.bool_]


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
    def temperature(self) -> float:
        """The temperature that fits the cases best."""
        return fitted_temperature(
            [case.probabilities for case in self.measured],
            [case.present for case in self.measured],
            exclusive=not self.labels.regions,
        )

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


def measured_case(segmenter: Segmenter, loaded: MetaTensor, reference: NDArray[np.integer]) -> MeasuredCase:
    """Segment a held-out case and compare its label map with the reference.

    Args:
        segmenter: segmenter of the bundle, with the weights that held out the case.
        loaded: scan as the bundle loads it; transforms may change the tensor.
        reference: class indices on the scan's grid; `labels.ignored_index` where nobody looked.

    Raises:
        SegpipeError: the reference has another size, or an index that is no class; or the bundle can only be run by
            MONAI's own chain, which has no probabilities.
    """
    labels = segmenter.bundle.labels
    grid = Grid.from_affine(loaded.shape[1:], loaded.affine)
    with tempfile.TemporaryDirectory() as folder:
        scores = array_on_disk(
            Path(folder, "scores", "probabilities.npy"), (len(labels.output_names), *grid.size)
        )
        segmented = segmenter.segment(segmenter.prepare(loaded), grid, features=True, probabilities=scores)
        counts = confusion_matrix(segmented.labels, reference, labels.num_classes, labels.ignored_index)
        probabilities, present = _sample(scores, reference, labels)
        del scores
    _, theirs, ours = target_counts(counts, labels.target_classes)
    return MeasuredCase(
        segmented.features or (),
        tuple(foreground_dice(counts, labels.target_classes).tolist()),
        tuple(np.divide(theirs, ours, out=np.full(len(ours), np.nan), where=ours > 0).tolist()),
        probabilities,
        present,
    )


def _sample(
    scores: NDArray[np.float16], reference: NDArray[np.integer], labels: LabelTable
) -> tuple[NDArray[np.float16], NDArray[np.bool_]]:
    """Return probabilities and truth of some voxels, drawn with a fixed seed from those that the network saw."""
    seen = np.flatnonzero((reference < labels.num_classes) & (scores.sum(axis=0, dtype=np.float32) > 0))
    drawn = np.random.default_rng(0).choice(seen, min(len(seen), _SAMPLED), replace=False)
    held = labels.target_classes if labels.regions else [(index,) for index in range(labels.num_classes)]
    classes = reference.ravel()[drawn]
    present = np.stack([np.isin(classes, index) for index in held])
    return scores.reshape(len(scores), -1)[:, drawn], present
