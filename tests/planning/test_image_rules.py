"""The numbers of a classification bundle follow from the images, each with its reason."""

from dataclasses import replace

import pytest
from tiny_classifier import write_image

from segpipe.categories import Categories
from segpipe.dataset import Case, Manifest, require_valid_images
from segpipe.errors import SegpipeError
from segpipe.planning.image_rules import ImageData, image_data, image_plan

CLASSES = Categories(("CNV", "DME", "NORMAL"), "class")
FINDINGS = Categories(("Effusion", "Mass"), "findings")
OCT = ImageData(CLASSES, 617, 300, {"CNV": 200, "DME": 190, "NORMAL": 227}, 496, (1.0, 1.55), 0, ("OCT",))
XRAY = ImageData(FINDINGS, 714, None, {"Effusion": 90, "Mass": 9}, 64, (1.0, 1.0), 0, ("X-ray",))


def value(plan, name):
    return plan.numbers[name].value


def test_large_images_have_the_size_of_imagenets_networks():
    plan = image_plan(OCT)

    assert (value(plan, "image_size"), value(plan, "shorter_side")) == ([224, 224], 256)
    assert (plan.network, plan.balanced) == ("efficientnet", False)


@pytest.mark.parametrize(
    ("side", "size", "shorter"), [(112, 224, 256), (111, 96, 96), (64, 64, 64), (28, 32, 32), (10, 32, 32)]
)
def test_small_images_are_not_enlarged(side, size, shorter):
    """Small sizes are multiples of 32."""
    plan = image_plan(replace(OCT, shorter_side=side))

    assert (value(plan, "image_size"), value(plan, "shorter_side")) == ([size, size], shorter)
    assert plan.augments is (side == 112)


def test_crops_are_stretched_as_much_as_the_images_differ():
    """The square root of 1.55 is 1.245; images of equal form are stretched by 10 %."""
    assert value(image_plan(OCT), "crop_ratio") == [0.81, 1.24]
    assert value(image_plan(replace(OCT, ratios=(1.0, 1.0))), "crop_ratio") == [0.91, 1.1]


@pytest.mark.parametrize(
    ("images", "share", "epochs", "why"),
    [
        (617, 0.8, 30, "15 steps each, 450 in all"),
        (10_000, 1.0, 5, "312 steps each, 1560 in all"),
        (20, 1.0, 60, "1 steps each, 60 in all"),
    ],
)
def test_the_schedule_has_450_steps_where_it_can(images, share, epochs, why):
    number = image_plan(replace(OCT, images=images), training_share=share).numbers["epochs"]

    assert (number.value, number.why) == (epochs, why)


def test_the_rate_grows_with_the_findings_over_which_the_loss_is_a_mean():
    assert (value(image_plan(OCT), "learning_rate"), value(image_plan(OCT), "weight_decay")) == (1.0, 1e-4)
    assert (value(image_plan(XRAY), "learning_rate"), value(image_plan(XRAY), "weight_decay")) == (2.0, 0.015)


def test_epochs_as_asked_for():
    number = image_plan(OCT, epochs=3).numbers["epochs"]

    assert (number.value, number.why) == (3, "asked for")


@pytest.mark.parametrize(
    ("counts", "weighting"),
    [
        ({"CNV": 150, "DME": 100, "NORMAL": 100}, None),
        ({"CNV": 151, "DME": 100, "NORMAL": 100}, "$losses.balanced_class_weights"),
    ],
)
def test_classes_are_weighted_from_one_and_a_half_times_as_many_images(counts, weighting):
    assert value(image_plan(replace(OCT, counts=counts)), "weighting") == weighting


def test_findings_are_weighted_if_one_can_be_learnt():
    """The weights of a finding whose images are all of one kind are 0, see `finding_weights`."""
    assert value(image_plan(XRAY), "weighting") == "$losses.finding_weights"
    for count in (0, 714):
        number = image_plan(replace(XRAY, counts={"Effusion": 90, "Mass": count})).numbers["weighting"]
        assert number.value == "$losses.finding_weights"
        assert number.why == (
            "findings are in 13 % of the training images; Mass cannot be learnt, since the training images are all "
            "with it or all without"
        )

        number = image_plan(replace(XRAY, counts={"Effusion": 714, "Mass": count})).numbers["weighting"]
        assert number.value is None
        assert number.why == "none, since no finding has training images with it and without it"


