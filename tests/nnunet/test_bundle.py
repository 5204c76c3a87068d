"""A model folder becomes a bundle: files, weights with sidecars, and the check."""

import json

import pytest
import torch
import yaml
from nnunet_models import dataset, plans, write_model

from segpipe.bundle.open import open_bundle
from segpipe.bundle_check.check_bundle import check_bundle
from segpipe.errors import SegpipeError
from segpipe.files import file_sha256
from segpipe.networks import Ensemble, read_sidecar
from segpipe.nnunet import import_nnunet

REGIONS = {"background": 0, "whole": [1, 2, 3], "core": [2, 3], "enhancing": 3, "ignore": 4}


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return write_model(tmp_path_factory.mktemp("results") / "model", folds=2)


@pytest.fixture(scope="module")
def bundle(model, tmp_path_factory):
    root = tmp_path_factory.mktemp("bundles") / "knee"
    import_nnunet(model, root)
    return root


def test_folds_are_an_ensemble_of_weights(bundle):
    opened = open_bundle(bundle)

    assert isinstance(opened.network, Ensemble)
    assert [path.name for path in opened.weights] == ["model.pt", "model_fold_1.pt"]
    assert opened.labels.names == ("background", "femur", "tibia")


def test_the_check_finds_no_mistake(bundle):
    findings = check_bundle(bundle, [bundle / "configs" / "inference.yaml"], {}, is_inference=True)

    assert [str(finding) for finding in findings if not finding.is_note] == []


def test_sidecars_say_where_the_weights_come_from(bundle, model):
    training = read_sidecar(bundle / "models" / "model_fold_1.pt").training

    assert training["imported_from"] == {
        "program": "nnU-Net 2",
        "trainer": "nnUNetTrainer_5epochs",
        "plans": "nnUNetPlans",
        "configuration": "3d_fullres",
        "fold": "1",
        "checkpoint": "checkpoint_final.pth",
        "checkpoint_sha256": file_sha256(model / "fold_1" / "checkpoint_final.pth"),
        "plans_sha256": file_sha256(model / "plans.json"),
        "dataset_sha256": file_sha256(model / "dataset.json"),
    }
    assert (training["fold"], training["epoch"]) == ("1", 5)


def test_the_yaml_holds_the_numbers_of_the_plans(bundle):
    content = yaml.safe_load((bundle / "configs" / "inference.yaml").read_text())

    assert content["axis_order"] == [2, 1, 0]
    assert content["window_size"] == [8, 16, 12]
    assert content["spacing_mm"] == [3.0, 1.5, 1.25]
    assert content["schemes"] == [{"scheme": "z-score"}]
    assert content["flips"] == [0, 1, 2]
    assert content["inferer"]["inferer"]["inferer"]["_target_"] == "segpipe.inference.EvenWindowInferer"
    metadata = json.loads((bundle / "configs" / "metadata.json").read_text())
    assert (metadata["name"], metadata["modality"]) == ("Dataset007_Knee", "MR")
    assert metadata["data_license"] == "not named in dataset.json; name it before you share weights"


def test_one_fold_of_regions_and_of_channels(tmp_path):
    of_plans = plans(normalization_schemes=["NoNormalization"] * 2, use_mask_for_norm=[False] * 2)
    of_dataset = dataset(
        channel_names={"0": "FLAIR", "1": "T1"},
        labels=REGIONS,
        regions_class_order=[1, 2, 3],
        licence="CC BY 4.0",
    )
    model = write_model(tmp_path / "model", of_plans, of_dataset, channels=2)

    import_nnunet(model, tmp_path / "bundle")

    opened = open_bundle(tmp_path / "bundle")
    assert opened.labels.output_names == ("whole", "core", "enhancing")
    assert opened.labels.ignore_value == 4
    assert [channel.files for channel in opened.takes.channels] == ["{case}_0000", "{case}_0001"]
    assert opened.metadata["data_license"] == "CC BY 4.0"
    steps = [type(step).__name__ for step in opened.postprocessing.transforms]
    assert steps == ["Invertd", "Activationsd", "RegionsToClassesd"]


def test_nothing_is_left_of_a_bundle_that_fails(tmp_path):
    """The second fold is of another trainer."""
    model = write_model(tmp_path / "model", folds=2)
    path = model / "fold_1" / "checkpoint_final.pth"
    content = torch.load(path, weights_only=False)
    torch.save({**content, "trainer_name": "nnUNetTrainer"}, path)

    with pytest.raises(
        SegpipeError, match=r"fold_1/checkpoint_final.pth: configuration, trainer and mirrored axes"
    ):
        import_nnunet(model, tmp_path / "bundles" / "knee")

    assert list((tmp_path / "bundles").iterdir()) == []


def test_mirror_axes_of_another_network_are_refused(tmp_path):
    model = write_model(tmp_path / "model", plans(2), inference_allowed_mirroring_axes=(0, 2))

    with pytest.raises(SegpipeError, match=r"mirrors along \[0, 2\], but the network has 2 axes"):
        import_nnunet(model, tmp_path / "bundle")


def test_a_text_that_monai_would_evaluate_is_refused(tmp_path):
    model = write_model(tmp_path / "model", of_dataset=dataset(description="$import os"))

    with pytest.raises(SegpipeError, match=r"the text '\$import os' of the model's files begins with"):
        import_nnunet(model, tmp_path / "bundle")


def test_a_folder_that_exists_is_not_replaced(model, tmp_path):
    with pytest.raises(SegpipeError, match="exists already; choose another --output, or remove it"):
        import_nnunet(model, tmp_path)
