"""What the training cases of a bundle's weights were, measured once, so that later scans can be held against them."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

from monai.data import MetaTensor

from segpipe import __version__
from segpipe.bundle.open import open_bundle
from segpipe.bundle.source import BundleSource
from segpipe.dataset import load_manifest, require_valid
from segpipe.dataset.progress import with_progress
from segpipe.errors import SegpipeError
from segpipe.files import require_writable
from segpipe.inference.volumetry import class_volumes
from segpipe.networks.weights import read_sidecar
from segpipe.prediction.segmenter import Segmenter
from segpipe.reference_ranges import Measures, ReferenceRanges, ranges_path
from segpipe.volumes import Grid


def write_reference_ranges(
    bundle: str | Path | BundleSource,
    manifest: str | Path,
    dataset_dir: str | Path,
    *,
    checksums: bool = True,
    report: Callable[[str], None] = lambda _: None,
) -> Path:
    """Segment the cases that weights have seen, and write down the ranges of what is measured, beside the weights.

    Which cases these are is told by the weights' sidecar: those that trained, and those that chose the epoch. Cases
    of a test list never count.

    Args:
        bundle: its folder, or a source that names weights, configuration and device too.
        manifest: of the data that the weights were trained on: a shipped one's name, or a path.
        dataset_dir: where its files lie.
        checksums: compare every file with the manifest's SHA-256.
        report: is told what is done otherwise than asked.

    Returns:
        path of the file.

    Raises:
        SegpipeError: a bundle, weights or manifest that cannot be used; a case of the training that the manifest has
            not, or that shows another picture; a file with an error; fewer than five cases; or a folder that cannot
            be written in.
    """
    opened = open_bundle(bundle, with_ranges=False)
    target = ranges_path(opened.weights, opened.weights_sha256)
    require_writable(target.parent)
    described, folder = load_manifest(manifest), Path(dataset_dir)
    seen = _seen(opened.weights)
    cases = [case for case in described.training if not seen or case.case in seen]
    _require_all(described.name, opened.weights[0], seen, {case.case for case in cases})
    reports = require_valid(cases, folder, described, described.label_table(), checksums=checksums)
    for own in reports:
        if own.case in seen and own.facts is not None and own.facts.content_sha256 != seen[own.case]:
            raise SegpipeError(
                f"{own.case}: shows another picture than the one that {opened.weights[0]} was trained on; give the "
                "--manifest and --dataset-dir of its training"
            )
    segmenter = Segmenter(opened, report=report)
    measured = [
        measured_scan(segmenter, opened.read([folder / name for name in case.images]))
        for case in with_progress(cases, "measuring")
    ]
    about = {
        "segpipe": __version__,
        "manifest": {"name": described.name, "sha256": described.sha256},
        "precision": segmenter.precision,
    }
    ReferenceRanges.of(measured, opened.weights_sha256, about).write(target)
    return target


def measured_scan(segmenter: Segmenter, loaded: MetaTensor) -> Measures:
    """Return the measures of a scan and of what a bundle says of it.

    Args:
        segmenter: of the bundle.
        loaded: the scan, as the bundle reads it; transforms may change it.
    """
    bundle = segmenter.bundle
    grid = Grid.from_affine(loaded.shape[1:], loaded.affine)
    by_slices = segmenter.by_slices(grid)
    image, of_scan = segmenter.prepared(loaded, grid)
    found = segmenter.segment(image, grid, uncertainty=True)
    volumes = class_volumes(found.labels, bundle.labels.names, grid.spacing_mm)
    return of_scan.with_result(found.labels, grid, volumes, found.uncertainty, by_slices=by_slices)


def _seen(weights: Sequence[Path]) -> dict[str, str]:
    """Return case -> SHA-256 of what its image shows, of all that some weights were made with; empty if not known."""
    seen: dict[str, str] = {}
    for path in weights:
        sidecar = read_sidecar(path)
        training: Mapping[str, Any] = {} if sidecar is None else sidecar.training
        seen |= {**training.get("cases", {}), **training.get("validation_cases", {})}
    return seen


def _require_all(manifest: str, weights: Path, seen: Collection[str], present: Collection[str]) -> None:
    missing = sorted(set(seen) - set(present))
    if missing:
        raise SegpipeError(
            f"{manifest}: has no case {missing[0]}, which {weights} was trained on ({len(missing)} of {len(seen)} are "
            "missing); give the --manifest of its training"
        )
