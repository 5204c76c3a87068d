"""Divide cases into parts of given sizes: no patient in two parts, every class in every part where possible."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Collection, Sequence

import numpy as np

from segpipe.dataset.leaks import image_keys
from segpipe.dataset.manifest import Case
from segpipe.errors import SegpipeError


def require_distinct(cases: Sequence[Case]) -> None:
    """Refuse a list that has a case id twice.

    Raises:
        SegpipeError: with that id.
    """
    ids = [case.case for case in cases]
    if len(set(ids)) < len(ids):
        raise SegpipeError(f"folds: the case {Counter(ids).most_common(1)[0][0]} stands twice; remove one")


def require_parts(shares: Sequence[int], num_patients: int) -> None:
    """Refuse parts that cannot be made.

    Raises:
        SegpipeError: a share below 1, fewer than two parts, or fewer patients than parts.
    """
    if len(shares) < 2 or min(shares) < 1:
        raise SegpipeError(
            f"split: {len(shares)} part(s) or fold(s) are asked for, with the shares {list(shares)}; needs two or "
            "more, each of 1 at least"
        )
    if num_patients < len(shares):
        raise SegpipeError(
            f"split: {len(shares)} parts asked for {num_patients} patients; needs a patient a part at least"
        )


def divided(
    cases: Sequence[Case],
    shares: Sequence[int],
    seed: int,
    present: Sequence[Collection[str]] | None = None,
    contents: Sequence[str] | None = None,
) -> list[int]:
    """Divide cases into parts of given shares, so that every part has every class; a patient's cases stay together.

    The function assigns the classes one after the other, the rarest first. Each patient goes to the part that lacks the
    class most (iterative stratification, Sechidis et al., ECML PKDD 2011), and the parts keep their sizes. Then parts
    exchange patients, as long as an exchange gives a part a class that it lacks.

    Args:
        cases: to divide, each id once.
        shares: relative sizes of the parts, such as (84, 16); equal shares make folds.
        seed: of the random order of the patients.
        present: the classes in each case, in the order of `cases`; None to balance numbers of cases alone.
        contents: hash of each case's image content; cases with equal hashes stay together.

    Returns:
        The part of each case, 0 to len(shares) - 1, in the order of `cases`. The result depends on the seed and on the
        set of cases, not on their order. Where every patient has one case, the sizes of the parts are their shares of
        all cases, rounded.

    Raises:
        SegpipeError: a case id twice, a share below 1, fewer than two parts, fewer patients than parts, or a part would
            stay empty, because each patient has more cases than the part's share.
    """
    require_distinct(cases)
    groups = groups_of_cases(cases, contents)
    require_parts(shares, len(groups))
    random = np.random.default_rng(seed)
    order = list(range(len(groups)))
    random.shuffle(order)
    groups = [groups[position] for position in order]
    classes = [
        frozenset() if present is None else frozenset(name for case in group for name in present[case])
        for group in groups
    ]
    sizes = _sizes(len(cases), shares, random)
    # the order of classes leaves a part empty more often, where patients have many cases
    for by_class in (True, False):
        deal = _Deal([len(group) for group in groups], classes, sizes, fill_all=len(set(shares)) == 1)
        deal.deal_out(by_class=by_class)
        deal.exchange()
        if len(set(deal.part_of)) == len(shares):
            break
    else:
        raise SegpipeError(
            f"split: a part would stay empty: {len(cases)} cases in parts of {', '.join(map(str, sizes))}, but up "
            f"to {max(map(len, groups))} cases of one patient or image content stay together; give the small parts "
            "more"
        )
    part_of = [0] * len(cases)
    for group, part in zip(groups, deal.part_of, strict=True):
        for case in group:
            part_of[case] = part
    return part_of


def groups_of_cases(cases: Sequence[Case], contents: Sequence[str] | None = None) -> list[list[int]]:
    """Return groups of cases that must stay together, as positions in `cases`; their order does not depend on `cases`.

    The cases of one patient stay together. So do the cases of one image file (equal path or checksum in the manifest)
    and, where `contents` is given, the cases of one image content.

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
    """Return integer sizes >= 1 in proportion to shares; the largest remainders are rounded up, ties by lot."""
    exact = [total * share / sum(shares) for share in shares]
    sizes = [max(int(size), 1) for size in exact]
    lots = random.permutation(len(shares))
    while sum(sizes) < total:
        sizes[min(range(len(shares)), key=lambda part: (sizes[part] - exact[part], lots[part]))] += 1
    while sum(sizes) > total:  # the minimum of 1 gives small shares too much
        large = [part for part, size in enumerate(sizes) if size > 1]
        sizes[max(large, key=lambda part: (sizes[part] - exact[part], lots[part]))] -= 1
    return sizes


class _Deal:
    """An assignment of groups of cases to parts; with `fill_all` no part stays empty, even beyond the sizes."""

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
        self.groups_with = Counter(name for names in classes for name in names)
        self.share = [size / sum(sizes) for size in sizes]

    def deal_out(self, *, by_class: bool) -> None:
        """Give every group a part: groups with the rarest class first, and large groups before small ones."""
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
        """Return the parts that a group may go to: only empty parts, if the groups left just fill them."""
        empty = [part for part in self.parts if not self.groups_in[part]]
        waiting = len(self.part_of) - self.groups_in.total()
        return empty if self.fill_all and empty and waiting <= len(empty) else self.parts

    def place(self, group: int, part: int) -> None:
        """Assign a group to a part; the group leaves its former part."""
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
        """Swap groups of equal size as long as a swap reduces the number of classes that parts lack.

        Only classes that every part can have count.
        """
        while (pair := self._worthwhile()) is not None:
            one, other = pair
            first, second = self.part_of[one], self.part_of[other]
            self.place(one, second)
            self.place(other, first)

    def _worthwhile(self) -> tuple[int, int] | None:
        """Return two groups whose swap is a gain; None where no swap is."""
        for part in self.parts:
            inside = [group for group, assigned in enumerate(self.part_of) if assigned == part]
            for name, count in sorted(self.groups_with.items()):
                if self.have[part, name] or count < len(self.parts):
                    continue
                for giver in (group for group, names in enumerate(self.classes) if name in names):
                    for taker in inside:
                        if self.weights[giver] == self.weights[taker] and self._gain(giver, taker) > 0:
                            return giver, taker
        return None

    def _gain(self, one: int, other: int) -> int:
        """Return how many classes the two parts gain by a swap of two groups, minus the classes that they lose."""
        gain = 0
        for leaves, comes in ((one, other), (other, one)):
            part = self.part_of[leaves]
            for name in self.classes[leaves] ^ self.classes[comes]:
                if self.groups_with[name] >= len(self.parts):
                    gain += self.have[part, name] == 0  # then the incoming group has the class
                    gain -= self.have[part, name] == 1 and name in self.classes[leaves]
        return gain
