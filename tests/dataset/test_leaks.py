"""A leak between two sides of a split is reported once, with all its cases."""

from dataclasses import replace

import pytest

from segpipe.dataset import Case, Manifest, Split
from segpipe.dataset.leaks import Side, leaks, shared_findings


def case(name, patient=None, fold=None, **extra):
    return Case(name, (f"{name}.nii",), f"{name}_seg.nii", patient, fold, **extra)


def findings(*cases, test=(), contents=None, splits=None):
    manifest = Manifest("set", ("CT",), {0: "a", 1: "b"}, cases, tuple(test), splits=splits or {})
    return shared_findings(manifest, contents or {})


def only(*cases, **how):
    (finding,) = findings(*cases, **how)
    return finding


def test_a_sound_manifest_has_no_findings():
    cases = (case("a", "p", 0), case("b", "p", 0), case("c", None, 1), case("d", "q", 1))

    splits = {"paper": Split(("a", "b"), ("c",), ("d",))}
    assert (
        findings(*cases, test=[case("t")], contents=dict(zip("abcdt", "vwxyz", strict=True)), splits=splits)
        == []
    )


def test_every_fold_that_a_patient_is_in_is_told_in_one_finding():
    finding = only(
        case("a", fold=0), case("b", "p", 1), case("c", "p", 2), case("d", "p", 2), case("e", "p", 3)
    )

    assert (finding.severity, finding.case, finding.file) == ("error", "c", "c.nii")
    assert finding.message == (
        "patient p would train and validate: b (fold 1) and c, d (fold 2) and e (fold 3); put all cases of a patient "
        "on one side"
    )


@pytest.mark.parametrize(
    ("one", "other", "message"),
    [
        ({"patient": "p"}, {"patient": "p"}, "patient p would"),
        (
            {"sha256": {"a.nii": "ab" * 32}},
            {"sha256": {"b.nii": "ab" * 32}},
            "the same image (path or SHA-256 abab",
        ),
        ({}, {"images": ("a.nii",)}, "the same image (path or SHA-256 a.nii) would"),
        ({}, {}, "the same image content would"),
    ],
)
@pytest.mark.parametrize(
    ("place", "sides"),
    [
        ("folds", "train and validate: a (fold 0) and b (fold 1)"),
        ("split", "train and test: a (train of paper) and b (test of paper)"),
        ("test", "train and test: a (training) and b (listed under test)"),
    ],
)
def test_a_leak_is_an_error_wherever_it_is(one, other, message, place, sides):
    a, b, c = replace(case("a"), **one), replace(case("b"), **other), case("c")
    contents = {"a": "x", "b": "x", "c": "y"}
    if place == "folds":
        reported = findings(replace(a, fold=0), replace(b, fold=1), replace(c, fold=1), contents=contents)
    elif place == "split":
        reported = findings(a, b, c, contents=contents, splits={"paper": Split(("a",), ("c",), ("b",))})
    else:
        reported = findings(a, c, test=[b], contents=contents)

    (finding,) = reported
    assert (finding.severity, finding.case) == ("error", "b")
    assert finding.message.startswith(message)
    assert sides in finding.message


def test_cases_that_share_several_things_are_told_once_and_others_by_themselves():
    sides = [
        Side("fold 0", "validate", [case("a", "p"), case("b", "q")]),
        Side("fold 1", "train", [case("c", "p"), case("d", "r")]),
    ]

    patient, picture = leaks(sides, dict(zip("abcd", "xyxy", strict=True)))

    assert (patient.kind, [member.case for _, member in patient.places]) == ("patient", ["a", "c"])
    assert (picture.kind, [member.case for _, member in picture.places]) == ("picture", ["b", "d"])


def test_patients_of_one_picture_are_compared_with_each_other():
    """The first case has no patient; the other two cases have different patients."""
    finding = only(case("a"), case("b", "p"), case("c", "q"), contents=dict.fromkeys("abc", "x"))

    assert (finding.severity, finding.case) == ("error", "c")
    assert finding.message == (
        "one image content belongs to 2 patients: b of p, c of q; correct the patients, or remove cases"
    )


def test_folds_of_one_picture_are_compared_with_each_other():
    cases = [case("a", fold=0), case("b", fold=0), case("c", fold=1), case("d", fold=2)]

    finding = only(*cases, contents=dict.fromkeys("abcd", "x"))

    assert "a, b (fold 0) and c (fold 1) and d (fold 2)" in finding.message


def test_the_same_picture_on_one_side_is_a_warning():
    first, second = findings(
        case("a", "p", 0), case("b", "p", 0), case("c", None, 0), contents=dict.fromkeys("abc", "x")
    )

    assert (first.severity, first.case, second.case) == ("warning", "b", "c")
    assert first.message == "shows the same image content as a; remove one of the two"


def test_findings_grow_with_the_cases_not_with_their_pairs():
    """Five hundred copies of one image, half of them in another fold; and one image of fifty patients."""
    many = [case(f"m{k}", fold=k % 2) for k in range(500)]
    owned = [case(f"o{k}", f"p{k}", 0) for k in range(50)]
    contents = {member.case: member.case[0] for member in (*many, *owned)}

    reported = findings(*many, *owned, contents=contents)

    assert [finding.severity for finding in reported] == ["error", "error"]
    assert all(len(finding.message) < 300 for finding in reported)
