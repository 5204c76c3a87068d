"""Weights on disk, and the sidecar that records what they were trained for.

A state dict alone fits any network of the same shape, fed with anything. The sidecar, `model.json` beside
`model.pt` or `model.safetensors`, records what the numbers were trained for. A mismatch is refused rather than
silently segmented.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import jsonschema
import torch
from jsonschema.exceptions import best_match

from segpipe.documents import DocumentError, parse_json, read_document
from segpipe.errors import SegpipeError
from segpipe.files import file_sha256, json_sha256, write_json
from segpipe.names import require_name
from segpipe.networks.state_fit import fitting_state, on_disk, require_finite
from segpipe.networks.weights_files import read_state as read_state  # also for foreign weights
from segpipe.networks.weights_files import write_state

SIDECAR_VERSION = 1
_OBJECTS = {"type": "array", "items": {"type": "object"}}
_TEXTS = {"type": "object", "additionalProperties": {"type": "string"}}
_SHAPE = {  # JSON schema of a sidecar
    "type": "object",
    "required": ["weights_sha256", "hashes", "transforms", "labels", "version"],
    "additionalProperties": False,
    "properties": {
        "weights_sha256": {"type": "string"},
        "hashes": _TEXTS,
        "transforms": _OBJECTS,
        "labels": {
            "type": "array",
            "items": {
                "type": "object",
                "required": ["index", "name", "value"],
                "properties": {
                    "index": {"type": "integer"},
                    "name": {"type": "string"},
                    "value": {"type": "integer"},
                },
            },
        },
        "training": {
            "type": "object",
            "properties": {
                "cases": _TEXTS,
                "validation_cases": _TEXTS,
                "from_weights": {"type": "object", "properties": {"cases": _TEXTS}},
                **{
                    name: {"type": "object"}
                    for name in ("configuration", "environment", "fingerprint", "manifest")
                },
            },
        },
        "version": {"const": SIDECAR_VERSION},
    },
}
_RESTORE = "restore the file that was written with the weights"
_MESSAGE_LENGTH = 200  # characters of a schema error, which quotes the refused value, possibly the whole file
_QUOTED_LENGTH = 500  # characters of a transform, or of a label table
_LARGEST_SIDECAR = 2**25  # bytes: names and checksums of 200 000 cases, the largest number in a manifest


@dataclass(frozen=True)
class Identity:
    """The network, transforms and labels that weights belong to, in resolved values without paths or devices.

    Attributes:
        network: hash of the names and shapes of the network's state.
        transforms: the deterministic transforms, each as class path and arguments.
        labels: the label table's rows; a row of a region has `classes`, too.
    """

    network: str
    transforms: Sequence[Mapping[str, Any]]
    labels: Sequence[Mapping[str, Any]]

    @classmethod
    def of(
        cls,
        network: torch.nn.Module,
        transforms: Sequence[Mapping[str, Any]],
        labels: Sequence[Mapping[str, Any]],
    ) -> Identity:
        """Return the identity of a network with its resolved transforms and label table."""
        return cls(state_hash(network.state_dict()), transforms, labels)

    def hashes(self) -> dict[str, str]:
        """Return one SHA-256 per part: `network`, `transforms`, `labels`."""
        return {
            "network": self.network,
            "transforms": json_sha256(self.transforms),
            "labels": json_sha256(self.labels),
        }


@dataclass(frozen=True)
class Sidecar:
    """The content of a sidecar.

    Attributes:
        weights_sha256: of the weights file.
        hashes: `Identity.hashes`.
        transforms, labels: the values behind the hashes, so that a message can say what differs.
        training: how the weights were made: cases and their checksums, manifest hash, dataset fingerprint, fold, seed,
            epoch, program versions.
        version: version of this format.
    """

    weights_sha256: str
    hashes: Mapping[str, str]
    transforms: Sequence[Mapping[str, Any]]
    labels: Sequence[Mapping[str, Any]]
    training: Mapping[str, Any] = field(default_factory=dict)
    version: int = SIDECAR_VERSION


def state_hash(state: Mapping[str, torch.Tensor]) -> str:
    """Hash the names and shapes of a state dict; values and dtypes do not count."""
    return json_sha256({name: list(tensor.shape) for name, tensor in state.items()})


def sidecar_path(weights: Path) -> Path:
    """Return where the sidecar of `weights` lies: the same name, suffix `.json`."""
    return weights.with_suffix(".json")


def save_weights(
    path: Path,
    network: torch.nn.Module,
    identity: Identity,
    training: Mapping[str, Any],
    dtype: torch.dtype | None = None,
) -> None:
    """Write a network's state and its sidecar, each atomically; the weights are written first.

    Args:
        path: ends in `.pt` or `.safetensors`, which decides the form.
        network: its `state_dict` is copied to the CPU and written.
        identity: what the weights belong to.
        training: plain values about how the weights were made, see `Sidecar`.
        dtype: number format of floating-point tensors on disk; None: unchanged. float16 halves the file.

    Raises:
        SegpipeError: weights are NaN or infinite, or too large for `dtype`; existing files stay.
    """
    state = on_disk(network.state_dict(), dtype)
    require_finite(
        path,
        state.items(),
        "the training diverged (lower the learning rate), or the numbers do not fit its dtype",
    )
    # remove the old sidecar first: without a sidecar there is a warning, but a wrong sidecar would mislead
    sidecar_path(path).unlink(missing_ok=True)
    write_state(path, state)
    sidecar = Sidecar(
        file_sha256(path), identity.hashes(), list(identity.transforms), list(identity.labels), training
    )
    write_json(sidecar_path(path), asdict(sidecar))


def read_sidecar(weights: Path) -> Sidecar | None:
    """Return the sidecar of `weights`; None for foreign weights without one.

    Raises:
        SegpipeError: the sidecar is unreadable, or belongs to other weights.
    """
    path = sidecar_path(weights)
    if not path.is_file():
        return None
    try:
        content = parse_json(read_document(path, _LARGEST_SIDECAR), finite=True)
    except DocumentError as error:
        raise SegpipeError(
            f"{path}: is not a sidecar of segpipe weights: it {error.reason}; {_RESTORE}"
        ) from error
    version = content.get("version") if isinstance(content, dict) else None
    if version != SIDECAR_VERSION:
        raise SegpipeError(
            f"{path}: sidecar version {version!r:.40}, this segpipe reads {SIDECAR_VERSION}; install the segpipe "
            "that wrote it"
        )
    wrong = best_match(jsonschema.Draft7Validator(_SHAPE).iter_errors(content))
    if wrong is not None:
        what = f"{wrong.json_path}: {wrong.message[:_MESSAGE_LENGTH]}"
        raise SegpipeError(f"{path}: is not a sidecar of segpipe weights: {what}; {_RESTORE}")
    for row in content["labels"]:
        require_name(row["name"], f"{path}: labels")
    sidecar = Sidecar(**content)
    sha256 = file_sha256(weights)
    if sha256 != sidecar.weights_sha256:
        raise SegpipeError(
            f"{weights}: SHA-256 {sha256[:12]}... but {path.name} was written for "
            f"{sidecar.weights_sha256[:12]}...; copy both files together"
        )
    return sidecar


def load_weights(network: torch.nn.Module, path: Path, identity: Identity) -> Sidecar | None:
    """Load weights into a network after checking that they belong to this network, these transforms and labels.

    Args:
        network: on any device; floating-point tensors take its dtype.
        path: a state dict saved by `save_weights`, or a foreign one without sidecar, in either form.
        identity: identity of the bundle that loads the weights.

    Returns:
        the sidecar; None, after a warning, if there is none.

    Raises:
        SegpipeError: see `read_state`, `fitting_state`, `read_sidecar`; or transforms or labels differ.
    """
    state = fitting_state(path, read_state(path), network)
    sidecar = read_sidecar(path)
    if sidecar is None:
        warnings.warn(
            f"{path} has no sidecar ({sidecar_path(path).name}): segpipe cannot check that these weights belong to "
            "this bundle's transforms and labels",
            stacklevel=2,
        )
    else:
        _require_same_identity(path, sidecar, identity)
    network.load_state_dict(state)
    return sidecar


def load_state(network: torch.nn.Module, path: Path, state: Any) -> None:
    """Load weights without a sidecar; only names and shapes are checked.

    Args:
        network: on any device; floating-point tensors take its dtype.
        path: path of the file, for messages.
        state: content of the file, see `read_state`.

    Raises:
        SegpipeError: see `fitting_state`.
    """
    network.load_state_dict(fitting_state(path, state, network))


def _require_same_identity(path: Path, sidecar: Sidecar, identity: Identity) -> None:
    if _classes(sidecar.labels) != _classes(identity.labels):
        raise SegpipeError(
            f"{path}: weights of another label table: trained for {_names(sidecar.labels)}, the bundle has "
            f"{_names(identity.labels)}; restore the table in metadata.json or train again"
        )
    if sidecar.hashes.get("transforms") != identity.hashes()["transforms"]:
        pairs = zip(sidecar.transforms, identity.transforms, strict=False)
        first = next(
            (f"{_quoted(a)} then, {_quoted(b)} now" for a, b in pairs if json_sha256(a) != json_sha256(b)),
            None,
        )
        counts = f"{len(sidecar.transforms)} transforms then, {len(identity.transforms)} now"
        raise SegpipeError(
            f"{path}: weights trained with other deterministic transforms: {first or counts}; restore them "
            "in the configuration or train again"
        )


def _classes(rows: Sequence[Mapping[str, Any]]) -> list[tuple[Any, ...]]:
    """Return the part of a label table that changes the segmentation; colours do not."""
    return [(row["index"], row["name"], row["value"], row.get("classes")) for row in rows]


def _names(rows: Sequence[Mapping[str, Any]]) -> str:
    return _quoted(", ".join(f"{row['index']} {row['name']} (stored {row['value']})" for row in rows))


def _quoted(value: object) -> str:
    text = str(value)
    return text if len(text) <= _QUOTED_LENGTH else f"{text[:_QUOTED_LENGTH]}..."
