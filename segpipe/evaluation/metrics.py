"""How well two label maps agree.

Every part of segpipe gives these values where a class is missing:

| | in both | in the reference alone (missed) | in the prediction alone (invented) | in neither |
|---|---|---|---|---|
| dice, iou, surface_dice, lesion_f1 | 0..1 | 0 | 0 | nan |
| sensitivity | 0..1 | 0 | nan | nan |
| precision | 0..1 | nan | 0 | nan |
| specificity | 0..1 | 1 | 0..1 | 1 |
| hd95_mm, asd_mm | >= 0 | inf | inf | nan |
| reference_ml | > 0 | > 0 | 0 | 0 |
| volume_error_ml | any | below 0 | above 0 | 0 |
| volume_error_percent | any | -100 | nan | nan |

lesion_f1 is nan, too, where the reference of a class is one component that fills the picture, such as the membranes of
a microscopy image: a single predicted voxel would find it.

Maps without a spacing (PNG, JPEG) have no distances, no surface Dice and no volumes: these scores are always nan.

Means leave out nan, since neither map contains the class. Specificity is nan where the class fills the reference.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import ndimage

from segpipe.confusion import confusion_matrix, foreground_dice, target_counts
from segpipe.evaluation.lesions import LesionCounts, lesion_counts
from segpipe.evaluation.surfaces import surface_distances

_FILLED_SHARE = 0.9  # of each axis: a component as long as this is no lesion, it fills the picture


def dice_per_class(
    pred_indices: NDArray[Any], ref_indices: NDArray[Any], num_classes: int
) -> NDArray[np.float64]:
    """Return the Dice coefficient 2 |P and R| / (|P| + |R|) of each foreground class.

    Args:
        pred_indices: predicted class of each voxel, integers 0..num_classes - 1, any shape.
        ref_indices: true class of each voxel, of the same shape.
        num_classes: C, the background (0) included.

    Returns:
        Shape (C-1,), for classes 1..C-1, each 0..1. The Dice is nan if neither map contains the class, and means leave
        it out. It is 0 if only one map contains the class.

    Raises:
        SegpipeError: shapes differ, or an index is no class.

    Source: Dice, Ecology 26:297, 1945.
    """
    return foreground_dice(confusion_matrix(pred_indices, ref_indices, num_classes))


@dataclass(frozen=True)
class PooledScores:
    """Scores over the voxels of all label maps together, as if they were one label map.

    Targets are the foreground classes, or regions that overlap.

    Attributes:
        dice: (targets,), 0..1; nan for a target in no prediction and no reference.
        sensitivity: (targets,), share of the target's voxels that are predicted so; nan for a target in no reference.
        specificity: (targets,), share of all other voxels that are not predicted as the target; nan without such
            voxels.
        accuracy: share of all voxels whose class is right; nan without a voxel.
        background_accuracy: accuracy of a prediction that is background everywhere.
    """

    dice: NDArray[np.float64]
    sensitivity: NDArray[np.float64]
    specificity: NDArray[np.float64]
    accuracy: float
    background_accuracy: float

    @classmethod
    def of(cls, confusion: NDArray[np.int64], targets: Sequence[Sequence[int]] | None = None) -> PooledScores:
        """Return the scores of a confusion matrix, or of a sum of several.

        Args:
            confusion: `(C, C)` as `confusion_matrix` returns.
            targets: class indices of each target; None: each class from 1 on.
        """
        agreed, true, predicted = target_counts(confusion, targets)
        total = confusion.sum()
        neither = total - true - predicted + agreed
        return cls(
            dice=foreground_dice(confusion, targets),
            sensitivity=_ratio(agreed, true),
            specificity=_ratio(neither, total - true),
            accuracy=float(_ratio(confusion.trace(), total)),
            background_accuracy=float(_ratio(confusion[0].sum(), total)),
        )

    def as_plain(self, names: Sequence[str]) -> dict[str, Any]:
        """Return the scores in JSON's types, by name of the foreground class; nan becomes None."""
        return {
            name: _plain(value)
            if isinstance(value, float)
            else {label: _plain(figure) for label, figure in zip(names, value.tolist(), strict=True)}
            for name, value in vars(self).items()
        }


