"""The planning rules on invented fingerprints: each number depends on its inputs and on nothing else."""

import math
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from segpipe.errors import SegpipeError
from segpipe.planning import Channel, Class, Fingerprint, PlanOptions
from segpipe.planning.rules import plan

MRI = Channel("MRI", 0.0, 900.0, 100.0, 700.0)
CT = Channel("CT", -1000.0, 1200.0, -80.4, 210.2)
EIGHT_BIT = Channel("CT", 0.0, 240.0, 30.0, 200.0)


def fingerprint(
    size=(35, 50, 36), spacing=(1.0, 1.0, 1.0), cases=100, channels=(MRI,), classes=((0.9, 1.0), (0.1, 1.0))
):
    return Fingerprint(
        patients=cases,
        sizes=(size,) * cases,
        spacings_mm=(spacing,) * cases,
        channels=tuple(channels),
        classes=tuple(Class(share, round(having * cases)) for share, having in classes),
    )


def linear(architecture, batch_size, patch_size):
    return batch_size * math.prod(patch_size) * 2000


def planned(data, **options):
    return plan(data, PlanOptions(**{"training_share": 0.8, **options}), linear)


def numbers(data, **options):
    return {name: number.value for name, number in planned(data, **options).numbers.items()}


def test_a_small_volume_is_a_patch():
    values = numbers(fingerprint())

    assert values["patch_size"] == values["window_size"] == [32, 48, 32]
    assert values["spacing_mm"] == [1.0, 1.0, 1.0]
    assert values["filters"] == [16, 32, 64, 128]
    assert values["strides"] == [1, 2, 2, 2]
    assert values["kernel_size"] == [3, 3, 3, 3]
    assert not planned(fingerprint()).crops_by_class


def test_a_large_volume_is_cut_into_cubes_in_mm():
    values = numbers(fingerprint((512, 512, 120), (0.8, 0.8, 2.4), channels=(CT,)))

    extents = [n * mm for n, mm in zip(values["patch_size"], (0.8, 0.8, 2.4), strict=True)]
    assert max(extents) < 1.5 * min(extents)
    assert math.prod(values["patch_size"]) <= 96 * 96 * 32


def test_a_patch_of_a_part_is_drawn_round_classes():
    assert planned(fingerprint((200, 200, 200))).crops_by_class


def test_a_coarse_axis_is_halved_later_and_spared_by_kernels_and_turns():
    values = numbers(fingerprint((256, 256, 40), (0.6, 0.6, 3.0)))

    assert values["strides"][1] == [2, 2, 1]
    assert values["kernel_size"][0] == [3, 3, 1]
    assert values["kernel_size"][-1] == [3, 3, 3]
    assert values["rotation"][:2] == [0.0, 0.0]
    assert values["scaling"][2] == 0.0


def test_a_segnets_pools_spare_a_coarse_axis_too():
    """Soft-tissue CT: 85 x 86 x 5 voxels were left at the coarsest level when each pool halved every axis or none."""
    result = planned(fingerprint((170, 172, 57), (0.98, 0.98, 3.27)), network="segnet")
    values = {name: number.value for name, number in result.numbers.items()}

    assert values["strides"][0] == [2, 2, 1]
    assert [2, 2, 2] in values["strides"]
    assert len(values["strides"]) == len(values["stages"])
    coarsest = [
        size // unit for size, unit in zip(values["patch_size"], result.architecture.units, strict=True)
    ]
    assert max(coarsest) <= 12
    assert "kernels have 3 voxels along each axis" in result.numbers["strides"].why
    assert not result.warnings


def test_a_segnet_of_cubes_has_the_strides_of_its_class():
    assert "strides" not in numbers(fingerprint(), network="segnet")
    assert "strides" not in numbers(fingerprint((512, 512), (1.0, 1.0)), network="segnet")


def test_images_too_narrow_to_be_halved_are_warned_of():
    result = planned(fingerprint((400, 9), (1.0, 1.0)))

    assert "coarsest level still has" in result.warnings[0]
    assert len(result.numbers["widths"].value) >= 2  # the network can be made


def test_the_coarse_axis_of_some_scans_is_not_that_of_all():
    spacings = ((1.0, 1.0, 2.0),) * 4 + ((1.0, 1.0, 5.0),) * 6
    data = replace(fingerprint((128, 128, 40), cases=10), spacings_mm=spacings)

    assert numbers(data)["spacing_mm"] == [1.0, 1.0, 2.0]


