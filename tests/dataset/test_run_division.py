"""A split whose test cases lie elsewhere is validated on what is here; test cases choose nothing."""

from dataclasses import replace

import pytest

from segpipe.dataset import Case, Manifest, Split
from segpipe.dataset.run_division import run_division


def case(name, fold=None):
    return Case(name, (f"{name}.nii",), f"{name}_seg.nii", fold=fold)


def manifest(split, folds=(0, 0, 1, 1)):
    """Return a manifest with the training cases a to d and the test cases x and y."""
    training = tuple(case(name, fold) for name, fold in zip("abcd", folds, strict=True))
    labels = {0: "background", 1: "lesion"}
    return Manifest("set", ("CT",), labels, training, test=(case("x"), case("y")), splits={"article": split})


ARTICLE = Split(("a", "b", "c", "d"), ("x", "y"), about="first and last")


def names(cases):
    return "".join(one.case for one in cases)


def test_listed_test_cases_validate_where_they_are_and_choose_nothing(tmp_path):
    (tmp_path / "y.nii").touch()

    division = run_division(manifest(ARTICLE), "article", "validation", tmp_path)

    assert (names(division.train), names(division.held_out), division.chooses) == ("abcd", "y", False)
    assert division.about == (
        "split article (first and last): 4 of 4 to train on, 1 of 2 to validate with are here; validation on 1 of "
        "them: they are test cases and choose nothing: the weights of the last epoch are the result"
    )
    assert division.stand_in is None


def test_without_them_the_lowest_fold_of_the_training_cases_validates(tmp_path):
    division = run_division(manifest(ARTICLE), "article", "validation", tmp_path)

    assert (names(division.train), names(division.held_out), division.chooses) == ("cd", "ab", True)
    assert division.stand_in == 0
    assert division.about.endswith(
        "0 of 2 to validate with are here; validation on the 2 of its training cases in fold 0"
    )


@pytest.mark.parametrize("folds", [(None,) * 4, (3,) * 4])
def test_without_folds_nothing_validates(tmp_path, folds):
    division = run_division(manifest(ARTICLE, folds), "article", "validation", tmp_path)

    assert (names(division.train), names(division.held_out)) == ("abcd", "")
    assert division.about.endswith(
        "; no other case to validate with: the weights of the last epoch are the result"
    )


def test_a_split_of_train_and_test_is_validated_on_its_test_cases(tmp_path):
    holdout = Split(("a", "b"), (), ("c", "d"), "by lot")

    division = run_division(manifest(holdout), "article", "validation", tmp_path)
    tested = run_division(manifest(holdout), "article", "test", tmp_path)

    assert (names(division.train), names(division.held_out), division.chooses) == ("ab", "cd", False)
    assert "; validation on its 2 test cases: they are test cases and choose nothing" in division.about
    assert (names(tested.train), names(tested.held_out), tested.chooses) == ("ab", "cd", False)


def test_a_split_with_validation_cases_chooses_by_them(tmp_path):
    paper = Split(("a", "b"), ("c",), ("d", "x"), "of the paper")

    division = run_division(manifest(paper), "article", "validation", tmp_path)

    assert (names(division.train), names(division.held_out), division.chooses) == ("ab", "c", True)
    assert division.about == (
        "split article (of the paper): 2 of 2 to train on, 1 of 1 to validate with, 1 of 2 to test are here"
    )


@pytest.mark.parametrize(("fold", "expected"), [(1, ("ab", "cd")), (None, ("abcd", ""))])
def test_folds_are_as_in_the_manifest(tmp_path, fold, expected):
    division = run_division(manifest(ARTICLE), fold, "validation", tmp_path)

    assert (names(division.train), names(division.held_out)) == expected
    assert (division.about, division.chooses) == ("", True)


def test_a_case_of_the_test_list_without_label_map_is_not_held_out(tmp_path):
    (tmp_path / "y.nii").touch()
    (tmp_path / "x.nii").touch()
    described = manifest(ARTICLE)
    unlabelled = replace(described.test[0], label=None)

    division = run_division(
        replace(described, test=(unlabelled, described.test[1])), "article", "validation", tmp_path
    )

    assert names(division.held_out) == "y"
