"""The scores in the metadata of shipped bundles are those in their READMEs, which a benchmark measured."""

import json
import re
from pathlib import Path

import pytest

BUNDLES = Path(__file__).parents[2] / "bundles"


def metadata_of(name):
    return json.loads((BUNDLES / name / "configs" / "metadata.json").read_text())


def row_of(name, pattern):
    """Return the numbers of the one row of a README's tables that begins so."""
    (row,) = re.findall(
        rf"^\| {pattern} \|(.*)\|$", (BUNDLES / name / "docs" / "README.md").read_text(), re.MULTILINE
    )
    return [float(cell) for cell in row.split("|")]


def test_hippocampus():
    name = "mri_hippocampus_unet"
    cases, anterior, posterior, mean = row_of(name, "all")

    metadata = metadata_of(name)

    assert metadata["eval_metrics"] == {
        "mean_dice": mean,
        "anterior_dice": anterior,
        "posterior_dice": posterior,
    }
    assert metadata["evaluation"]["cases"] == cases


@pytest.mark.parametrize("name", ["ct_covid_unet", "ct_covid_segnet"])
def test_covid(name):
    slices, *dice = row_of(name, "all")[:4]

    metadata = metadata_of(name)

    keys = ("mean_dice", "ground-glass_dice", "consolidation_dice", "effusion_dice")
    assert metadata["eval_metrics"] == dict(zip(keys, [round(sum(dice) / 3, 4), *dice], strict=True))
    assert metadata["evaluation"]["cases"] == slices


def test_chest_xray():
    name = "cxr_findings_efficientnet"
    findings = [row["name"] for row in metadata_of(name)["label_table"]]

    metrics = metadata_of(name)["eval_metrics"]

    assert metrics.pop("macro_auroc") == 0.682
    assert metrics == {f"{finding}_auroc": row_of(name, finding)[1] for finding in findings}


def test_tiles():
    name = "ct_covid_tile_cnn"
    readme = (BUNDLES / name / "docs" / "README.md").read_text()

    figures = re.search(r"^\| this bundle \| (\.\d+) .* \| (\.\d+) ", readme, re.MULTILINE).groups()

    assert metadata_of(name)["eval_metrics"] == dict(
        zip(("accuracy", "macro_auroc"), map(float, figures), strict=True)
    )


def test_retinal_oct():
    name = "oct_retina_efficientnet"
    classes = [row["name"] for row in metadata_of(name)["label_table"]]
    readme = (BUNDLES / name / "docs" / "README.md").read_text()

    metrics = metadata_of(name)["eval_metrics"]

    accuracy, auroc = re.search(r"^\| this bundle \| (\.\d+);.* \| (\.\d+);", readme, re.MULTILINE).groups()
    assert (metrics.pop("accuracy"), metrics.pop("macro_auroc")) == (float(accuracy), float(auroc))
    assert metrics == {f"{one}_auroc": row_of(name, one)[2] for one in classes}


@pytest.mark.parametrize("folder", sorted(path.name for path in BUNDLES.iterdir()))
def test_the_licence_of_the_data_is_in_words_too(folder):
    licence = metadata_of(folder)["data_license"]
    text = (BUNDLES / folder / "docs" / "data_license.txt").read_text()

    assert licence.split(";")[0].removeprefix("no ") in " ".join(text.split())
