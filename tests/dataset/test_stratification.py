"""divided: no patient in two parts, parts of the requested sizes, and every class in every part if possible."""

import re
from collections import Counter
from dataclasses import replace
from itertools import product

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from segpipe.dataset import Case
from segpipe.dataset.stratification import divided
from segpipe.errors import SegpipeError


def make_cases(patients):
    return [
        Case(f"case{k:02d}", (f"{k}.nii",), f"{k}_seg.nii", patient) for k, patient in enumerate(patients)
    ]


CLASSES = st.frozensets(st.sampled_from("abcd"))
PATIENTS = st.lists(st.one_of(st.none(), st.sampled_from(["p1", "p2", "p3", "p4"])), min_size=2, max_size=25)


def covered(parts, present, number):
    """Return the classes of every part."""
    return {
        name
        for name in {name for classes in present for name in classes}
        if all(
            any(part == k and name in classes for part, classes in zip(parts, present, strict=True))
            for k in range(number)
        )
    }


@given(PATIENTS, st.data(), st.integers(0, 99))
def test_patients_stay_together_in_any_order(patients, data, seed):
    cases = make_cases(patients)
    groups = Counter(case.patient or case.case for case in cases)
    if len(groups) < 2:
        return
    shares = data.draw(st.lists(st.integers(1, 9), min_size=2, max_size=min(len(groups), 5)))
    present = data.draw(st.lists(CLASSES, min_size=len(cases), max_size=len(cases)))

    try:
        parts = divided(cases, shares, seed, present)
    except SegpipeError as refused:
        sizes = list(map(int, re.search("in parts of ([0-9, ]+), but", str(refused))[1].split(", ")))
        assert sum(sizes) == len(cases)
        assert max(groups.values()) > min(sizes)
        return

    pairs = {(case.patient or case.case, part) for case, part in zip(cases, parts, strict=True)}
    assert len(pairs) == len(groups)
    assert set(parts) == set(range(len(shares)))
    order = data.draw(st.permutations(range(len(cases))))
    again = divided([cases[k] for k in order], shares, seed, [present[k] for k in order])
    assert again == [parts[k] for k in order]


@given(st.lists(CLASSES, min_size=4, max_size=40), st.integers(2, 4), st.integers(0, 99))
def test_folds_have_their_sizes_and_the_classes_their_shares(present, number, seed):
    cases = make_cases([None] * len(present))

    parts = divided(cases, [1] * number, seed, present)

    sizes = Counter(parts)
    assert set(sizes) == set(range(number))
    assert max(sizes.values()) - min(sizes.values()) <= 1
    counts = Counter(name for classes in present for name in classes)
    alone = {name for name, count in counts.items() if count >= number}
    if alone:
        assert covered(parts, present, number) & alone  # the rarest at least


@given(PATIENTS, st.data(), st.integers(0, 99))
def test_no_fold_is_empty_however_many_cases_patients_have(patients, data, seed):
    cases = make_cases(patients)
    groups = len({case.patient or case.case for case in cases})
    if groups < 2:
        return
    number = data.draw(st.integers(2, groups))
    present = data.draw(st.lists(CLASSES, min_size=len(cases), max_size=len(cases)))

    assert set(divided(cases, [1] * number, seed, present)) == set(range(number))


@example([{"a"}, {"b"}, {"c"}, {"a", "d"}, {"a", "b", "c", "d"}], 0)
@given(st.lists(CLASSES, min_size=4, max_size=6), st.integers(0, 9))
def test_as_many_classes_in_both_parts_as_can_be(present, seed):
    """Every possible division covers at most one class more; a random draw orders the exchanges."""
    cases = make_cases([None] * len(present))

    parts = divided(cases, [1, 1], seed, present)

    halves = [len(cases) // 2, len(cases) - len(cases) // 2]
    best = max(
        len(covered(other, present, 2))
        for other in product(range(2), repeat=len(cases))
        if sorted(Counter(other).values()) == halves
    )
    assert len(covered(parts, present, 2)) >= best - 1


def test_a_rare_class_is_in_every_fold():
    """Five of a hundred cases have the class; a random division would sometimes put all five into one fold."""
    present = [{"common", "rare"} if k % 20 == 0 else {"common"} for k in range(100)]

    for seed in range(20):
        parts = divided(make_cases([None] * 100), [1] * 5, seed, present)
        assert covered(parts, present, 5) == {"common", "rare"}


def test_shares_are_numbers_of_cases_where_they_add_up():
    parts = divided(make_cases([None] * 100), [84, 16], 0)

    assert Counter(parts) == {0: 84, 1: 16}
    assert parts != divided(make_cases([None] * 100), [84, 16], 1)


def test_the_same_file_by_the_manifests_checksum_stays_on_one_side():
    cases = make_cases([None] * 6)
    cases[0] = replace(cases[0], sha256={"0.nii": "ab" * 32})
    cases[5] = replace(cases[5], sha256={"5.nii": "ab" * 32})

    for seed in range(10):
        parts = divided(cases, [1, 1], seed)
        assert parts[0] == parts[5]


def test_the_same_picture_stays_on_one_side():
    cases = make_cases(["p1", "p2", "p3", None, None, None])
    contents = ["x", "y", "x", "z", "y", "w"]

    for seed in range(10):
        parts = divided(cases, [1, 1], seed, None, contents)
        assert parts[0] == parts[2]
        assert parts[1] == parts[4]


def test_a_part_has_a_case_however_small_its_share():
    """Four cases by 1, 1, 3, 1: the shares are two thirds of a case three times, and two cases."""
    assert sorted(divided(make_cases([None] * 4), [1, 1, 3, 1], 0)) == [0, 1, 2, 3]
    assert Counter(divided(make_cases([None] * 12), [97, 1, 2], 0)) == {0: 10, 1: 1, 2: 1}


def test_classes_give_way_where_a_part_would_stay_empty():
    """The rarest class would put the single case into the larger part, and the other part would be empty."""
    cases = make_cases(["p", None, "p"])

    assert divided(cases, [1, 2], 0, [set(), {"a"}, {"b"}]) == [1, 0, 1]


@pytest.mark.parametrize(
    ("patients", "shares", "message"),
    [
        (["p"] * 5 + ["q"] * 5, [8, 2], "10 cases in parts of 8, 2, but up to 5 cases of one patient"),
        (["p"] * 5 + ["q"] * 4 + [None], [8, 1, 1], "a part would stay empty: 10 cases in parts of 8, 1, 1"),
        (["p", "p", "p"], [1, 1], "2 parts asked for 1 patients"),
        (
            [None, None],
            [1],
            r"1 part\(s\) or fold\(s\) are asked for, with the shares \[1\]; needs two or more",
        ),
        ([None, None], [1, 0], "each of 1 at least"),
    ],
)
def test_what_cannot_be_divided_is_refused(patients, shares, message):
    with pytest.raises(SegpipeError, match=message):
        divided(make_cases(patients), shares, 0)
