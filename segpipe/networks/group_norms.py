"""Instance norms as group norms, which a processor trains faster."""

from __future__ import annotations

import torch
from torch import nn
from torch.nn.modules.instancenorm import _InstanceNorm

_INSTANCE_NORMS = (nn.InstanceNorm1d, nn.InstanceNorm2d, nn.InstanceNorm3d)


class ChannelNorm(nn.GroupNorm):
    """A group norm with one group per channel, which refuses what an instance norm refuses.

    Args:
        channels: number of channels.
        eps: added to the variance.
    """

    def __init__(self, channels: int, eps: float) -> None:
        super().__init__(channels, channels, eps, affine=False)

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        """Return normalised features `(B, C, *spatial)`.

        Raises:
            ValueError: one voxel a channel, of which a training would get zeros.
        """
        if self.training and features[0, 0].numel() == 1:
            raise ValueError(
                f"Expected more than 1 spatial element when training, got input size {tuple(features.shape)}"
            )
        # without the check of nn.functional.group_norm, which refuses one voxel in evaluation, too
        return torch.group_norm(features, self.num_groups, self.weight, self.bias, self.eps)


def instance_to_group_norms(network: nn.Module) -> int:
    """Replace the instance norms of a network by group norms with one group per channel.

    Both compute the same function, equal to rounding. Torch's instance norm returns a view, and an activation in place
    on a view copies the whole tensor four times in the backward pass. Parameters, their names and their gradients stay,
    so that optimisers, wrappers and state dicts of the network fit as before. Norms with running statistics, and
    subclasses, stay as they are.

    Args:
        network: changed in place; already on its device.

    Returns:
        the number of norms that were replaced.
    """
    found = [
        (parent, name, norm)
        for parent in network.modules()
        for name, norm in parent.named_children()
        if isinstance(norm, _InstanceNorm) and type(norm) in _INSTANCE_NORMS and not norm.track_running_stats
    ]
    for parent, name, norm in found:
        group = ChannelNorm(norm.num_features, norm.eps)
        group.affine, group.weight, group.bias = norm.affine, norm.weight, norm.bias
        setattr(parent, name, group.train(norm.training))
    return len(found)
