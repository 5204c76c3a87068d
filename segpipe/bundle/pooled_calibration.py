"""The calibration of weights that were trained on every image, from trainings that each held out a fold.

Weights that saw every image have no image left to calibrate on. Trainings with the same configuration that each held
out another fold stand in for them: the logits of their held-out images are pooled.
"""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from segpipe.calibration import Calibration, fitted_calibration
from segpipe.categories import Categories
from segpipe.errors import SegpipeError, shown
from segpipe.networks import read_sidecar

VALIDATION_TABLE = "best_validation.csv"
_HELD_OUT = {"fold", "val_interval", "patience"}  # ids that may differ between the trainings


@dataclass(frozen=True)
class _HeldOut:
    """The held-out images of one training."""

    run: Path
    fold: Any
    cases: tuple[str, ...]
    logits: NDArray[np.float64]
    present: NDArray[np.float64]


def pooled_calibration(runs: Sequence[Path], weights: Path, labels: Categories) -> Calibration:
    """Fit a calibration on the held-out images of several trainings.

    Args:
        runs: folders of classifiers' runs; each has `best.pt` with its sidecar and `best_validation.csv`.
        weights: the weights that get the calibration; their training must have the same configuration, but for the
            fold.
        labels: the classes or findings.

    Returns:
        The calibration; it belongs to no weights yet, see `Calibration.of_weights`.

    Raises:
        SegpipeError: a run lacks a file, has other names or another configuration, or two runs held out one image.
    """
    wanted = _configuration(weights)
    parts = [_held_out(run, labels) for run in runs]
    owner: dict[str, Path] = {}
    for run, part in zip(runs, parts, strict=True):
        theirs = _configuration(run / "best.pt")
        changed = sorted(name for name in {*wanted, *theirs} if wanted.get(name) != theirs.get(name))
        if changed:
            raise SegpipeError(
                f"{run}: was trained with another configuration than {weights}: {shown(changed)} differ; give runs of "
                "the same configuration"
            )
        for case in part.cases:
            if case in owner:
                raise SegpipeError(
                    f"{run}: held out {case}, as {owner[case]} did; give one run for each fold"
                )
            owner[case] = run
    about = {"validation": [part.fold for part in parts], "runs": len(parts)}
    logits, present = (
        np.concatenate([getattr(part, name) for part in parts]) for name in ("logits", "present")
    )
    targets = present.argmax(axis=1) if labels.exclusive else present
    return fitted_calibration(logits, targets, labels, about)


def _configuration(weights: Path) -> Mapping[str, Any]:
    sidecar = read_sidecar(weights)
    if sidecar is None:
        raise SegpipeError(f"{weights}: has no sidecar, so how it was made is unknown; give a run of segpipe")
    configuration: Mapping[str, Any] = sidecar.training.get("configuration", {})
    return {name: value for name, value in configuration.items() if name not in _HELD_OUT}


def _held_out(run: Path, labels: Categories) -> _HeldOut:
    path = run / VALIDATION_TABLE
    if not path.is_file():
        raise SegpipeError(
            f"{run}: has no {VALIDATION_TABLE}; give the folder of a classifier's run that validated"
        )
    with path.open(newline="", encoding="utf-8") as file:
        rows = list(csv.reader(file))
    head = ["case", *(f"logit_{name}" for name in labels.names), *(f"target_{name}" for name in labels.names)]
    if not rows or rows[0] != head:
        raise SegpipeError(
            f"{path}: its columns are {shown(rows[0] if rows else [])}, must be {shown(head)}; give runs of this bundle"
        )
    try:
        numbers = np.array([[float(text or "nan") for text in row[1:]] for row in rows[1:]])
        logits, present = numbers[:, : labels.num], numbers[:, labels.num :]
        if present.shape[1] != labels.num:
            raise ValueError("a row of another length")
    except (ValueError, IndexError) as error:
        raise SegpipeError(f"{path}: is damaged ({error}); restore it, or train again") from error
    sidecar = read_sidecar(run / "best.pt")
    fold = None if sidecar is None else sidecar.training.get("fold")
    return _HeldOut(run, fold, tuple(row[0] for row in rows[1:]), logits, present)
