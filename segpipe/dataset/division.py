"""Cases divided into parts of given sizes, no patient in two of them, every class in each where that can be."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Collection, Sequence

import numpy as np

from segpipe.dataset.manifest import Case
from segpipe.errors import SegpipeError


def require_distinct(cases: Sequence[Case]) -> None:
    """Refuse a case id that stands twice.

    Raises:
        SegpipeError: naming it.
    """
    ids = [case.case for case in cases]
    if len(set(ids)) < len(ids):
        raise SegpipeError(f"folds: the case {Counter(ids).most_common(1)[0][0]} stands twice; remove one")


def divided(
    cases: Sequence[Case],
    shares: Sequence[int],
    seed: int,
    present: Sequence[Collection[str]] | None = None,
    contents: Sequence[str] | None = None,
) -> list[int]:
    """Divide cases into parts of given shares, all cases of a patient in one, so that every part has every class.

    The classes are dealt out one after the other, the rarest first, each patient to the part that lacks the class most
    (iterative stratification, Sechidis et al., ECML PKDD 2011), while the parts keep their sizes; then patients are
    exchanged as long as a part so gets a class that it lacks.

    Args:
        cases: to divide, each id once.
        shares: of the parts, such as (84, 16); equal ones make folds.
        seed: of the order in which patients are dealt out.
        present: the classes in each case, in the order of `cases`; None to balance numbers of cases alone.
        contents: what tells that two cases show the same picture, such as a hash; those that do stay together.

    Returns:
        The part of each case, 0 to len(shares) - 1, in the order of `cases`. It depends on the seed and on which cases
        there are, not on their order. Where patients have one case each, parts have the sizes that their shares
        give, rounded.

    Raises:
        SegpipeError: a case id twice, a share below 1, fewer than two parts, or fewer patients than parts.
    """
    require_distinct(cases)
    if len(shares) < 2 or min(shares) < 1:
        raise SegpipeError(
            f"split: the shares are {list(shares)}; needs two parts or more, each of 1 at least"
        )
    groups = _groups(cases, contents)
    if len(groups) < len(shares):
        raise SegpipeError(
            f"split: {len(shares)} parts asked for {len(groups)} patients; needs a patient a part at least"
        )
    random = np.random.default_rng(seed)
    order = list(range(len(groups)))
    random.shuffle(order)
    groups = [groups[position] for position in order]
    classes = [
        frozenset() if present is None else frozenset(name for case in group for name in present[case])
        for group in groups
    ]
    deal = _Deal([len(group) for group in groups], classes, _sizes(len(cases), shares, random))
    deal.deal_out()
    deal.exchange()
    part_of = [0] * len(cases)
    for group, part in zip(groups, deal.part_of, strict=True):
        for case in group:
            part_of[case] = part
    return part_of


def _groups(cases: Sequence[Case], contents: Sequence[str] | None) -> list[list[int]]:
    """Return the positions of cases that must stay together, in an order that does not depend on theirs."""
    merged = list(range(len(cases)))

    def root(position: int) -> int:
        while merged[position] != position:
            position = merged[position]
        return position

    first: dict[tuple[str, str], int] = {}
    for position, case in enumerate(cases):
        keys = [("patient", case.patient)] if case.patient is not None else []
        keys += [("content", contents[position])] if contents is not None else []
        for key in keys:
            merged[root(position)] = root(first.setdefault(key, position))
    groups: dict[int, list[int]] = defaultdict(list)
    for position in range(len(cases)):
        groups[root(position)].append(position)
    return sorted(groups.values(), key=lambda group: min(cases[position].case for position in group))


def _sizes(total: int, shares: Sequence[int], random: np.random.Generator) -> list[int]:
    """Return whole sizes in proportion to shares; what rounding leaves goes to the largest remainders, by lot."""
    exact = [total * share / sum(shares) for share in shares]
    sizes = [max(int(size), 1) for size in exact]
    lots = random.permutation(len(shares))
    by_remainder = sorted(range(len(shares)), key=lambda part: (sizes[part] - exact[part], lots[part]))
    for part in by_remainder[: max(total - sum(sizes), 0)]:
        sizes[part] += 1
    return sizes


class _Deal:
    """Groups of cases dealt out to parts."""

    def __init__(
        self, weights: Sequence[int], classes: Sequence[frozenset[str]], sizes: Sequence[int]
    ) -> None:
        self.weights, self.classes = weights, classes
        self.part_of = [-1] * len(weights)
        self.room = list(sizes)
        self.parts = range(len(sizes))
        self.have: Counter[tuple[int, str]] = Counter()
        self.groups_with = Counter(name for own in classes for name in own)
        self.share = [size / sum(sizes) for size in sizes]

    def deal_out(self) -> None:
        """Give every group a part: those with the rarest class first, of these the largest first."""
        while self.left():
            waiting = Counter(name for group in self.left() for name in self.classes[group])
            rarest = min(waiting, key=lambda name: (waiting[name], name), default=None)
            of_class = [group for group in self.left() if rarest is None or rarest in self.classes[group]]
            for group in sorted(of_class, key=lambda group: -self.weights[group]):
                self.place(group, max(self.parts, key=lambda part: self._fits(part, group, rarest)))

    def left(self) -> list[int]:
        """Return the groups without a part."""
        return [group for group, part in enumerate(self.part_of) if part < 0]

    def place(self, group: int, part: int) -> None:
        """Give a group a part, or another one."""
        before = self.part_of[group]
        if before >= 0:
            self.room[before] += self.weights[group]
            self.have.subtract((before, name) for name in self.classes[group])
        self.part_of[group] = part
        self.room[part] -= self.weights[group]
        self.have.update((part, name) for name in self.classes[group])

    def _fits(self, part: int, group: int, name: str | None) -> tuple[bool, float, int]:
        lacks = 0.0 if name is None else self.share[part] * self.groups_with[name] - self.have[part, name]
        return self.room[part] >= self.weights[group], lacks, self.room[part]

    def exchange(self) -> None:
        """Swap groups of one size as long as a part so gets a class that it lacks, and none loses its last."""
        while (pair := self._worthwhile()) is not None:
            one, other = pair
            first, second = self.part_of[one], self.part_of[other]
            self.place(one, second)
            self.place(other, first)

    def _worthwhile(self) -> tuple[int, int] | None:
        """Return two groups to swap; None where nothing is left to be had."""
        for part in self.parts:
            inside = [group for group, own in enumerate(self.part_of) if own == part]
            for name, count in sorted(self.groups_with.items()):
                if self.have[part, name] or count < len(self.parts):
                    continue
                for giver in (group for group, own in enumerate(self.classes) if name in own):
                    for taker in inside:
                        if self._may_swap(giver, taker):
                            return giver, taker
        return None

    def _may_swap(self, one: int, other: int) -> bool:
        """Return whether two groups are of one size, and neither's part loses its last of a class that all can have."""
        return self.weights[one] == self.weights[other] and all(
            self.have[self.part_of[leaves], name] > 1 or name in self.classes[comes]
            for leaves, comes in ((one, other), (other, one))
            for name in self.classes[leaves]
            if self.groups_with[name] >= len(self.parts)
        )
