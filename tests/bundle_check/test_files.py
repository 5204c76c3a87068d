"""Missing files of a run and metadata that break the schema are findings."""

import shutil

from shipped_bundles import BUNDLES, HIPPOCAMPUS, line_of

from segpipe.dataset import load_manifest


def test_a_dataset_folder_that_is_not_there(findings_after, tmp_path):
    assert findings_after(dataset_dir=str(tmp_path / "none")) == [
        f"command line: dataset_dir is {tmp_path / 'none'}: there is no such folder; give dataset_dir=DIR"
    ]


def test_files_of_the_manifest_that_are_not_there(findings_after, empty_datasets, tmp_path):
    shutil.copytree(empty_datasets / "hippocampus", tmp_path / "lacking")
    gone = load_manifest("hippocampus").training[0].files[0]
    (tmp_path / "lacking" / gone).unlink()

    (finding,) = findings_after(dataset_dir=str(tmp_path / "lacking"))

    assert finding.endswith(f"which lacks 1 of the manifest's 400 files: {gone}")


def test_a_manifest_that_is_not_there(findings_after):
    (finding,) = findings_after(("manifest: hippocampus", "manifest: hipocampus"))

    assert finding.startswith(f"{line_of('manifest:')}: manifest cannot be used: manifest 'hipocampus'")
    assert "did you mean hippocampus?" in finding


def test_a_fold_that_the_manifest_has_not(findings_after):
    (finding,) = findings_after(fold=9)

    assert finding.startswith("command line: fold cannot be used: ")


def test_weights_that_are_not_there(findings_after):
    (finding,) = findings_after(configs=("inference.yaml",), weights=["models/modle.pt"])

    assert finding == "command line: weights is models/modle.pt: there is no such file"


def test_a_path_that_would_be_right_in_the_bundle(findings_after):
    (finding,) = findings_after(
        ("$@bundle_root + '/models/model.pt'", "models/model.pt"),
        configs=("inference.yaml",),
        file="inference.yaml",
    )

    assert finding.endswith(
        "weights is models/model.pt: there is no such file; give $@bundle_root + '/...': the file is in the "
        "bundle, and paths begin at the working directory"
    )


def test_weights_named_by_an_expression(findings_after, tmp_path):
    (finding,) = findings_after(
        ("/models/model.pt", "/models/modle.pt"), configs=("inference.yaml",), file="inference.yaml"
    )

    path = tmp_path / HIPPOCAMPUS / "models" / "modle.pt"
    assert (
        finding == f"{line_of('weights:', file='inference.yaml')}: weights is {path}: there is no such file"
    )


def test_an_inference_json_of_another_inference_yaml(findings_after, tmp_path):
    root = tmp_path / HIPPOCAMPUS
    configs = shutil.copytree(BUNDLES / HIPPOCAMPUS / "configs", root / "configs")
    shutil.copytree(BUNDLES / HIPPOCAMPUS / "models", root / "models")
    written = configs / "inference.yaml"
    written.write_text(written.read_text() + "# a comment changes nothing\n")
    assert findings_after(configs=("inference.yaml",)) == []

    written.write_text(written.read_text().replace("dataset_dir: ", "dataset_dir: ./", 1))
    (finding,) = findings_after(configs=("inference.yaml",))

    assert finding.startswith(
        "configs/inference.json: is not the content of inference.yaml, and MONAI Label and MONAI Deploy read this file"
    )
    assert findings_after(configs=("train.yaml",)) == []


def test_nothing_to_score(findings_after, tmp_path):
    evaluation = {"configs": ("train.yaml", "evaluate.yaml")}

    (without_name,) = findings_after(**evaluation)
    (without_run,) = findings_after(**evaluation, run_name="first")

    assert without_name.startswith(
        f"{line_of('run_name:')}: run_name is null, and weights is null too: there are no weights to score"
    )
    assert f"run_name is first, and there is no {tmp_path / 'runs' / 'first' / 'best.pt'}" in without_run


def test_an_output_folder_below_a_file(findings_after, tmp_path):
    (tmp_path / "file").touch()

    (finding,) = findings_after(output_dir=str(tmp_path / "file" / "runs"))

    assert finding.startswith("command line: output_dir cannot be used")


def test_no_logging_conf(findings_after, tmp_path):
    findings_after()
    (tmp_path / HIPPOCAMPUS / "configs" / "logging.conf").unlink()

    assert findings_after() == ["configs/logging.conf: no such file: MONAI's run would report no progress"]


def test_no_metadata(findings_after, tmp_path):
    findings_after()
    (tmp_path / HIPPOCAMPUS / "configs" / "metadata.json").unlink()

    assert findings_after() == ["configs/metadata.json: no such file: MONAI needs a bundle's metadata"]


def test_metadata_that_monais_schema_does_not_allow(findings_after):
    (finding,) = findings_after(('"num_channels": 1', '"num_channels": "one"'), file="metadata.json")

    assert finding == (
        f"{line_of('num_channels', file='metadata.json')}: _meta_#network_data_format#inputs#image#num_channels "
        "does not match MONAI's schema: 'one' is not of type 'integer'"
    )


def test_an_invalid_label_table(findings_after):
    (finding,) = findings_after(('"index": 1,', '"index": 7,'), file="metadata.json")

    assert finding.startswith(
        f"{line_of('label_table', file='metadata.json')}: _meta_#label_table cannot be used: "
    )
