"""Cases divided into parts of given sizes, no patient in two of them, every class in each where that can be."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Collection, Sequence

import numpy as np

from segpipe.dataset.leaks import image_keys
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
        SegpipeError: a case id twice, a share below 1, fewer than two parts, fewer patients than parts, or a part that
            would stay empty, because patients have more cases than its share.
    """
    require_distinct(cases)
    if len(shares) < 2 or min(shares) < 1:
        raise SegpipeError(
            f"split: asked for are {len(shares)} part(s) or fold(s) with the shares {list(shares)}; needs two or more, "
            "each of 1 at least"
        )
    groups = groups_of_cases(cases, contents)
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
    sizes = _sizes(len(cases), shares, random)
    for by_class in (
        True,
        False,
    ):  # patients of many cases leave a part empty more often in the order of classes
        deal = _Deal([len(group) for group in groups], classes, sizes, fill_all=len(set(shares)) == 1)
        deal.deal_out(by_class=by_class)
        deal.exchange()
        if len(set(deal.part_of)) == len(shares):
            break
    else:
        raise SegpipeError(
            f"split: a part would stay empty: {len(cases)} cases in parts of {', '.join(map(str, sizes))}, but up to "
            f"{max(map(len, groups))} cases of one patient or picture stay together; give the small parts more"
        )
    part_of = [0] * len(cases)
    for group, part in zip(groups, deal.part_of, strict=True):
        for case in group:
            part_of[case] = part
    return part_of


def groups_of_cases(cases: Sequence[Case], contents: Sequence[str] | None = None) -> list[list[int]]:
    """Return the positions of cases that must stay together, in an order that does not depend on theirs.

    Together stay the cases of a patient, of an image file (by path or by the manifest's checksum), and, where it is
    known, of a picture.

    Args:
        cases: each id once.
        contents: see `divided`.
    """
    merged = list(range(len(cases)))

    def root(position: int) -> int:
        while merged[position] != position:
            merged[position] = merged[merged[position]]
            position = merged[position]
        return position

    first: dict[tuple[str, str], int] = {}
    for position, case in enumerate(cases):
        keys = [("patient", case.patient)] if case.patient is not None else []
        keys += [("image", key) for key in image_keys(case)]
        keys += [("content", contents[position])] if contents is not None else []
        for key in keys:
            merged[root(position)] = root(first.setdefault(key, position))
    groups: dict[int, list[int]] = defaultdict(list)
    for position in range(len(cases)):
        groups[root(position)].append(position)
    return sorted(groups.values(), key=lambda group: min(cases[position].case for position in group))


def _sizes(total: int, shares: Sequence[int], random: np.random.Generator) -> list[int]:
    """Return whole sizes of 1 at least in proportion to shares; what rounding leaves goes by remainder, then by lot."""
    exact = [total * share / sum(shares) for share in shares]
    sizes = [max(int(size), 1) for size in exact]
    lots = random.permutation(len(shares))
    while sum(sizes) < total:
        sizes[min(range(len(shares)), key=lambda part: (sizes[part] - exact[part], lots[part]))] += 1
    while sum(sizes) > total:  # small shares have more than theirs
        large = [part for part, size in enumerate(sizes) if size > 1]
        sizes[max(large, key=lambda part: (sizes[part] - exact[part], lots[part]))] -= 1
    return sizes


class _Deal:
    """Groups of cases dealt out to parts; with `fill_all` none stays empty, though it then has more than its size."""

    def __init__(
        self,
        weights: Sequence[int],
        classes: Sequence[frozenset[str]],
        sizes: Sequence[int],
        *,
        fill_all: bool,
    ) -> None:
        self.weights, self.classes, self.fill_all = weights, classes, fill_all
        self.part_of = [-1] * len(weights)
        self.groups_in: Counter[int] = Counter()
        self.room = list(sizes)
        self.parts = range(len(sizes))
        self.have: Counter[tuple[int, str]] = Counter()
        self.groups_with = Counter(name for own in classes for name in own)
        self.share = [size / sum(sizes) for size in sizes]

    def deal_out(self, *, by_class: bool) -> None:
        """Give every group a part: those with the rarest class first, of these, or of all, the largest first."""
        while self.left():
            waiting = Counter(name for group in self.left() if by_class for name in self.classes[group])
            rarest = min(waiting, key=lambda name: (waiting[name], name), default=None)
            of_class = [group for group in self.left() if rarest is None or rarest in self.classes[group]]
            for group in sorted(of_class, key=lambda group: -self.weights[group]):
                parts = self._open_parts()
                self.place(group, max(parts, key=lambda part: self._fits(part, group, rarest)))

    def left(self) -> list[int]:
        """Return the groups without a part."""
        return [group for group, part in enumerate(self.part_of) if part < 0]

    def _open_parts(self) -> Sequence[int]:
        """Return the parts that a group may go to: the empty ones alone, where as many groups are left."""
        empty = [part for part in self.parts if not self.groups_in[part]]
        waiting = len(self.part_of) - self.groups_in.total()
        return empty if self.fill_all and empty and waiting <= len(empty) else self.parts

    def place(self, group: int, part: int) -> None:
        """Give a group a part, or another one."""
        before = self.part_of[group]
        if before >= 0:
            self.room[before] += self.weights[group]
            self.groups_in[before] -= 1
            self.have.subtract((before, name) for name in self.classes[group])
        self.part_of[group] = part
        self.room[part] -= self.weights[group]
        self.groups_in[part] += 1
        self.have.update((part, name) for name in self.classes[group])

    def _fits(self, part: int, group: int, name: str | None) -> tuple[bool, float, int]:
        lacks = 0.0 if name is None else self.share[part] * self.groups_with[name] - self.have[part, name]
        return self.room[part] >= self.weights[group], lacks, self.room[part]

    def exchange(self) -> None:
        """Swap groups of one size as long as the parts so lack fewer classes of those that all can have."""
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
                        if self.weights[giver] == self.weights[taker] and self._gain(giver, taker) > 0:
                            return giver, taker
        return None

    def _gain(self, one: int, other: int) -> int:
        """Return how many classes parts get that they lack, less those whose last they lose, if two groups swap."""
        gain = 0
        for leaves, comes in ((one, other), (other, one)):
            part = self.part_of[leaves]
            for name in self.classes[leaves] ^ self.classes[comes]:
                if self.groups_with[name] >= len(self.parts):
                    gain += self.have[part, name] == 0  # then the group that comes has it
                    gain -= self.have[part, name] == 1 and name in self.classes[leaves]
        return gain
