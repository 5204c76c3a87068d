"""No patient is in two folds, whatever the order of the cases; a split that leaks is refused."""

from collections import Counter
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from segpipe.dataset import (
    Case,
    Manifest,
    Split,
    describe_split,
    patient_folds,
    training_split,
    with_folds,
)
from segpipe.errors import SegpipeError

HASH = "ab" * 32


def make_cases(patients):
    """Return one case per entry; an entry is a patient, or None for an unknown patient."""
    return [Case(f"case{k}", (f"{k}.nii",), f"{k}_seg.nii", patient) for k, patient in enumerate(patients)]


def manifest_of(*cases, target="mask"):
    return Manifest("set", ("MRI",), {0: "a", 1: "b"}, cases, target=target)


PATIENTS = st.lists(
    st.one_of(st.none(), st.sampled_from(["p1", "p2", "p3", "p4", "p5"])), min_size=2, max_size=30
)


@given(PATIENTS, st.integers(0, 99), st.data())
def test_folds_divide_patients_evenly_in_any_order(patients, seed, data):
    cases = make_cases(patients)
    groups = Counter(case.patient or case.case for case in cases)
    if len(groups) < 2:
        return
    num_folds = data.draw(st.integers(2, len(groups)))

    folds = patient_folds(cases, num_folds, seed)

    # a patient is in one fold
    assert len({(case.patient or case.case, fold) for case, fold in zip(cases, folds, strict=True)}) == (
        len(groups)
    )
    # no fold is empty, and none is larger than another by more than one patient's cases
    sizes = Counter(folds)
    assert set(sizes) == set(range(num_folds))
    assert max(sizes.values()) - min(sizes.values()) <= max(groups.values())
    # the order of the cases does not matter
    shuffled = data.draw(st.permutations(list(range(len(cases)))))
    again = patient_folds([cases[k] for k in shuffled], num_folds, seed)
    assert [folds[k] for k in shuffled] == again


@given(st.lists(st.sampled_from("xyz"), min_size=4, max_size=40), st.integers(0, 99))
def test_classes_are_shared_out_evenly(classes, seed):
    """With one case a patient, two folds differ by at most one case of a class."""
    folds = patient_folds(make_cases([None] * len(classes)), 4, seed, classes)

    for name in set(classes):
        shares = Counter(fold for fold, case_class in zip(folds, classes, strict=True) if case_class == name)
        assert max(shares.values()) - min(shares[fold] for fold in range(4)) <= 1


def test_seed_decides():
    cases = make_cases([None] * 12)

    assert patient_folds(cases, 3, seed=1) == patient_folds(cases, 3, seed=1)
    assert patient_folds(cases, 3, seed=1) != patient_folds(cases, 3, seed=2)


def test_a_case_of_an_unknown_patient_is_not_grouped_with_a_patient_of_its_name():
    cases = [Case("p1", ("a",)), Case("x", ("b",), patient="p1")]

    assert sorted(patient_folds(cases, 2, seed=0)) == [0, 1]


@pytest.mark.parametrize("num_folds", [0, 1, 3])
def test_number_of_folds_must_fit_the_patients(num_folds):
    with pytest.raises(SegpipeError, match=f"{num_folds} folds asked for 2 patients; needs 2 to 2 folds"):
        patient_folds(make_cases(["p1", "p2", "p1"]), num_folds, seed=0)


def test_a_case_twice_is_refused():
    case = make_cases([None])[0]

    with pytest.raises(SegpipeError, match="case case0 stands twice"):
        patient_folds([case, case], 2, seed=0)


def test_classes_must_be_one_a_case():
    with pytest.raises(SegpipeError, match="1 classes are given for 2 cases"):
        patient_folds(make_cases([None, None]), 2, seed=0, classes=["x"])


def test_with_folds_stratifies_a_classification_manifest():
    cases = [Case(f"{k}", (f"{k}.png",), classes=("b" if k < 2 else "a",)) for k in range(8)]

    folded = with_folds(manifest_of(*cases, target="class"), 2, seed=0)

    assert sorted(case.fold for case in folded.training[:2]) == [0, 1]


