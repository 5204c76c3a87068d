import pytest

from segpipe.categories import Categories
from segpipe.errors import SegpipeError

NAMES = ("CNV", "DME")


def test_metadata_holds_the_names_in_their_order():
    made = Categories(NAMES, "class")

    assert Categories.from_metadata(made.to_metadata()) == made
    assert made.index("dme") == 1


@pytest.mark.parametrize(
    ("names", "target", "message"),
    [
        (("CNV",), "class", "needs at least 2"),
        ((), "findings", "needs at least 1"),
        (("CNV", "cnv"), "class", "stands twice"),
        (("a|b", "c"), "findings", "separates names"),
        (("$import os", "c"), "findings", "MONAI reads as an instruction"),
        (("No finding", "Mass"), "findings", "is no finding"),
        (NAMES, "mask", "must be one of class, findings"),
    ],
)
def test_names_that_are_refused(names, target, message):
    with pytest.raises(SegpipeError, match=message):
        Categories(names, target)


@pytest.mark.parametrize(
    "rows",
    [
        None,
        [{"index": 1, "name": "CNV"}],
        [{"index": 0, "name": 3}],
        [{"index": 0, "name": "CNV", "color": [0, 0, 0]}],
        ["CNV", "DME"],
    ],
    ids=str,
)
def test_rows_of_another_form_are_refused(rows):
    with pytest.raises(SegpipeError, match="label_table"):
        Categories.from_metadata({"target": "class", "label_table": rows})


def test_an_unknown_name_is_refused():
    with pytest.raises(SegpipeError, match="'drusen' is not among"):
        Categories(NAMES, "class").index("drusen")
