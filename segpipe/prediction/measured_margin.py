"""Measurement of a locator's margin on cases that its training, or trainings of other folds, held out."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from segpipe.bundle.locator_margin import LOCATES, LocatorMargin
from segpipe.bundle.open import open_bundle
from segpipe.bundle.source import BundleSource
from segpipe.configuration.metadata import read_metadata
from segpipe.dataset import Case, Manifest, load_manifest, with_groups
from segpipe.dataset.progress import with_progress
from segpipe.documents import DocumentError, parse_yaml, read_document
from segpipe.errors import SegpipeError
from segpipe.files import file_sha256
from segpipe.labels import load_label_table
from segpipe.networks import read_sidecar
from segpipe.prediction.locator import Edges, RegionFinder, spacing_of
from segpipe.volumes import read_volume

_CONFIGURATION = "configuration.yaml"


@dataclass(frozen=True)
class Missed:
    """Foreground of one case outside the locator's box.

    Attributes:
        case: name of the case.
        missed_mm: largest distance outside the box along each axis, mm; None: the whole scan is segmented.
    """

    case: str
    missed_mm: NDArray[np.float64] | None


@dataclass(frozen=True)
class _HeldOut:
    """The cases that one training held out."""

    weights: Path
    manifest: Manifest
    folder: Path
    fold: object
    cases: tuple[Case, ...]


def measured_margin(
    bundle: str | Path,
    weights: Sequence[Path],
    *,
    trust: bool = False,
    report: Callable[[str], None] = lambda _: None,
) -> LocatorMargin:
    """Return the margin that holds all foreground of held-out cases, plus a voxel of the locator's image.

    Args:
        bundle: folder of the locator.
        weights: weights in the folders of runs; each finds the cases that its own training held out.
        trust: run the bundle whatever `segpipe audit` finds.
        report: called with each message for the user.

    Returns:
        The margin, as of the first weights; see `LocatorMargin.weights_sha256`.

    Raises:
        SegpipeError: a training held out no case, or its manifest or configuration is not there; two held out one case;
            or no held-out case has foreground.
    """
    groups = _groups(Path(bundle))
    held_out = [_held_out(path, groups) for path in weights]
    owner: dict[str, Path] = {}
    for one in held_out:
        for case in one.cases:
            if case.case in owner:
                raise SegpipeError(
                    f"{one.weights}: held out {case.case}, as {owner[case.case]} did; give one run of each fold"
                )
            owner[case.case] = one.weights
    measured: list[Missed] = []
    voxel_mm = np.zeros(3)
    for one in held_out:
        opened = open_bundle(BundleSource(bundle, [one.weights], trust=trust), with_ranges=False)
        finder = RegionFinder(opened)
        for case in with_progress(one.cases, "measuring"):
            coarse = finder.prepare(opened.read([one.folder / name for name in case.images], case.frame))
            affine = np.asarray(coarse.affine, float)
            voxel_mm = np.maximum(voxel_mm, spacing_of(affine))
            stored = read_volume(one.folder / str(case.label), frame=case.frame)
            foreground = opened.labels.to_indices(stored.array, one.manifest.labels) == 1
            if foreground.any():
                truth = Edges.of(foreground).on(stored.grid.affine, affine)
                measured.append(Missed(case.case, missed_mm(finder.found(coarse), truth, spacing_of(affine))))
    margin = margin_of(measured, voxel_mm)
    report(margin_text(margin))
    about = {"manifest": held_out[0].manifest.name, "folds": [one.fold for one in held_out]}
    return replace(margin, weights_sha256=file_sha256(held_out[0].weights), about=about)


def missed_mm(
    found: Edges | str, truth: Edges, spacing_mm: NDArray[np.float64]
) -> NDArray[np.float64] | None:
    """Return how far the true foreground reaches out of the found box along each axis, mm; 0 where nowhere.

    Args:
        found: from `RegionFinder.found`.
        truth: box of the foreground in the same voxels.
        spacing_mm: of these voxels.

    Returns:
        None if nothing was found, or at the border: the whole scan is segmented.
    """
    if isinstance(found, str):
        return None
    outside = np.maximum(found.low - truth.low, truth.high - found.high)
    return np.asarray(np.maximum(outside, 0) * spacing_mm)


def margin_of(measured: Sequence[Missed], voxel_mm: NDArray[np.float64]) -> LocatorMargin:
    """Return the margin of measured cases; it belongs to no weights yet.

    Args:
        measured: of each case with foreground.
        voxel_mm: of the locator's image; the margin is larger by one voxel than any measured distance.

    Raises:
        SegpipeError: there is no case, or each one is segmented whole: the locator is of no use.
    """
    located = [(one.case, one.missed_mm) for one in measured if one.missed_mm is not None]
    if not located:
        raise SegpipeError(
            f"locator: of {len(measured)} held-out cases with foreground none has a region inside the scan, so every "
            "scan would be segmented whole; train the locator longer, or leave it out"
        )
    distances = np.array([distance for _, distance in located])
    missed = distances.max(axis=0)
    worst = located[int(distances.max(axis=1).argmax())][0]
    return LocatorMargin(
        margin_mm=_tenths(missed + voxel_mm),
        weights_sha256="",
        missed_mm=_tenths(missed),
        worst_case=worst,
        cases=len(measured),
        whole_scans=len(measured) - len(located),
    )


def margin_text(margin: LocatorMargin) -> str:
    """Return a margin and its figures in a sentence."""
    sides = " x ".join(f"{side:g}" for side in margin.margin_mm)
    missed = " x ".join(f"{side:g}" for side in margin.missed_mm)
    return (
        f"margin {sides} mm (right-left, front-back, up-down): foreground of {margin.cases} held-out cases lies "
        f"at most {missed} mm outside the locator's box (worst: {margin.worst_case}); {margin.whole_scans} of them are "
        "segmented whole"
    )


def _groups(bundle: Path) -> dict[str, list[str]]:
    """Return the classes that a locator unites, by the name of its class."""
    metadata = bundle / "configs" / "metadata.json"
    return {load_label_table(metadata).names[1]: list(read_metadata(metadata)[LOCATES][1:])}


def _tenths(values: NDArray[np.float64]) -> tuple[float, ...]:
    return tuple(float(np.ceil(value * 10) / 10) for value in values)


def _held_out(weights: Path, groups: Mapping[str, Sequence[str]]) -> _HeldOut:
    """Return the cases that a training held out, by the sidecar and the configuration in its folder."""
    if not weights.is_file():
        raise SegpipeError(f"{weights}: no such file; train the locator, and give the weights of its run")
    sidecar = read_sidecar(weights)
    if sidecar is None:
        raise SegpipeError(f"{weights}: has no sidecar, so how it was made is unknown; give weights of a run")
    training = sidecar.training
    names = set(training.get("validation_cases", {}))
    if not names:
        raise SegpipeError(
            f"{weights}: its training held out no case, so the margin of the locator cannot be measured with it; give "
            "--margin-run RUN for each run that held out a fold"
        )
    manifest, folder = _paths(weights.parent / _CONFIGURATION)
    described = with_groups(load_manifest(manifest), groups)
    if described.sha256 != training.get("manifest", {}).get("sha256"):
        raise SegpipeError(
            f"{manifest}: was changed after the training of {weights}; restore the manifest, or train again"
        )
    cases = tuple(case for case in described.training if case.case in names and case.label is not None)
    return _HeldOut(weights, described, folder, training.get("fold"), cases)


def _paths(path: Path) -> tuple[str, Path]:
    """Return manifest and data folder of a run's configuration."""
    try:
        _, content = parse_yaml(read_document(path))
        return str(content["manifest"]), Path(content["dataset_dir"])
    except (DocumentError, KeyError, TypeError) as error:
        raise SegpipeError(
            f"{path}: does not name the training's manifest and dataset_dir ({error}), on which the margin of the "
            "locator is measured; promote the weights in the folder of their run"
        ) from error
