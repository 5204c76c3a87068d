"""Shipped weights give the scores that they gave before the rooms of the program were divided.

`scores_of_shipped_weights.csv` was written at commit 91a1698 by `segpipe predict` and `segpipe evaluate`. Another
processor may change a voxel; `benchmarks/unchanged.py` compares two checkouts on one machine bit for bit.
"""

import csv
import math
import shutil
from pathlib import Path

import pytest
from typer.testing import CliRunner

from segpipe.cli import app

SCORES = Path(__file__).with_name("scores_of_shipped_weights.csv")
CLOSE = 2e-3  # of a Dice, where a few voxels differ
BUNDLES = Path(__file__).parents[2] / "bundles"
SETS = {
    "mri_hippocampus_unet": ("hippocampus", "imagesTr", "labelsTr", ".nii.gz"),
    "ct_covid_unet": ("covid_ct_512", "images", "labels", ".mhd"),
    "ct_covid_segnet": ("covid_ct_512", "images", "labels", ".mhd"),
}


def rows(path, **columns):
    with path.open(newline="") as file:
        return {
            (row["case"], row["class"]): row
            for row in csv.DictReader(file)
            if all(row[name] == value for name, value in columns.items())
        }


def copied(cases, source, target, suffix):
    """Copy the files of cases; a MetaImage header has its voxels beside it."""
    target.mkdir()
    for case in sorted(cases):
        for path in source.glob(f"{case}.*"):
            shutil.copy(path, target)
    assert list(target.glob(f"*{suffix}"))
    return target


@pytest.mark.realdata
@pytest.mark.slow
@pytest.mark.parametrize("name", SETS)
def test_scores_on_real_scans_are_those_of_before(name, real_data, tmp_path):
    expected = rows(SCORES, bundle=name)
    folder, images, labels, suffix = SETS[name]
    cases = {case for case, _ in expected}
    scans = copied(cases, real_data(folder) / images, tmp_path / "scans", suffix)
    references = copied(cases, real_data(folder) / labels, tmp_path / "references", suffix)
    predicted = ["--bundle", str(BUNDLES / name), "--output", str(tmp_path / "out"), "--no-overlays", "-q"]
    predicted += [
        "--precision",
        "float32",
    ]  # the scores' own: auto may take bfloat16 where the processor has it
    scored = ["--predictions", str(tmp_path / "out"), "--references", str(references)]
    metadata = [
        "--labels",
        str(BUNDLES / name / "configs" / "metadata.json"),
        "--output",
        str(tmp_path / "scores"),
    ]

    assert CliRunner().invoke(app, ["predict", str(scans), *predicted]).exit_code == 0
    assert CliRunner().invoke(app, ["evaluate", *scored, *metadata]).exit_code == 0

    got = rows(tmp_path / "scores" / "metrics.csv")
    assert got.keys() == expected.keys()
    for key, row in expected.items():
        for metric in ("dice", "iou", "sensitivity", "precision", "surface_dice"):
            one, other = (math.nan if not text else float(text) for text in (row[metric], got[key][metric]))
            assert one == pytest.approx(other, abs=CLOSE, nan_ok=True), (key, metric)
