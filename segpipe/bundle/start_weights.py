"""Starts a training from other weights: which layers take them, which stay fixed, and what the run records."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch

from segpipe.bundle.network_definition import network_definition
from segpipe.bundle.pretrained import NO_WEIGHTS
from segpipe.bundle.running import merged_configuration, running_parser
from segpipe.bundle.source_weights import SourceWeights, source_weights
from segpipe.categories import Categories
from segpipe.errors import SegpipeError, shown
from segpipe.files import read_json, write_json
from segpipe.labels import LabelTable
from segpipe.monai_run import refusal_ends_run
from segpipe.networks.layer_match import LayerMatch
from segpipe.training import RunFolder
from segpipe.training.run_folder import is_main_process

RECORD = "from_weights.json"
"""Name of the record in the run's folder."""
_ACTIONS = ("taken", "adapted", "new")
_OF_SIDECAR = ("name", "file", "sha256", "manifest", "cases", "parameters")


class Started:
    """The network at the start of a training, and the layers that come from other weights.

    Args:
        network: the bare network, with its weights to start from.
        record: content of `from_weights.json`; None for a network of random numbers.
        taken_rate: learning rate of the taken layers, as a share of the other layers'.

    Attributes:
        taken: names of the layers that were taken as they are.
    """

    def __init__(
        self, network: torch.nn.Module, record: Mapping[str, Any] | None = None, taken_rate: float = 1.0
    ) -> None:
        self.network = network
        self.record = record
        self.taken_rate = taken_rate
        layers = [] if record is None else record["layers"]
        self.taken = frozenset(one["layer"] for one in layers if one["start"] == "taken")
        self._hooks: list[Any] = []

    def taken_parameters(self) -> list[torch.nn.Parameter]:
        """Return the parameters of the layers that were taken as they are."""
        named = self.network.named_parameters()
        return [one for name, one in named if name.rpartition(".")[0] in self.taken]

    def freeze(self, parts: int | None = None) -> None:
        """Fix the taken layers, with the statistics of their norms; or train them with the others.

        Args:
            parts: None fixes the taken layers; 0 fixes none. See `segpipe.training.Unfreeze`.
        """
        for hook in self._hooks:
            hook.remove()
        self._hooks = []
        for parameter in self.taken_parameters():
            parameter.requires_grad_(parts is not None)
        if parts is None:
            self._hooks = [
                module.register_forward_pre_hook(_evaluates)  # a trainer puts the whole network into training
                for name, module in self.network.named_modules()
                if name in self.taken and getattr(module, "track_running_stats", False)
            ]

    def seen(self, held_out: Mapping[str, str]) -> list[str]:
        """Return the held-out cases whose image the weights were trained on.

        Args:
            held_out: case -> content hash of its image.
        """
        known = set() if self.record is None else set(self.record["cases"].values())
        return sorted(case for case, content in held_out.items() if content in known)

    def note_in(self, provenance: dict[str, Any]) -> None:
        """Record the weights to start from in the provenance of the weights that are trained."""
        if self.record is not None:
            provenance["from_weights"] = {name: self.record[name] for name in _OF_SIDECAR}

    def write(self, run_folder: RunFolder) -> None:
        """Write the record into the run's folder, unless it is there already."""
        if self.record is not None and is_main_process() and not run_folder.resumes:
            write_json(run_folder.path / RECORD, self.record)

    def lines(self) -> list[str]:
        """Return the table of layers for the log; empty for a network of random numbers."""
        if self.record is None:
            return []
        record, counts = self.record, self.record["parameters"]
        rows = [
            ("layer", "start", "parameters", ""),
            *((one["layer"], one["start"], f"{one['parameters']:,}", one["why"]) for one in record["layers"]),
        ]
        widths = [max(len(row[column]) for row in rows) for column in range(3)]
        total = max(sum(counts.values()), 1)
        shares = ", ".join(f"{counts[name]:,} {name}" for name in _ACTIONS)
        manifest = f", trained on {record['manifest']}" if record["manifest"] else ""
        return [
            f"Start:      from {record['name']} ({record['file']}, SHA-256 {record['sha256'][:12]}...{manifest})",
            f"            of {total:,} parameters: {shares}",
            *(
                f"            {name:<{widths[0]}}  {start:<{widths[1]}}  {count:>{widths[2]}}  {why}".rstrip()
                for name, start, count, why in rows
            ),
        ]


