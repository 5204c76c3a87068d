"""Weights that a classifier's training starts from: of ImageNet, from an installed package or a local file."""

from __future__ import annotations

import logging
from functools import singledispatch
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from segpipe.errors import SegpipeError
from segpipe.monai_run import refusal_ends_run
from segpipe.networks import VGG16Classifier, load_vgg16
from segpipe.networks.efficientnet_lite import EfficientNetLite0, load_imagenet_lite0

if TYPE_CHECKING:
    from segpipe.bundle.start_weights import Started

_logger = logging.getLogger(__name__)

IMAGENET = "imagenet"
"""Name of the weights in the installed package."""

NO_WEIGHTS = "none"
"""Name for random numbers, beside null, which MONAI's run cannot override with."""


@refusal_ends_run()
def start_from(
    network: torch.nn.Module, weights: str | Path | None, unfreeze_after: int | str = 0
) -> torch.nn.Module:
    """Return the network with ImageNet's weights in all layers but the last; unchanged without weights.

    Without weights a warning says that the features are random; where layers are frozen, they stay random.

    Args:
        network: `EfficientNetLite0` or `VGG16Classifier`; any other network takes no weights.
        weights: path of a local file; "imagenet": the file of the installed package, for EfficientNet-Lite0; None or
            "none": random numbers.
        unfreeze_after: epochs with a frozen backbone, for the warning, see `segpipe.training.Unfreeze`.

    Raises:
        SegpipeError: the package is not installed, the file cannot be read or does not fit, or there are no weights of
            ImageNet for this network.
    """
    if weights in (None, NO_WEIGHTS):
        frozen = any(not tensor.requires_grad for tensor in network.parameters())
        if frozen or unfreeze_after == "never":
            stay = "; all layers but the last are FROZEN and stay random"
        elif unfreeze_after:
            stay = f"; all layers but the last are FROZEN and random for {unfreeze_after} epoch(s)"
        else:
            stay = ""
        _logger.warning(f"The network starts from random numbers, not from ImageNet's weights{stay}")
        return network
    _load(network, None if weights == IMAGENET else Path(str(weights)))
    return network


@singledispatch
def _load(network: torch.nn.Module, path: Path | None) -> None:
    raise SegpipeError(
        f"pretrained is {path or IMAGENET}, but there are no weights of ImageNet for {type(network).__name__}; set "
        "pretrained to none"
    )


@_load.register
def _(network: EfficientNetLite0, path: Path | None) -> None:
    load_imagenet_lite0(network, path)


@_load.register
def _(network: VGG16Classifier, path: Path | None) -> None:
    if path is None:
        raise SegpipeError(
            "pretrained is imagenet, but no package holds VGG16's weights; name a local file of torchvision's vgg16 "
            "(vgg16-397923af.pth)"
        )
    load_vgg16(network, path)


def parameter_groups(
    network: torch.nn.Module,
    learning_rate: float,
    backbone_rate: float | None = None,
    started: Started | None = None,
) -> list[dict[str, object]]:
    """Return an optimiser's parameter groups: one for each learning rate.

    A classifier has its backbone at a rate of its own, then the last layer. A network that starts from other weights
    has the layers that were taken at a rate of their own, after all others.

    Args:
        network: a classifier has the last layer as `classifier`; without such a layer there is one group.
        learning_rate: of the last layer, or of the layers that were not taken.
        backbone_rate: of all other layers; None: the same.
        started: start of the network, whose `taken_rate` counts; None: no layer has such a rate.
    """
    if started is not None and started.taken_rate != 1:
        apart, rates = started.taken_parameters(), (learning_rate, learning_rate * started.taken_rate)
    else:
        last = getattr(network, "classifier", None)
        apart = list(last.parameters()) if isinstance(last, torch.nn.Module) else []
        rates = (learning_rate if backbone_rate is None else backbone_rate, learning_rate)
    own = set(map(id, apart))
    groups = [
        [one for one in network.parameters() if (id(one) in own) is is_apart] for is_apart in (False, True)
    ]
    return [{"params": group, "lr": rate} for group, rate in zip(groups, rates, strict=True) if group]


def peak_rates(optimizer: torch.optim.Optimizer) -> list[float]:
    """Return the learning rate of each parameter group, the peaks of a one-cycle schedule."""
    return [
        float(group["initial_lr"] if "initial_lr" in group else group["lr"])
        for group in optimizer.param_groups
    ]
