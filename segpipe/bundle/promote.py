"""Promotes a run's weights to a bundle's `models/`; no other step writes there."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import replace as replace_fields
from pathlib import Path
from typing import Any

import torch

from segpipe.admission.gate import admitted
from segpipe.bundle.labels import identity_rows
from segpipe.bundle.pooled_calibration import pooled_calibration
from segpipe.bundle.running import in_one_message, resolved_components
from segpipe.bundle.task import require_task, task_of
from segpipe.bundle.weights_list import WeightsList
from segpipe.bundle_names import bundle_folder, require_writable_bundle
from segpipe.calibration import Calibration, calibration_path
from segpipe.categories import Categories
from segpipe.confidence import ConfidenceCalibration, confidence_path
from segpipe.configuration.metadata import read_metadata
from segpipe.errors import SegpipeError
from segpipe.files import file_sha256
from segpipe.inference.engines.quantised import quantised_paths
from segpipe.labels import load_label_table
from segpipe.networks import Identity, load_weights, save_weights
from segpipe.networks.weights import Sidecar, sidecar_path
from segpipe.networks.weights_files import PYTORCH, SAFETENSORS
from segpipe.reference_ranges import EarlierVersionError, ReferenceRanges, present_ranges_path, ranges_path

_logger = logging.getLogger(__name__)


def promote(
    weights: Path,
    bundle: str | Path,
    *,
    half: bool = True,
    replace: bool = False,
    safetensors: bool = False,
    trust: bool = False,
    calibration_runs: Sequence[Path] = (),
) -> Path:
    """Copy a run's weights into a bundle, after checking that they fit its network, transforms and labels.

    Args:
        weights: `best.pt` or `last.pt` of a run, or the same in the other form, with its sidecar.
        bundle: the bundle's folder or name; its `configs/inference.yaml` defines network, transforms and labels.
        half: store float16, half the size; inference still computes in float32 or bfloat16.
        replace: overwrite weights of the bundle, in either form: a bundle has one weights file.
        safetensors: write `models/model.safetensors`. segpipe takes it if a configuration names `models/model.pt`;
            other programs do not.
        trust: run the bundle whatever `segpipe audit` finds.
        calibration_runs: runs that each held out another fold, from which a classifier's calibration is fitted, see
            `segpipe.bundle.pooled_calibration`; empty: the calibration beside the weights.

    Returns:
        path of the new `models/model.pt` or `models/model.safetensors`. Reference ranges and calibration beside the
        run's weights are copied beside it; those of replaced weights are removed, and their network in int8.

    Raises:
        SegpipeError: the folder is not a bundle, or came with the installed segpipe; the bundle could run code and the
            user has not trusted it; the weights have no sidecar or belong to something else; or weights exist already.
    """
    bundle = bundle_folder(bundle)
    target = bundle / "models" / f"model{SAFETENSORS if safetensors else PYTORCH}"
    require_promotable(bundle, [f"model{PYTORCH}"], replace=replace)
    network, identity, (sidecar,) = checked_weights([weights], bundle, trust=trust)
    ranges = _ranges_of(weights)
    if calibration_runs:
        calibration: Calibration | None = pooled_calibration(calibration_runs, weights, _categories(bundle))
    else:
        calibration = _calibration_of(weights)
    confidence = _confidence_of(weights)
    listed = WeightsList(bundle)
    former = [f"model{PYTORCH}", *listed.names]
    forget_side_files(bundle, former)
    save_weights(target, network, identity, sidecar.training, torch.float16 if half else None)
    _write_beside(target, ranges, confidence, calibration)
    forget_others(bundle, former, [target])
    if len(listed.names) > 1:  # an ensemble that the new weights replace
        listed.write([f"model{PYTORCH}"])
    return target


def require_promotable(bundle: Path, names: Sequence[str], *, replace: bool) -> None:
    """Refuse a folder that is no bundle of the user's, or that has weights which must not be replaced.

    Args:
        bundle: the folder.
        names: names of weights files below `models/`, in PyTorch's form.
        replace: whether weights may be replaced.

    Raises:
        SegpipeError: the message has the reason.
    """
    require_writable_bundle(bundle, "weights")
    for path in (bundle / "configs" / "inference.yaml", bundle / "configs" / "metadata.json"):
        if not path.is_file():
            raise SegpipeError(
                f"{bundle}: is not a bundle: no {path.relative_to(bundle)}; give a bundle's folder"
            )
    for path in (path for name in names for path in _forms(bundle, name)):
        if path.exists() and not replace:
            raise SegpipeError(f"{path}: the bundle has weights; give --replace to overwrite them")


def checked_weights(
    weights: Sequence[Path], bundle: Path, *, trust: bool
) -> tuple[torch.nn.Module, Identity, list[Sidecar]]:
    """Return a bundle's network, its identity, and the sidecar of each weights file, which fits the bundle.

    Args:
        weights: the files; the network has the last one's numbers.
        bundle: the bundle's folder.
        trust: run the bundle whatever `segpipe audit` finds.

    Raises:
        SegpipeError: the bundle could run code and the user has not trusted it; or weights have no sidecar, or belong
            to something else.
    """
    with admitted(bundle.resolve(), [bundle / "configs" / "inference.yaml"], trust=trust) as admitted_bundle:
        with in_one_message(bundle, "network_def"):
            network = admitted_bundle.parser.get_parsed_content("network_def")
        labels = _label_rows(bundle)
        with in_one_message(bundle, "deterministic_transforms"):
            transforms = resolved_components(admitted_bundle.parser, "deterministic_transforms")
    identity = Identity.of(network, transforms, labels)
    sidecars = []
    for path in weights:
        sidecar = load_weights(network, path, identity)
        if sidecar is None:
            raise SegpipeError(
                f"{path}: has no sidecar, so how it was made is unknown; promote a run of segpipe"
            )
        sidecars.append(sidecar)
    return network, identity, sidecars


def forget_side_files(bundle: Path, names: Sequence[str]) -> None:
    """Remove what belongs to weights that are about to be replaced: ranges, calibrations and networks in int8.

    Args:
        bundle: the bundle's folder.
        names: names of weights files below `models/`, in PyTorch's form.
    """
    for path in (path for name in names for path in _forms(bundle, name)):
        beside = (ranges_path([path], []), calibration_path(path), confidence_path([path], []))
        for former in (*beside, *quantised_paths(path)):
            former.unlink(missing_ok=True)


def forget_others(bundle: Path, names: Sequence[str], kept: Sequence[Path]) -> None:
    """Remove the former weights of a bundle, with their sidecars, after new ones were written.

    Args:
        bundle: the bundle's folder.
        names: names of former weights files below `models/`, in PyTorch's form.
        kept: the new files.
    """
    for path in (path for name in names for path in _forms(bundle, name)):
        if path not in kept:
            path.unlink(missing_ok=True)
        if path.stem not in {one.stem for one in kept}:
            sidecar_path(path).unlink(missing_ok=True)


def _forms(bundle: Path, name: str) -> list[Path]:
    return [(bundle / "models" / name).with_suffix(form) for form in (PYTORCH, SAFETENSORS)]


def _write_beside(
    target: Path,
    ranges: ReferenceRanges | None,
    confidence: ConfidenceCalibration | None,
    calibration: Calibration | None,
) -> None:
    """Write what lay beside a run's weights beside the bundle's, with the hash of these."""
    sha256 = (file_sha256(target),)
    if ranges is not None:
        measured_with = {"measured_with_weights": list(ranges.weights_sha256)}
        ranges = replace_fields(ranges, weights_sha256=sha256, about={**ranges.about, **measured_with})
        ranges.write(ranges_path([target], []))
    if confidence is not None:
        confidence.of_weights(sha256).write(confidence_path([target], []))
    if calibration is not None:
        calibration.of_weights(sha256).write(calibration_path(target))


def _confidence_of(weights: Path) -> ConfidenceCalibration | None:
    """Return the calibration of the expected Dice of a run's weights; None without one, or for other weights."""
    path = confidence_path([weights], [])
    if not path.is_file():
        return None
    confidence = ConfidenceCalibration.read(path)
    if confidence.weights_sha256 != (file_sha256(weights),):
        _logger.warning(
            f"{path}: is of other weights and is not copied; write it anew with `segpipe confidence`"
        )
        return None
    return confidence


