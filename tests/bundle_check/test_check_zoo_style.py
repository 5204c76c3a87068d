"""Bundles in the style of the model zoo: idioms are no findings, and mistakes are findings."""

import json

import pytest
from zoo_style import write_zoo_bundle

from segpipe.bundle_check.check_bundle import check_bundle


@pytest.mark.parametrize(
    "stack", [["train"], ["train", "evaluate"], ["train", "multi_gpu_train"]], ids="+".join
)
def test_a_bundle_in_the_zoos_style_has_no_mistake(stack, tmp_path):
    root = write_zoo_bundle(tmp_path / "spleen")

    assert check_bundle(root, [root / "configs" / f"{name}.json" for name in stack], {}) == []


def test_a_zoo_bundle_that_segpipe_predicts_with_has_no_mistake(zoo_bundle, tmp_path):
    root = zoo_bundle()

    assert check_bundle(root, [root / "configs" / "inference.json"], {"dataset_dir": str(tmp_path)}) == []


def test_a_mistake_in_a_component_of_a_zoo_bundle(tmp_path):
    root = write_zoo_bundle(tmp_path / "spleen", optimizer="$torch.optim.Adm(@networks.parameters())")

    findings = check_bundle(root, [root / "configs" / "train.json"], {})

    assert [finding.sentence for finding in findings] == [
        "optimizer refers to @networks, which is not there; did you mean network?",
        "optimizer uses torch.optim.Adm, which is not there; did you mean Adam?",
    ]


def test_a_mistaken_override_of_a_zoo_bundle(tmp_path):
    root = write_zoo_bundle(tmp_path / "spleen")

    (finding,) = check_bundle(root, [root / "configs" / "train.json"], {"val_intervall": 1})

    assert finding.sentence == "val_intervall is no id of this configuration; did you mean val_interval?"


def test_an_evaluation_that_saves_a_metric_which_nothing_computes(tmp_path):
    """A bundle of the model zoo had this mistake."""
    root = write_zoo_bundle(tmp_path / "spleen")
    evaluate = root / "configs" / "evaluate.json"
    evaluate.write_text(evaluate.read_text().replace('"val_accuracy"', '"val_acc"'))

    (finding,) = check_bundle(root, [root / "configs" / "train.json", evaluate], {})

    assert finding.sentence == (
        "validate#handlers#1#metrics names val_acc, which is no metric of validate#evaluator; "
        "did you mean val_accuracy?"
    )


def test_additional_metrics_are_not_computed_without_a_key_metric(tmp_path):
    root = write_zoo_bundle(tmp_path / "spleen")
    files = [root / "configs" / "train.json", root / "configs" / "evaluate.json"]

    findings = check_bundle(root, files, {"validate#evaluator#key_val_metric": "$None"})

    assert findings == []  # what an expression gives is not known


def test_weights_that_a_zoo_bundle_would_load(tmp_path):
    root = write_zoo_bundle(tmp_path / "spleen")
    (root / "models" / "model.pt").unlink()

    (finding,) = check_bundle(root, [root / "configs" / "train.json", root / "configs" / "evaluate.json"], {})

    assert (
        finding.sentence
        == f"validate#handlers#0#load_path is {root / 'models' / 'model.pt'}: there is no such file"
    )
    assert (finding.file, finding.line > 0) == ("configs/evaluate.json", True)


def test_another_id_is_run_where_it_is_named(tmp_path):
    root = write_zoo_bundle(tmp_path / "spleen", training=["$@train#trainer.run()"])

    assert check_bundle(root, [root / "configs" / "train.json"], {"run_id": "training"}) == []
    (finding,) = check_bundle(root, [root / "configs" / "train.json"], {"run_id": "trainning"})
    assert finding.sentence == "has no trainning, which MONAI's run would run; did you mean training?"


def test_json_is_not_read_as_yaml(tmp_path):
    """YAML needs a decimal point in a float, and forbids tabs."""
    root = write_zoo_bundle(
        tmp_path / "spleen", optimizer={"_target_": "torch.optim.Adam", "params": [], "lr": 1e-5}
    )
    train = root / "configs" / "train.json"
    assert "1e-05" in train.read_text()
    assert check_bundle(root, [train], {}) == []

    train.write_text(json.dumps(json.loads(train.read_text()), indent="\t"))

    assert check_bundle(root, [train], {}) == []


def test_json_that_cannot_be_read(tmp_path):
    root = write_zoo_bundle(tmp_path / "spleen")
    (root / "configs" / "train.json").write_text('{\n    "run": [}\n')

    (finding,) = check_bundle(root, [root / "configs" / "train.json"], {})

    assert str(finding) == "configs/train.json:2: is no JSON: Expecting value"
