"""An experiment: the content of a bundle's YAML templates, from a plan or from a file of numbers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from segpipe.dataset.importing.channel_files import ScanChannel
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
"""Values in the YAML where an experiment has neither an id nor a literal of the same name."""


@dataclass(frozen=True)
class Experiment:
    """The form of a bundle's YAML, and its numbers.

    Attributes:
        about: comment lines at the top of train.yaml.
        inference_about: comment lines at the top of inference.yaml.
        architecture: class of the network.
        dims: dimensions of the network, 2 or 3.
        spatial_dims: dimensions of the training cases, 2 or 3.
        num_channels: number of images of a case.
        intensity: how intensities are normalised.
        run: ids that name manifest, folder and fold.
        numbers: ids of train.yaml; inference.yaml repeats those that it needs.
        inference_numbers: ids that only inference.yaml has.
        literals: id -> value that the YAML has in place of a reference to this id.
        axcodes: order of a volume's axes, such as RAS; empty for 2D images.
        mirrors: axes of a patch along which training mirrors it.
        flips: axes along which evaluation and inference mirror the image to average the scores.
        crop: positions from which training patches are drawn.
        loss: class of the loss.
        checks: checks of the configuration, in the order of a training.
        explicit_defaults: whether the YAML also states arguments that equal a default, or that matter only with several
            channels; must be true for several channels.
        retains_intensity_statistics: whether a change of gamma keeps mean and standard deviation.
        validation_loss: whether TensorBoard shows the loss of validation cases.
        volumes_by_slice: whether inference also segments volumes slice by slice, with a network trained on 2D images.
        channels: names of the channels, and of their files; empty for one channel whose files have any name.
        by_region: whether the network scores regions that overlap, a sigmoid each, instead of classes.
        ignores: whether label maps have voxels that nobody looked at.
        resample_channels: whether channels on other grids are brought onto the first channel's grid.
        evaluation_inverts: whether evaluation maps scores back to the file's grid.
        groups: class -> the manifest's classes that it unites; empty: the classes are the manifest's.
        from_weights: path of the weights that a training starts from by default; None: random numbers.
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
    channels: tuple[ScanChannel, ...] = ()
    by_region: bool = False
    ignores: bool = False
    resample_channels: bool = False
    evaluation_inverts: bool = True
    groups: Mapping[str, list[str]] = field(default_factory=dict)
    from_weights: PlannedValue = field(
        default_factory=lambda: PlannedValue(
            None, "other weights to start from: a file or a bundle; null or none: random"
        )
    )