def test_a_fold_validates_and_the_others_train():
    manifest = with_folds(manifest_of(*make_cases([None] * 6)), 3, seed=0)

    train, validation = training_split(manifest, 1)

    assert {case.fold for case in validation} == {1}
    assert {case.fold for case in train} == {0, 2}


def test_no_fold_trains_on_everything():
    manifest = manifest_of(*make_cases([None] * 3))

    assert training_split(manifest, None) == (list(manifest.training), [])


@pytest.mark.parametrize("fold", [-1, 3])
def test_a_fold_that_is_not_there_is_refused(fold):
    manifest = with_folds(manifest_of(*make_cases([None] * 6)), 3, seed=0)

    with pytest.raises(SegpipeError, match=f"set: there is no fold {fold}; the manifest has 0, 1, 2"):
        training_split(manifest, fold)


def test_a_manifest_without_folds_says_how_to_get_them():
    with pytest.raises(
        SegpipeError, match=r"set: fold 0 asked for, .* no folds; write them with `segpipe data"
    ):
        training_split(manifest_of(*make_cases([None] * 2)), 0)


def test_a_fold_of_all_cases_leaves_none_to_train():
    with pytest.raises(SegpipeError, match="set: fold 0 holds every case"):
        training_split(manifest_of(Case("a", ("a",), "s", fold=0)), 0)


def test_a_patient_on_both_sides_is_refused():
    manifest = manifest_of(Case("a", ("a",), "s", "p1", fold=0), Case("b", ("b",), "s", "p1", fold=1))

    with pytest.raises(
        SegpipeError,
        match=r"patient p1 would train and validate: b \(the other folds\) and a \(fold 0\); put",
    ):
        training_split(manifest, 0)


def test_one_image_on_both_sides_is_refused():
    manifest = manifest_of(
        Case("a", ("a",), "s", fold=0, sha256={"a": HASH}), Case("b", ("b",), "s", fold=1, sha256={"b": HASH})
    )

    with pytest.raises(
        SegpipeError,
        match=r"the same image \(path or SHA-256 abab.*\) would train and validate: b \(the other folds\) and a",
    ):
        training_split(manifest, 0)


def test_one_path_on_both_sides_is_refused():
    manifest = manifest_of(Case("a", ("x.nii",), "s", fold=0), Case("b", ("x.nii",), "t", fold=1))

    with pytest.raises(SegpipeError, match=r"path or SHA-256 x\.nii\) would .*; remove all but one"):
        training_split(manifest, 0)


def test_equal_label_maps_are_no_leak():
    """Two empty label maps have the same bytes."""
    manifest = manifest_of(
        Case("a", ("a",), "s", fold=0, sha256={"s": HASH}), Case("b", ("b",), "t", fold=1, sha256={"t": HASH})
    )

    assert [case.case for case in training_split(manifest, 0)[1]] == ["a"]


def test_equal_headers_are_no_leak():
    """Two .mhd headers of one size have the same text; each header has its own image.raw."""
    manifest = manifest_of(
        Case("a", ("p1/i.mhd",), "s", fold=0, sha256={"p1/i.mhd": HASH}),
        Case("b", ("p2/i.mhd",), "t", fold=1, sha256={"p2/i.mhd": HASH}),
    )

    assert [case.case for case in training_split(manifest, 1)[0]] == ["a"]


def test_equal_voxels_beside_headers_are_a_leak():
    manifest = manifest_of(
        Case("a", ("p1/i.mhd",), "s", fold=0, sha256={"p1/i.mhd": "cd" * 32, "p1/i.zraw": HASH}),
        Case("b", ("p2/i.mhd",), "t", fold=1, sha256={"p2/i.mhd": "ef" * 32, "p2/i.zraw": HASH}),
    )

    with pytest.raises(SegpipeError, match=r"the same image .* would train and validate"):
        training_split(manifest, 1)


def split_manifest(*cases):
    splits = {"paper": Split(("c", "a", "absent"), ("b", "gone"), ("d",), "of the paper")}
    return replace(manifest_of(*cases), splits=splits)