@dataclass(frozen=True)
class CaseMetrics:
    """Scores of one case, each `(targets,)`; the module's table has the missing classes.

    Targets are the foreground classes, or regions that overlap. Where nobody looked at a part of the voxels, the scores
    of the overlap (Dice to specificity) are of the other voxels, and the scores of surfaces, volumes and lesions are
    nan, since they need the whole structure.

    Attributes:
        confusion: `(C, C)`, see `confusion_matrix`.
        dice: 2 |P and R| / (|P| + |R|).
        iou: |P and R| / |P or R|.
        sensitivity: |P and R| / |R|.
        precision: |P and R| / |P|.
        specificity: share of the voxels outside R that are outside P.
        hd95_mm: 95th percentile of the Hausdorff distance, see `SurfaceDistances.hausdorff`.
        asd_mm: average symmetric surface distance, see `SurfaceDistances.average`.
        surface_dice: share of the surfaces within the tolerance, see `SurfaceDistances.dice`.
        reference_ml: |R| in ml; nan for 2D image files, which have no volume.
        volume_error_ml: |P| - |R| in ml; nan for 2D image files.
        volume_error_percent: 100 (|P| - |R|) / |R|.
        lesion_f1: see `LesionCounts.f1`; nan where the reference is one component that fills the picture.
    """

    confusion: NDArray[np.int64]
    dice: NDArray[np.float64]
    iou: NDArray[np.float64]
    sensitivity: NDArray[np.float64]
    precision: NDArray[np.float64]
    specificity: NDArray[np.float64]
    hd95_mm: NDArray[np.float64]
    asd_mm: NDArray[np.float64]
    surface_dice: NDArray[np.float64]
    reference_ml: NDArray[np.float64]
    volume_error_ml: NDArray[np.float64]
    volume_error_percent: NDArray[np.float64]
    lesion_f1: NDArray[np.float64]

    @classmethod
    def of(
        cls,
        pred_indices: NDArray[Any],
        ref_indices: NDArray[Any],
        num_classes: int,
        axes_mm: ArrayLike | None,
        tolerance_mm: float = 1.0,
        targets: Sequence[Sequence[int]] | None = None,
    ) -> CaseMetrics:
        """Score a case.

        Args:
            pred_indices: predicted class of each voxel, integers 0..num_classes - 1, `(x, y)` or `(x, y, z)`.
            ref_indices: true class of each voxel, of the same shape; C where nobody looked.
            num_classes: C, the background (0) included.
            axes_mm: step from a voxel to the next along each axis, see `surface_distances`; None where not known.
            tolerance_mm: largest distance at which two surfaces count as agreeing.
            targets: class indices of each target; None: each class from 1 on.

        Raises:
            SegpipeError: shapes differ, or an index is no class.
        """
        confusion = confusion_matrix(pred_indices, ref_indices, num_classes, ignored_index=num_classes)
        overlap = PooledScores.of(confusion, targets)
        agreed, true, predicted = target_counts(confusion, targets)
        excess = (predicted - true).astype(np.float64)
        is_whole = int(confusion.sum()) == ref_indices.size
        if is_whole:
            apart, lesions = [], []
            for prediction, reference in class_masks(pred_indices, ref_indices, num_classes, targets):
                apart.append(_apart(prediction, reference, axes_mm, tolerance_mm))
                lesions.append(_lesion_f1(lesion_counts(prediction, reference), reference, ref_indices.shape))
        else:
            apart, lesions, axes_mm = [(np.nan,) * 3] * len(true), [np.nan] * len(true), None
        hd95, average, within = np.array(apart).reshape(-1, 3).T
        return cls(
            confusion=confusion,
            dice=overlap.dice,
            iou=_ratio(agreed, true + predicted - agreed),
            sensitivity=overlap.sensitivity,
            precision=_ratio(agreed, predicted),
            specificity=overlap.specificity,
            hd95_mm=hd95,
            asd_mm=average,
            surface_dice=within,
            reference_ml=true.astype(np.float64) * _voxel_ml(axes_mm),
            volume_error_ml=excess * _voxel_ml(axes_mm),
            volume_error_percent=100 * _ratio(excess, true) if is_whole else np.full(len(true), np.nan),
            lesion_f1=np.array(lesions),
        )


