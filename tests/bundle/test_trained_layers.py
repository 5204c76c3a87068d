"""The parts that the last epoch of a training changes, with parameters worked out by hand."""

from pathlib import Path

import pytest
import yaml
from tiny_bundle import BUNDLES
from tiny_classifier import write_classifier

from segpipe.bundle.layers import bundle_layers
from segpipe.bundle.trained_layers import training_files
from segpipe.errors import SegpipeError

STEM = 3 * 3 * 3 * 32 + 2 * 32  # a convolution without bias, and its batch norm
BLOCK = 3 * 3 * 32 + 2 * 32 + 32 * 16 + 2 * 16  # of each channel, then to 16 channels
LINEAR = 16 * 3 + 3


def write_training(root, *, epochs=3, **unfreeze):
    """Write the part of a train.yaml that says which layers are trained."""
    handlers = [{"_target_": "segpipe.training.Unfreeze", "network": "@network_def", **unfreeze}]
    if not unfreeze:
        handlers = []
    training = {
        "epochs": epochs,
        "unfreeze_after": "never",
        "network_def": {"_target_": "segpipe.networks.EfficientNetLite0", "num_classes": 3, "levels": [1]},
        "train": {"handlers": handlers, "trainer": {"max_epochs": "@epochs"}},
    }
    (root / "configs" / "train.yaml").write_text(yaml.safe_dump(training))


@pytest.fixture
def root(tmp_path):
    network = {
        "_target_": "segpipe.networks.EfficientNetLite0",
        "num_classes": "$@labels.num",
        "levels": [1],
    }
    return write_classifier(tmp_path / "tiny", network_def=network)


@pytest.mark.parametrize(
    ("unfreeze", "trained"),
    [
        ({}, STEM + BLOCK + LINEAR),
        ({"after": 0}, STEM + BLOCK + LINEAR),
        ({"after": "never"}, LINEAR),
        ({"after": "@unfreeze_after"}, LINEAR),
        ({"after": 2}, STEM + BLOCK + LINEAR),
        ({"after": 2, "parts": 1}, BLOCK + LINEAR),
        ({"after": 0, "parts": 2}, LINEAR),
        ({"after": 3}, LINEAR),
    ],
    ids=str,
)
def test_trained_is_what_the_last_epoch_trains(root, unfreeze, trained):
    write_training(root, **unfreeze)

    table = bundle_layers(root)

    assert (table.parameters, table.trained) == (STEM + BLOCK + LINEAR, trained)


def test_the_shipped_bundle_of_chest_x_rays():
    """Levels 3 and 8 have 24 and 80 channels in 4 x 4 cells, for 14 findings."""
    table = bundle_layers(BUNDLES / "cxr_findings_efficientnet")

    linear = (24 + 80) * 16 * 14 + 14
    assert (table.parameters, table.trained) == (277_294, linear)
    assert [layer.name for layer in table.layers if layer.trained] == ["classifier"]


def test_a_training_of_another_network_is_refused(root):
    write_training(root, after=1, parts=7)

    with pytest.raises(SegpipeError, match=r"7 parts are to be frozen; must be 0 to 2"):
        bundle_layers(root)


@pytest.mark.parametrize(
    ("inference", "training"),
    [
        (["inference.yaml"], ["train.yaml"]),
        (["inference.yaml", "paper_inference.yaml"], ["train.yaml", "paper.yaml"]),
        (["paper_inference.yaml"], ["paper.yaml"]),
        (["inference.yaml", "odd_inference.yaml"], []),
        (["inference.json"], []),
    ],
)
def test_each_file_has_its_counterpart(tmp_path, inference, training):
    for name in ("train.yaml", "paper.yaml"):
        (tmp_path / name).touch()

    found = training_files([tmp_path / name for name in inference])

    assert [Path(path).name for path in found] == training
