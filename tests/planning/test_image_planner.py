"""A planned classification bundle is whole: its files fit each other, and `segpipe check` accepts it."""

import json
import shutil

import pytest
import yaml
from monai.bundle import ConfigParser
from PIL import Image

from segpipe.admission.gate import audit
from segpipe.bundle_check.check_bundle import check_bundle
from segpipe.categories import Categories
from segpipe.dataset import load_manifest
from segpipe.errors import SegpipeError
from segpipe.phantoms.files import write_phantom_dataset
from segpipe.phantoms.labelled_images import write_class_phantoms, write_finding_phantoms
from segpipe.planning.image_planner import ImagePlanOptions, plan_image_bundle


@pytest.fixture(scope="module")
def manifests(tmp_path_factory):
    folder = tmp_path_factory.mktemp("data")
    return {
        "class": write_class_phantoms(folder / "class", 24, seed=0, size=32),
        "findings": write_finding_phantoms(folder / "findings", 24, seed=0, size=32),
    }


def planned(manifest, root, **options):
    return plan_image_bundle(manifest, manifest.parent, root, ImagePlanOptions(**options))


def config(root, name):
    return yaml.safe_load((root / "configs" / f"{name}.yaml").read_text())


@pytest.mark.parametrize("target", ["class", "findings"])
@pytest.mark.parametrize(
    "options", [{}, {"network": "densenet", "balanced": True}, {"validate": False}], ids=str
)
def test_the_bundle_is_whole_and_safe(manifests, tmp_path, target, options):
    root = planned(manifests[target], tmp_path / "bundle", **options).root

    names = {path.relative_to(root).as_posix() for path in root.rglob("*") if path.is_file()}
    assert names == {
        *(f"configs/{name}.yaml" for name in ("train", "inference", "evaluate", "multi_gpu_train")),
        *(
            "configs/inference.json",
            "configs/metadata.json",
            "configs/logging.conf",
            "docs/README.md",
            "docs/data_license.txt",
            "LICENSE",
        ),
    }
    (root / "models" / "model.pt").touch()  # of a training to come
    for names_of_run in (["train"], ["inference"], ["train", "multi_gpu_train"]):
        configs = [root / "configs" / f"{name}.yaml" for name in names_of_run]
        assert check_bundle(root, configs, {}) == [], names_of_run
        assert audit(root, configs) == [], names_of_run


def test_the_chain_of_training_is_that_of_inference(manifests, tmp_path):
    """MONAI resolves both; a weights file remembers one."""
    root = planned(manifests["class"], tmp_path / "bundle").root

    chains = []
    for name in ("train", "inference"):
        parser = ConfigParser()
        parser.read_config(str(root / "configs" / f"{name}.yaml"))
        parser.read_meta(str(root / "configs" / "metadata.json"))
        parser["bundle_root"] = str(root)
        parser.parse()
        chains.append([parser[f"deterministic_transforms#{place}"] for place in range(3)])
        assert parser["image_size"] == [32, 32]
    assert chains[0] == chains[1]


def test_the_metadata_are_those_of_the_manifest(manifests, tmp_path):
    root = planned(manifests["findings"], tmp_path / "bundle").root

    metadata = json.loads((root / "configs" / "metadata.json").read_text())
    categories = load_manifest(manifests["findings"]).categories()
    assert metadata["task"] == "classification"
    assert Categories.from_metadata(metadata) == categories
    (output,) = metadata["network_data_format"]["outputs"].values()
    assert output["num_channels"] == 3
    assert output["channel_def"] == {str(place): name for place, name in enumerate(categories.names)}
    (image,) = metadata["network_data_format"]["inputs"].values()
    assert (image["num_channels"], image["spatial_shape"]) == (3, [32, 32])


@pytest.mark.parametrize(
    ("target", "loss"), [("class", "CrossEntropyLoss"), ("findings", "WeightedBinaryCrossEntropy")]
)
def test_the_loss_and_the_sampler_fit_target_and_options(manifests, tmp_path, target, loss):
    plain, balanced = (
        config(planned(manifests[target], tmp_path / str(chosen), balanced=chosen).root, "train")
        for chosen in (False, True)
    )

    assert plain["loss"]["_target_"].endswith(loss)
    assert plain["train"]["sampler"]["_target_"].endswith("EpochSampler")
    assert balanced["train"]["sampler"]["_target_"].endswith("BalancedSampler")
    assert balanced["weighting"] is None


def test_densenet_has_no_backbone_to_start_or_freeze(manifests, tmp_path):
    train = config(planned(manifests["class"], tmp_path / "bundle", network="densenet").root, "train")

    assert "start_network" not in train
    assert not any(one["_target_"].endswith("Unfreeze") for one in train["train"]["handlers"])
    evaluate = config(tmp_path / "bundle", "evaluate")
    assert "validate#evaluator#network" not in evaluate


def test_an_evaluation_does_not_start_from_imagenet(manifests, tmp_path):
    """The start would come after the weights to score were loaded, and replace them."""
    root = planned(manifests["class"], tmp_path / "bundle").root

    assert config(root, "evaluate")["validate#evaluator#network"] == "$@network_def.to(@device)"
    assert config(root, "train")["network"] == "$@start_network.to(@device)"


def test_without_validation_every_image_trains(manifests, tmp_path):
    made = planned(manifests["class"], tmp_path / "bundle", validate=False)

    assert config(made.root, "train")["fold"] == "all"
    assert any(warning.startswith("nothing validates") for warning in made.plan.warnings)
    readme = (made.root / "docs" / "README.md").read_text()
    assert "evaluate.yaml" not in readme
    assert "runs/first/last.pt" in readme


def test_refusals_leave_nothing_behind(manifests, tmp_path):
    (tmp_path / "there").mkdir()
    with pytest.raises(SegpipeError, match="exists already; choose another --output"):
        planned(manifests["class"], tmp_path / "there")
    with pytest.raises(SegpipeError, match="--network unet: must be one of efficientnet, densenet"):
        planned(manifests["class"], tmp_path / "bundle", network="unet")
    with pytest.raises(SegpipeError, match="#"):
        planned(manifests["class"], tmp_path / "a#b")
    masks = write_phantom_dataset(tmp_path / "masks", num_cases=4, seed=0)
    with pytest.raises(SegpipeError, match="mask"):
        planned(masks, tmp_path / "bundle")
    shutil.copytree(manifests["class"].parent, tmp_path / "data")
    broken = next((tmp_path / "data" / "FLUID").iterdir())
    Image.open(broken).save(broken.with_suffix(".gif"))
    broken.write_bytes(broken.read_bytes()[:100])
    with pytest.raises(SegpipeError, match=broken.stem):
        planned(tmp_path / "data" / "dataset.json", tmp_path / "bundle")

    assert not (tmp_path / "bundle").exists()
    assert list(tmp_path.glob(".segpipe-plan-*")) == []