METRICS = tuple(field.name for field in fields(CaseMetrics) if field.name != "confusion")
"""Names of the scores in `CaseMetrics`."""
DISTANCES = ("hd95_mm", "asd_mm", "surface_dice")
"""The scores that need a spacing."""


def class_masks(
    prediction: NDArray[Any],
    reference: NDArray[Any],
    num_classes: int,
    targets: Sequence[Sequence[int]] | None = None,
) -> Iterator[tuple[NDArray[np.bool_], NDArray[np.bool_]]]:
    """Yield both masks of each target, cropped to the smallest box around both.

    Args:
        prediction: class indices `(x, y)` or `(x, y, z)`.
        reference: class indices of the same shape.
        num_classes: C, the background (0) included.
        targets: class indices of each target; None: each class from 1 on.
    """
    boxes = [
        ndimage.find_objects(label_map, num_classes - 1) for label_map in (prediction, reference)
    ]  # of the classes from 1 on
    for held in targets or [[index] for index in range(1, num_classes)]:
        present = [of_map[index - 1] for of_map in boxes for index in held if of_map[index - 1] is not None]
        if not present:
            yield (np.zeros((0,) * prediction.ndim, bool),) * 2
            continue
        box = tuple(
            slice(min(span.start for span in spans), max(span.stop for span in spans))
            for spans in zip(*present, strict=True)
        )
        yield _inside(prediction[box], held), _inside(reference[box], held)


def _inside(indices: NDArray[Any], held: Sequence[int]) -> NDArray[np.bool_]:
    inside: NDArray[np.bool_] = indices == held[0] if len(held) == 1 else np.isin(indices, held)
    return inside


def _apart(
    prediction: NDArray[np.bool_],
    reference: NDArray[np.bool_],
    axes_mm: ArrayLike | None,
    tolerance_mm: float,
) -> tuple[float, float, float]:
    """Return HD95, average surface distance and surface Dice of a class."""
    if axes_mm is None:
        return (float("nan"),) * 3
    distances = surface_distances(prediction, reference, axes_mm)
    return distances.hausdorff(95), distances.average(), distances.dice(tolerance_mm)


def _lesion_f1(counts: LesionCounts, reference: NDArray[np.bool_], shape: tuple[int, ...]) -> float:
    """Return the lesion F1 of a class; nan where one component of the reference spans the picture along every axis."""
    if counts.in_reference == 1:
        (box,) = ndimage.find_objects(reference.view(np.uint8))
        spans = zip(box, shape, strict=True)
        if all(span.stop - span.start >= _FILLED_SHARE * length for span, length in spans):
            return float("nan")
    return counts.f1


def _voxel_ml(axes_mm: ArrayLike | None) -> float:
    """Return the volume of a voxel in ml; nan in 2D image files."""
    if axes_mm is None:
        return float("nan")
    steps = np.asarray(axes_mm, np.float64)
    if steps.shape[-1] != 3:
        return float("nan")
    return float(abs(np.prod(steps) if steps.ndim == 1 else np.linalg.det(steps))) / 1000


def _plain(value: float) -> float | None:
    return None if value != value else value


def _ratio(part: NDArray[Any], whole: NDArray[np.int64]) -> NDArray[np.float64]:
    """Divide; nan where the divisor is 0."""
    ratio = np.full(np.shape(whole), np.nan)
    np.divide(part, whole, out=ratio, where=np.asarray(whole) > 0)
    return ratio
