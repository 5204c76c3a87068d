"""Lists and checks the images that a classification bundle trains on and validates with, before the first is used."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

import segpipe
from segpipe.bundle.cases import held_out_fold, refuse_same_content
from segpipe.bundle.given import refuse_given_images
from segpipe.categories import Categories
from segpipe.dataset import (
    Case,
    ImageReport,
    Manifest,
    Side,
    image_hashes_of_tests,
    load_manifest,
    refuse_leaks,
    require_valid_images,
    side_of_test_list,
)
from segpipe.dataset.run_division import run_division
from segpipe.dataset.sampling import class_draws, finding_draws
from segpipe.dataset.targets import target_of
from segpipe.errors import SegpipeError
from segpipe.monai_run import refusal_ends_run

_logger = logging.getLogger(__name__)


class ImageCases:
    """The training and validation images of one fold; every file is read and checked once.

    Args:
        manifest: name of a shipped manifest, or a path; its target is class or findings.
        dataset_dir: folder of the manifest's files.
        fold: the fold that validates, or the name of one of the manifest's splits; "all" trains on every image and
            validates on none.
        labels: the bundle's classes or findings.
        checksums: compare every file with the manifest's SHA-256; False accepts a changed copy.
        part: held-out part of a named split, validation or test.
        window: lowest and highest value of images whose files state no scale, see `segpipe.volumes.read_picture`.

    Raises:
        SegpipeError: the manifest does not exist, or has another target or other names; the two sides share a
            patient, a file or an image content; a class has no training image; a side has unknown findings only; or a
            file has a problem.

    Attributes:
        about: for a named split, its source and how many of its images are present; else empty.
        chooses: whether the held-out images may choose weights; test images may not.
        train: records for MONAI's datasets, one per training image: `case`, `image` (path) and `label` (see
            `segpipe.dataset.targets.target_of`).
        validation: records of the held-out fold, or of the part of a split.
        targets: of the training images, `(N,)` or `(N, F)`.
        labels: the classes or findings.
        manifest: manifest of the images.
        dataset_dir: folder of the files.
        held_out_cases: the cases of `validation`, in the manifest's form.
        held_out: validation case -> SHA-256 of its pixels.
        provenance: the data's part of the sidecar of weights that are trained on these images.
    """

    @refusal_ends_run()
    def __init__(
        self,
        manifest: str | Path,
        dataset_dir: str | Path,
        fold: int | str,
        labels: Categories,
        checksums: bool = True,
        part: str = "validation",
        window: Sequence[float] | None = None,
    ) -> None:
        refuse_given_images()
        described, folder = load_manifest(manifest), Path(dataset_dir)
        require_same_categories(described, labels)
        held_out = held_out_fold(fold)
        division = run_division(described, held_out, part, folder)
        train, validation = division.train, division.held_out
        self.manifest, self.dataset_dir, self.held_out_cases = described, folder, tuple(validation)
        self.about, self.chooses = division.about, division.chooses
        self.labels = labels
        reports = require_valid_images(
            [*train, *validation], folder, described, checksums=checksums, window=window
        )
        self.train, self.validation = (_records(cases, folder, labels) for cases in (train, validation))
        self.targets = np.stack([record["label"] for record in self.train])
        _require_classes(described, self.targets, labels)
        _require_known(described, self.targets, "training")
        if self.validation:
            targets = np.stack([record["label"] for record in self.validation])
            _require_known(described, targets, "validation")
        trained_on, self.held_out = _contents(reports[: len(train)]), _contents(reports[len(train) :])
        refuse_same_content(described.name, trained_on, self.held_out)
        listed = [Side("training", "train", train), side_of_test_list(described)]
        of_tests = image_hashes_of_tests(described, folder, window=window)
        refuse_leaks(described.name, listed, {**trained_on, **of_tests})
        self.provenance: dict[str, Any] = {
            "segpipe": segpipe.__version__,
            "manifest": {"name": described.name, "sha256": described.sha256},
            "fold": fold if division.stand_in is None else division.stand_in,
            "part": part,
            "chooses": division.chooses,
            "validation_cases": self.held_out,
            "cases": trained_on,
            "fingerprint": _fingerprint(reports[: len(train)], self.counted),
        }

    @property
    def counted(self) -> dict[str, int]:
        """Class or finding -> number of training images that have it."""
        return dict(zip(self.labels.names, _counts(self.targets, self.labels).tolist(), strict=True))


def require_same_categories(manifest: Manifest, labels: Categories) -> None:
    """Refuse a manifest whose target or names differ from the bundle's; upper and lower case do not count.

    Raises:
        SegpipeError: the message has both.
    """
    if manifest.target != labels.target:
        raise SegpipeError(
            f"{manifest.name}: its target is {manifest.target}, the bundle's is {labels.target}; give a manifest of "
            f"{labels.target}, or plan a bundle for this one"
        )
    names = manifest.categories().names
    if [name.casefold() for name in names] != [name.casefold() for name in labels.names]:
        raise SegpipeError(
            f"{manifest.name}: its names are {', '.join(names)}, the bundle's are {', '.join(labels.names)}; they must "
            "be the same in the same order: give another manifest, or plan a bundle for this one"
        )


@refusal_ends_run()
def image_weights(
    cases: ImageCases, weighting: Callable[[NDArray[Any], Sequence[str]], torch.Tensor] | None
) -> torch.Tensor | None:
    """Return weights for the loss from the training images, and record them in the cases' provenance.

    Args:
        cases: cases of the run; their `provenance` gets `class_weights`.
        weighting: function of targets and names, such as `segpipe.losses.balanced_class_weights` or
            `segpipe.losses.finding_weights`; None: no weights.

    Returns:
        float32 tensor `(C,)`, or `(F, 2)` for findings; None without a weighting.

    Raises:
        SegpipeError: a class or finding has no image of a kind that the weighting needs.
    """
    if weighting is None:
        return None
    weights = weighting(cases.targets, cases.labels.names)
    cases.provenance["class_weights"] = {
        name: {"images": count, "weight": weight}
        for (name, count), weight in zip(cases.counted.items(), weights.tolist(), strict=True)
    }
    return weights


@refusal_ends_run()
def image_draws(cases: ImageCases) -> list[float]:
    """Return the weight of each training image for `segpipe.dataset.sampling.BalancedSampler`."""
    draws = class_draws(cases.targets) if cases.labels.exclusive else finding_draws(cases.targets)
    return [float(weight) for weight in draws]


def _records(cases: Sequence[Case], folder: Path, labels: Categories) -> list[dict[str, Any]]:
    root = folder.absolute()
    return [
        {"case": case.case, "image": str(root / case.images[0]), "label": target_of(case, labels)}
        for case in cases
    ]


def _counts(targets: NDArray[Any], labels: Categories) -> NDArray[np.int64]:
    if labels.exclusive:
        return np.bincount(targets, minlength=labels.num)
    return np.asarray((targets == 1).sum(axis=0))


def _require_classes(manifest: Manifest, targets: NDArray[Any], labels: Categories) -> None:
    lacking = [name for name, count in zip(labels.names, _counts(targets, labels), strict=True) if not count]
    if lacking and labels.exclusive:
        raise SegpipeError(
            f"{manifest.name}: no training image is of class {', '.join(lacking)}, so that no network can learn it; "
            "add images, hold another fold out, or leave the class out"
        )
    if lacking:
        _logger.warning(f"no training image has {', '.join(lacking)}: nothing is learnt about it")


def _require_known(manifest: Manifest, targets: NDArray[Any], side: str) -> None:
    """Refuse images of which nothing is known: they teach nothing, and no epoch is better than another on them."""
    if np.isnan(targets).all():
        raise SegpipeError(
            f"{manifest.name}: every finding is unknown in all {len(targets)} {side} images; hold out another fold, "
            "or fill in their findings"
        )


def _contents(reports: Sequence[ImageReport]) -> dict[str, str]:
    return {report.case: report.facts.content_sha256 for report in reports if report.facts is not None}


def _fingerprint(reports: Sequence[ImageReport], images_by_name: Mapping[str, int]) -> dict[str, Any]:
    """Sum up the training images in plain types."""
    facts = [report.facts for report in reports if report.facts is not None]
    columns: dict[str, list[float]] = {
        "rows": [fact.rows for fact in facts],
        "columns": [fact.columns for fact in facts],
        "mean": [fact.mean for fact in facts],
        "deviation": [fact.deviation for fact in facts],
    }
    return {
        "images": len(facts),
        "images_by_name": dict(images_by_name),
        **{
            name: {
                "min": float(np.min(values)),
                "median": float(np.median(values)),
                "max": float(np.max(values)),
            }
            for name, values in columns.items()
        },
    }
