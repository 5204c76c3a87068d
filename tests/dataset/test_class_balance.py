"""Classes with too few cases, parts that validate with too few, and the offer of a better division."""

from __future__ import annotations

import shlex
from dataclasses import replace

import pytest
from made_images import class_manifest, findings_manifest

from segpipe.dataset import Split, divide_manifest, load_manifest, write_manifest
from segpipe.dataset.class_balance import balance_findings, counts_of
from segpipe.dataset.leaks import sides_of_folds, sides_of_split


def found(manifest, where="made"):
    return [(finding.severity, finding.message) for finding in balance_findings(manifest, where)]


def test_classes_with_enough_cases_have_no_findings():
    assert found(class_manifest("ab" * 10)) == []


def test_a_class_without_cases_is_an_error_and_one_with_few_a_warning():
    (few, none) = found(class_manifest("a" * 12 + "b" * 9, labels=("a", "b", "c")))

    assert few[0] == "warning"
    assert few[1].startswith("9 of 21 training cases have the class b, at least 10 are needed")
    assert none[0] == "error"
    assert none[1].startswith("no training case has the class c, so it cannot be learned")


def test_findings_count_known_cases_only():
    """Mass is unknown in 12 of 24 cases, present in 3 and absent in 9 of the others."""
    present = [("Effusion", "Mass")] * 3 + [("Effusion",)] * 9 + [()] * 12
    unknown = [()] * 12 + [("Mass",)] * 12

    ((severity, message),) = found(findings_manifest(present, unknown=unknown))

    assert severity == "warning"
    assert message.startswith("3 of 12 training cases have the finding Mass")


@pytest.mark.parametrize(
    ("present", "unknown", "message"),
    [
        ([("Effusion",)] * 12 + [()] * 12, [("Mass",)] * 24, "the finding Mass (nobody knows it of any case)"),
        ([("Effusion", "Mass")] * 12 + [("Mass",)] * 12, None, "all 24 training cases have the finding Mass"),
        ([("Effusion", "Mass")] * 12 + [("Mass",)] * 8 + [()] * 4, None, "4 of 24 training cases lack the finding Ma"),
    ],
)  # fmt: skip
def test_findings_that_cannot_be_learned(present, unknown, message):
    ((_, text),) = found(findings_manifest(present, unknown=unknown))

    assert message in text


def test_a_class_of_one_patient_is_reported():
    patients = ["p"] * 10 + [f"q{number}" for number in range(10)]

    ((severity, message),) = found(class_manifest("a" * 10 + "b" * 10, patients=patients))

    assert severity == "warning"
    assert message.startswith("all 10 training cases with the class a are of patient p")


def two_a_patient(number):
    """Return classes and patients: four images a patient, two classes."""
    return "aabb" * number, [f"p{position // 4}" for position in range(4 * number)]


def test_nine_validation_cases_are_reported_with_a_command_that_makes_thirty(tmp_path):
    """The tutorial's division: 9 cases a class validate, one mistake is 11 points."""
    classes, patients = two_a_patient(75)  # 150 cases a class
    manifest = class_manifest(classes, patients=patients)
    ids = [case.case for case in manifest.training]
    small = [case for case in ids[:18] if case != "c16"]  # 9 of a, 8 of b, patients p0 to p4
    split = Split(train=tuple(ids[20:]), validation=tuple(small))
    manifest = replace(manifest, splits={"kaggle": split})
    path = tmp_path / "a manifest.json"
    write_manifest(manifest, path)

    ((severity, message),) = found(manifest, str(path))

    assert severity == "warning"
    assert message.startswith(
        "the split kaggle: fewer than 30 validation cases of a (9), b (8) (with 8 cases, one mistake is 12 points "
        "of sensitivity); `segpipe data split "
    )
    command = shlex.split(message.split("`")[1])
    assert command[:4] == ["segpipe", "data", "split", str(path)]
    options = dict(zip(command[4::2], command[5::2], strict=True))
    shares = {"train": int(options["--train"]), "validation": int(options["--validation"])}
    assert shares == {"train": 80, "validation": 20}
    divided = divide_manifest(load_manifest(str(path)), None, shares=shares, name=options["--name"]).manifest
    train, validation, _ = sides_of_split(divided, options["--name"])
    assert min(counts_of(validation.cases, divided).values()) >= 30
    assert {case.patient for case in train.cases}.isdisjoint(case.patient for case in validation.cases)


