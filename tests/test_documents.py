"""A document that would take endless memory or time is refused at once, with its reason."""

import json
import os
import time

import pytest

from segpipe.documents import DEEPEST, DocumentError, parse_json, parse_yaml, read_document

NINES = "a0: &a0 [x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"a{level}: &a{level} [{', '.join([f'*a{level - 1}'] * 9)}]\n" for level in range(1, 10)
)
MERGES = "a0: &a0 {x: 1, y: 2}\n" + "".join(
    f"a{level}: &a{level} {{<<: [*a{level - 1}, *a{level - 1}]}}\n" for level in range(1, 30)
)
CHAIN = "a0: &a0 [x]\n" + "".join(f"a{level}: &a{level} [*a{level - 1}]\n" for level in range(1, 200))
YAML = {
    "ten lines of aliases": (NINES, "values once its aliases"),
    "aliases of what is merged": (MERGES, "values once its aliases"),
    "aliases of a long text": (f"a: &a {'x' * 100_000}\nb: [{'*a, ' * 1000}]", "values once its aliases"),
    "an alias of itself": ("a: &a [*a]", "an alias"),
    "a chain of aliases": (CHAIN, "nested too deeply"),
    "brackets": ("a: " + "[" * 100_000, "nested too deeply"),
    "closed brackets": ("a: " + "[" * 200 + "]" * 200, "nested too deeply"),
    "dashes": ("a:\n" + "- " * 10_000 + "x", "nested too deeply"),
    "digits": ("a: " + "9" * 10_000, "a number of 10000 characters"),
    "a fraction's digits": ("a: 0." + "9" * 10_000, "a number of 10002 characters"),
    "a date that is none": ("a: 2024-99-99", "is no YAML"),
    "an object": ("a: !!python/object/apply:os.system [x]", "is no YAML"),
}
JSON = {
    "brackets": ("[" * 100_000, "nested too deeply"),
    "closed brackets": ("[" * 200 + "]" * 200, "nested too deeply"),
    "objects": ('{"a":' * 200 + "1" + "}" * 200, "nested too deeply"),
    "digits": ("9" * 10_000, "a number of 10000 characters"),
    "a fraction's digits": ("0." + "9" * 10_000, "a number of 10002 characters"),
    "an exponent": ("1e" + "9" * 10_000, "a number of 10002 characters"),
    "cut short": ('{"a": [1', "in line 1"),
    "empty lists": ("[" + "[]," * 5_000_000 + "0]", "has 5000001 opening brackets; at most 5000000 are read"),
}


@pytest.mark.parametrize("kind", YAML)
def test_a_bomb_of_yaml_is_refused_at_once(kind):
    text, reason = YAML[kind]
    start = time.process_time()

    with pytest.raises(DocumentError, match=reason):
        parse_yaml(text)

    assert time.process_time() - start < 5


def test_a_key_that_stands_twice_among_many_is_found_at_once():
    text = json.dumps(dict.fromkeys(map(str, range(200_000)), 0))[:-1] + ', "199999": 0}'
    start = time.process_time()

    with pytest.raises(DocumentError, match="the key '199999' stands twice"):
        parse_json(text, unique_keys=True)

    assert time.process_time() - start < 5


@pytest.mark.parametrize("kind", JSON)
def test_a_bomb_of_json_is_refused_at_once(kind):
    text, reason = JSON[kind]
    start = time.process_time()

    with pytest.raises(DocumentError, match=reason):
        parse_json(text)

    assert time.process_time() - start < 5


def test_what_bundles_hold_is_read():
    text = "a: &a {x: 1.0e-3, y: [1, 2]}\nb: {<<: *a, z: *a}\n"
    deep = json.dumps(json.loads("[" * DEEPEST + "]" * DEEPEST))

    assert parse_yaml(text)[1]["b"] == {"x": 1e-3, "y": [1, 2], "z": {"x": 1e-3, "y": [1, 2]}}
    assert parse_yaml("") == (None, None)
    assert parse_json(deep) == json.loads(deep)
    assert parse_json('{"a": 1, "a": 2}') == {"a": 2}


def test_a_key_that_stands_twice_is_refused_where_that_is_asked_for():
    with pytest.raises(DocumentError, match="the key 'a' stands twice in one object"):
        parse_json('{"a": 1, "a": 2}', unique_keys=True)


def test_only_regular_files_of_text_within_a_size_are_read(tmp_path):
    pipe, large, latin = tmp_path / "pipe", tmp_path / "large", tmp_path / "latin"
    os.mkfifo(pipe)
    large.write_bytes(b"x" * 11)
    latin.write_bytes(b"\xe9")

    for path, reason in (
        (pipe, "no regular file"),
        (large, "larger than 10 bytes"),
        (latin, "not UTF-8"),
        (tmp_path / "none", "cannot be read"),
    ):
        with pytest.raises(DocumentError, match=reason):
            read_document(path, 10)
