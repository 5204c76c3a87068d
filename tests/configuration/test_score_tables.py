"""A score table in the form of an earlier segpipe is a finding, with the lines that replace it."""

import shutil
from pathlib import Path

import pytest

from segpipe.bundle_check.check_bundle import check_bundle
from segpipe.configuration.reading import configuration_files

BUNDLE = Path(__file__).parents[2] / "bundles" / "mri_hippocampus_unet"
CASES = '    cases: "$@scored_weights.cases"\n'


@pytest.mark.parametrize(
    ("line", "place"),
    [("    metric: val_mean_dice\n", "validate#handlers#1#metric"), ("", "validate#handlers#1")],
    ids=["metric", "no cases"],
)
def test_former_arguments(empty_datasets, tmp_path, line, place):
    root = tmp_path / BUNDLE.name
    shutil.copytree(BUNDLE, root)
    path = root / "configs" / "evaluate.yaml"
    text = path.read_text()
    assert CASES in text
    path.write_text(text.replace(CASES, line))
    settings = {
        "dataset_dir": str(empty_datasets / "hippocampus"),
        "output_dir": str(tmp_path / "runs"),
        "weights": [str(root / "models" / "model.pt")],
    }

    (finding,) = check_bundle(root, configuration_files(root, ["train.yaml", "evaluate.yaml"]), settings)

    assert finding.sentence.startswith(f"{place} takes the cases and no metric")
    assert finding.sentence.endswith(
        'write cases: "$@scored_weights.cases" below ScoreTable, and delete metric'
    )
