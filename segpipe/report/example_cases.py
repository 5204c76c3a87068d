"""The worst, the median and the best case, drawn with reference and prediction."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
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

MOST_CHANNELS = 4
"""Largest number of channels that the viewer shows, since each makes the page larger."""
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
        reference: RGB picture `(height, width, 3)` with the reference.
        prediction: RGB picture of the same planes with the prediction.
        volumes: volumes for the viewer; None for 2D images.
        channels: names of the scan's channels where there are several; the pictures show the first one, the viewer all.
    """

    place: str
    case: str
    scores_in_words: str
    reference: NDArray[np.uint8]
    prediction: NDArray[np.uint8]
    volumes: Scrolled | None
    channels: tuple[str, ...] = ()


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
    affine, grey = reference.grid.affine, channels[0]
    shown = channels[:MOST_CHANNELS]
    volumes = scrolled(shown, maps[1], maps[0], affine) if grey.ndim == 3 else None
    (grey, *maps), spacing_mm = in_ras_order(affine, grey, *maps)
    labelled = np.where(maps[1] == table.ignored_index, 0, maps[1])
    centre = label_centre(labelled if labelled.any() else maps[0])
    pictures = [overlay_planes(grey, label_map, table.drawn_colors, centre, spacing_mm) for label_map in maps]
    return ExampleCase(
        place,
        row.case,
        _scores_in_words(row, table),
        reference=pictures[1],
        prediction=pictures[0],
        volumes=volumes,
        channels=names[:MOST_CHANNELS],
    )


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
