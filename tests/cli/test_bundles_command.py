"""`segpipe bundles` lists what the metadata say, and names what cannot be read."""

import json

import pytest
from typer.testing import CliRunner

from segpipe.cli import app


@pytest.fixture(autouse=True)
def no_variable(monkeypatch):
    monkeypatch.delenv("SEGPIPE_BUNDLES", raising=False)
    monkeypatch.setenv("COLUMNS", "160")


def bundles(*options):
    return CliRunner().invoke(app, ["bundles", *options], catch_exceptions=False)


def test_the_table():
    done = bundles()

    row = next(line for line in done.stdout.splitlines() if "mri_hippocampus_unet" in line)
    for part in ("MR", "anterior, posterior", "Dice 0.887", "CC BY-SA 4.0"):
        assert part in row
    assert "AUROC 0.682" in done.stdout


def test_json():
    rows = {row["name"]: row for row in json.loads(bundles("--json").stdout)}

    assert rows["cxr_findings_efficientnet"]["about"]["scores"][0]["values"]["macro_auroc"] == 0.682
    assert rows["mri_hippocampus_unet"]["about"]["licence"] == "CC BY-SA 4.0"


def test_a_folder_that_is_not_there_and_a_damaged_bundle(tmp_path, monkeypatch):
    (tmp_path / "mine" / "ct_liver" / "configs").mkdir(parents=True)
    (tmp_path / "mine" / "ct_liver" / "configs" / "metadata.json").write_text("{")
    monkeypatch.setenv("SEGPIPE_BUNDLES", f"{tmp_path / 'none'}:{tmp_path / 'mine'}")

    done = bundles()

    assert done.exit_code == 0
    assert f"SEGPIPE_BUNDLES: {tmp_path / 'none'}: no such folder" in done.stderr
    assert "metadata.json: is not JSON" in done.stderr
    assert "ct_liver" not in done.stdout
