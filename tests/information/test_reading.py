"""Facts of bundles, weights and runs, from files written by hand."""

import hashlib
import json

import pytest

from segpipe.errors import SegpipeError
from segpipe.information import information_of, listed_bundles

METADATA = {
    "name": "liver",
    "version": "0.2.0",
    "data_license": "CC BY 4.0",
    "eval_metrics": {"mean_dice": 0.9, "liver_dice": 0.9, "note": "x"},
    "evaluation": {"part": "test", "cases": 12, "manifest": {"name": "livers"}},
    "label_table": [
        {"index": 0, "name": "background", "color": [0, 0, 0], "value": 0},
        {"index": 1, "name": "liver", "color": [1, 2, 3], "value": 255},
    ],
    "network_data_format": {
        "inputs": {
            "image": {
                "modality": "CT",
                "num_channels": 1,
                "spatial_shape": [96, 96],
                "channel_def": {"0": "CT"},
            }
        }
    },
}
CONFIGURATION = """
spacing_mm: [1.5, 2.0]
window_hu: [-160, 240]
size: "@window_size"
window_size: [96, 96]
network_def: {_target_: monai.networks.nets.UNet}
epochs: 10
learning_rate: $1 / 3
deterministic_transforms:
  - {_target_: monai.transforms.Spacingd, keys: image, pixdim: "@spacing_mm"}
  - {_target_: segpipe.transforms.CTIntensityd, keys: image, window_hu: "@window_hu"}
inferer:
  _target_: segpipe.inference.PrecisionInferer
  inferer: {_target_: monai.inferers.SlidingWindowInferer, roi_size: "@size"}
"""


@pytest.fixture
def bundle(tmp_path):
    root = tmp_path / "ct_liver"
    for folder in ("configs", "models"):
        (root / folder).mkdir(parents=True)
    (root / "configs" / "metadata.json").write_text(json.dumps(METADATA))
    (root / "configs" / "inference.yaml").write_text(CONFIGURATION)
    return root


def write_weights(path, **training):
    """Write a file that stands for weights, and its record."""
    path.write_bytes(b"weights")
    record = {
        "weights_sha256": hashlib.sha256(b"weights").hexdigest(),
        "labels": METADATA["label_table"],
        "transforms": [{"_target_": "monai.transforms.Spacingd", "pixdim": [1.5, 2.0]}],
        "training": training,
    }
    path.with_suffix(".json").write_text(json.dumps(record))


TRAINING = {
    "cases": {"a": "1", "b": "2"},
    "validation_cases": {"c": "3"},
    "fold": 0,
    "epoch": 7,
    "manifest": {"name": "livers"},
    "environment": {"commit": "abc"},
    "segpipe": "0.1.0",
    "validation": {"val_mean_dice": 0.8},
    "configuration": {"epochs": 10, "loss": {"_target_": "monai.losses.DiceLoss"}, "seed": "$1"},
}


def test_a_bundle(bundle):
    write_weights(bundle / "models" / "model.pt", **TRAINING)

    about = information_of(bundle)

    assert (about.kind, about.name, about.task, about.licence) == (
        "bundle",
        "liver",
        "segmentation",
        "CC BY 4.0",
    )
    assert (about.classes, about.values) == (("background", "liver"), (0, 255))
    assert (about.channels, about.modality, about.shape) == (("CT",), "CT", (96, 96))
    assert about.settings.spacing_mm == (1.5, 2.0)
    assert about.settings.intensity_window == (-160, 240)
    assert about.settings.window_size == (96, 96)
    assert about.settings.steps == ("Spacingd", "CTIntensityd")
    assert about.weights[0].size == 7
    training = about.training
    assert (training.data, training.cases, training.validation_cases) == ("livers", 2, 1)
    assert (training.held_out, training.epoch, training.commit) == ("0", 7, "abc")
    assert training.settings == {"epochs": 10, "loss": "DiceLoss"}
    (scores,) = about.scores
    assert (scores.of, scores.values) == ("test of livers (12 cases)", {"mean_dice": 0.9, "liver_dice": 0.9})


def write_int8(path, of=b"weights"):
    """Write files that stand for a network in int8 beside weights, and their record."""
    files = {".int8.xml": b"xml", ".int8.bin": b"bin"}
    for suffix, content in files.items():
        path.with_suffix(suffix).write_bytes(content)
    record = {
        "version": 1,
        "weights_sha256": hashlib.sha256(of).hexdigest(),
        "files": {suffix: hashlib.sha256(content).hexdigest() for suffix, content in files.items()},
        "window": [1, 1, 96, 96],
        "float32": {"liver": 0.9},
        "int8": {"liver": 0.899},
        "cases": {"manifest": {"name": "livers"}, "part": "fold 0", "number": 4},
    }
    path.with_suffix(".int8.json").write_text(json.dumps(record))


@pytest.mark.parametrize("kind", ["bundle", "weights"])
def test_a_network_in_int8_shows_its_scores(bundle, kind):
    weights = bundle / "models" / "model.pt"
    write_weights(weights, **TRAINING)
    write_int8(weights)

    about = information_of(bundle if kind == "bundle" else weights)

    scores = about.scores[-1]
    assert (scores.of, scores.values) == (
        "fold 0 of livers (4 cases), model.pt in int8",
        {"liver_dice": 0.899},
    )


def test_a_network_in_int8_of_other_weights_is_noted(bundle):
    weights = bundle / "models" / "model.pt"
    write_weights(weights, **TRAINING)
    write_int8(weights, of=b"earlier")

    about = information_of(bundle)

    assert len(about.scores) == 1
    assert "model.int8.json: was made of other weights" in about.notes[-1]