def test_folds_that_are_too_many_are_reported_with_a_number_that_suffices():
    """70 cases a class: five folds have 14 each, two folds 35."""
    classes = "ab" * 70
    manifest = class_manifest(classes, folds=[position // 2 % 5 for position in range(140)])

    ((_, message),) = found(manifest)

    assert message.startswith("the folds: fewer than 30 validation cases of a (14), b (14) (with 14 cases,")
    assert "`segpipe data split made --output made.json --folds 2` makes a patient-disjoint" in message
    divided = divide_manifest(manifest, None, num_folds=2).manifest
    assert min(min(counts_of(side.cases, divided).values()) for side in sides_of_folds(divided)) >= 30


def test_without_enough_cases_the_folds_are_to_be_scored_together():
    """20 cases a class: no part has 30, and each case of five folds validates once."""
    manifest = class_manifest("ab" * 20)
    ids = [case.case for case in manifest.training]
    split = Split(tuple(ids[:22]), tuple(ids[22:]))

    ((_, by_split),) = found(replace(manifest, splits={"folder": split}))
    ((_, by_folds),) = found(class_manifest("ab" * 20, folds=[position // 2 % 2 for position in range(40)]))

    advice = "train with each fold held out in turn, and score all folds together"
    none = "; too few cases in all for such a part: a (20), b (20)"
    made = "`segpipe data split made --output made.json --folds 5` makes patient-disjoint folds: "
    assert by_split.endswith(f"{made}{advice}{none}")
    assert by_folds.endswith(f"the cases do not suffice for such a part: {advice}{none}")


def test_a_division_with_patients_on_two_sides_comes_with_a_disjoint_one():
    """Both sides have 40 cases of each class; patient p39 has the last case of one side and the first of the other."""
    manifest = class_manifest("ab" * 80, patients=[f"p{(position + 1) // 2}" for position in range(160)])
    ids = [case.case for case in manifest.training]
    manifest = replace(manifest, splits={"folder": Split(tuple(ids[:80]), tuple(ids[80:]))})

    ((severity, message),) = found(manifest)

    assert severity == "warning"
    assert message.startswith("the split folder: 1 patient(s) or image(s) on two sides; `segpipe data split")
    assert "makes a patient-disjoint division with at least 30 cases of each class" in message


def test_no_division_is_offered_for_findings_that_are_too_rare_in_all():
    """Effusion has 35 cases in each fold; Mass has 24 in all, and no division gives it 30."""
    present = [("Effusion", "Mass") if position < 24 else ("Effusion",) for position in range(70)] + [()] * 70
    manifest = findings_manifest(present)
    training = tuple(replace(case, fold=position % 2) for position, case in enumerate(manifest.training))

    ((_, message),) = found(replace(manifest, training=training))

    assert "fewer than 30 validation cases of Mass (12)" in message
    assert "segpipe data split" not in message
    assert message.endswith("; too few cases in all for such a part: Mass (24)")


@pytest.mark.parametrize(("cases", "command"), [(130, "--folds 2`"), (110, None)])
def test_a_large_set_is_not_divided_to_find_an_offer(cases, command, monkeypatch):
    """Half of 130 cases are more than twice 30, half of 110 are not."""
    monkeypatch.setattr("segpipe.dataset.class_balance._MOST_DIVIDED", 100)
    monkeypatch.setattr("segpipe.dataset.class_balance.with_folds", None)
    folds = [position // 2 % 5 for position in range(2 * cases)]

    ((_, message),) = found(class_manifest("ab" * cases, folds=folds))

    assert (command or "the cases do not suffice") in message
