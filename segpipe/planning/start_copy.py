"""The weights that a planned bundle starts from: the copy in the bundle, and the words about them."""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from segpipe.bundle.source_weights import SourceWeights
from segpipe.bundle.start_weights import start_record
from segpipe.configuration.metadata import read_metadata
from segpipe.networks.weights import sidecar_path
from segpipe.planning.memory import made
from segpipe.planning.plans import Architecture, PlannedValue


@dataclass(frozen=True)
class StartCopy:
    """Weights that a planned bundle starts from.

    Attributes:
        source: the weights.
        record: what each layer of the planned network starts from, see `segpipe.bundle.start_weights`.
    """

    source: SourceWeights
    record: Mapping[str, Any]

    @classmethod
    def of(cls, source: SourceWeights, architecture: Architecture, outputs: Sequence[str]) -> StartCopy:
        """Match weights with a planned network.

        Args:
            source: the weights.
            architecture: the planned network.
            outputs: names of its outputs.

        Raises:
            SegpipeError: see `SourceWeights.match`.
        """
        with torch.random.fork_rng(devices=[]):
            network = made(architecture)
        return cls(source, start_record(source, source.match(network, source.form, outputs)))

    @property
    def name(self) -> str:
        """Name of the bundle, or of the file, of the weights."""
        return self.source.name

    @property
    def file(self) -> str:
        """Path of the copy below the planned bundle's folder."""
        return f"models/start{self.source.path.suffix}"

    def write(self, root: Path) -> None:
        """Copy the weights, with their sidecar, into a bundle.

        Args:
            root: the bundle's folder.
        """
        copy = root / self.file
        for path, name in ((self.source.path, copy), (sidecar_path(self.source.path), sidecar_path(copy))):
            shutil.copyfile(path, name)

    @property
    def default(self) -> PlannedValue:
        """The value of `from_weights` in the planned bundle."""
        why = f"weights of {self.name}; a file, a bundle, or none: random"
        return PlannedValue(f"$@bundle_root + '/{self.file}'", why)

    @property
    def sentence(self) -> str:
        """The start in words."""
        counts = self.record["parameters"]
        total = sum(counts.values())
        manifest = self.record["manifest"]
        trained = f", trained on {manifest}" if manifest else ""
        return (
            f"Training starts from the weights of {self.name}{trained} ({self.file}): of {total:,} parameters "
            f"{counts['taken']:,} are taken, {counts['adapted']:,} adapted and {counts['new']:,} new."
        )

    @property
    def licence(self) -> str:
        """Licence of the data that the weights were trained on, as their bundle states it."""
        metadata = self.source.path.parent.parent / "configs" / "metadata.json"
        stated = read_metadata(metadata).get("data_license") if metadata.is_file() else None
        return (
            str(stated) if stated else "not stated beside the weights; look for it before you share weights"
        )
