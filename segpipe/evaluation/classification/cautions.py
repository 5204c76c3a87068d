"""Sentences that a reader needs before the scores of a classification."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from segpipe.errors import counted, shown
from segpipe.evaluation.classification.images import ClassifiedImages
from segpipe.evaluation.classification.score import Score
from segpipe.evaluation.classification.statistics import FEWEST_IMAGES, fewest_of_a_kind
from segpipe.evaluation.intervals import FEW_PATIENTS

_GUESSING = 0.5
_MOST_NAMES = 6


def cautions(
    images: ClassifiedImages, overall: Mapping[str, Score], by_name: Mapping[str, Mapping[str, Score]]
) -> list[str]:
    """Return the limits of the scores' validity, a sentence each.

    Args:
        images: the images.
        overall: scores over all names.
        by_name: class or finding -> its scores.
    """
    return [
        *_equal_decisions(images),
        *_guesses(overall, by_name),
        *_few_images(images),
        *_few_patients(images),
    ]


def _equal_decisions(images: ClassifiedImages) -> Iterator[str]:
    decisions = {images.decision_in_words(row) for row in range(len(images.cases))}
    if len(images.cases) > 1 and len(decisions) == 1:
        (decision,) = decisions
        yield (
            f"All {len(images.cases)} decisions are {decision}: the accuracy shows how common it is, not what a "
            "network finds."
        )
    elif images.chosen is not None:
        never = [
            name
            for place, name in enumerate(images.categories.names)
            if (images.targets == place).any() and not (images.chosen == place).any()
        ]
        if never:
            which = "it" if len(never) == 1 else "them"
            yield f"No image was decided to be {shown(never)}, although the images include {which}."


def _guesses(overall: Mapping[str, Score], by_name: Mapping[str, Mapping[str, Score]]) -> Iterator[str]:
    macro = overall["macro_auroc"]
    if macro.is_known and macro.low <= _GUESSING <= macro.high:
        yield (
            f"The mean AUROC is {macro.value:.3f}, and its interval {macro.low:.3f} to {macro.high:.3f} includes .5: "
            "these images do not show that the network does better than guessing."
        )
    elif macro.is_known and macro.high < _GUESSING:
        yield f"The mean AUROC is {macro.value:.3f}, below .5: are the names in another order than the outputs?"
    unsure = [name for name, scores in by_name.items() if _includes_guessing(scores["auroc"])]
    if unsure:
        yield (
            f"The interval of the AUROC includes .5 for {shown(unsure, most=_MOST_NAMES)}: not shown to be better "
            "than guessing."
        )


def _includes_guessing(score: Score) -> bool:
    return score.is_known and score.low <= _GUESSING <= score.high


def _few_images(images: ClassifiedImages) -> Iterator[str]:
    fewest = fewest_of_a_kind(images)
    few = [
        name for name, number in zip(images.categories.names, fewest, strict=True) if number < FEWEST_IMAGES
    ]
    kind = "class" if images.categories.exclusive else "finding"
    if len(few) == images.categories.num:
        yield (
            f"Every {kind} has fewer than {FEWEST_IMAGES} images with it, or without it: no score of a {kind} has an "
            "interval."
        )
    elif few:
        yield (
            f"Fewer than {FEWEST_IMAGES} images with or without {shown(few, most=_MOST_NAMES)}: no intervals, and not "
            "in the means over names."
        )
    absent = [name for place, name in enumerate(images.categories.names) if not images.known[:, place].any()]
    if absent:
        yield f"The truth of {shown(absent)} is unknown in every image: no score counts it."


def _few_patients(images: ClassifiedImages) -> Iterator[str]:
    patients = set(images.drawn)
    if len(patients) < FEW_PATIENTS:
        what = "patient" if images.patients else "image"
        yield f"The images are of {counted(len(patients), what)}: intervals of so few are too narrow."
    if images.patients is None:
        yield "The patients are not known: each image counts as one patient, and intervals may be too narrow."
