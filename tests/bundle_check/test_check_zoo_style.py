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


def test_the_folder_of_scans_in_a_file_is_a_note_for_inference_alone(zoo_bundle, tmp_path):
    root = zoo_bundle()
    file = root / "configs" / "inference.json"

    (note,) = check_bundle(root, [file], {}, is_inference=True)
    (given,) = check_bundle(root, [file], {"dataset_dir": str(tmp_path / "absent")}, is_inference=True)
    (training,) = check_bundle(root, [file], {})

    assert str(note) == (
        "configs/inference.json:7: note: dataset_dir is /path/to/scans: there is no such folder; give dataset_dir=DIR"
    )
    assert (note.is_note, given.is_note, training.is_note) == (True, False, False)


@pytest.mark.parametrize("value", ["$@train#trainer.run()", ["$print('begins')", "$@train#trainer.run()"]])
def test_an_id_that_runs_an_engine_is_checked_in_place_of_run(value, tmp_path):
    root = write_zoo_bundle(
        tmp_path / "spleen", training=value, loss={"_target_": "DiceLoss", "softmax": 1, "one": 2}
    )
    train = root / "configs" / "train.json"
    content = json.loads(train.read_text())
    del content["run"]
    train.write_text(json.dumps(content, indent=4))

    note, mistake = check_bundle(root, [train], {})

    assert str(note) == (
        "configs/train.json: note: has no run; training was checked as the id to run: give MONAI's run run_id=training"
    )
    assert mistake.sentence == "loss#one is no argument of DiceLoss"
    assert check_bundle(root, [train], {"run_id": "training"}) == [mistake]


def test_without_an_id_that_runs_an_engine_run_is_missing(tmp_path):
    root = write_zoo_bundle(tmp_path / "spleen")
    train = root / "configs" / "train.json"
    content = json.loads(train.read_text())
    del content["run"]
    train.write_text(json.dumps(content, indent=4))

    (finding,) = check_bundle(root, [train], {})

    assert (finding.sentence, finding.is_note) == ("has no run, which MONAI's run would run", False)


def test_an_argument_that_monai_removed_is_not_taken_for_another(tmp_path):
    network = {"_target_": "SwinUNETR", "img_size": 96, "in_channels": 1, "out_channels": 2}
    root = write_zoo_bundle(tmp_path / "spleen", network_def=network)

    (finding,) = check_bundle(root, [root / "configs" / "train.json"], {})

    assert finding.sentence == "network_def#img_size is no argument of SwinUNETR"


@pytest.mark.parametrize(("text", "count"), [("True", 0), ("true", 0), ("False", 1), ("1e-4", 1), ("12", 0)])
def test_texts_that_work_by_chance_are_no_findings_of_a_foreign_bundle(text, count, tmp_path):
    """Python takes any text for true."""
    loss = {"_target_": "DiceCELoss", "to_onehot_y": text, "softmax": True}
    root = write_zoo_bundle(tmp_path / "spleen", loss=loss)

    assert len(check_bundle(root, [root / "configs" / "train.json"], {})) == count


def test_large_files_of_a_bundle_are_named_with_their_list(tmp_path):
    root = write_zoo_bundle(tmp_path / "spleen")
    (root / "models" / "model.pt").unlink()
    (root / "large_files.yml").write_text("large_files:\n- path: models/model.pt\n")

    (finding,) = check_bundle(root, [root / "configs" / "train.json", root / "configs" / "evaluate.json"], {})

    assert finding.sentence.startswith(
        f"validate#handlers#0#load_path is {root / 'models' / 'model.pt'}: there is no such file; "
        f"{root / 'large_files.yml'} lists it for download: run `python -m monai.bundle download_large_files"
    )
