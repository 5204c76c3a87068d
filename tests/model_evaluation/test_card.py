"""Entries are set in the text of a JSON object, and every other byte stays."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from segpipe.model_evaluation.card import with_entries

PLAIN = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda values: st.lists(values) | st.dictionaries(st.text(), values),
    max_leaves=5,
)


def test_a_new_key_comes_last_and_nothing_else_changes():
    text = '{\n  "rows": [\n    {"a": 1},  {"b": [0, 0]}\n  ]\n}\n'

    assert with_entries(text, {"new": 1.5}) == (
        '{\n  "rows": [\n    {"a": 1},  {"b": [0, 0]}\n  ],\n  "new": 1.5\n}\n'
    )


def test_a_known_key_keeps_its_place():
    assert with_entries('{"a": {"b": 1},\n "b" : [2], "c": 3}', {"b": "x"}) == (
        '{"a": {"b": 1},\n "b" : "x", "c": 3}'
    )


@pytest.mark.parametrize("text", ["{}", "{ }\n", '{"a": "}"}', '{"a": "\\"b\\": {"}'])
def test_braces_and_quotes_in_texts(text):
    assert json.loads(with_entries(text, {"b": 2})) == {**json.loads(text), "b": 2}


@pytest.mark.slow
@given(
    st.dictionaries(st.text(), PLAIN),
    st.dictionaries(st.text(min_size=1), PLAIN, min_size=1),
    st.integers(0, 3),
)
def test_any_object(content, entries, indent):
    text = json.dumps(content, indent=indent or None)

    assert json.loads(with_entries(text, entries)) == {**content, **entries}