def test_a_named_split_takes_the_cases_that_are_here():
    manifest = split_manifest(*(Case(name, (f"{name}.nii",), "s") for name in "abcd"))

    train, validation = training_split(manifest, "paper")

    assert [case.case for case in train] == ["c", "a"]
    assert [case.case for case in validation] == ["b"]
    assert describe_split(manifest, "paper") == (
        "split paper (of the paper): 2 of 3 to train on, 1 of 2 to validate with, 1 of 1 to test are here"
    )


def test_the_test_part_of_a_split_is_held_out_where_it_has_one():
    manifest = split_manifest(*(Case(name, (f"{name}.nii",), "s", fold=0) for name in "abcd"))

    train, test = training_split(manifest, "paper", "test")

    assert [case.case for case in train] == ["c", "a"]
    assert [case.case for case in test] == ["d"]
    for fold, part in ((0, "test"), (None, "test"), ("paper", "tset")):
        with pytest.raises(SegpipeError, match=f"part is '{part}' of fold {fold}; a fold has the part valid"):
            training_split(manifest, fold, part)
    without = replace(manifest, splits={"article": Split(("a",), ("b",), (), "of the article")})
    with pytest.raises(SegpipeError, match="the split article has no part test; score its validation"):
        training_split(without, "article", "test")


def test_a_split_that_is_not_there_is_refused():
    manifest = split_manifest(*(Case(name, (f"{name}.nii",), "s") for name in "ab"))

    with pytest.raises(
        SegpipeError, match="no split 'article'; the manifest has the splits paper and no folds; give"
    ):
        training_split(manifest, "article")


SAME_PATIENT = [{"patient": "p1"}] * 2
SAME_FILE = [{"sha256": {"a.nii": HASH}}, {"sha256": {"b.nii": HASH}}]


@pytest.mark.parametrize("shared", [SAME_PATIENT, SAME_FILE])
@pytest.mark.parametrize(
    ("split", "uses"),
    [
        (
            Split(("a", "c"), ("b",)),
            "train and validate: a .train of paper. and b .validation of paper",
        ),
        (
            Split(("a",), ("c",), ("b",)),
            "train and test: a .train of paper. and b .test of paper",
        ),
        (Split(("c",), ("a",), ("b",)), "validate and test"),
    ],
)
def test_a_named_split_that_leaks_is_refused_whichever_part_is_held_out(split, uses, shared):
    a, b = (Case(name, (f"{name}.nii",), "s", **extra) for name, extra in zip("ab", shared, strict=True))
    manifest = replace(manifest_of(a, b, Case("c", ("c.nii",), "s")), splits={"paper": split})

    for part in ("validation", "test") if split.test else ("validation",):
        with pytest.raises(SegpipeError, match=f"would {uses}"):
            training_split(manifest, "paper", part)


@pytest.mark.parametrize("shared", [SAME_PATIENT, SAME_FILE])
@pytest.mark.parametrize("fold", [None, 0, 1, "paper"])
def test_what_the_manifest_lists_under_test_must_not_train(fold, shared):
    cases = [Case("a", ("a.nii",), "s", fold=0, **shared[0]), Case("c", ("c.nii",), "s", fold=1)]
    manifest = replace(
        manifest_of(*cases),
        test=(Case("b", ("b.nii",), **shared[1]),),
        splits={"paper": Split(("a",), ("c",))},
    )

    with pytest.raises(
        SegpipeError, match=r"would train and test: a \(training\) and b \(listed under test\); "
    ):
        training_split(manifest, fold)


def test_known_checksums_keep_one_image_in_one_fold():
    """Two cases of unknown patients have the same file; a third case has the same patient as one of them."""
    a, b = (Case(name, (f"{name}.nii",), "s", sha256={f"{name}.nii": HASH}) for name in "ab")
    cases = [replace(a, patient="p"), b, Case("c", ("c.nii",), "s", "p"), *make_cases([None] * 5)]

    for seed in range(10):
        folds = patient_folds(cases, 3, seed)
        assert folds[0] == folds[1] == folds[2]
