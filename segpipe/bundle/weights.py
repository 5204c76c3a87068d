"""A bundle's weights: what they belong to, loading them to segment, loading them to score."""

from __future__ import annotations

import copy
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from monai.bundle import ConfigParser

from segpipe.bundle.cases import TrainingCases
from segpipe.bundle.running import resolved_components, running_parser
from segpipe.bundle.train_overlap import trained_hashes, validation_hashes
from segpipe.errors import SegpipeError, exit_with_message
from segpipe.labels import LabelTable
from segpipe.networks import Ensemble, Identity, SegNet, load_vgg16_bn, weights_file
from segpipe.networks import load_weights as load_network_weights
from segpipe.networks.weights import Sidecar
from segpipe.printable import printable
from segpipe.training import RunFolder


@exit_with_message()
def identity(
    network: torch.nn.Module,
    labels: LabelTable | Sequence[Mapping[str, Any]],
    transforms: str = "deterministic_transforms",
) -> Identity:
    """Describe what weights of this bundle belong to.

    Args:
        network: the bundle's `network_def`.
        labels: its label table, or the rows of that.
        transforms: the id under which the configuration lists its deterministic transforms.
    """
    rows = labels.rows() if isinstance(labels, LabelTable) else labels
    return Identity.of(network, resolved_components(running_parser(), transforms), rows)


@exit_with_message()
def with_weights(
    network: torch.nn.Module, weights: Sequence[str | Path], identity: Identity
) -> torch.nn.Module:
    """Return a bundle's network with its weights; of several, an ensemble whose scores are averaged.

    Args:
        network: on its device; of one file it is this very network that is returned.
        weights: files, see `segpipe.networks.weights_file`.
        identity: of the bundle.

    Raises:
        SystemExit: a file cannot be read, or is of another network, of other transforms or labels.
    """
    return load_members(network, _listed(weights), identity, running_parser())


@exit_with_message()
def start_from_vgg16(network: SegNet, weights: str | Path | None) -> SegNet:
    """Return the network with the encoder of VGG16 as trained on ImageNet; as it is where no weights are given.

    Args:
        network: with VGG16's stages and batch norm.
        weights: a local file, see `segpipe.networks.load_vgg16_bn`.

    Raises:
        SystemExit: the file cannot be read, or is of other shapes.
    """
    if weights is not None:
        load_vgg16_bn(network, Path(weights))
    return network


@dataclass(frozen=True)
class ScoredWeights:
    """Weights that are scored on held-out cases.

    Attributes:
        folder: where the scores go: a folder of their own in the run, or beside all runs if only weights were
            named.
        about: what the scores are of, in plain types.
    """

    folder: Path
    about: Mapping[str, Any]


@exit_with_message()
def weights_to_score(
    network: torch.nn.Module,
    weights: Sequence[str | Path] | None,
    identity: Identity,
    run_folder: RunFolder,
    cases: TrainingCases,
) -> ScoredWeights:
    """Load weights that were trained on none of the cases they are to be scored on.

    Args:
        network: on its device.
        weights: one file, in a list; None takes the best of `run_folder`.
        identity: of the bundle.
        run_folder: of the run whose weights are the default.
        cases: of the fold.

    Raises:
        SystemExit: as `with_weights`; or nothing is held out, or the weights were trained on a held-out case.
    """
    if not cases.held_out:
        fold = cases.provenance["fold"]
        why = (
            "every case trains"
            if fold == "all"
            else f"nothing of its part {cases.provenance['part']} is here ({cases.about})"
        )
        raise SegpipeError(f"fold is {fold}: {why} and none is held out to score; give --fold N")
    path = run_folder.best if weights is None else _only(weights)
    sidecar = load_checked(network, path, identity, running_parser())
    training = {} if sidecar is None else sidecar.training
    trained_on = trained_hashes(training)
    if not trained_on:
        _warn(f"{path}: which cases it was trained on is not known; it may have seen those it is scored on")
    seen = sorted(case for case, sha256 in cases.held_out.items() if sha256 in trained_on)
    if seen:
        raise SegpipeError(
            f"{path}: was trained on {len(seen)} of the {len(cases.held_out)} cases it is to be scored on, first "
            f"{seen[0]}: such scores say nothing; give the --fold that its run held out"
        )
    chosen = bool(validation_hashes(training) & set(cases.held_out.values()))
    if chosen:
        _warn(
            f"{path}: its epoch was chosen on the cases it is scored on; last.pt gives a figure without choice"
        )
    parent = run_folder.path if run_folder.named else run_folder.output_dir
    return ScoredWeights(
        folder=parent / "evaluation" / f"{path.stem}-{_held_out_name(cases)}",
        about={
            "weights": str(path),
            "weights_sha256": None if sidecar is None else sidecar.weights_sha256,
            "epoch": training.get("epoch"),
            "epoch_chosen_on_these_cases": chosen,
            "fold": cases.provenance["fold"],
            "part": cases.provenance["part"],
            "manifest": cases.provenance["manifest"],
        },
    )