def _label_rows(bundle: Path) -> list[dict[str, Any]]:
    if task_of(bundle) == "classification":
        return _categories(bundle).rows()
    return identity_rows(load_label_table(bundle / "configs" / "metadata.json"))


def _categories(bundle: Path) -> Categories:
    metadata = read_metadata(bundle / "configs" / "metadata.json")
    require_task(bundle, metadata, "classification")
    return Categories.from_metadata(metadata)


def _calibration_of(weights: Path) -> Calibration | None:
    """Return the calibration beside a run's weights; None if there is none.

    Raises:
        SegpipeError: it was fitted with other weights.
    """
    path = calibration_path(weights)
    if not path.is_file():
        return None
    found = Calibration.read(path)
    if found.weights_sha256 != (file_sha256(weights),):
        raise SegpipeError(
            f"{path}: was fitted with other weights than {weights.name}; restore the run's files"
        )
    return found


def _ranges_of(weights: Path) -> ReferenceRanges | None:
    """Return the reference ranges beside a run's weights; None if there are none, or if they are of other weights."""
    sha256 = file_sha256(weights)
    path = present_ranges_path([weights], [sha256])
    if path is None:
        return None
    try:
        ranges = ReferenceRanges.read(path)
    except EarlierVersionError as error:
        _logger.warning(str(error))
        return None
    return ranges if ranges.weights_sha256 == (sha256,) else None
