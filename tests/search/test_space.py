"""A space is compared with the bundle before any trial."""

import pytest

from segpipe.errors import SegpipeError
from segpipe.search.space import Choices, Span, read_space, space_path

SETTINGS = {
    "learning_rate": 0.001,
    "batch_size": 4,
    "epochs": 10,
    "norm": "instance",
    "checksums": True,
    "stages": [[8], [16]],
    "from_weights": None,
    "device": "$torch.device('cpu')",
    "loss": {"dice_weight": 3.0},
    "fold": 0,
}


@pytest.fixture
def read(tmp_path):
    """Return a function that reads a text as a space."""

    def reading(text, **overrides):
        path = tmp_path / "space.yaml"
        path.write_text(text)
        return read_space(path, SETTINGS, overrides)

    return reading


def test_a_grid_has_every_combination_once(read):
    space = read("learning_rate: [1.0e-4, 3.0e-3]\nbatch_size: [4, 8]\n")

    assert space.is_grid
    assert list(space.grid()) == [
        {"learning_rate": 1e-4, "batch_size": 4},
        {"learning_rate": 1e-4, "batch_size": 8},
        {"learning_rate": 3e-3, "batch_size": 4},
        {"learning_rate": 3e-3, "batch_size": 8},
    ]


def test_numbers_between_two_ends(read):
    space = read(
        "learning_rate: {low: 1.0e-5, high: 1.0e-2, log: true}\nepochs: {low: 10, high: 50, step: 10}\n"
    )

    assert not space.is_grid
    assert space.dimensions == {
        "learning_rate": Span(1e-5, 1e-2, log=True),
        "epochs": Span(10, 50, step=10, whole=True),
    }


def test_lists_nested_ids_and_nulls_are_values(read):
    space = read("stages: [[[8], [16]], [[16]]]\nloss#dice_weight: [1, 3.5]\nfrom_weights: [null, ct.pt]\n")

    stages = space.dimensions["stages"]
    assert isinstance(stages, Choices)
    assert stages.encoded == ("[[8], [16]]", "[[16]]")
    assert stages.decoded("[[16]]") == [[16]]
    assert space.dimensions["from_weights"].values == (None, "ct.pt")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "is empty, must name ids with their values"),
        ("{}", "is empty"),
        ("- 3", "is a list, must name ids"),
        ("batch_size: [4", "is no YAML"),
        ("batchsize: [4]", "batchsize is no id of this bundle's training; did you mean batch_size?"),
        ("fold: [0, 1]", "fold is set for each run by the search; give the folds with --folds"),
        ("run_name: [a]", "run_name is set for each run by the search; remove it"),
        ("batch_size: []", "batch_size: has no value"),
        ("batch_size: 4", r"batch_size: is a whole number \(4\), must be a list of values, or low and high"),
        ("batch_size: [4, 8, 4]", "batch_size: has the value 4 twice"),
        ("learning_rate: [.nan]", "learning_rate: has the value nan; give finite numbers"),
        ("batch_size: [4.5]", "the value 4.5 is a number, the bundle's 4 is a whole number"),
        ("batch_size: [true]", "the value True is true or false, the bundle's 4 is a whole number"),
        ("learning_rate: [1e-3]", "'1e-3' is a text, .* is a number; .* write 1.0e-3"),
        ("learning_rate: [fast]", "'fast' is a text, the bundle's 0.001 is a number; give a number$"),
        ("norm: [3]", "the value 3 is a whole number, the bundle's 'instance' is a text"),
        ("epochs: {low: 10}", "epochs: has no high"),
        ("epochs: {low: 10, hihg: 20}", "hihg is unknown; did you mean high?"),
        ("epochs: {low: 20, high: 10}", "low is 20 and high is 10; low must be below high"),
        ("epochs: {low: 1, high: 9, step: -1}", "step is -1, which must be above 0"),
        ("learning_rate: {low: 0.0, high: 1.0, log: true}", "low is 0, which has no logarithm"),
        (
            "learning_rate: {low: 1e-5, high: 1.0}",
            "low is '1e-5' is a text, must be a number; .* write 1.0e-5",
        ),
        ("learning_rate: {low: 0.1, high: .inf}", "high is inf is a number, must be a number"),
        ("learning_rate: {low: 0.1, high: 1, log: 3}", "log is 3, must be true or false"),
    ],
)
def test_a_space_that_does_not_fit_is_refused(read, text, message):
    with pytest.raises(SegpipeError, match=message):
        read(text)


def test_an_id_that_is_also_an_override_is_refused(read):
    with pytest.raises(SegpipeError, match="batch_size is also given as batch_size=2; give it once"):
        read("batch_size: [4]", batch_size=2)


def test_a_space_is_found_by_its_name_in_the_bundle(tmp_path):
    (tmp_path / "bundle" / "configs" / "spaces").mkdir(parents=True)
    (tmp_path / "bundle" / "configs" / "spaces" / "paper.yaml").write_text("batch_size: [4]")

    found = space_path(tmp_path / "bundle", tmp_path.__class__("paper"))

    assert found == tmp_path / "bundle" / "configs" / "spaces" / "paper.yaml"
    with pytest.raises(SegpipeError, match=r"papre: no such space; the bundle's spaces are paper"):
        space_path(tmp_path / "bundle", tmp_path.__class__("papre"))
