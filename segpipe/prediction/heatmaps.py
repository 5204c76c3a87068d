"""Where a classifier looked: the activations that speak for a class, or the effect of covering parts of an image.

A map shows what changes the network's answer. It does not show where a disease is: a network can look at a marker on
the film and still be right.

Source: Selvaraju et al., Grad-CAM, ICCV 2017; Zeiler & Fergus, ECCV 2014 (occlusion); Adebayo et al., Sanity Checks
for Saliency Maps, NeurIPS 2018.
"""

from __future__ import annotations

import copy
import math
import warnings
from collections.abc import Sequence

import numpy as np
import torch
from monai.visualize import GradCAM, OcclusionSensitivity
from numpy.typing import NDArray
from scipy.special import logit

from segpipe.calibration import Calibration
from segpipe.errors import SegpipeError
from segpipe.networks import Ensemble

_CONVOLUTIONS = (torch.nn.Conv1d, torch.nn.Conv2d, torch.nn.Conv3d)
_MASKS_ACROSS = 8  # sides of the covered square in the shorter side of an image
_OVERLAP = 0.5
_CERTAIN = (1e-12, 1 - 1e-12)
Maps = NDArray[np.float32]


class GradCamMaps:
    """Grad-CAM of a network, by MONAI.

    The network that is given stays as it is: a copy that shares its weights gets the hooks. In the copy only the image
    requires gradients, so that a frozen backbone gives the same map as a trained one.

    Args:
        network: logits `(B, C)` of images; an ensemble gives the mean of its members' maps.
        layer: name of the layer whose activations are shown; None: the last convolution.

    Raises:
        SegpipeError: the network has no convolution, and no layer is named.
    """

    def __init__(self, network: torch.nn.Module, layer: str | None = None) -> None:
        members = list(network.members) if isinstance(network, Ensemble) else [network]
        self.layer = layer or last_convolution(members[0])
        self._cams = [
            GradCAM(_hookable(member), self.layer, postprocessing=lambda values: values) for member in members
        ]

    def maps(self, image: torch.Tensor, classes: Sequence[int]) -> Maps:
        """Return a map for each class, `(len(classes), *spatial)`, 0 to 1; all 0 where nothing speaks for a class.

        Args:
            image: `(C, *spatial)` on the network's device.
            classes: indices.
        """
        found = []
        for index in classes:
            total = torch.zeros(image.shape[1:])
            for cam in self._cams:
                given = image[None].clone().requires_grad_(True)
                with torch.enable_grad():
                    total += cam(x=given, class_idx=index)[0, 0].detach().cpu()
            found.append(_scaled(total.numpy()))
        return np.stack(found)


class OcclusionMaps:
    """How much the log-odds of a class drop when a part of the image is covered, by MONAI.

    Probabilities near 1 would hide the drop: a network that is sure stays sure with any small part covered.

    Args:
        network: logits `(B, C)` of images.
        calibration: turns logits into probabilities.
        batch_size: covered images computed together.
    """

    def __init__(self, network: torch.nn.Module, calibration: Calibration, batch_size: int = 4) -> None:
        self.network = network
        self.batch_size = batch_size
        self.calibration = calibration

    def maps(self, image: torch.Tensor, classes: Sequence[int]) -> Maps:
        """Return a map for each class, `(len(classes), *spatial)`, 0 to 1; see `GradCamMaps.maps`."""
        side = mask_side(image.shape[1:])
        occlusion = OcclusionSensitivity(
            self.network,
            mask_size=side,
            n_batch=self.batch_size,
            verbose=False,
            overlap=_OVERLAP,
            activate=self._log_odds,
        )
        with warnings.catch_warnings():
            # MONAI 1.6 indexes tensors by lists of slices, which PyTorch deprecates
            warnings.filterwarnings("ignore", message="Using a non-tuple sequence", category=UserWarning)
            covered = occlusion(image[None])[0][0].as_tensor().cpu().numpy()
        with torch.inference_mode():
            whole = self._log_odds(self.network(image[None]))[0].cpu().numpy()
        return np.stack([_scaled(whole[index] - covered[index]) for index in classes])

    def _log_odds(self, logits: torch.Tensor) -> torch.Tensor:
        values = self.calibration.probabilities(logits.detach().double().cpu().numpy())
        return torch.as_tensor(logit(np.clip(values, *_CERTAIN)), dtype=torch.float32, device=logits.device)


def mask_side(size: Sequence[int]) -> int:
    """Return the side of the covered square of an occlusion map, pixels.

    Args:
        size: pixels along each axis of the network's input.
    """
    return max(min(size) // _MASKS_ACROSS, 1)


def occlusion_passes(size: Sequence[int]) -> int:
    """Return the number of forward passes of one image that an occlusion map takes.

    Args:
        size: pixels along each axis of the network's input.
    """
    side = mask_side(size)
    step = max(int(side * (1 - _OVERLAP)), 1)
    return math.prod(math.ceil((length - side) / step) + 1 for length in size)


def last_convolution(network: torch.nn.Module) -> str:
    """Return the name of the last convolution of a network, in the order of its modules.

    Raises:
        SegpipeError: there is none.
    """
    names: list[str] = [name for name, module in network.named_modules() if isinstance(module, _CONVOLUTIONS)]
    if not names:
        raise SegpipeError(
            f"{type(network).__name__}: has no convolution whose activations a heatmap could show; name a layer as "
            "heatmap_layer in the bundle's inference.yaml, or give --heatmaps occlusion"
        )
    return names[-1]


def _hookable(network: torch.nn.Module) -> torch.nn.Module:
    """Return a copy that shares the weights, in which nothing works in place: hooks refuse changed activations."""
    shared = {id(tensor): tensor.detach() for tensor in (*network.parameters(), *network.buffers())}
    held = {
        id(parameter): torch.nn.Parameter(parameter.detach(), False) for parameter in network.parameters()
    }
    twin = copy.deepcopy(network, {**shared, **held}).eval()
    for module in twin.modules():
        if getattr(module, "inplace", False):
            setattr(module, "inplace", False)  # noqa: B010 - an attribute of some modules only
    return twin


def _scaled(values: NDArray[np.floating]) -> Maps:
    positive = np.clip(np.asarray(values, np.float32), 0, None)
    most = float(positive.max())
    return positive / most if most > 0 else positive
