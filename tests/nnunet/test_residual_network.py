"""nnU-Net's residual encoder U-Net and ours have the same tensors under two names."""

from pathlib import Path

import pytest
import torch
from nnunet_models import plans

from segpipe.errors import SegpipeError
from segpipe.networks import ResidualEncoderUNet
from segpipe.nnunet.configuration import configuration_of
from segpipe.nnunet.network import network_form, network_state

WHERE = Path("plans.json")


def form_of(**changes):
    of_plans = plans()
    architecture = of_plans["configurations"]["3d_fullres"]["architecture"]
    architecture["network_class_name"] = (
        "dynamic_network_architectures.architectures.unet.ResidualEncoderUNet"
    )
    del architecture["arch_kwargs"]["n_conv_per_stage"]
    blocks = {"n_blocks_per_stage": [1, 3, 2], "n_conv_per_stage_decoder": [1, 1]}
    architecture["arch_kwargs"] |= {**blocks, **changes}
    return network_form(configuration_of(of_plans, "3d_fullres", 1, WHERE), WHERE)


def test_every_tensor_has_its_name_in_nnunet():
    form = form_of()
    network = ResidualEncoderUNet(1, 3, **form.numbers)

    assert form.target == "segpipe.networks.ResidualEncoderUNet"
    assert set(network.state_dict()) <= set(form.names)
    names = {
        "stem.conv.weight": "encoder.stem.convs.0.conv.weight",
        "encoder.1.2.second.adn.N.bias": "encoder.stages.1.blocks.2.conv2.norm.bias",
        "encoder.2.0.skip.1.conv.weight": "encoder.stages.2.blocks.0.skip.1.conv.weight",
        "decoder.0.conv.bias": "decoder.stages.0.convs.0.conv.bias",
        "enlarge.1.weight": "decoder.transpconvs.1.weight",
        "heads.0.bias": "decoder.seg_layers.1.bias",
    }
    assert names.items() <= form.names.items()


def test_the_tensors_are_taken_and_other_heads_and_second_names_left():
    form = form_of()
    network = ResidualEncoderUNet(1, 3, **form.numbers)
    state = {form.names[name]: tensor for name, tensor in network.state_dict().items()}
    beside = {
        "decoder.seg_layers.0.weight": torch.ones(1),
        "decoder.encoder.stem.convs.0.conv.weight": torch.ones(1),
    }

    taken = network_state({**state, **beside}, form, WHERE, "nnUNetTrainer")

    network.load_state_dict(taken)
    assert len(taken) == len(state)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"stem_channels": 8}, "a block, a stem or bottlenecks of its own"),
        ({"block": "a.BottleneckD"}, "a block, a stem or bottlenecks of its own"),
        ({"conv_bias": False}, "convolutions without bias"),
        ({"nonlin_kwargs": {"negative_slope": 0.2}}, "the activation LeakyReLU {'negative_slope': 0.2}"),
        ({"norm_op_kwargs": {"eps": 0.1, "affine": True}}, "norm_op_kwargs"),
        ({"n_conv_per_stage_decoder": [2, 2]}, r"\[2, 2\] convolutions a stage \(1 each\)"),
    ],
)
def test_layers_that_our_network_lacks_are_refused(changes, message):
    with pytest.raises(SegpipeError, match=message):
        form_of(**changes)
