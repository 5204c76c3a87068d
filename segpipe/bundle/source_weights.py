"""Other weights that a training starts from: the file, its sidecar, and whether their network has this form."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import torch

from segpipe.bundle.network_definition import NetworkDefinition, network_definition
from segpipe.bundle.weights import state_in_checkpoint
from segpipe.bundle_names import bundle_folder
from segpipe.errors import SegpipeError, counted, shown
from segpipe.files import file_sha256, is_folder
from segpipe.networks import read_sidecar, weights_file
from segpipe.networks.layer_match import LayerMatch, match_layers
from segpipe.networks.state_fit import named_state, require_finite
from segpipe.networks.weights import Sidecar, read_state
from segpipe.networks.weights_files import PYTORCH, SAFETENSORS
from segpipe.regular_files import is_possible

_KERNEL_DIMS = (4, 5)  # of a 2D and of a 3D convolution
_RUN_WEIGHTS = ("best.pt", "last.pt")


@dataclass(frozen=True)
class SourceWeights:
    """Weights to start from.

    Attributes:
        path: of the file.
        name: name of the bundle, or of the file where no bundle was named.
        sidecar: record of the weights; None for foreign weights.
    """

    path: Path
    name: str
    sidecar: Sidecar | None

    @cached_property
    def sha256(self) -> str:
        """Hash of the file."""
        return file_sha256(self.path)

    @property
    def training(self) -> Mapping[str, Any]:
        """How the weights were made; empty where not known."""
        return {} if self.sidecar is None else self.sidecar.training

    @property
    def form(self) -> NetworkDefinition | None:
        """The form of the weights' network; None where not known."""
        return network_definition(self.training.get("configuration", {}))

    @property
    def outputs(self) -> tuple[str, ...]:
        """Names of the network's outputs: regions, else classes; empty where not known."""
        rows = [] if self.sidecar is None else list(self.sidecar.labels)
        regions = [row for row in rows if "classes" in row]
        return tuple(row["name"] for row in sorted(regions or rows, key=lambda row: row["index"]))

    @property
    def cases(self) -> dict[str, str]:
        """Case -> content hash of its image, of all cases that the weights were trained on or started from."""
        earlier = self.training.get("from_weights", {})
        of_earlier = earlier.get("cases", {}) if isinstance(earlier, Mapping) else {}
        return {**of_earlier, **self.training.get("cases", {})}

    def match(
        self, network: torch.nn.Module, form: NetworkDefinition | None, outputs: Sequence[str]
    ) -> LayerMatch:
        """Match the layers of a network with these weights.

        Args:
            network: the network that starts; unchanged.
            form: form of this network; None where not known.
            outputs: names of the network's outputs.

        Raises:
            SegpipeError: the file cannot be read; the weights are of other dimensions or strides; no layer fits; or
                weights are NaN or infinite.
        """
        expected = network.state_dict()
        stored = named_state(self.path, state_in_checkpoint(read_state(self.path)), expected)
        self._require_form(stored, expected, form)
        match = match_layers(network, stored, self.outputs, outputs)
        if not match.fits:
            raise SegpipeError(self._nothing(stored, expected, form))
        started = {one.layer for one in match.layers if one.action != "new"}
        held = ((name, tensor) for name, tensor in match.state.items() if name.rpartition(".")[0] in started)
        require_finite(self.path, held, "such weights are no start; give others")
        return match

    def _require_form(
        self,
        stored: Mapping[str, torch.Tensor],
        expected: Mapping[str, torch.Tensor],
        form: NetworkDefinition | None,
    ) -> None:
        """Refuse other dimensions, and other strides of a network of the same class."""
        then, now = _dims(stored), _dims(expected)
        if then and now and then != now:
            raise SegpipeError(
                f"{self.path}: weights of a {then}D network, and this bundle's network is {now}D: no layer of one fits "
                f"the other; give weights of a {now}D network"
            )
        of_source = self.form
        if of_source is None or form is None or of_source.target != form.target:
            return
        if of_source.strides and form.strides and of_source.strides != form.strides:
            raise SegpipeError(
                f"{self.path}: its network has the strides {of_source.shown_strides}, this bundle's network "
                f"{form.shown_strides}: equal layers would see images of other resolutions; give weights of a network "
                "with these strides, or plan the bundle with segpipe plan --from"
            )

    def _nothing(
        self,
        stored: Mapping[str, torch.Tensor],
        expected: Mapping[str, torch.Tensor],
        form: NetworkDefinition | None,
    ) -> str:
        """Return the message for weights of which no convolution or linear layer fits."""
        of_source = self.form
        classes = (
            f" ({of_source.name} there, {form.name} here)"
            if of_source is not None and form is not None
            else ""
        )
        firsts = [
            next((f"{name:.80} {tuple(tensor.shape)}" for name, tensor in state.items()), "no tensor")
            for state in (stored, expected)
        ]
        return (
            f"{self.path}: no convolution of these weights fits the bundle's network{classes}: the first tensor is "
            f"{firsts[0]} in the file, {firsts[1]} in the network; give weights of a network of this form, or plan the "
            "bundle with segpipe plan --from"
        )


