"""Sentences that a reader needs before the scores."""

import numpy as np

from segpipe.evaluation.classification import summarise_images


def cautions(images):
    return summarise_images(images, resamples=200).cautions


def test_one_class_for_every_image(of_classes):
    images = of_classes([[0.6, 0.3, 0.1]] * 30, np.arange(30) % 3)

    assert cautions(images)[0] == (
        "All 30 decisions are CNV: the accuracy shows how common it is, not what a network finds."
    )


def test_a_class_that_is_never_decided(of_classes):
    images = of_classes([[0.6, 0.3, 0.1], [0.1, 0.3, 0.6]] * 15, [0, 1] * 15)

    assert "No image was decided to be DME, although the images include it." in cautions(images)


def test_guessing_is_named(of_classes):
    random = np.random.default_rng(0)
    images = of_classes(random.dirichlet(np.ones(3), 90), np.arange(90) % 3)

    mean, *names = [text for text in cautions(images) if ".5" in text]
    assert mean.startswith("The mean AUROC is 0.")
    assert "do not show that the network does better than guessing" in mean
    assert names[0].startswith("The interval of the AUROC includes .5 for ")


def test_names_in_another_order_are_suspected(of_classes):
    targets = np.arange(90) % 3
    images = of_classes(np.where(np.eye(3)[targets] > 0, 0.1, 0.45), targets)

    assert "The mean AUROC is 0.000, below .5: are the names in another order than the outputs?" in cautions(
        images
    )


def test_few_images_and_few_patients(of_findings):
    truth = np.stack([np.arange(24) < 12, np.arange(24) < 4], axis=1).astype(float)
    values = np.clip(0.7 * truth + np.linspace(0.05, 0.25, 24)[:, None], 0, 1)
    images = of_findings(values, truth, patients=[f"p{number % 4}" for number in range(24)])

    assert cautions(images) == (
        "Fewer than 10 images with or without Nodule: no intervals, and not in the means over names.",
        "The images are of 4 patients: intervals of so few are too narrow.",
    )


def test_a_finding_that_nobody_knows(of_findings):
    truth = np.stack([np.arange(24) < 12, np.full(24, np.nan)], axis=1)
    values = np.clip(0.7 * np.nan_to_num(truth) + 0.1, 0, 1)

    assert "The truth of Nodule is unknown in every image: no score counts it." in cautions(
        of_findings(values, truth)
    )


def test_good_scores_have_no_caution(of_classes):
    targets = np.arange(90) % 3
    images = of_classes(np.eye(3)[targets] * 0.7 + 0.1, targets)

    assert cautions(images) == ()
