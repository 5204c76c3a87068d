"""Opening a bundle that classifies: its parts, its weights' identity, foreign bundles, and refusals."""

import json

import numpy as np
import pytest
import torch
import yaml
from monai.inferers import SimpleInferer
from monai.networks.nets import DenseNet121
from tiny_bundle import write_bundle
from tiny_classifier import CLASSES, FINDINGS, INPUT, metadata_of, write_classifier, write_image

from segpipe.bundle.open import open_bundle
from segpipe.bundle.open_classifier import open_classifier
from segpipe.bundle.source import BundleSource
from segpipe.bundle.task import task_of
from segpipe.calibration import calibration_path
from segpipe.categories import Categories
from segpipe.errors import SegpipeError


@pytest.fixture
def bundle(tmp_path):
    return write_classifier(tmp_path / "tiny")


def test_the_parts_of_a_bundle(bundle, tmp_path):
    opened = open_classifier(bundle)

    assert opened.categories == CLASSES
    assert opened.calibration.temperature == (2.0,)
    assert opened.heatmap_layer == "features.4"
    assert opened.weights == (bundle / "models" / "model.pt",)
    assert not opened.network.training
    image = opened.read(write_image(tmp_path / "image.png"))
    assert tuple(image.shape) == (3, *INPUT)


def test_findings(tmp_path):
    opened = open_classifier(write_classifier(tmp_path / "tiny", FINDINGS))

    assert opened.categories == FINDINGS
    assert opened.calibration.thresholds == (0.4,) * 4


def test_the_hash_goes_by_weights_and_calibration(bundle, tmp_path):
    """The hash says whether a prediction is of the same recipe."""
    first = open_classifier(bundle).sha256

    assert open_classifier(bundle).sha256 == first
    assert open_classifier(BundleSource(bundle, overrides={"output_dir": "/elsewhere"})).sha256 == first
    calibration_path(bundle / "models" / "model.pt").unlink()
    uncalibrated = open_classifier(bundle)
    assert uncalibrated.calibration.temperature == (1.0,)
    assert uncalibrated.sha256 != first
    assert open_classifier(write_classifier(tmp_path / "other", seed=1)).sha256 != first


def test_tasks_by_metadata_alone(bundle, tmp_path):
    assert task_of(bundle) == "classification"
    assert task_of(write_bundle(tmp_path / "segmenter")) == "segmentation"


def test_a_bundle_of_the_other_task_is_refused(bundle, tmp_path):
    with pytest.raises(SegpipeError, match=r"is a bundle for classification .* for segmentation is needed"):
        open_bundle(bundle)
    with pytest.raises(SegpipeError, match=r"is a bundle for segmentation .* for classification is needed"):
        open_classifier(write_bundle(tmp_path / "segmenter"))


def test_weights_of_the_same_classes_in_another_order_are_refused(bundle):
    """The numbers fit the network, and every class would get the name of another."""
    swapped = Categories(("DME", "CNV", "NORMAL"), "class")
    (bundle / "configs" / "metadata.json").write_text(json.dumps(metadata_of(swapped)))

    with pytest.raises(SegpipeError, match=r"trained for 0 CNV .*1 DME .*the bundle has 0 DME .*1 CNV"):
        open_classifier(bundle)


def test_a_calibration_of_other_weights_is_refused(bundle, tmp_path):
    other = write_classifier(tmp_path / "other", seed=1)
    path = calibration_path(bundle / "models" / "model.pt")
    path.write_bytes(calibration_path(other / "models" / "model.pt").read_bytes())

    with pytest.raises(SegpipeError, match=r"was fitted with other weights than model\.pt"):
        open_classifier(bundle)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"heatmap_layer": "features.99"}, "heatmap_layer is 'features.99', which is no layer"),
        ({"device": "cuda:99"}, "device cuda:99 is not there"),
        ({"precision": "float8"}, "precision 'float8' is unknown"),
    ],
)
def test_one_message(tmp_path, changes, message):
    with pytest.raises(SegpipeError, match=message):
        open_classifier(write_classifier(tmp_path / "tiny", **changes))


def test_without_preprocessing(tmp_path):
    root = write_classifier(tmp_path / "tiny")
    path = root / "configs" / "inference.yaml"
    content = yaml.safe_load(path.read_text())
    del content["preprocessing"]
    path.write_text(yaml.safe_dump(content))

    with pytest.raises(SegpipeError, match="its configuration has no preprocessing"):
        open_classifier(BundleSource(root, trust=True))


@pytest.fixture
def foreign(tmp_path):
    """Return a function that writes a bundle in the zoo's layout: no label table, no inferer, MONAI's loader."""

    def write(names=("normal", "abnormal"), **changes):
        root = tmp_path / "foreign"
        for folder in ("configs", "models"):
            (root / folder).mkdir(parents=True)
        network = {
            "_target_": "monai.networks.nets.DenseNet121",
            "spatial_dims": 2,
            "in_channels": 1,
            "out_channels": 2,
            "init_features": 4,
            "growth_rate": 2,
            "block_config": [1, 1],
        }
        chain = [
            {"_target_": "LoadImaged", "keys": "image", "reader": "PILReader", "ensure_channel_first": True},
            {"_target_": "ScaleIntensityd", "keys": "image"},
            {"_target_": "Resized", "keys": "image", "spatial_size": [32, 32]},
        ]
        content = {
            "device": "$torch.device('cpu')",
            "network_def": network,
            "preprocessing": {"_target_": "Compose", "transforms": chain},
            **changes,
        }
        (root / "configs" / "inference.json").write_text(json.dumps(content))
        metadata = metadata_of(CLASSES)
        output = metadata["network_data_format"]["outputs"]["pred"]
        output |= {"num_channels": 2, "channel_def": {str(i): name for i, name in enumerate(names)}}
        del metadata["label_table"], metadata["target"]
        (root / "configs" / "metadata.json").write_text(json.dumps(metadata))
        torch.manual_seed(0)
        made = DenseNet121(2, 1, 2, init_features=4, growth_rate=2, block_config=[1, 1])
        torch.save({"model": made.state_dict()}, root / "models" / "model.pt")
        return root, made.eval()

    return write


@pytest.mark.filterwarnings("ignore:NvImgCodec")
def test_a_foreign_bundle(foreign, tmp_path):
    """The names come from channel_def, the inferer is MONAI's simple one, and there is no calibration."""
    root, network = foreign()
    opened = open_classifier(root)
    path = write_image(tmp_path / "image.png", size=(40, 40))

    assert opened.categories == Categories(("normal", "abnormal"), "class")
    assert type(opened.inferer) is SimpleInferer
    image = opened.read(path)
    with torch.inference_mode():
        np.testing.assert_allclose(
            opened.network(image[None]).numpy(), network(image[None]).numpy(), rtol=1e-5
        )


def test_a_foreign_bundle_whose_chain_loads_nothing(foreign):
    root, _ = foreign(preprocessing={"_target_": "Compose", "transforms": []})

    with pytest.raises(SegpipeError, match="must begin with one step that loads one image"):
        open_classifier(root)