@pytest.mark.parametrize(
    ("size", "spacing"),
    [((256, 256, 30), (0.7, 0.7, 7.0)), ((256, 256, 5), (1.0, 1.0, 3.0))],
    ids=["thick", "few"],
)
def test_thick_or_few_slices_are_taken_by_themselves(size, spacing):
    result = planned(fingerprint(size, spacing, channels=(CT,)))

    assert result.architecture.dims == 2
    assert result.numbers["spacing_mm"].value == [*spacing[:2], None]
    assert result.crops_by_class


def test_slices_are_taken_along_the_coarsest_axis():
    result = planned(fingerprint((256, 20, 250), (0.9, 9.0, 1.0)))

    assert result.axcodes == "RSA"
    assert result.numbers["spacing_mm"].value == [0.9, 1.0, None]


def test_slices_of_cubes_are_axial():
    assert planned(fingerprint(), dims=2).axcodes == "RAS"


def test_other_blocks_need_the_unet_of_segpipe():
    """In 3D MONAI's DynUNet is planned, which has none of them; the patch is then halved along all axes alike."""
    result = planned(fingerprint(), conv="dynamic", attention="multi_scale_context")
    values = {name: number.value for name, number in result.numbers.items()}

    assert result.architecture.name == "UNet"
    assert (result.architecture.conv, result.architecture.attention) == ("dynamic", "multi_scale_context")
    assert (values["conv"], values["attention"]) == ("dynamic", "multi_scale_context")
    assert values["widths"] == [16, 32, 64, 128]
    assert values["patch_size"] == [32, 48, 32]
    assert planned(fingerprint()).architecture.name == "DynUNet"


def test_cases_are_drawn_by_their_rarest_class_where_that_is_asked_for():
    data = fingerprint(cases=50, classes=((0.9, 1.0), (0.09, 0.8), (0.01, 0.1)))

    assert numbers(data)["sampling"] == "shuffled"
    number = planned(data, balanced=True).numbers["sampling"]
    assert number.value == "rarest_class"
    assert number.why.endswith("the rarest of all is in 5 of 50 cases")


def test_dimensions_can_be_asked_for():
    assert planned(fingerprint(), dims=2).architecture.dims == 2
    assert planned(fingerprint((256, 256, 30), (0.7, 0.7, 7.0)), dims=3).architecture.dims == 3


def test_2d_images_have_no_third_dimension():
    with pytest.raises(SegpipeError, match="are 2D images"):
        planned(fingerprint((512, 512), (1.0, 1.0)), dims=3)


def test_inference_takes_a_whole_2d_image():
    values = numbers(fingerprint((512, 512), (1.0, 1.0)))

    assert "spacing_mm" not in values
    assert values["patch_size"] == [384, 384]
    assert values["window_size"] == [512, 512]
    assert values["widths"] == [8, 16, 32, 64, 128, 256, 256]


def test_many_small_images_make_a_batch():
    assert numbers(fingerprint((64, 64), (1.0, 1.0), cases=700))["batch_size"] == 16


@pytest.mark.parametrize(
    ("channels", "expected"),
    [
        ((CT,), "hu"),
        ((EIGHT_BIT,), "uint8"),
        ((MRI,), "z-score"),
        ((replace(MRI, modality="MRI T1"), replace(MRI, modality="MRI FLAIR")), "z-score"),
        ((CT, replace(MRI, modality="PET")), "z-score"),
        ((replace(CT, low=-1.5, high=3.0),), "z-score"),
        ((replace(CT, modality="contrast-enhanced CT (portal)"),), "hu"),
        ((replace(CT, modality="PET/CT"), replace(CT, modality="SPECT")), "z-score"),
    ],
    ids=["hu", "8-bit", "mri", "two-mri", "pet-ct", "z-scored-ct", "ct-in-words", "spect"],
)
def test_intensities_by_modality(channels, expected):
    assert planned(fingerprint(channels=channels)).intensity == expected


def test_the_window_is_the_foregrounds():
    assert numbers(fingerprint(channels=(CT,)))["window_hu"] == [-81.0, 211.0]


def test_ct_that_is_in_no_known_unit_is_warned_of():
    (warning,) = planned(fingerprint(channels=(replace(CT, low=5.0, high=3000.0),))).warnings

    assert "neither in HU" in warning


def test_classes_alike_are_not_weighted():
    values = numbers(fingerprint(classes=((0.9, 1), (0.06, 1), (0.04, 1))))

    assert "weight_power" not in values
    assert values["dice_weight"] == 1.0
    assert values["batch_dice"] is False


def test_a_rare_class_is_weighted():
    values = numbers(fingerprint(classes=((0.9, 1), (0.09, 1), (0.01, 0.25))))

    assert values["weight_power"] == 0.5
    assert values["dice_weight"] == 3.0
    assert values["batch_dice"] is True


