"""Parts of labelled images: patients undivided, numbers of every class in their shares."""

from collections import Counter, defaultdict

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from segpipe.dataset import Case, Manifest, divide_manifest, with_folds
from segpipe.dataset.case_balance import balanced_parts
from segpipe.errors import SegpipeError


def images(*patients):
    """Cases of patients, each given as a list of the classes of its images: "a" or "ab" or ""."""
    return [
        Case(f"p{number}_{image}", (f"{number}_{image}.png",), patient=f"p{number}", classes=tuple(classes))
        for number, of_patient in enumerate(patients)
        for image, classes in enumerate(of_patient)
    ]


def parts_of(cases, shares, seed=0):
    return balanced_parts(cases, shares, seed, [case.classes for case in cases])


def counted(cases, parts):
    """Return part -> class -> number of cases."""
    counts = defaultdict(Counter)
    for case, part in zip(cases, parts, strict=True):
        counts[part].update(case.classes)
    return counts


def test_classes_have_equal_shares():
    # 20 patients of one image: 10 of a, 5 of b, 5 of c; five folds of four
    cases = images(*[["a"]] * 10, *[["b"]] * 5, *[["c"]] * 5)

    counts = counted(cases, parts_of(cases, [1] * 5))

    assert all(counts[fold] == {"a": 2, "b": 1, "c": 1} for fold in range(5))


def test_numbers_of_images_count_and_not_numbers_of_patients():
    # a has 12 images of 7 patients: the patient with six images stands against the six patients with one
    cases = images(["a"] * 6, *[["a"]] * 6, *[["b"]] * 8)

    counts = counted(cases, parts_of(cases, [1, 1]))

    assert counts[0] == counts[1] == {"a": 6, "b": 4}


def test_findings_of_one_image_are_balanced_together():
    # ab, a, b, none: eight patients each; half of 16 is 8 for a and for b
    cases = images(*[["ab"]] * 8, *[["a"]] * 8, *[["b"]] * 8, *[[""]] * 8)

    parts = parts_of(cases, [1, 1])
    counts = counted(cases, parts)

    assert Counter(parts) == {0: 16, 1: 16}
    assert counts[0] == counts[1] == {"a": 8, "b": 8}


def test_a_share_is_kept():
    cases = images(*[["a"]] * 60, *[["b"]] * 40)

    counts = counted(cases, parts_of(cases, [80, 20]))

    assert (counts[0], counts[1]) == ({"a": 48, "b": 32}, {"a": 12, "b": 8})


def test_unknown_findings_do_not_count():
    known = images(*[["a"]] * 4, *[[""]] * 4)
    cases = [
        Case(one.case, one.images, patient=one.patient, classes=one.classes, unknown=("b",)) for one in known
    ]
    manifest = Manifest("set", ("X-ray",), {0: "a", 1: "b"}, tuple(cases), target="findings", splits={})

    divided = with_folds(manifest, 2, seed=0)

    assert [case.fold for case in divided.training] == parts_of(known, [1, 1])
    counts = counted(divided.training, [case.fold for case in divided.training])
    assert counts[0]["a"] == counts[1]["a"] == 2


def test_equal_contents_stay_together():
    cases = images(*[["a"]] * 6)

    parts = balanced_parts(cases, [1, 1], 0, [case.classes for case in cases], ["x", "y", "x", "z", "x", "w"])

    assert parts[0] == parts[2] == parts[4]
    assert sorted(Counter(parts).values()) == [3, 3]


def test_division_names_classes_of_few_patients():
    # b has three images of one patient, of two parts
    cases = images(*[["a"]] * 5, ["b", "b", "b"])
    manifest = Manifest("set", ("OCT",), {0: "a", 1: "b"}, tuple(cases), target="class")

    division = divide_manifest(manifest, None, num_folds=2)

    assert division.notes == [
        "fewer patients than the 2 parts: b (3 images of 1 patient); a score of such a class in a part without it is "
        "empty: make fewer parts, or add images of other patients"
    ]
    assert [part.cases for part in division.parts] == [4, 4]
    assert sorted(part.cases_with["b"] for part in division.parts) == [0, 3]


def test_a_split_is_balanced_too():
    cases = images(*[["a"]] * 20, *[["b"]] * 10)
    manifest = Manifest("set", ("OCT",), {0: "a", 1: "b"}, tuple(cases), target="class")

    division = divide_manifest(manifest, None, shares={"train": 80, "validation": 0, "test": 20})

    assert [(part.name, dict(part.cases_with)) for part in division.parts] == [
        ("train", {"a": 16, "b": 8}),
        ("test", {"a": 4, "b": 2}),
    ]


@pytest.mark.parametrize(
    ("shares", "message"),
    [([1], "1 part"), ([1, 0], "each of 1 at least"), ([1] * 4, "4 parts asked for 3 patients")],
)
def test_parts_that_cannot_be_made_are_refused(shares, message):
    with pytest.raises(SegpipeError, match=message):
        parts_of(images(["a"], ["a"], ["b"]), shares)


def test_a_case_twice_is_refused():
    cases = images(["a"], ["b"])

    with pytest.raises(SegpipeError, match="the case p0_0 stands twice"):
        parts_of([*cases, cases[0]], [1, 1])


@settings(max_examples=25, deadline=None)
@given(
    st.lists(
        st.lists(st.sampled_from(["", "a", "b", "ab", "c"]), min_size=1, max_size=5), min_size=4, max_size=14
    ),
    st.integers(2, 4),
    st.integers(0, 3),
    st.randoms(use_true_random=False),
)
def test_any_division_keeps_patients_and_fills_parts(patients, num_parts, seed, random):
    cases = images(*patients)
    parts = parts_of(cases, [1] * num_parts, seed)

    assert set(parts) == set(range(num_parts))
    of_patient = defaultdict(set)
    for case, part in zip(cases, parts, strict=True):
        of_patient[case.patient].add(part)
    assert all(len(of_one) == 1 for of_one in of_patient.values())
    # the order of the cases does not matter
    shuffled = list(cases)
    random.shuffle(shuffled)
    again = dict(
        zip((case.case for case in shuffled), parts_of(shuffled, [1] * num_parts, seed), strict=True)
    )
    assert [again[case.case] for case in cases] == parts


@settings(max_examples=20, deadline=None)
@given(st.lists(st.sampled_from(["a", "b", "c"]), min_size=8, max_size=40), st.integers(2, 4))
def test_patients_of_one_image_give_the_best_division(classes, num_parts):
    """With one image a patient, every class and every size is its share rounded up or down."""
    cases = images(*[[name] for name in classes])
    parts = parts_of(cases, [1] * num_parts)

    sizes = Counter(parts)
    assert max(sizes.values()) - min(sizes[part] for part in range(num_parts)) <= 1
    counts = counted(cases, parts)
    for name in set(classes):
        of_part = [counts[part][name] for part in range(num_parts)]
        assert max(of_part) - min(of_part) <= 1
