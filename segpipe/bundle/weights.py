"""The weights of a bundle: the identity that they must match, and their loading."""

from __future__ import annotations

import copy
import logging
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from monai.bundle import ConfigParser

from segpipe.bundle.labels import identity_rows
from segpipe.bundle.running import resolved_components, running_parser
from segpipe.categories import Categories
from segpipe.errors import SegpipeError
from segpipe.labels import LabelTable
from segpipe.monai_run import refusal_ends_run
from segpipe.networks import Ensemble, Identity, SegNet, load_vgg16_bn, weights_file
from segpipe.networks import load_weights as load_network_weights
from segpipe.networks.weights import Sidecar
from segpipe.printable import printable

_logger = logging.getLogger(__name__)


@refusal_ends_run()
def identity(
    network: torch.nn.Module,
    labels: LabelTable | Categories | Sequence[Mapping[str, Any]],
    transforms: str = "deterministic_transforms",
) -> Identity:
    """Return the identity of this bundle, which its weights must match.

    Args:
        network: the bundle's `network_def`.
        labels: the bundle's label table, or its classes or findings, or rows of the table.
        transforms: the id under which the configuration lists its deterministic transforms.
    """
    if isinstance(labels, LabelTable):
        rows: Sequence[Mapping[str, Any]] = identity_rows(labels)
    else:
        rows = labels.rows() if isinstance(labels, Categories) else labels
    return Identity.of(network, resolved_components(running_parser(), transforms), rows)


@refusal_ends_run()
def with_weights(
    network: torch.nn.Module, weights: Sequence[str | Path], identity: Identity
) -> torch.nn.Module:
    """Return a bundle's network with its weights; several files give an ensemble with averaged scores.

    Args:
        network: network on its device; one file is loaded into this object, which is returned.
        weights: files, see `segpipe.networks.weights_file`.
        identity: of the bundle.

    Raises:
        SegpipeError: a file cannot be read, or belongs to another network, other transforms or other labels.
    """
    return load_members(network, listed_weights(weights), identity, running_parser())


@refusal_ends_run()
def start_from_vgg16(network: SegNet, weights: str | Path | None) -> SegNet:
    """Return the network with VGG16's encoder weights from ImageNet; unchanged without weights.

    Args:
        network: network with VGG16's stages and batch norm.
        weights: a local file, see `segpipe.networks.load_vgg16_bn`.

    Raises:
        SegpipeError: the file cannot be read, or its tensors have other shapes.
    """
    if weights is not None:
        load_vgg16_bn(network, Path(weights))
    return network


def state_in_checkpoint(state: Any) -> Any:
    """Return the network's state in a checkpoint that has it under one key, as MONAI's CheckpointSaver writes it."""
    if isinstance(state, Mapping):
        nested = [value for value in state.values() if isinstance(value, Mapping)]
        for name in ("model", "network", "state_dict"):
            if isinstance(state.get(name), Mapping):
                return state[name]
        if len(state) == len(nested) == 1:
            return nested[0]
    return state


def listed_weights(weights: Sequence[str | Path]) -> list[Path]:
    """Return the files of a list of weights, see `segpipe.networks.weights_file`.

    Raises:
        SegpipeError: the weights are no list, or an empty list.
    """
    if isinstance(weights, str | Path) or not weights:
        raise SegpipeError(f"weights must be a list of files, is {weights}; write \"['model.pt']\"")
    return [weights_file(Path(path)) for path in weights]


def load_members(
    network: torch.nn.Module, paths: Sequence[Path], identity: Identity, parser: ConfigParser
) -> torch.nn.Module:
    """Load weights with `load_checked`; several files give an ensemble of copies.

    Args:
        network: untrained network; one file is loaded into this object.
        paths: paths of the weights files.
        identity: of the bundle.
        parser: of the configuration.

    Raises:
        SegpipeError: see `load_checked`.
    """
    members = [network] if len(paths) == 1 else [copy.deepcopy(network) for _ in paths]
    for member, path in zip(members, paths, strict=True):
        load_checked(member, path, identity, parser)
    return members[0] if len(members) == 1 else Ensemble(members)


def load_checked(
    network: torch.nn.Module, path: Path, identity: Identity, parser: ConfigParser
) -> Sidecar | None:
    """Load weights with `segpipe.networks.load_weights`, and compare their training with a configuration.

    Args:
        network: network that takes the weights.
        path: path of the weights file.
        identity: of the bundle.
        parser: of the configuration; its `slice_size` and `window_size` count, where it has them.

    Raises:
        SegpipeError: see `segpipe.networks.load_weights`; or the weights were trained on slices of another size.
    """
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        sidecar = load_network_weights(network, path, identity)
    for warning in caught:
        warn(str(warning.message))
    if sidecar is not None:
        configuration = sidecar.training.get("configuration", {})
        _require_same_scale(path, configuration.get("slice_size"), parser)
        _compare_window(path, network, configuration.get("window_size"), parser)
    return sidecar


def _require_same_scale(path: Path, slice_size: Any, parser: ConfigParser) -> None:
    """Refuse weights trained at another slice size than the configuration's: the scale of the images differs."""
    wanted = parser.get("slice_size", None)
    if slice_size is not None and wanted is not None and slice_size != wanted:
        raise SegpipeError(
            f"{path}: was trained on slices of {slice_size} pixels, slice_size is {wanted}: another scale; use slices "
            "of that size with --slice_size and --window_size (segpipe predict: --set slice_size=[...] and --set "
            "window_size=[...]), or other weights"
        )


_NORMS_OF_A_WINDOW = (torch.nn.InstanceNorm2d, torch.nn.InstanceNorm3d, torch.nn.GroupNorm)


def _compare_window(path: Path, network: torch.nn.Module, validated: Any, parser: ConfigParser) -> None:
    """Warn if the configuration's window differs from the validation's, and the network's output depends on it."""
    if not any(isinstance(module, _NORMS_OF_A_WINDOW) for module in network.modules()):
        return
    window_size = parser.get_parsed_content("window_size") if "window_size" in parser else None
    if isinstance(validated, list) and isinstance(window_size, list) and validated != window_size:
        warn(
            f"{path}: was validated in windows of {validated} voxels and runs in windows of {window_size}; "
            "normalisation within a window, and so the result, depends on its size and padding"
        )


def warn(message: str) -> None:
    """Log a warning about weights."""
    _logger.warning("%s", printable(message))
