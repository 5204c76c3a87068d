"""The facts of a bundle, a weights file or a run."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from segpipe.configuration.metadata import Task


@dataclass(frozen=True)
class WeightsFile:
    """A weights file.

    Attributes:
        path: of the file.
        size: bytes; None if the file is missing.
        sha256: hash of the file; empty if it is missing.
    """

    path: Path
    size: int | None
    sha256: str


@dataclass(frozen=True)
class Settings:
    """What a configuration says of the input; a value that it computes is not known.

    Attributes:
        spacing_mm: spacing to which scans are resampled, in the order of the axes; None: they are not, or not known.
        intensity_window: lower and upper intensity, of CT in HU, that become the ends of the input's range; None: none.
        window_size: pixels or voxels of one sliding window; None: none, or not known.
        steps: names of the transforms before the network, in order.
    """

    spacing_mm: tuple[float, ...] | None = None
    intensity_window: tuple[float, float] | None = None
    window_size: tuple[int, ...] | None = None
    steps: tuple[str, ...] = ()


@dataclass(frozen=True)
class Training:
    """How weights were trained, as the record beside them says.

    Attributes:
        data: name of the manifest; empty if it is not known.
        cases, validation_cases: numbers of cases.
        held_out: fold or split that was held out; "all" if no case was; empty if it is not known.
        epoch: epoch of the weights, from 1; None if it is not known.
        settings: id -> value of the training's configuration: network, loss, optimiser, epochs, learning rate, seed.
        commit: of segpipe; empty if it is not known.
        segpipe: version; empty if it is not known.
    """

    data: str
    cases: int
    validation_cases: int
    held_out: str
    epoch: int | None
    settings: Mapping[str, Any]
    commit: str
    segpipe: str


@dataclass(frozen=True)
class Scores:
    """Scores and the cases that they were taken on.

    Attributes:
        of: cases, in words.
        values: name -> value, such as `mean_dice`.
    """

    of: str
    values: Mapping[str, float]


@dataclass(frozen=True)
class Information:
    """What a bundle, a weights file or a run is.

    Attributes:
        kind: which of the three.
        path: of the bundle's or the run's folder, or of the weights file.
        name, version, description: from the metadata; the name is else that of the folder or file.
        task: segmentation or classification.
        target: what is decided: a label map, one class, or findings.
        classes: names of the classes or findings, in the order of the network's outputs.
        values: value of each class in label maps; empty if they are not known.
        regions: names of the regions, unions of classes that the network scores.
        channels: names of the input's channels; empty if the metadata do not say.
        modality: of the images; empty if the metadata do not say.
        shape: pixels or voxels along each axis of the network's input, as in the metadata.
        settings: what the configuration says of the input.
        data: source of the training data.
        licence: of the training data, which the weights carry; empty if the metadata do not say.
        weights: weights files.
        training: how the first weights file was trained; None if there is no record.
        scores: of the weights, or of trainings with the same configuration.
        notes: sentences on what is missing or does not fit together.
    """

    kind: Literal["bundle", "weights", "run"]
    path: Path
    name: str
    task: Task
    target: str
    classes: tuple[str, ...]
    values: tuple[int, ...] = ()
    regions: tuple[str, ...] = ()
    version: str = ""
    description: str = ""
    channels: tuple[str, ...] = ()
    modality: str = ""
    shape: tuple[int | str, ...] = ()
    settings: Settings = Settings()
    data: str = ""
    licence: str = ""
    weights: tuple[WeightsFile, ...] = ()
    training: Training | None = None
    scores: tuple[Scores, ...] = ()
    notes: tuple[str, ...] = ()

    def as_plain(self) -> dict[str, Any]:
        """Return the facts in the types of JSON."""
        plain = asdict(self)
        plain["path"] = str(self.path)
        for file in plain["weights"]:
            file["path"] = str(file["path"])
        return plain
