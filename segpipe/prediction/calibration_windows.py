"""Windows of training scans, on which the ranges of a quantised network are measured."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from monai.data import MetaTensor

from segpipe.dataset.progress import with_progress
from segpipe.errors import SegpipeError
from segpipe.inference.decisions import decision_of
from segpipe.inference.streaming import CannotStreamError
from segpipe.prediction.segmenter import Segmenter
from segpipe.volumes import Scan

_CANDIDATES = 8  # windows of a scan, of which the one with the most foreground is taken


def calibration_windows(
    segmenter: Segmenter, scans: Sequence[Scan], count: int, seed: int
) -> tuple[list[torch.Tensor], list[str]]:
    """Draw windows of scans, at the positions of inference.

    Every other window is the one of eight with the most foreground, by the network itself: of a large scan, windows at
    random would hardly hold any.

    Args:
        segmenter: of the bundle, on the CPU.
        scans: of training cases; the order is drawn.
        count: number of windows; a scan gives several if there are fewer scans.
        seed: of the draw.

    Returns:
        windows `(1, C, *spatial)`, float32, of one shape; and the names of their cases.

    Raises:
        SegpipeError: a scan cannot be read, or has no windows of one shape.
    """
    draw = np.random.default_rng(seed)
    chosen = [scans[place] for place in draw.permutation(len(scans))[:count]]
    windows: list[torch.Tensor] = []
    for place, scan in enumerate(with_progress(chosen, "calibrating")):
        image = segmenter.prepare(segmenter.bundle.read(scan.files, scan.frame))
        share = len(range(place, count, len(chosen)))
        windows += _of_scan(segmenter, image, share, draw, is_odd=place % 2 == 1)
    if len({window.shape for window in windows}) != 1:
        raise SegpipeError(
            f"{segmenter.bundle.root}: its windows span whole axes, whose lengths differ from scan to scan, and a "
            "network in int8 takes windows of one shape; set a window_size"
        )
    return windows, [scan.name for scan in chosen]


def _of_scan(
    segmenter: Segmenter, image: MetaTensor, share: int, draw: np.random.Generator, *, is_odd: bool
) -> list[torch.Tensor]:
    try:
        drawn = segmenter.drawn_windows(image, max(share, _CANDIDATES), draw)
    except CannotStreamError as reason:
        raise SegpipeError(
            f"{segmenter.bundle.root}: cannot be quantised, since scans go through MONAI's own chain: {reason}"
        ) from reason
    if share > 1 or not is_odd or len(drawn) == 1:
        return drawn[:share]
    return [max(drawn, key=lambda window: _foreground(segmenter, window))]


def _foreground(segmenter: Segmenter, window: torch.Tensor) -> int:
    """Return how many voxels of a window the network labels as foreground."""
    bundle = segmenter.bundle
    with torch.inference_mode():
        scores = bundle.network(window)
    if not isinstance(scores, torch.Tensor):
        raise SegpipeError(
            f"{bundle.root}: its network returns a {type(scores).__name__}, not one tensor of scores"
        )
    return int(decision_of(bundle.labels).classes(scores).count_nonzero())
