"""The worst, the median and the best case, drawn with reference and prediction."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from segpipe.evaluation.case_scores import CaseScores
from segpipe.evaluation.metrics import METRICS
from segpipe.evaluation.scored_cases import CaseScore, ScoredCases
from segpipe.labels import LabelTable
from segpipe.pictures import in_ras_order, label_centre, overlay_planes
from segpipe.report.viewer import Scrolled, scrolled
from segpipe.volumes import check_same_grid, read_channels, read_volume

_DICE = METRICS.index("dice")


@dataclass(frozen=True)
class DrawnScan:
    """The scan of a case, to draw it.

    Attributes:
        files: one file, or one file a channel.
        channels: name of each channel.
        frame: number of the time frame of 4D files, from 1; None for other files.
    """

    files: tuple[Path, ...]
    channels: tuple[str, ...] = ()
    frame: int | None = None


@dataclass(frozen=True)
class ExampleCase:
    """A drawn case of the report.

    Attributes:
        place: worst, median or best.
        case: name of the case.
        scores_in_words: Dice of each class, and missing structures.
        reference: RGB picture `(height, width, 3)` of the first channel with the reference.
        prediction: RGB picture of the same planes with the prediction.
        volumes: volumes for the viewer; None for 2D images and single slices.
        channels: name of each channel where there are several, with a picture of the same planes.
    """

    place: str
    case: str
    scores_in_words: str
    reference: NDArray[np.uint8]
    prediction: NDArray[np.uint8]
    volumes: Scrolled | None
    channels: Mapping[str, NDArray[np.uint8]] = field(default_factory=dict)


def example_cases(scores: ScoredCases, images: Mapping[str, Path | DrawnScan]) -> list[ExampleCase]:
    """Draw the worst, the median and the best case by mean Dice over classes; fewer if there are fewer cases.

    Args:
        scores: scores of cases whose label maps are files, see `ScoredCases.pairs`.
        images: case -> its scan, or the only file of it; without a scan, only the label maps are drawn.

    Raises:
        SegpipeError: a scan cannot be read, or its grid differs from the label map's.
    """
    dice = CaseScores.of(scores).class_means[:, _DICE]
    ranked = [row for row in np.argsort(dice, kind="stable").tolist() if not np.isnan(dice[row])]
    if not ranked:
        return []
    places = {"Worst": ranked[0], "Median": ranked[(len(ranked) - 1) // 2], "Best": ranked[-1]}
    cards, drawn = [], set()
    for place, row in places.items():
        if row not in drawn:
            drawn.add(row)
            cards.append(_card(place, scores, scores.rows[row], images.get(scores.rows[row].case)))
    return cards


def _card(place: str, scores: ScoredCases, row: CaseScore, image: Path | DrawnScan | None) -> ExampleCase:
    pair = scores.pairs[row.case]
    reference, table = read_volume(pair.reference, frame=pair.frame), scores.table
    maps = [
        scores.coding.prediction_indices(read_volume(pair.prediction).array),
        scores.coding.reference_indices(reference.array),
    ]
    channels: list[NDArray[Any]] = [np.zeros(reference.grid.size, np.float32)]
    names: tuple[str, ...] = ()
    if image is not None:
        drawn = image if isinstance(image, DrawnScan) else DrawnScan((image,))
        scan = read_channels(drawn.files, frame=drawn.frame, resample=len(drawn.files) > 1)
        check_same_grid(reference, scan, "the scan lies on another grid than the reference")
        channels = list(scan.channels)
        names = _names_of(channels, drawn)
    affine = reference.grid.affine
    labelled = np.where(maps[1] == table.ignored_index, 0, maps[1])
    middle = label_centre(labelled if labelled.any() else maps[0])
    volumes = None
    if channels[0].ndim == 3 and min(channels[0].shape) > 1:
        volumes = scrolled(channels, maps[1], maps[0], affine, middle)
    (*turned, at), spacing_mm = in_ras_order(affine, *channels, *maps, _only(middle, maps[0].shape))
    greys, maps, centre = turned[: len(channels)], turned[len(channels) :], np.argwhere(at)[0].tolist()
    pictures = [
        overlay_planes(greys[0], label_map, table.drawn_colors, centre, spacing_mm) for label_map in maps
    ]
    plain = [overlay_planes(grey, None, table.drawn_colors, centre, spacing_mm) for grey in greys if names]
    return ExampleCase(
        place,
        row.case,
        _scores_in_words(row, table),
        reference=pictures[1],
        prediction=pictures[0],
        volumes=volumes,
        channels=dict(zip(names, plain, strict=True)),
    )


def _only(voxel: Sequence[int], size: Sequence[int]) -> NDArray[np.bool_]:
    """Return a volume that is true at one voxel."""
    volume = np.zeros(size, bool)
    volume[tuple(voxel)] = True
    return volume


def _names_of(channels: Sequence[NDArray[Any]], scan: DrawnScan) -> tuple[str, ...]:
    """Return the names of several channels, by default their numbers; empty for one channel."""
    if len(channels) == 1:
        return ()
    if len(scan.channels) == len(channels):
        return scan.channels
    return tuple(f"channel {number}" for number in range(1, len(channels) + 1))


def _scores_in_words(row: CaseScore, table: LabelTable) -> str:
    """Return the Dice of each class, and the structures that are missing."""
    parts = []
    for name, dice, hd95 in zip(
        table.target_names, row.metrics.dice.tolist(), row.metrics.hd95_mm.tolist(), strict=True
    ):
        if np.isnan(dice):
            continue
        distance = f", HD95 {hd95:.1f} mm" if np.isfinite(hd95) else ""
        parts.append(f"{name}: Dice {dice:.3f}{distance}")
    return "; ".join(parts)
