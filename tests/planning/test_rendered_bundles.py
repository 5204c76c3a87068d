"""The configs of every shipped bundle equal the output of scripts/render_bundles.py for its file of numbers."""

import json
import runpy
import shutil
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import yaml

from segpipe.planning.image_number_files import is_of_images, read_image_number_file, rendered_image_configs
from segpipe.planning.number_files import read_number_file, rendered_configs

ROOT = Path(__file__).parents[2]
NUMBERS = ROOT / "scripts" / "bundle_numbers"
BUNDLES = sorted(path.name for path in (ROOT / "bundles").iterdir() if path.is_dir())


@pytest.mark.parametrize("name", BUNDLES)
def test_committed_files_are_the_rendered_files(name):
    rendered = {}
    for numbers in NUMBERS.glob(f"{name}*.yaml"):
        bundle, _, variant = numbers.stem.partition(".")
        if bundle == name and is_of_images(numbers):
            rendered |= rendered_image_configs(read_image_number_file(numbers), variant)
        elif bundle == name:
            rendered |= rendered_configs(read_number_file(numbers))

    configs = ROOT / "bundles" / name / "configs"
    files = [path for path in configs.iterdir() if path.is_file() and path.name != "metadata.json"]
    committed = {path.name: path.read_text() for path in files}
    assert sorted(committed) == sorted(rendered)
    for file, text in rendered.items():
        assert committed[file] == text, f"{name}/configs/{file}: run scripts/render_bundles.py"


def test_a_classifier_without_mirror_images_has_no_random_transforms():
    numbers = read_image_number_file(NUMBERS / "cxr_findings_efficientnet.yaml")
    plain = replace(numbers, experiment=replace(numbers.experiment, mirrors=False))

    train = yaml.safe_load(rendered_image_configs(plain)["train.yaml"])

    assert train["random_transforms"] == []


@pytest.fixture
def render(monkeypatch):
    """Run the script in this process with arguments, and return its exit status."""

    def run(*arguments):
        monkeypatch.setattr(sys, "argv", ["render_bundles.py", *map(str, arguments)])
        with pytest.raises(SystemExit) as end:
            runpy.run_path(str(ROOT / "scripts" / "render_bundles.py"), run_name="__main__")
        return end.value.code

    return run


@pytest.mark.slow
def test_a_changed_file_is_shown_and_then_written_again(render, tmp_path, capsys):
    bundles = tmp_path / "bundles"
    shutil.copytree(ROOT / "bundles", bundles, ignore=shutil.ignore_patterns("models", "docs"))
    changed = bundles / "mri_hippocampus_unet" / "configs" / "train.yaml"
    text = changed.read_text()
    changed.write_text(text.replace("\nepochs: 24\n", "\nepochs: 25\n"))

    assert render("--check", "--bundles", bundles) == 1
    lines = capsys.readouterr().out.splitlines()
    assert [line for line in lines if line.startswith(("-epochs", "+epochs"))] == [
        "-epochs: 25",
        "+epochs: 24",
    ]
    assert render("--bundles", bundles) == 0
    assert changed.read_text() == text
    assert render("--check", "--bundles", bundles) == 0


def test_numbers_without_a_bundle_are_refused(render, tmp_path, capsys):
    shutil.copy(NUMBERS / "mri_hippocampus_unet.yaml", tmp_path / "other.yaml")

    assert render("--numbers", tmp_path) == 2
    assert "there is no bundle" in capsys.readouterr().err


@pytest.mark.parametrize("name", BUNDLES)
def test_metadata_name_the_modality_where_deploys_pipeline_generator_looks(name):
    """Without it, an app of a generator selects CT series for any bundle."""
    metadata = json.loads((ROOT / "bundles" / name / "configs" / "metadata.json").read_text())

    assert metadata["modality"] == metadata["network_data_format"]["inputs"]["image"]["modality"]
