"""The form of a planned network: its class, channels and blocks, and how large its patches and batches may get."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from segpipe.errors import SegpipeError
from segpipe.planning.fingerprint import Fingerprint
from segpipe.planning.plans import NETWORKS, PRESETS, Network, PlanOptions

CARD_TIMES = 10  # a CUDA card trains on this many times a CPU's voxels
_FIRST_WIDTH, _LAST_WIDTH = {2: 8, 3: 16}, 256
_MOST_VOXELS = {2: 384 * 384, 3: 96 * 96 * 32}
_BATCH_VOXELS, _MOST_PATCHES = 2**16, 16
_BLOCKS = {2: (1,), 3: (1, 1, 2)}  # of each level, the last of all deeper levels; benchmarks/README.md
_PRESET_WIDTH, _LAST_PRESET_WIDTHS, _PRESET_BLOCKS = 32, {2: 512, 3: 320}, (1, 3, 4, 6)
_FEWEST_OF_PRESET = 2
_BATCH_SHARE = 0.05  # of all voxels of a data set


@dataclass(frozen=True)
class NetworkForm:
    """What a plan knows of a network before its patch.

    Attributes:
        name: class of the network.
        first_width, last_width: channels of the first level, and most channels of a level.
        blocks: residual blocks of the first levels, the last number for all deeper ones; empty for other networks.
        why: reason of the widths.
        blocks_why: reason of the blocks.
        most_voxels: of a patch, so that a step does not take too long.
        fewest_patches: of a batch.
    """

    name: Network
    first_width: int
    last_width: int
    blocks: tuple[int, ...]
    why: str
    most_voxels: float
    fewest_patches: int = 1
    blocks_why: str = ""

    def widths(self, levels: int) -> tuple[int, ...]:
        """Return the channels of each level."""
        return tuple(min(self.first_width * 2**level, self.last_width) for level in range(levels))

    def level_blocks(self, levels: int) -> tuple[int, ...]:
        """Return the residual blocks of each level."""
        last = len(self.blocks) - 1
        return tuple(self.blocks[min(level, last)] for level in range(levels)) if self.blocks else ()

    def patches(self, data: Fingerprint, voxels: int) -> int:
        """Return how many patches a step should have, where memory does not limit them (rule 6).

        Args:
            data: the fingerprint.
            voxels: of a patch.
        """
        if self.fewest_patches == 1:
            return min(max(math.ceil(_BATCH_VOXELS / voxels), 1), _MOST_PATCHES)
        every = float(np.prod(np.array(data.sizes, float), axis=1).sum())
        return max(round(_BATCH_SHARE * every / voxels), self.fewest_patches)


def network_form(options: PlanOptions, dims: int) -> NetworkForm:
    """Return the form of the network that a user asked for.

    Args:
        options: the user's choice of network, preset and card.
        dims: 2 or 3.

    Raises:
        SegpipeError: there is no such network or preset, or the network has no presets.
    """
    network, preset = options.network, options.preset
    if network not in NETWORKS:
        raise SegpipeError(f"plan: there is no network {network!r}; choose one of {', '.join(NETWORKS)}")
    if preset is not None and network != "resenc":
        raise SegpipeError(
            f"plan: --preset {preset} is for --network resenc, and the network is {network}; add --network resenc, or "
            "leave --preset out"
        )
    if preset is not None and preset not in PRESETS:
        raise SegpipeError(f"plan: there is no preset {preset!r}; choose one of {', '.join(PRESETS)}")
    first, last = _FIRST_WIDTH[dims], _LAST_WIDTH
    most = _MOST_VOXELS[dims] * (CARD_TIMES if options.cuda else 1)
    why = f"{first}, doubled up to {last}: few, so that a step is cheap on a processor"
    if network == "segnet":
        return NetworkForm("SegNet", first, last, (), why, most)
    if network == "unet":
        return NetworkForm("DynUNet" if dims == 3 else "UNet", first, last, (), why, most)
    if preset is None:
        blocks_why = "residual blocks of each level: a step costs about as much as the network unet's"
        return NetworkForm(
            "ResidualEncoderUNet", first, last, _BLOCKS[dims], why, most, blocks_why=blocks_why
        )
    first, last = _PRESET_WIDTH, _LAST_PRESET_WIDTHS[dims]
    why = f"{first}, doubled up to {last}: nnU-Net's for its residual encoders"
    blocks_why = "residual blocks of each level, nnU-Net's"
    return NetworkForm(
        "ResidualEncoderUNet", first, last, _PRESET_BLOCKS, why, math.inf, _FEWEST_OF_PRESET, blocks_why
    )