def source_weights(weights: Any) -> SourceWeights:
    """Find weights to start from, and read their sidecar.

    Args:
        weights: path of a file of weights, or folder or name of a bundle.

    Raises:
        SegpipeError: see `source_file`; or the sidecar cannot be read or belongs to other weights.
    """
    path, name = source_file(weights)
    return SourceWeights(path, name, read_sidecar(path))


def source_file(weights: Any) -> tuple[Path, str]:
    """Return the file of weights to start from, and the name for messages.

    A bundle stands for its `models/model.pt` or `models/model.safetensors`. A bundle with a locator stands for its own
    network; the locator is a bundle of its own.

    Args:
        weights: path of a file of weights, or folder or name of a bundle.

    Raises:
        SegpipeError: there is no such file, folder or bundle; the bundle has no weights; or several files are named.
    """
    if not isinstance(weights, str | Path) or not is_possible(weights):
        raise SegpipeError(
            f"from_weights is {weights!r:.200}: a training starts from one file of weights or one bundle; name one"
        )
    path = weights_file(Path(weights))
    if path.is_file():
        return path, path.name
    if path.suffix in (PYTORCH, SAFETENSORS):
        raise SegpipeError(
            f"{path}: no such weights to start from; name a file of weights, or a bundle that has weights"
        )
    folder = bundle_folder(weights)
    if (folder / "configs" / "metadata.json").is_file():
        return _file_of_bundle(folder), folder.resolve().name
    of_run = next((folder / name for name in _RUN_WEIGHTS if (folder / name).is_file()), None)
    if of_run is not None:
        raise SegpipeError(f"{folder}: is a run; name its weights: from_weights={of_run}")
    what = (
        "is no bundle (no configs/metadata.json)" if is_folder(folder) else "no such file, folder or bundle"
    )
    raise SegpipeError(
        f"{folder}: {what}, so there is nothing to start from; name a file of weights, or a bundle that has weights"
    )


def _file_of_bundle(folder: Path) -> Path:
    models = folder / "models"
    path = weights_file(models / "model.pt")
    if path.is_file():
        return path
    others = sorted(one for one in models.glob("*") if one.suffix in (PYTORCH, SAFETENSORS))
    if others:
        raise SegpipeError(
            f"{folder}: has no models/model.pt, but {counted(len(others), 'other file')} of weights "
            f"({shown(one.name for one in others)}); a training starts from one network: name one file, such as "
            f"{others[0]}"
        )
    raise SegpipeError(
        f"{folder}: the bundle has no weights (no models/model.pt); train it and promote a run with segpipe promote, "
        "or name a file of weights"
    )


def _dims(state: Mapping[str, torch.Tensor]) -> int:
    """Return the dimensions of a network's convolutions; 0 without a convolution."""
    return next((tensor.dim() - 2 for tensor in state.values() if tensor.dim() in _KERNEL_DIMS), 0)
