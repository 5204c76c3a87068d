"""spread_choice: every class, kind and part is represented, and the same seed gives the same choice."""

from collections import Counter

from segpipe.overview.selection import spread_choice


def strata(*rows):
    """Return strata with these numbers of cases, of a part and classes each."""
    entries = [(place, frozenset(classes)) for number, place, classes in rows for _ in range(number)]
    return {f"c{k:03d}": entry for k, entry in enumerate(entries)}


def test_a_rare_class_is_shown_whatever_the_lots():
    cases = strata((500, "fold 0", "a"), (1, "fold 1", "ab"))

    for seed in range(10):
        chosen, left_out = spread_choice(cases, 2, seed)
        assert "c500" in chosen
        assert (len(chosen), len(left_out)) == (2, 499)


def test_kinds_and_places_have_their_shares():
    """Three kinds have a hundred cases each in four folds; one kind has far more."""
    rows = [
        (100 * (1 + 9 * (kind == "a")), f"fold {fold}", kind) for kind in ("a", "ab", "") for fold in range(4)
    ]
    cases = strata(*rows)

    chosen, _ = spread_choice(cases, 24, 3)

    assert Counter(cases[name][1] for name in chosen) == {frozenset(kind): 8 for kind in ("a", "ab", "")}
    assert Counter(cases[name][0] for name in chosen) == {f"fold {fold}": 6 for fold in range(4)}


def test_chosen_and_left_out_are_all_in_their_order():
    cases = strata((30, "training", "a"), (10, "test", ""))

    chosen, left_out = spread_choice(cases, 12, 0)

    assert sorted([*chosen, *left_out]) == list(cases)
    assert chosen == sorted(chosen)
    assert left_out == sorted(left_out)
    assert {cases[name][0] for name in chosen} == {"training", "test"}
    assert spread_choice(cases, 12, 0) == (chosen, left_out)
    assert spread_choice(cases, 12, 1)[0] != chosen
    assert spread_choice(cases, 99, 0) == (list(cases), [])
