"""The contract of every shipped classification bundle: the model zoo's checks, and agreement between its files."""

import json

import monai.bundle
import pytest
import torch
from bundle_contract import (
    assert_components_bind,
    assert_files,
    assert_no_logic,
    assert_packages_importable,
    assert_valid_metadata,
    shared_values,
)
from monai.bundle import ConfigParser
from shipped_bundles import bundles_of

from segpipe.bundle.open_classifier import open_classifier
from segpipe.calibration import Calibration
from segpipe.categories import Categories

BUNDLES = bundles_of("classification")
LARGEST = 12e6  # bytes of committed weights
STACKS = [("train",), ("train", "evaluate"), ("train", "multi_gpu_train"), ("inference",)]


@pytest.fixture(params=BUNDLES, ids=lambda root: root.name)
def root(request):
    return request.param


@pytest.fixture
def metadata(root):
    return json.loads((root / "configs" / "metadata.json").read_text())


def parser_of(root, *names):
    parser = ConfigParser()
    parser.read_config([str(root / "configs" / f"{name}.yaml") for name in names])
    parser.read_meta(str(root / "configs" / "metadata.json"))
    parser["bundle_root"] = str(root)
    return parser


def variants_of(root):
    """Return the names of further pairs of configurations, each in place of train.yaml and inference.yaml."""
    return [path.stem.removesuffix("_inference") for path in (root / "configs").glob("*_inference.yaml")]


def pairs_of(root):
    return [("train", "inference"), *((name, f"{name}_inference") for name in variants_of(root))]


def test_it_has_the_files_that_a_zoo_expects(root):
    assert_files(root, "models/model.pt", "models/model_calibration.json")


def test_metadata_is_valid_by_monais_schema(metadata):
    assert_valid_metadata(metadata)
    assert metadata["task"] == "classification"
    names = Categories.from_metadata(metadata).names
    output = metadata["network_data_format"]["outputs"]["pred"]
    assert output["channel_def"] == {str(index): name for index, name in enumerate(names)}
    assert output["num_channels"] == len(names)


def test_network_takes_and_gives_what_metadata_says(root, metadata):
    network = parser_of(root, "inference").get_parsed_content("network_def").eval()
    image = metadata["network_data_format"]["inputs"]["image"]
    with torch.no_grad():
        logits = network(torch.zeros(2, image["num_channels"], *image["spatial_shape"]))

    assert logits.shape == (2, metadata["network_data_format"]["outputs"]["pred"]["num_channels"])


def test_exported_network_gives_equal_logits(root, metadata, tmp_path):
    monai.bundle.ckpt_export(
        net_id="network_def",
        filepath=str(tmp_path / "model.ts"),
        ckpt_file=str(root / "models" / "model.pt"),
        meta_file=str(root / "configs/metadata.json"),
        config_file=str(root / "configs/inference.yaml"),
        bundle_root=str(root),
    )

    network = parser_of(root, "inference").get_parsed_content("network_def").eval()
    network.load_state_dict(torch.load(root / "models" / "model.pt", weights_only=True))
    exported = torch.jit.load(tmp_path / "model.ts").eval()
    image = metadata["network_data_format"]["inputs"]["image"]
    batch = torch.randn(2, image["num_channels"], *image["spatial_shape"])
    with torch.no_grad():
        torch.testing.assert_close(exported(batch), network(batch))


def test_train_and_inference_agree(root):
    """Network, deterministic transforms and shared numbers are equal; evaluation infers as inference does."""
    where = {"imports", "initialize", "run", "load_transforms", "handlers", "network", "batch_size"}
    where |= {"bundle_root", "dataset_dir", "output_dir", "device"}
    for names in pairs_of(root):
        train, infer = (parser_of(root, name) for name in names)
        shared = shared_values(train, infer, where)

        assert {name: train[name] for name in shared} == {name: infer[name] for name in shared}, names
        assert train["load_transforms"] == infer["load_transforms"]
        assert train["validate#inferer"] == infer["inferer"]
        assert {"image_size", "precision", "flips"} <= set(shared)


def test_every_component_is_importable_and_its_arguments_bind(root):
    for names in [*STACKS, *((name,) for pair in pairs_of(root)[1:] for name in pair)]:
        assert_components_bind(parser_of(root, *names).get())


def test_yaml_holds_no_logic(root):
    assert_no_logic(root)


def test_required_packages_are_importable(metadata):
    assert_packages_importable(metadata)


def test_shipped_weights_are_small_and_calibrated(root, metadata):
    """They open, which checks that they are of this network, these transforms and these names."""
    assert sum(path.stat().st_size for path in (root / "models").iterdir()) < LARGEST

    opened = open_classifier(root)

    calibration = Calibration.read(root / "models" / "model_calibration.json")
    assert opened.calibration == calibration
    assert opened.categories == Categories.from_metadata(metadata)
    assert all(0 < threshold < 1 for threshold in calibration.thresholds)
