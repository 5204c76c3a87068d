"""Divide labelled images into parts with equal shares of every class or finding; a patient's images stay together.

Label maps mostly hold every class, and a part needs a few of each: `segpipe.dataset.stratification`. An image has one
class or a few findings, and a patient has up to dozens of images: here the numbers of images count.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence

import numpy as np
from numpy.typing import NDArray

from segpipe.dataset.manifest import Case
from segpipe.dataset.stratification import groups_of_cases, require_distinct, require_parts
from segpipe.errors import SegpipeError

Floats = NDArray[np.float64]

_SIZE_WEIGHT = 10.0  # of a part's size against one class
_MOST_PASSES = 30
_MOST_PARTNERS = 400  # groups that a group is compared with for an exchange
_GAIN = 1e-9


def balanced_parts(
    cases: Sequence[Case],
    shares: Sequence[int],
    seed: int,
    present: Sequence[Collection[str]],
    contents: Sequence[str] | None = None,
) -> list[int]:
    """Divide cases into parts of given shares with equal shares of every class; a patient's cases stay together.

    The function assigns patients one after the other, first those with many cases of rare classes, each to the part
    where the numbers of cases then deviate least from their shares (as in iterative stratification, Sechidis et al.,
    ECML PKDD 2011). Then patients move or change places, as long as the deviation falls. The deviation is the sum, over
    parts and classes, of the squared relative difference between the number of cases and its share; sizes of parts
    count more than a class.

    Args:
        cases: to divide, each id once.
        shares: relative sizes of the parts, such as (84, 16); equal shares make folds.
        seed: of the random order of the patients.
        present: the classes of each case that are known to be present, in the order of `cases`. A finding that is
            unknown does not count.
        contents: hash of each case's image content; cases with equal hashes stay together.

    Returns:
        The part of each case, 0 to len(shares) - 1, in the order of `cases`. The result depends on the seed and on the
        set of cases, not on their order. No part is empty.

    Raises:
        SegpipeError: a case id twice, a share below 1, fewer than two parts, fewer patients than parts, or a part would
            stay empty.
    """
    require_distinct(cases)
    groups = groups_of_cases(cases, contents)
    require_parts(shares, len(groups))
    random = np.random.default_rng(seed)
    order = list(range(len(groups)))
    random.shuffle(order)
    groups = [groups[position] for position in order]
    names = sorted({name for classes in present for name in classes})
    counts = np.array(
        [[len(group), *(sum(name in present[case] for case in group) for name in names)] for group in groups],
        dtype=np.float64,
    )
    deal = _Deal(counts, np.array(shares, dtype=np.float64))
    deal.deal_out()
    deal.improve(random)
    if len(set(deal.part_of.tolist())) < len(shares):
        raise SegpipeError(
            f"split: a part would stay empty: {len(cases)} cases, but up to {max(map(len, groups))} cases of one "
            "patient or image content stay together; give the small parts more"
        )
    part_of = [0] * len(cases)
    for group, part in zip(groups, deal.part_of.tolist(), strict=True):
        for case in group:
            part_of[case] = part
    return part_of


class _Deal:
    """An assignment of groups to parts.

    Attributes:
        counts: number of cases of each group, shape (groups, 1 + classes): all cases, then the cases of each class.
        part_of: part of each group; -1 where it has none.
        have: counts summed over the groups of each part, shape (parts, 1 + classes).
    """

    def __init__(self, counts: Floats, shares: Floats) -> None:
        self.counts, self.num_parts = counts, len(shares)
        self.want = np.outer(shares / shares.sum(), counts.sum(axis=0))
        self.have = np.zeros_like(self.want)
        self.part_of = np.full(len(counts), -1)
        weight = np.ones(counts.shape[1])
        weight[0] = _SIZE_WEIGHT * max(counts.shape[1] - 1, 1)
        self.scale = weight / np.maximum(self.want, 1) ** 2  # of a squared deviation

    def deal_out(self) -> None:
        """Give every group a part: groups with a large share of some class first; every part gets a group."""
        largest = (self.counts / np.maximum(self.counts.sum(axis=0), 1)).max(axis=1)
        order = np.argsort(-largest, kind="stable")
        for position, group in enumerate(order):
            empty = np.setdiff1d(np.arange(self.num_parts), self.part_of)
            left = len(order) - position
            open_parts = empty if left <= len(empty) else np.arange(self.num_parts)
            cost = self._cost_of_adding(self.counts[group])[open_parts]
            self._place(int(group), int(open_parts[np.argmin(cost)]))

    def improve(self, random: np.random.Generator) -> None:
        """Move groups, or exchange two, as long as the deviation falls."""
        for _ in range(_MOST_PASSES):
            changed = False
            for group in random.permutation(len(self.counts)).tolist():
                changed |= self._improve_one(group, random)
            if not changed:
                return

    def _improve_one(self, group: int, random: np.random.Generator) -> bool:
        """Make the best change of one group that lowers the deviation; return whether there was one."""
        here, counts = int(self.part_of[group]), self.counts[group]
        leaving = self._cost(here, -counts[None])[0]
        moves = leaving + self._cost_of_adding(counts)
        moves[here] = 0.0
        if np.count_nonzero(self.part_of == here) == 1:
            moves[:] = 0.0  # the part would be empty
        target = int(np.argmin(moves))
        best, partner = float(moves[target]), -1
        partners = np.flatnonzero(self.part_of != here)
        if len(partners) > _MOST_PARTNERS:
            partners = random.choice(partners, _MOST_PARTNERS, replace=False)
        if len(partners):
            change = self.counts[partners] - counts
            there = self.part_of[partners]
            exchanges = self._cost(here, change) + self._cost(there, -change)
            if exchanges.min() < best:
                best, partner = float(exchanges.min()), int(partners[np.argmin(exchanges)])
        if best > -_GAIN:
            return False
        if partner >= 0:
            target = int(self.part_of[partner])
            self._place(partner, here)
        self._place(group, target)
        return True

    def _cost_of_adding(self, counts: Floats) -> Floats:
        """Return by how much the deviation grows if a group goes into each part, shape (parts,)."""
        return self._cost(np.arange(self.num_parts), np.broadcast_to(counts, self.have.shape))

    def _cost(self, parts: int | NDArray[np.intp], change: Floats) -> Floats:
        """Return by how much the deviation grows if counts of parts change, one part a row of `change`."""
        away = self.have[parts] - self.want[parts]
        return np.asarray(((2 * away + change) * change * self.scale[parts]).sum(axis=-1))

    def _place(self, group: int, part: int) -> None:
        if self.part_of[group] >= 0:
            self.have[self.part_of[group]] -= self.counts[group]
        self.part_of[group] = part
        self.have[part] += self.counts[group]