def _held_out_name(cases: TrainingCases) -> str:
    name = f"fold{cases.provenance['fold']}"
    if "/" in name or "\\" in name:
        raise SegpipeError(f"fold is {cases.provenance['fold']!r}: a folder bears its name; rename the split")
    return name if cases.provenance["part"] == "validation" else f"{name}-{cases.provenance['part']}"


def _listed(weights: Sequence[str | Path]) -> list[Path]:
    if isinstance(weights, str | Path) or not weights:
        raise SegpipeError(f"weights must be a list of files, is {weights}; write \"['model.pt']\"")
    return [weights_file(Path(path)) for path in weights]


def _only(weights: Sequence[str | Path]) -> Path:
    paths = _listed(weights)
    if len(paths) != 1:
        raise SegpipeError(
            f"weights name {len(paths)} files; scores on held-out cases are of one: give one file"
        )
    return paths[0]


def load_members(
    network: torch.nn.Module, paths: Sequence[Path], identity: Identity, parser: ConfigParser
) -> torch.nn.Module:
    """Load weights as `load_checked`, of several into an ensemble of copies.

    Args:
        network: untrained; takes the weights where there is one file.
        paths: of the files.
        identity: of the bundle.
        parser: of the configuration.

    Raises:
        SegpipeError: as `load_checked`.
    """
    members = [network] if len(paths) == 1 else [copy.deepcopy(network) for _ in paths]
    for member, path in zip(members, paths, strict=True):
        load_checked(member, path, identity, parser)
    return members[0] if len(members) == 1 else Ensemble(members)


def load_checked(
    network: torch.nn.Module, path: Path, identity: Identity, parser: ConfigParser
) -> Sidecar | None:
    """Load weights as `segpipe.networks.load_weights`, and compare what they were trained with to a configuration.

    Args:
        network: takes the weights.
        path: of the file.
        identity: of the bundle.
        parser: of the configuration; its `slice_size` and `window_size` count, where it has them.

    Raises:
        SegpipeError: as `segpipe.networks.load_weights`, or the weights are of slices of another size.
    """
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        sidecar = load_network_weights(network, path, identity)
    for warning in caught:
        _warn(str(warning.message))
    if sidecar is not None:
        configuration = sidecar.training.get("configuration", {})
        _require_same_scale(path, configuration.get("slice_size"), parser)
        _compare_window(path, network, configuration.get("window_size"), parser)
    return sidecar


def _require_same_scale(path: Path, slice_size: Any, parser: ConfigParser) -> None:
    """Refuse weights of slices of another size than the configuration takes: they saw another scale."""
    wanted = parser.get("slice_size", None)
    if slice_size is not None and wanted is not None and slice_size != wanted:
        raise SegpipeError(
            f"{path}: was trained on slices of {slice_size} pixels, slice_size is {wanted}: another scale; use slices "
            "of that size with --slice_size and --window_size (segpipe predict: --set slice_size=[...] and --set "
            "window_size=[...]), or other weights"
        )


_NORMS_OF_A_WINDOW = (torch.nn.InstanceNorm2d, torch.nn.InstanceNorm3d, torch.nn.GroupNorm)


def _compare_window(path: Path, network: torch.nn.Module, validated: Any, parser: ConfigParser) -> None:
    """Warn where the running window is not the one that validated the weights, and the network minds."""
    if not any(isinstance(module, _NORMS_OF_A_WINDOW) for module in network.modules()):
        return
    window_size = parser.get_parsed_content("window_size") if "window_size" in parser else None
    if isinstance(validated, list) and isinstance(window_size, list) and validated != window_size:
        _warn(
            f"{path}: was validated in windows of {validated} voxels and runs in windows of {window_size}; "
            "normalisation within a window, and so the result, depends on its size and padding"
        )


def _warn(message: str) -> None:
    print(printable(f"segpipe: warning: {message}"), flush=True)  # noqa: T201