def test_held_out_images_do_not_decide_whether_the_loss_weighs():
    """In all images the classes are equal, and each finding is of both kinds; in those that train they are not."""
    classes = {"CNV": (200, 300), "DME": (100, 400), "NORMAL": (200, 300)}
    number = image_plan(
        replace(OCT, counts={"CNV": 200, "DME": 200, "NORMAL": 200}), training_images=classes
    ).numbers["weighting"]
    assert number.value == "$losses.balanced_class_weights"
    assert number.why == "200 training images of the commonest class, 100 of the rarest"

    found = {"Effusion": (60, 140), "Mass": (5, 195)}
    number = image_plan(XRAY, training_images=found).numbers["weighting"]
    assert (number.value, number.why) == (
        *("$losses.finding_weights", "findings are in 2.5 to 30 % of the training images"),
    )
    none_lacks = image_plan(XRAY, training_images={**found, "Mass": (9, 0)}).numbers["weighting"]
    assert none_lacks.why.startswith("findings are in 30 % of the training images; Mass cannot be learnt")


def test_one_finding_is_weighted_too():
    data = replace(XRAY, categories=Categories(("Mass",), "findings"), counts={"Mass": 50})
    number = image_plan(data, training_images={"Mass": (30, 90)}).numbers["weighting"]

    assert (number.value, number.why) == (
        *("$losses.finding_weights", "findings are in 25 % of the training images"),
    )


def test_balanced_sampling_replaces_weights():
    plan = image_plan(replace(OCT, counts={"CNV": 500, "DME": 50, "NORMAL": 67}), balanced=True)

    assert plan.balanced
    assert plan.numbers["weighting"].why.startswith("none: balanced sampling")


def test_densenet_has_neither_weights_of_imagenet_nor_a_backbone_to_freeze():
    plan = image_plan(OCT, "densenet")

    assert not {"pretrained", "levels", "unfreeze_after", "momentum"} & set(plan.numbers)
    assert {"pretrained", "levels", "unfreeze_after", "momentum"} <= set(image_plan(OCT).numbers)


def test_warnings():
    assert image_plan(OCT, validation_images={"CNV": 40, "DME": 38, "NORMAL": 45}).warnings == ()
    assert image_plan(OCT, validation_images={"CNV": 40, "DME": 29, "NORMAL": 45}).warnings == (
        "fewer than 30 validation images of DME (29): the best epoch and the thresholds are chosen on few",
    )
    assert image_plan(XRAY).warnings == (
        "fewer than 10 images with Mass (9): little can be learnt or measured about them",
        "some patients are unknown, so that no fold can be proved to divide no patient",
        "nothing validates: no calibration is fitted, and thresholds are one half",
    )


def test_refusals():
    with pytest.raises(
        SegpipeError, match="--network unet: must be one of efficientnet, densenet for classes"
    ):
        image_plan(OCT, "unet")
    with pytest.raises(SegpipeError, match="no image is of class DME; leave the class out, or add images"):
        image_plan(replace(OCT, counts={"CNV": 20, "DME": 0, "NORMAL": 20}))


def test_the_images_are_summed_up(tmp_path):
    """Sides 20 x 24, 21 x 24 and 30 x 24: the shorter ones are 20, 21 and 24."""
    cases = []
    for number, rows in enumerate((20, 21, 30)):
        write_image(tmp_path / f"{number}.png", number, (rows, 24))
        name = ("cnv", "DME", "CNV")[number]
        cases.append(Case(str(number), (f"{number}.png",), patient="p" if number else "q", classes=(name,)))
    manifest = Manifest("made", ("OCT",), dict(enumerate(CLASSES.names)), tuple(cases), target="class")
    reports = require_valid_images(cases, tmp_path, manifest)

    data = image_data(cases, reports, CLASSES, ("OCT",))

    assert data.counts == {"CNV": 2, "DME": 1, "NORMAL": 0}
    assert (data.images, data.patients, data.shorter_side, data.coloured) == (3, 2, 21, 0)
    assert data.ratios == (24 / 30, 24 / 20)
    unknown = [replace(cases[0], patient=None), *cases[1:]]
    assert image_data(unknown, reports, CLASSES, ("OCT",)).patients is None
