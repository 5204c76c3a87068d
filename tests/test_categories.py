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


@pytest.mark.parametrize(
    ("channels", "message"),
    [
        ({"0": "B", "1": "A"}, "label_table: class 0 is A, in channel_def of the output B; restore the one"),
        ({"0": "A"}, "class 1 is B, in channel_def of the output missing"),
        ({"0": "A", "1": "B", "2": "C"}, "class 2 is missing, in channel_def of the output C"),
    ],
)
def test_other_channels_than_the_table_are_refused(channels, message):
    metadata = Categories(("A", "B"), "class").to_metadata()
    output = {"channel_def": {"0": "A", "1": "B"}}
    metadata["network_data_format"] = {"outputs": {"pred": output}}

    assert Categories.from_metadata(metadata).names == ("A", "B")
    output["channel_def"] = channels
    with pytest.raises(SegpipeError, match=message):
        Categories.from_metadata(metadata)