def _evaluates(module: torch.nn.Module, _inputs: Any) -> None:
    """Put a norm into evaluation, so that a step neither uses nor changes the statistics of its batch."""
    module.training = False


@refusal_ends_run()
def start_from_weights(
    network: torch.nn.Module,
    weights: Any,
    labels: LabelTable | Categories,
    run_folder: RunFolder,
    freeze_epochs: int = 0,
    taken_rate: float = 1.0,
) -> Started:
    """Return the network at the start of its training; with other weights in the layers that fit them.

    A resumed run has its own weights, and does not read the others again.

    Args:
        network: the bundle's `network_def`; changed in place.
        weights: see `segpipe.bundle.source_weights.source_file`; None or "none": random numbers.
        labels: the bundle's label table, or its classes or findings.
        run_folder: folder of the run.
        freeze_epochs: number of first epochs in which the taken layers stay as they are.
        taken_rate: learning rate of the taken layers, as a share of the other layers'.

    Raises:
        SegpipeError: see `SourceWeights.match`; the run resumes and began from random numbers; layers are to be frozen,
            or to have a rate of their own, and none or all were taken.
    """
    if weights is None or weights == NO_WEIGHTS:
        _refuse_without_weights(freeze_epochs, taken_rate)
        return Started(network)
    if run_folder.named and run_folder.resumes:
        return Started(network, _recorded(run_folder, weights), taken_rate)
    source = source_weights(weights)
    outputs = labels.output_names if isinstance(labels, LabelTable) else tuple(labels.names)
    match = source.match(network, network_definition(merged_configuration(running_parser())), outputs)
    if freeze_epochs and all(one.action == "taken" for one in match.layers):
        raise SegpipeError(
            f"freeze_epochs is {freeze_epochs}, but every layer comes from {source.path}: no layer would be left to "
            "train; give freeze_epochs=0"
        )
    network.load_state_dict(match.state)
    return Started(network, start_record(source, match), taken_rate)


def start_record(source: SourceWeights, match: LayerMatch) -> dict[str, Any]:
    """Return the content of `from_weights.json`: the weights, and what each layer starts from."""
    counts = {
        action: sum(one.parameters for one in match.layers if one.action == action) for action in _ACTIONS
    }
    return {
        "name": source.name,
        "file": source.path.name,
        "sha256": source.sha256,
        "manifest": source.training.get("manifest", {}).get("name"),
        "classes": list(source.outputs),
        "cases": source.cases,
        "parameters": counts,
        "layers": [
            {"layer": one.layer, "start": one.action, "parameters": one.parameters, "why": one.why}
            for one in match.layers
        ],
    }


def warning_of_seen(seen: Sequence[str], total: int) -> str:
    """Return the warning that a run validates on cases that its start was trained on."""
    return (
        f"NOT HELD OUT: the weights to start from were trained on {len(seen)} of the {total} cases to validate with "
        f"({shown(seen, most=3)}): the validation says nothing about new patients; give another fold, or weights of "
        "other cases"
    )


def _refuse_without_weights(freeze_epochs: int, taken_rate: float) -> None:
    for name, value, default in (("freeze_epochs", freeze_epochs, 0), ("taken_rate", taken_rate, 1)):
        if value != default:
            raise SegpipeError(
                f"{name} is {value}, but the training starts from random numbers: there is no taken layer; give "
                f"from_weights=FILE or from_weights=BUNDLE, or {name}={default}"
            )


def _recorded(run_folder: RunFolder, weights: Any) -> Mapping[str, Any]:
    """Return the record of a run that resumes."""
    path = run_folder.path / RECORD
    if not path.is_file():
        raise SegpipeError(
            f"{run_folder.path}: this run did not start from other weights, and from_weights is {weights}; leave out "
            "from_weights to resume it, or choose another --run_name (segpipe train: run_name=NAME)"
        )
    record = read_json(path, "the weights that this run started from")
    if not isinstance(record, dict) or not {*_OF_SIDECAR, "layers"} <= record.keys():
        raise SegpipeError(f"{path}: is no record of the weights that a run starts from; restore the file")
    return record
