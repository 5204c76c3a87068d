"""nnU-Net's plain U-Net and MONAI's DynUNet are one network under two names."""

from pathlib import Path
from pydoc import locate

import pytest
import torch
from nnunet_models import name_of, network_of, plans

from segpipe.errors import SegpipeError
from segpipe.networks.state_fit import fitting_state
from segpipe.nnunet.configuration import configuration_of
from segpipe.nnunet.network import network_form, network_state

WHERE = Path("plans.json")


def form_of(of_plans, dims=3):
    return network_form(configuration_of(of_plans, name_of(dims), 1, WHERE), WHERE)


def loaded(form, theirs, dims):
    """Return the network of a form with the weights of nnU-Net's."""
    ours = locate(form.target)(dims, 1, 3, **form.numbers, **form.arguments).eval()
    state = network_state(theirs.state_dict(), form, WHERE, "nnUNetTrainer")
    ours.load_state_dict(fitting_state(WHERE, state, ours))
    return ours


def arguments_of(of_plans, dims=3):
    return of_plans["configurations"][name_of(dims)]["architecture"]["arch_kwargs"]


@pytest.mark.parametrize("dims", [2, 3])
def test_scores_are_equal(dims):
    """The biases before a norm are left out: the norm subtracts them."""
    of_plans = plans(dims)
    theirs = network_of(of_plans)
    form = form_of(of_plans, dims)
    ours = loaded(form, theirs, dims)

    image = torch.randn((2, 1, *[8, 16, 12][-dims:]), generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        torch.testing.assert_close(ours(image), theirs(image), atol=2e-4, rtol=1e-4)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"n_conv_per_stage": [2, 3, 2]}, r"has \[2, 3, 2, 2, 2\] convolutions a stage \(2 each\)"),
        ({"norm_op": "torch.nn.modules.batchnorm.BatchNorm3d"}, r"the norm BatchNorm3d \(InstanceNorm3d\)"),
        ({"nonlin": "torch.nn.ELU"}, r"the activation ELU \(LeakyReLU or ReLU\)"),
        ({"nonlin_first": True}, "nonlin_first"),
        ({"norm_op_kwargs": {"momentum": 0.1}}, "norm_op_kwargs {'momentum': 0.1}"),
        ({"n_stages": 0}, "n_stages is 0, must be a whole number above 0"),
        ({"features_per_stage": [4]}, r"features_per_stage is \[4\], must have 3 entries"),
        (
            {"kernel_sizes": [[2, 2, 2]] * 3, "strides": [[1, 1, 1]] * 3},
            "kernels and strides with another padding",
        ),
    ],
)
def test_layers_that_dynunet_lacks_are_refused(changes, message):
    of_plans = plans()
    arguments_of(of_plans).update(changes)

    with pytest.raises(SegpipeError, match=message):
        form_of(of_plans)


def test_another_network_is_refused():
    of_plans = plans()
    of_plans["configurations"]["3d_fullres"]["architecture"]["network_class_name"] = "a.b.Primus"

    with pytest.raises(SegpipeError, match="its network is Primus; segpipe imports PlainConvUNet and Res"):
        form_of(of_plans)


def test_the_slope_and_the_norm_are_those_of_the_plans():
    of_plans = plans()
    arguments_of(of_plans).update(nonlin_kwargs={"negative_slope": 0.2}, norm_op_kwargs={"eps": 0.001})

    form = form_of(of_plans)

    assert form.arguments["act_name"] == ["leakyrelu", {"inplace": True, "negative_slope": 0.2}]
    assert form.arguments["norm_name"] == ["instance", {"affine": False, "eps": 0.001}]


def test_tensors_of_another_network_are_refused():
    state = dict(network_of(plans()).state_dict())
    state["encoder.stages.0.0.convs.2.conv.weight"] = torch.ones(1)

    with pytest.raises(
        SegpipeError, match=r"not that of the plans: it has encoder.stages.0.0.convs.2.conv.weight"
    ):
        network_state(state, form_of(plans()), WHERE, "nnUNetTrainer")


def test_a_missing_tensor_is_refused():
    state = dict(network_of(plans()).state_dict())
    del state["decoder.transpconvs.1.weight"]

    with pytest.raises(SegpipeError, match=r"it lacks decoder.transpconvs.1.weight"):
        network_state(state, form_of(plans()), WHERE, "nnUNetTrainer")


def test_a_trainer_of_its_own_needs_the_users_word():
    state = network_of(plans()).state_dict()

    with pytest.raises(
        SegpipeError, match=r"was trained by MyTrainer, which may build .* give --network-of-plans"
    ):
        network_state(state, form_of(plans()), WHERE, "MyTrainer")

    assert network_state(state, form_of(plans()), WHERE, "MyTrainer", as_planned=True)


def test_one_kernel_at_all_levels_is_monais_network():
    of_plans = plans()
    arguments_of(of_plans)["kernel_sizes"] = [[3, 3, 3]] * 3
    theirs, form = network_of(of_plans), form_of(of_plans)

    assert form.target == "monai.networks.nets.DynUNet"
    assert form_of(plans()).target == "segpipe.networks.PlainConvUNet"
    ours = loaded(form, theirs, 3)
    image = torch.randn((1, 1, 8, 16, 12), generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        torch.testing.assert_close(ours(image), theirs(image), atol=2e-4, rtol=1e-4)