def test_a_class_that_nobody_has_gets_no_weight_and_a_warning():
    result = planned(fingerprint(classes=((0.9, 1), (0.1, 1), (0.0, 0))))

    assert "weight_power" not in result.numbers
    assert "1 of 2 classes are in no label map" in result.warnings[0]


def test_a_single_patient_is_warned_of():
    (warning,) = planned(fingerprint(cases=1), training_share=1.0).warnings

    assert "nothing can be held out" in warning


def test_cases_without_folds_are_warned_of():
    (warning,) = planned(fingerprint(), training_share=1.0).warnings

    assert "segpipe data split" in warning


@pytest.mark.parametrize("cases", [1, 9, 200, 5000])
def test_trainings_see_as_many_patches_however_many_cases(cases):
    values = numbers(fingerprint(cases=cases), training_share=1.0)

    patches = values["epochs"] * values["patches_per_case"] * cases
    assert 2240 * 0.6 <= patches <= max(2240 * 1.4, cases)
    assert values["patches_per_case"] * cases >= 64 or cases == 9


def test_epochs_can_be_asked_for():
    assert numbers(fingerprint(), epochs=3)["epochs"] == 3


def test_a_card_sees_more():
    processor, card = (
        numbers(fingerprint((256, 256, 256)), cuda=cuda, memory_gb=64) for cuda in (False, True)
    )

    assert math.prod(card["patch_size"]) > 4 * math.prod(processor["patch_size"])
    assert card["epochs"] > 5 * processor["epochs"]


def test_less_memory_is_a_smaller_patch():
    data = fingerprint((200, 200, 200))
    large, small = (planned(data, memory_gb=gigabytes) for gigabytes in (8.0, 1.0))

    assert math.prod(small.numbers["patch_size"].value) < math.prod(large.numbers["patch_size"].value)
    assert "would not fit the memory" in small.numbers["patch_size"].why
    assert small.peak_gb <= 1.0


def test_images_that_do_not_fit_are_read_again():
    data = fingerprint((512, 512, 300), channels=(CT,))

    assert numbers(data, memory_gb=8.0)["cache"] is False
    assert numbers(data, memory_gb=200.0)["cache"] is True


def test_validation_that_holds_more_than_is_given_is_refused_with_a_way_out():
    data = fingerprint((512, 512, 400), channels=(CT,), classes=((0.9, 1), *[(0.01, 1)] * 10))

    # 512 * 512 * 400 voxels of 11 classes, 4 bytes each, held 4 times: 18.5 GB, and the process
    message = r"512 x 512 x 400 voxels with 11 classes, takes about 19\.0 GB; give --memory 19\.1GB"
    with pytest.raises(SegpipeError, match=message):
        planned(data, memory_gb=8.0)
    assert planned(data, memory_gb=19.1).peak_gb <= 19.1
    without = planned(data, memory_gb=8.0, training_share=1.0, validate=False)
    assert without.peak_gb < 8.0
    assert "validates on none, as asked for" in without.warnings[0]


def test_too_little_memory_is_refused_with_what_it_takes():
    with pytest.raises(SegpipeError, match=r"even a patch of 8 x 8 x 8 voxels.*give --memory 0\.6GB or more"):
        planned(fingerprint((200, 200, 200)), memory_gb=0.5)


def test_an_unknown_network_is_refused():
    with pytest.raises(SegpipeError, match="choose one of unet, segnet"):
        planned(fingerprint(), network="unett")


def with_offsets(data, *offsets):
    """Return a fingerprint with these mean offsets of foreground classes, each with an error of 0.01."""
    classes = [
        replace(one, offsets=tuple((mean, 0.01) for mean in means))
        for one, means in zip(data.classes[1:], offsets, strict=True)
    ]
    return replace(data, classes=(data.classes[0], *classes))


@pytest.mark.parametrize(
    ("size", "offsets", "expected"),
    [
        ((64, 64), (0.01, 0.2), [0]),
        ((64, 64), (0.01, -0.02), [0, 1]),
        ((64, 64), (-0.1, 0.2), []),
        ((35, 50, 36), (0.01, 0.0, 0.0), [0]),
        ((35, 50, 36), (-0.1, 0.0, 0.0), []),
    ],
    ids=["one-axis", "both", "none", "volumes-left-right-alone", "a-left-organ"],
)
def test_patches_are_mirrored_where_both_sides_have_the_classes(size, offsets, expected):
    data = with_offsets(fingerprint(size, (1.0,) * len(size)), offsets)

    assert planned(data).mirrors.value == expected


