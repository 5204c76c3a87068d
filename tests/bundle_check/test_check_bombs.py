"""Configurations that need endless memory or time are refused within seconds, with one message."""

import json
import time

import pytest
import yaml
from tiny_bundle import write_bundle

from segpipe.bundle.open import open_bundle
from segpipe.bundle_check.check_bundle import check_bundle
from segpipe.configuration.references import circular_findings
from segpipe.configuration.values import UNKNOWN, Values
from segpipe.errors import SegpipeError

LEVELS = 32


def chain(form, last):
    """Return ids in a chain: each id names the next one, and the last id is a value."""
    return {**{f"x{level}": form(f"x{level + 1}") for level in range(LEVELS)}, f"x{LEVELS}": last}


DOUBLED = {
    "lists": chain(lambda name: [f"@{name}", f"@{name}"], 1),
    "texts": chain(lambda name: f"$@{name} + @{name}", "text"),
    "added lists": chain(lambda name: f"$@{name} + @{name}", [1]),
    "texts of lists": {**chain(lambda name: [f"@{name}", f"@{name}"], 1), "weights": "$str(@x0)"},
    "macros": chain(lambda name: [f"%{name}", f"%{name}"], 1),
    "mappings": chain(lambda name: {"a": f"@{name}", "b": f"@{name}"}, 1),
}


@pytest.fixture
def bundle(tmp_path):
    return write_bundle(tmp_path / "bundle")


def change(bundle, **changes):
    path = bundle / "configs" / "inference.yaml"
    path.write_text(yaml.safe_dump({**yaml.safe_load(path.read_text()), **changes}, sort_keys=False))
    return path


@pytest.mark.parametrize("kind", DOUBLED)
def test_ids_that_double_each_other_take_no_longer_than_others(kind, bundle):
    ids = DOUBLED[kind]
    file = change(bundle, output_dir="@x0", **{"weights": "@x0", **ids})
    start = time.perf_counter()

    check_bundle(bundle, [file], {})

    assert time.perf_counter() - start < 10


@pytest.mark.parametrize(
    "text", ["a0: &a [x]\nb: [*a", "a: &a [*a]", "a: " + "9" * 10_000, "a: " + "[" * 100_000]
)
def test_a_file_beyond_the_bounds_is_the_one_finding(text, bundle):
    file = bundle / "configs" / "inference.yaml"
    file.write_text(text)

    (finding,) = check_bundle(bundle, [file], {})

    assert finding.file == "configs/inference.yaml"
    with pytest.raises(SegpipeError, match=r"inference\.yaml"):
        open_bundle(bundle)


def test_ten_lines_of_aliases_are_refused(bundle):
    file = bundle / "configs" / "inference.yaml"
    lines = [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}' if n else 'x'] * 9)}]" for n in range(10)]
    file.write_text("\n".join(lines))

    (finding,) = check_bundle(bundle, [file], {})

    assert "once its aliases (*name) are written out" in finding.what


def test_macros_that_double_each_other_are_not_opened(bundle):
    change(bundle, **chain(lambda name: [f"%{name}", f"%{name}"], 1))

    with pytest.raises(SegpipeError, match="copies more than"):
        open_bundle(bundle)


@pytest.mark.parametrize(
    "content",
    [
        *([], None, 3, "text", {"label_table": None}, {"label_table": "text"}, {"label_table": [1, 2]}),
        *({"label_table": [{}]}, {"label_table": {"a": 1}}, {"label_table": []}),
        *(
            {"network_data_format": []},
            {"network_data_format": {"inputs": [1]}},
            {"network_data_format": None},
        ),
        {
            "network_data_format": {
                "inputs": {"image": {"spatial_shape": 3, "num_channels": None}},
                "outputs": 3,
            }
        },
    ],
    ids=repr,
)
def test_odd_metadata_have_a_message(content, bundle):
    (bundle / "configs" / "metadata.json").write_text(json.dumps(content))
    file = bundle / "configs" / "inference.yaml"

    with pytest.raises(SegpipeError):
        open_bundle(bundle)
    check_bundle(bundle, [file], {}, look_for_files=False)


def test_a_long_chain_of_references_is_followed():
    settings = {f"x{n}": f"@x{n + 1}" for n in range(5000)} | {"x5000": "@x4999"}

    (circle,) = circular_findings(settings, ["x0"])

    assert circle.what == "refers to itself: x4999 -> x5000 -> x4999"
    assert Values(settings).of("@x0") is UNKNOWN


@pytest.mark.parametrize("text", ["$" + "(" * 5000 + ")" * 5000, "$" + "-" * 5000 + "1", "$1" + "+1" * 3000])
def test_an_expression_nested_without_end_is_a_finding(text, bundle):
    file = change(bundle, overlap=text)

    (finding,) = check_bundle(bundle, [file], {}, look_for_files=False)

    assert "overlap is no Python expression" in str(finding)


@pytest.mark.slow
def test_thousands_of_new_ids_and_missing_attributes_take_no_longer_than_others(bundle):
    """MONAI would compare every new id with all others, letter by letter."""
    file = change(
        bundle,
        **{f"{'k' * 30}{number}": number for number in range(600)},
        x=[f"$torch.a{n}" for n in range(50)],
    )
    start = time.perf_counter()

    check_bundle(bundle, [file], {})

    assert time.perf_counter() - start < 15
