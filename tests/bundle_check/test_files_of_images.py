"""Missing files of a classification's run are findings, and so are classes that cannot be."""

import shutil

import pytest
from trial_classifier import write_trial

from segpipe.bundle_check.check_bundle import check_bundle
from segpipe.phantoms.labelled_images import write_class_phantoms
from segpipe.planning.image_planner import ImagePlanOptions, plan_image_bundle


@pytest.fixture(scope="module")
def manifest(tmp_path_factory):
    return write_class_phantoms(tmp_path_factory.mktemp("data") / "set", 24, seed=0, size=32)


@pytest.fixture
def trial(manifest, tmp_path):
    return write_trial(tmp_path / "trial", manifest)


def findings(root, *names, **overrides):
    configs = [root / "configs" / f"{name}.yaml" for name in names]
    return [str(finding) for finding in check_bundle(root, configs, overrides)]


def test_a_whole_bundle_has_none(trial):
    assert findings(trial, "train") == []


def test_images_that_are_not_there(trial, manifest, tmp_path):
    shutil.copytree(manifest.parent, tmp_path / "lacking")
    gone = next((tmp_path / "lacking" / "FLUID").iterdir())
    gone.unlink()

    (finding,) = findings(trial, "train", dataset_dir=str(tmp_path / "lacking"))
    (folder,) = findings(trial, "train", dataset_dir=str(tmp_path / "none"))

    assert finding == (
        f"command line: dataset_dir is {tmp_path / 'lacking'}, which lacks 1 of the manifest's 24 files: "
        f"FLUID/{gone.name}"
    )
    assert folder == (
        f"command line: dataset_dir is {tmp_path / 'none'}: there is no such folder; give dataset_dir=DIR"
    )


def test_a_fold_and_a_manifest_that_are_not_there(trial):
    (fold,) = findings(trial, "train", fold=9)
    (manifest,) = findings(trial, "train", manifest="oct2071")

    assert fold.startswith("command line: fold cannot be used: ")
    assert manifest.startswith("command line: manifest cannot be used: ")
    assert "did you mean oct2017?" in manifest


def test_nothing_to_score(trial):
    (without_name,) = findings(trial, "train", "evaluate")
    (without_run,) = findings(trial, "train", "evaluate", run_name="first")

    assert "run_name is null, and weights is null too: there are no weights to score" in without_name
    assert "run_name is first, and there is no " in without_run


def test_weights_to_start_from_are_a_word_or_a_file(manifest, tmp_path):
    root = plan_image_bundle(manifest, manifest.parent, tmp_path / "planned", ImagePlanOptions()).root

    assert findings(root, "train") == findings(root, "train", pretrained="none") == []
    assert findings(root, "train", pretrained="vgg.pth") == [
        "command line: pretrained is vgg.pth: there is no such file"
    ]


def test_classes_that_cannot_be(trial):
    metadata = trial / "configs" / "metadata.json"
    metadata.write_text(metadata.read_text().replace('"DRUSEN"', '"FLUID"', 1))

    assert any(
        "_meta_#label_table cannot be used: class: 'FLUID' stands twice" in one
        for one in findings(trial, "train")
    )
