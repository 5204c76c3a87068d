"""The list of weights in inference.yaml; other lines stay as they are."""

import json

import pytest
import yaml

from segpipe.bundle.weights_list import WeightsList
from segpipe.errors import SegpipeError

FLOW = "# about\nseed: 0\nweights: [\"$@bundle_root + '/models/model.pt'\"]   # averaged\noverlap: 0.25\n"
BLOCK = "weights:\n  - \"$@bundle_root + '/models/model.pt'\"\n  - \"$@bundle_root + '/models/b.pt'\"\noverlap: 0.25\n"


@pytest.fixture
def listed(tmp_path):
    """Return a function that writes a configuration and reads its list."""

    def reading(text):
        (tmp_path / "configs").mkdir()
        (tmp_path / "configs" / "inference.yaml").write_text(text)
        return WeightsList(tmp_path)

    return reading


def test_several_files_are_named_and_the_comment_stays(listed):
    weights = listed(FLOW)
    weights.path.with_suffix(".json").write_text("{}")

    changed = weights.write(["model.pt", "model_2.pt"])

    text = weights.path.read_text()
    both = "[\"$@bundle_root + '/models/model.pt'\", \"$@bundle_root + '/models/model_2.pt'\"]"
    assert text == FLOW.replace("[\"$@bundle_root + '/models/model.pt'\"]", both)
    assert json.loads(changed[1].read_text()) == yaml.safe_load(text)


def test_a_list_with_an_item_a_line_becomes_one_line(listed):
    weights = listed(BLOCK)
    assert weights.names == ["model.pt", "b.pt"]

    weights.write(["model.pt"])

    assert weights.path.read_text() == "weights: [\"$@bundle_root + '/models/model.pt'\"]\noverlap: 0.25\n"


def test_the_same_names_change_nothing(listed):
    assert listed(FLOW).write(["model.pt"]) == []


@pytest.mark.parametrize("text", ["overlap: 0.25\n", "weights: /a/model.pt\n", "weights: [/a/model.pt]\n"])
def test_weights_elsewhere_have_no_place_for_several(listed, text):
    with pytest.raises(SegpipeError, match=r"its weights must be a list such as \[.*model\.pt.*; correct it"):
        listed(text).require_place()
