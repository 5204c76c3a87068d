"""What is read of nnU-Net's plans, and what is refused."""

from pathlib import Path

import pytest
from nnunet_models import CT_NUMBERS, name_of, plans

from segpipe.errors import SegpipeError
from segpipe.nnunet.configuration import Resampling, configuration_of

WHERE = Path("plans.json")


def read(of_plans, dims=3, channels=1):
    return configuration_of(of_plans, name_of(dims), channels, WHERE)


def test_axes_windows_spacing_and_splines_of_a_volume():
    configuration = read({**plans(), "transpose_forward": [1, 0, 2]})

    # nnU-Net's axes are the file's z, y, x; its first axis here is y, 1 of x, y, z
    assert configuration.axis_order == (1, 2, 0)
    assert configuration.window_size == (8, 16, 12)
    assert configuration.spacing_mm == (3.0, 1.5, 1.25)
    assert configuration.image == Resampling(3, 0, None, 3.0)
    assert configuration.scores == Resampling(1, 0, None, 3.0)
    assert not configuration.turns


def test_slices_of_a_2d_network_come_last_and_keep_their_spacing():
    configuration = read(plans(2), dims=2)

    assert configuration.axis_order == (1, 0, 2)
    assert configuration.spacing_mm == (1.5, 1.25, None)
    assert configuration.window_size == (16, 12)


def test_a_configuration_inherits_from_another():
    of_plans = plans()
    of_plans["configurations"]["larger"] = {"inherits_from": "3d_fullres", "patch_size": [16, 16, 16]}

    configuration = configuration_of(of_plans, "larger", 1, WHERE)

    assert configuration.window_size == (16, 16, 16)
    assert configuration.spacing_mm == (3.0, 1.5, 1.25)


def test_each_channel_has_its_scheme():
    names = ["CTNormalization", "ZScoreNormalization", "ZScoreNormalization", "NoNormalization"]
    of_plans = plans(normalization_schemes=names, use_mask_for_norm=[False, True, False, False])

    schemes = read(of_plans, channels=4).schemes

    assert schemes == (
        {"scheme": "ct", "mean": 40.0, "std": 20.0, "low": -50.0, "high": 150.0},
        {"scheme": "z-score", "within_nonzero": True},
        {"scheme": "z-score"},
        {"scheme": "none"},
    )


def test_plans_of_the_first_versions_name_no_architecture():
    of_plans = plans(
        UNet_class_name="PlainConvUNet",
        UNet_base_num_features=32,
        unet_max_num_features=100,
        n_conv_per_stage_encoder=[2, 2, 2],
        n_conv_per_stage_decoder=[2, 2],
        conv_kernel_sizes=[[3, 3, 3]] * 3,
        pool_op_kernel_sizes=[[1, 1, 1], [2, 2, 2], [2, 2, 2]],
    )
    del of_plans["configurations"]["3d_fullres"]["architecture"]
    of_plans["foreground_intensity_properties_by_modality"] = of_plans.pop(
        "foreground_intensity_properties_per_channel"
    )

    configuration = read(of_plans)

    assert configuration.network_class == "PlainConvUNet"
    assert configuration.network["features_per_stage"] == [32, 64, 100]
    assert configuration.network["conv_bias"] is True


def torch_resampling(of_plans):
    of_plans["configurations"]["3d_fullres"]["resampling_fn_data"] = "resample_torch_fornnunet"


def other_slices(of_plans):
    of_plans["configurations"]["3d_fullres"]["resampling_fn_data_kwargs"] = {"force_separate_z": True}


def itself(of_plans):
    of_plans["configurations"]["3d_fullres"]["inherits_from"] = "3d_fullres"


def without_ct_numbers(of_plans):
    of_plans["configurations"]["3d_fullres"]["normalization_schemes"] = ["CTNormalization"]
    of_plans["foreground_intensity_properties_per_channel"] = {"0": {"mean": CT_NUMBERS["mean"]}}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda p: p["configurations"].clear(), "has no configuration '3d_fullres'; its configurations are"),
        (lambda p: p.pop("configurations"), "plans.json: has no configurations"),
        (
            lambda p: p.update(label_manager="Mine"),
            "label_manager is 'Mine', which segpipe does not do; it does Lab",
        ),
        (
            lambda p: p.update(image_reader_writer="NaturalImage2DIO"),
            "image_reader_writer is 'NaturalImage2DIO'",
        ),
        (lambda p: p.update(transpose_forward=[0, 1]), "patch_size .* and transpose_forward .* do not fit"),
        (
            lambda p: p["configurations"]["3d_fullres"].update(previous_stage="3d_lowres"),
            "second stage of a cascade, whose network also takes the labels of 3d_lowres",
        ),
        (
            lambda p: p["configurations"]["3d_fullres"].update(preprocessor_name="Mine"),
            "preprocessor_name is 'Mine'",
        ),
        (
            lambda p: p["configurations"]["3d_fullres"].update(normalization_schemes=["Mine"]),
            "normalization_schemes is 'Mine'",
        ),
        (
            lambda p: p["configurations"]["3d_fullres"].pop("patch_size"),
            "3d_fullres: patch_size is None, must be a",
        ),
        (
            lambda p: p["configurations"]["3d_fullres"].update(use_mask_for_norm=[True, True]),
            "normalises 1 channels, dataset.json names 1",
        ),
        (torch_resampling, "resampling_fn_data is 'resample_torch_fornnunet'"),
        (other_slices, "images and probabilities are cut into slices by other rules"),
        (itself, "3d_fullres inherits from itself"),
        (without_ct_numbers, "lacks mean, std, percentile_00_5, percentile_99_5 of channel 0"),
    ],
)
def test_what_segpipe_does_not_do_is_refused(change, message):
    of_plans = plans()
    change(of_plans)

    with pytest.raises(SegpipeError, match=message):
        read(of_plans)
