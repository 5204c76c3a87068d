"""The random selection of the cases that an overview shows, spread over classes, folds and test cases."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping

import numpy as np

from segpipe.dataset import Manifest


def spread_choice(
    strata: Mapping[str, tuple[str, frozenset[str]]], number: int, seed: int
) -> tuple[list[str], list[str]]:
    """Choose cases evenly over classes and places.

    The function chooses one case after the other. A case with a class that no chosen case has comes first; then the
    case whose classes were chosen least often, and among equal cases the case whose place was chosen least often.

    Args:
        strata: case -> its place, such as a fold, and its classes.
        number: largest number of chosen cases.
        seed: seed of the random order; equal seeds give equal cases.

    Returns:
        The chosen cases and the other cases, each in the order of `strata`.
    """
    names = list(strata)
    lots = dict(zip(names, np.random.default_rng(seed).permutation(len(names)).tolist(), strict=True))
    covered: set[str] = set()
    times_chosen: Counter[frozenset[str]] = Counter()
    places: Counter[str] = Counter()
    chosen: set[str] = set()

    def turn(name: str) -> tuple[bool, int, int, int]:
        place, classes = strata[name]
        return classes <= covered, times_chosen[classes], places[place], lots[name]

    while len(chosen) < min(number, len(names)):
        name = min((one for one in names if one not in chosen), key=turn)
        place, classes = strata[name]
        chosen.add(name)
        covered |= classes
        times_chosen[classes] += 1
        places[place] += 1
    return [name for name in names if name in chosen], [name for name in names if name not in chosen]


def places_of(manifest: Manifest) -> dict[str, str]:
    """Return case -> its place: its fold, else its part of the first split that names it, else its list."""
    places = {case.case: "training" for case in manifest.training} | {
        case.case: "test" for case in manifest.test
    }
    for name, split in reversed(list(manifest.splits.items())):
        for part in ("test", "validation", "train"):
            named = set(getattr(split, part))
            places |= {case.case: f"{part} of {name}" for case in manifest.training if case.case in named}
    return places | {case.case: f"fold {case.fold}" for case in manifest.training if case.fold is not None}
