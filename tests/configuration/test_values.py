"""The value of a configuration's id, as far as it is known without evaluating an expression."""

from pathlib import Path

import pytest

from segpipe.configuration.values import UNKNOWN, Values

CONFIGURATION = {
    "root": "/b",
    "parts": ["x", "y"],
    "copy": "@parts",
    "flag": False,
    "net": {"_target_": "Net", "size": 3},
    "again": "@again",
}


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (3, 3),
        ("text", "text"),
        ("@root", "/b"),
        ("@copy", ["x", "y"]),
        ("@net::size", 3),
        ("@copy::1", UNKNOWN),  # as in MONAI, a reference has no items of its own
        ("$@root + '/models'", "/b/models"),
        ("$os.path.join(@root, 'models', 'm.pt')", "/b/models/m.pt"),
        ("$Path(@root) / 'm.pt'", Path("/b/m.pt")),
        ("$str(pathlib.Path(@root))", "/b"),
        ("$@parts + ['z']", ["x", "y", "z"]),
        ("$(not @flag)", True),
        ("$@root if @flag else 'm.pt'", "m.pt"),
        ("$@root if @net.size else 'm.pt'", UNKNOWN),
        (["@root", "$1"], ["/b", 1]),
        ("$@root / 3", UNKNOWN),
        ("$open('/etc/passwd').read()", UNKNOWN),
        ("$@net.size", UNKNOWN),
        ("$len(@parts)", UNKNOWN),
        ("$3 +", UNKNOWN),
        ("@net", UNKNOWN),
        ("@nowhere", UNKNOWN),
        ("@again", UNKNOWN),
    ],
    ids=lambda value: "unknown" if value is UNKNOWN else str(value),
)
def test_a_value(value, expected):
    assert Values(CONFIGURATION).of(value) == expected


def test_lists_that_are_added_up_keep_the_ids_of_their_items():
    values = Values(
        {"a": [{"n": 1}], "b": ["@c"], "c": {"n": 2}, "all": "$@a + @b", "copy": "@all", "some": "$@a[1:]"}
    )

    assert list(values.listed("copy")) == [("a::0", {"n": 1}), ("c", {"n": 2})]
    assert values.listed("some") is None


def test_a_chain_of_deep_expressions_is_unknown():
    """Each is within the bounds of an expression; together they would exceed Python's recursion limit."""
    chain = {f"x{n}": f"${'(' * 90}@x{n + 1}{' + 1)' * 90}" for n in range(45)}

    assert Values({**chain, "x45": 1}).of("@x0") is UNKNOWN


def test_a_long_chain_of_added_lists_is_unknown():
    chain = {f"x{n}": f"$@x{n + 1} + @x{n + 1}" for n in range(2000)}

    assert Values({**chain, "x2000": []}).listed("x0") is None