def test_overrides_and_later_files(bundle):
    (bundle / "configs" / "coarse.yaml").write_text("spacing_mm: [3, 3]\n")

    assert information_of(bundle, configs=["inference.yaml", "coarse.yaml"]).settings.spacing_mm == (3, 3)
    assert information_of(bundle, overrides={"window_hu": [0, 80]}).settings.intensity_window == (0, 80)


def test_a_bundle_of_the_zoo_in_json(tmp_path):
    """Classes are in channel_def, and the window in MONAI's own transform."""
    (tmp_path / "configs").mkdir()
    output = {"num_channels": 2, "channel_def": {"1": "spleen", "0": "background"}}
    image = {"num_channels": 2, "spatial_shape": ["8*n"]}
    formats = {"inputs": {"image": image}, "outputs": {"pred": output}}
    step = {"_target_": "ScaleIntensityRanged", "a_min": -57, "a_max": 164}
    (tmp_path / "configs" / "metadata.json").write_text(json.dumps({"network_data_format": formats}))
    (tmp_path / "configs" / "inference.json").write_text(
        json.dumps({"preprocessing": {"transforms": [step]}})
    )

    about = information_of(tmp_path)

    assert about.classes == ("background", "spleen")
    assert about.channels == ("channel 0", "channel 1")
    assert about.settings.intensity_window == (-57, 164)
    assert about.weights[0].size is None
    assert about.scores == ()


def test_weights(bundle):
    path = bundle / "models" / "model.pt"
    write_weights(path, **TRAINING)

    about = information_of(path)

    assert (about.kind, about.classes, about.values) == ("weights", ("background", "liver"), (0, 255))
    assert about.settings.spacing_mm == (1.5, 2.0)
    assert [(scores.of, scores.values) for scores in about.scores] == [
        ("validation of this epoch", {"val_mean_dice": 0.8})
    ]


@pytest.mark.parametrize(
    ("damage", "note"),
    [
        (lambda path: path.with_suffix(".json").unlink(), "has no record"),
        (lambda path: path.write_bytes(b"other"), "is the record of other weights than model.pt"),
        (lambda path: path.with_suffix(".json").write_text("[]"), "is no record of weights"),
    ],
    ids=["none", "other", "list"],
)
def test_a_record_that_does_not_belong_to_the_weights(bundle, damage, note):
    path = bundle / "models" / "model.pt"
    write_weights(path, **TRAINING)
    damage(path)

    for about in (information_of(path), information_of(bundle)):
        assert note in about.notes[0]
        assert about.training is None


def test_a_run(tmp_path):
    run = tmp_path / "first"
    (run / "evaluation" / "best-fold0").mkdir(parents=True)
    (run / "configuration.yaml").write_text(CONFIGURATION)
    summary = {"about": {"part": "fold 0"}, "all_classes": {"dice": {"mean": 0.7}, "hd95_mm": {"mean": None}}}
    (run / "evaluation" / "best-fold0" / "summary.json").write_text(json.dumps(summary))
    assert information_of(run).notes == ("the run has no weights yet",)
    write_weights(run / "best.pt", **TRAINING)

    about = information_of(run)

    assert (about.kind, about.name, about.training.epoch) == ("run", "first", 7)
    assert [(scores.of, scores.values) for scores in about.scores] == [
        ("validation of this epoch", {"val_mean_dice": 0.8}),
        ("evaluation/best-fold0 (fold 0)", {"dice": 0.7}),
    ]


class TestRefusals:
    def test_nothing_of_the_three(self, tmp_path):
        with pytest.raises(SegpipeError, match="is not a bundle: no configs/metadata"):
            information_of(tmp_path)

    def test_missing_weights(self, tmp_path):
        with pytest.raises(SegpipeError, match="no such weights file"):
            information_of(tmp_path / "best.pt")

    def test_options_of_a_bundle_with_weights(self, bundle):
        write_weights(bundle / "models" / "model.pt")
        with pytest.raises(SegpipeError, match="is no bundle, which --config needs"):
            information_of(bundle / "models" / "model.pt", configs=["x.yaml"])

    @pytest.mark.parametrize("text", ["[1]", "a: [", ""])
    def test_a_damaged_configuration(self, bundle, text):
        (bundle / "configs" / "inference.yaml").write_text(text)
        with pytest.raises(SegpipeError, match=r"inference.yaml: (line \d+: )?is no"):
            information_of(bundle)

    def test_metadata_without_input_or_classes(self, bundle):
        path = bundle / "configs" / "metadata.json"
        path.write_text(json.dumps({**METADATA, "network_data_format": {}}))
        with pytest.raises(SegpipeError, match="does not say which image the network takes"):
            information_of(bundle)
        path.write_text(json.dumps({**METADATA, "label_table": [{"index": 0}]}))
        with pytest.raises(SegpipeError, match="does not say which classes the network scores"):
            information_of(bundle)


def test_the_list_shows_scores_and_damaged_bundles(bundle, monkeypatch):
    monkeypatch.setenv("SEGPIPE_BUNDLES", str(bundle.parent))
    rows = {row.name: row for row in listed_bundles()}
    assert rows["ct_liver"].score == ("mean_dice", 0.9)
    assert rows["cxr_findings_efficientnet"].score == ("macro_auroc", 0.682)

    (bundle / "configs" / "metadata.json").write_text("{")
    damaged = next(row for row in listed_bundles() if row.name == "ct_liver")
    assert damaged.about is None
    assert "is not JSON" in damaged.problem
