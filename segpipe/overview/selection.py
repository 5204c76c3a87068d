"""Which cases are shown: some of every class, of every fold and of the test cases, by lot."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping

import numpy as np


def spread_choice(
    strata: Mapping[str, tuple[str, frozenset[str]]], number: int, seed: int
) -> tuple[list[str], list[str]]:
    """Choose cases so that every class and every place has its share.

    One after the other, a case comes that has a class of which none was chosen yet; else one whose classes together
    were chosen least often, of these the one whose place was.

    Args:
        strata: case -> its place, such as a fold, and the classes that it has.
        number: how many to choose at the most.
        seed: of the lots; the same gives the same cases.

    Returns:
        the chosen cases and the others, each in the order of `strata`.
    """
    names = list(strata)
    lots = dict(zip(names, np.random.default_rng(seed).permutation(len(names)).tolist(), strict=True))
    seen: set[str] = set()
    together: Counter[frozenset[str]] = Counter()
    places: Counter[str] = Counter()
    chosen: set[str] = set()

    def turn(name: str) -> tuple[bool, int, int, int]:
        place, own = strata[name]
        return own <= seen, together[own], places[place], lots[name]

    while len(chosen) < min(number, len(names)):
        name = min((one for one in names if one not in chosen), key=turn)
        place, own = strata[name]
        chosen.add(name)
        seen |= own
        together[own] += 1
        places[place] += 1
    return [name for name in names if name in chosen], [name for name in names if name not in chosen]
