"""MONAI's DynUNet with the decoder of nnU-Net 2."""

from __future__ import annotations

from monai.networks.blocks import UnetUpBlock
from monai.networks.nets import DynUNet
from torch import nn


class PlainConvUNet(DynUNet):  # type: ignore[misc]  # MONAI is untyped
    """A U-Net whose decoder's blocks have the kernels of the levels that they join.

    MONAI's `DynUNet` gives a block of the decoder the kernel of the level below, as the first nnU-Net did. Both
    networks are the same where all levels have one kernel. Plans for thick slices have flat kernels at upper levels.

    Args: as `monai.networks.nets.DynUNet`.

    Source: Isensee et al., Nature Methods 2021; `PlainConvUNet` of nnU-Net 2.
    """

    def get_upsamples(self) -> nn.ModuleList:
        """Return the blocks of the decoder, from the lowest level on."""
        layers: nn.ModuleList = self.get_module_list(
            self.filters[1:][::-1],
            self.filters[:-1][::-1],
            self.kernel_size[:-1][::-1],
            self.strides[1:][::-1],
            UnetUpBlock,
            self.upsample_kernel_size[::-1],
            trans_bias=self.trans_bias,
        )
        return layers
