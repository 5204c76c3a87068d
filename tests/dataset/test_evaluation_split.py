"""The cases of a manifest that an evaluation scores."""

import pytest

from segpipe.dataset import Case, Manifest, Split, evaluation_split_of
from segpipe.errors import SegpipeError

MANIFEST = Manifest(
    "set",
    ("CT",),
    {0: "background", 1: "tumour"},
    tuple(Case(name, (name,), f"{name}_l", fold=fold) for name, fold in (("a", 0), ("b", 1), ("c", 1))),
    (Case("t", ("t",), "t_l"),),
    splits={
        "paper": Split(("a",), ("b",), ("c", "elsewhere"), "of the paper"),
        "two": Split(("a", "b"), ("c",)),
        "lost": Split(("a",), (), ("elsewhere",)),
    },
)


@pytest.mark.parametrize(
    ("split", "part", "name", "cases"),
    [
        ("test", None, "test", "t"),
        ("train", None, "train", "abc"),
        ("1", None, "fold 1", "bc"),
        ("paper", None, "test of paper", "c"),
        ("paper", "validation", "validation of paper", "b"),
        ("two", None, "validation of two", "c"),
    ],
)
def test_parts(split, part, name, cases):
    chosen = evaluation_split_of(MANIFEST, split, part)

    assert (chosen.name, "".join(case.case for case in chosen.cases)) == (name, cases)


def test_a_named_split_says_whose_it_is():
    assert "1 of 2 to test are here" in evaluation_split_of(MANIFEST, "paper").about
    assert evaluation_split_of(MANIFEST, "0").about == ""


@pytest.mark.parametrize(
    ("split", "part", "message"),
    [
        ("2", None, "there is no fold 2"),
        ("other", None, "there is no split 'other'"),
        ("paper", "train", "part is 'train'"),
        ("two", "test", "the split two has no part test"),
        ("lost", None, "no case of test of lost is listed .split lost"),
        ("test", "test", "--part test is given, but test is no named split of set"),
    ],
)
def test_what_is_not_there(split, part, message):
    with pytest.raises(SegpipeError, match=message):
        evaluation_split_of(MANIFEST, split, part)
