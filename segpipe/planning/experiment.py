"""An experiment: everything that the templates of a bundle's YAML need, from a plan or from a file of numbers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from segpipe.planning.plans import Intensity, Network, PlannedValue

Loss = Literal["DiceCrossEntropy", "DiceCELoss"]
Crop = Literal["anywhere", "by class", "by class, indices cached"]
Check = Literal["device", "window", "seed", "network", "sizes", "loss", "cases"]

LITERALS: Mapping[str, PlannedValue] = {
    "affine_probability": PlannedValue(0.5, ""),
    "padding_mode": PlannedValue("border", ""),
    "contrast_probability": PlannedValue(0.3, ""),
    "brightness_probability": PlannedValue(0.3, ""),
    "gamma_probability": PlannedValue(0.3, ""),
    "noise_probability": PlannedValue(0.15, ""),
    "norm": PlannedValue("instance", ""),
    "weighting": PlannedValue("$losses.median_frequency_weights", ""),
}
"""Values that stand inside the YAML where an experiment has neither an id nor a literal of the same name."""


@dataclass(frozen=True)
class Experiment:
    """The form of a bundle's YAML, and its numbers.

    Attributes:
        about: comment lines at the top of train.yaml.
        inference_about: comment lines at the top of inference.yaml.
        architecture: class of the network.
        dims: 2 or 3, of the network.
        spatial_dims: 2 or 3, of the training cases.
        num_channels: images of a case.
        intensity: how intensities are normalised.
        run: ids that name manifest, folder and fold.
        numbers: ids of train.yaml; inference.yaml repeats those that it needs.
        inference_numbers: ids of inference.yaml alone.
        literals: values that stand where they are used, by the name of the id that they replace.
        axcodes: order of a volume's axes, such as RAS; empty for 2D images.
        mirrors: axes of a patch along which training mirrors it.
        flips: axes of mirror images whose scores evaluation and inference average.
        crop: where training patches are drawn.
        loss: class of the loss.
        checks: of the configuration, in the order in which a training makes them.
        explicit_defaults: whether the YAML also states arguments that equal a default, or that matter only with several
            channels; must be true for several channels.
        retains_intensity_statistics: whether a change of gamma keeps mean and deviation.
        validation_loss: whether TensorBoard shows the loss of validation cases.
        volumes_by_slice: whether inference also takes volumes, slice by slice, with a network that learnt 2D images.
        evaluation_inverts: whether evaluation maps scores back to the grid of the file.
    """

    about: tuple[str, ...]
    inference_about: tuple[str, ...]
    architecture: Network
    dims: int
    spatial_dims: int
    num_channels: int
    intensity: Intensity
    run: Mapping[str, PlannedValue]
    numbers: Mapping[str, PlannedValue]
    inference_numbers: Mapping[str, PlannedValue] = field(default_factory=dict)
    literals: Mapping[str, PlannedValue] = field(default_factory=dict)
    axcodes: str = ""
    mirrors: PlannedValue = field(default_factory=lambda: PlannedValue([], ""))
    flips: list[int] = field(default_factory=list)
    crop: Crop = "anywhere"
    loss: Loss = "DiceCrossEntropy"
    checks: tuple[Check, ...] = ("device", "window", "seed", "sizes")
    explicit_defaults: bool = True
    retains_intensity_statistics: bool = True
    validation_loss: bool = False
    volumes_by_slice: bool = False
    evaluation_inverts: bool = True