def test_slices_are_mirrored_along_the_axis_that_left_and_right_have_in_them():
    data = with_offsets(fingerprint((20, 256, 250), (9.0, 0.9, 1.0)), (0.0, 0.0, 0.0))

    assert planned(data).mirrors.value == []  # left and right are across the slices


def test_a_class_of_few_cases_says_nothing_of_sides():
    data = with_offsets(fingerprint(cases=5), (0.0, 0.0, 0.0))

    assert planned(data).mirrors.value == []


@pytest.mark.parametrize("name", ["contrast", "brightness", "noise"])
def test_the_numbers_of_ct_are_changed_less(name):
    mri, ct, eight_bit = (numbers(fingerprint(channels=(one,)))[name] for one in (MRI, CT, EIGHT_BIT))

    assert 0 < ct == eight_bit < 0.7 * mri


def test_every_number_says_why():
    for number in planned(fingerprint()).numbers.values():
        assert len(number.why) > 5
        assert "\n" not in number.why


@settings(max_examples=200, deadline=None)
@given(
    size=st.lists(st.integers(8, 600), min_size=2, max_size=3),
    data=st.data(),
    memory=st.sampled_from([1.0, 2.0, 8.0]),
    network=st.sampled_from(["unet", "segnet"]),
    cuda=st.booleans(),
)
def test_whatever_the_data_the_numbers_fit_each_other(size, data, memory, network, cuda):
    spacing = [data.draw(st.floats(0.3, 10.0)) for _ in size]
    result = planned(
        fingerprint(tuple(size), tuple(spacing), cases=5),
        memory_gb=memory,
        network=network,
        cuda=cuda,
        training_share=1.0,
    )
    values = {name: number.value for name, number in result.numbers.items()}

    units = result.architecture.units
    assert len(values["patch_size"]) == result.architecture.dims
    for name in ("patch_size", "window_size"):
        assert all(n >= unit and n % unit == 0 for n, unit in zip(values[name], units, strict=True)), name
        assert any(n >= 2 * unit for n, unit in zip(values[name], units, strict=True)), name
    assert result.peak_gb <= memory
    assert 1 <= values["batch_size"] <= 16
    assert values["epochs"] >= values["val_interval"] >= 1


def test_a_residual_encoder_for_a_processor_is_as_wide_as_the_u_net():
    volumes, slices = (
        numbers(fingerprint(), network="resenc"),
        numbers(fingerprint((64, 64)), network="resenc"),
    )

    assert (volumes["widths"], volumes["blocks"]) == ([16, 32, 64, 128], [1, 1, 2, 2])
    assert (slices["widths"], slices["blocks"]) == ([8, 16, 32, 64, 128], [1] * 5)
    assert volumes["deep_supervision"] is slices["deep_supervision"] is True
    assert "dropout" in slices
    assert "dropout" not in volumes


@pytest.mark.parametrize(
    ("preset", "patch", "batch"),
    [("M", [128, 128, 128], 2), ("L", [160, 160, 192], 2)],
)
def test_a_preset_fills_its_memory_with_two_patches(preset, patch, batch):
    """At 2,000 bytes a voxel, M's 9.42 GB hold two patches of 2.35 million voxels, L's 23.42 of 5.85 million."""
    values = numbers(fingerprint((256, 256, 256)), network="resenc", preset=preset, memory_gb=64)

    assert (values["patch_size"], values["batch_size"]) == (patch, batch)
    assert values["widths"] == [32, 64, 128, 256, 320, 320]
    assert values["blocks"] == [1, 3, 4, 6, 6, 6]


def test_a_preset_of_small_cases_has_a_twentieth_of_the_voxels_in_a_batch():
    """100 cases of 63,000 voxels: 315,000 in a step are 6.4 patches of 32 x 48 x 32."""
    values = numbers(fingerprint(), network="resenc", preset="M", memory_gb=64)

    assert (values["patch_size"], values["batch_size"]) == ([32, 48, 32], 6)


def test_a_preset_on_a_processor_is_warned_of():
    choice = {"network": "resenc", "preset": "M", "memory_gb": 64}

    (warning,) = planned(fingerprint(), **choice).warnings

    assert "on a processor its training takes many times as long" in warning
    assert planned(fingerprint(), **choice, cuda=True).warnings == ()


def test_a_preset_that_does_not_fit_is_refused():
    message = (
        r"--preset L needs about 2[0-9.]+ GB of memory: a step of 2 patches of .* GB, and there are 8 GB; choose "
        r"--preset M, or leave --preset out"
    )
    with pytest.raises(SegpipeError, match=message):
        planned(fingerprint((256, 256, 256), cases=4), network="resenc", preset="L", memory_gb=8)
