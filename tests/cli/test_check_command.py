"""`segpipe check` prints one line a mistake and exits with 2, or prints one line and exits with 0."""

import re
import shutil
from pathlib import Path

import pytest
from typer.testing import CliRunner

from segpipe.cli import app
from segpipe.phantoms.files import write_phantom_dataset

BUNDLES = Path(__file__).parents[2] / "bundles"


@pytest.fixture
def bundle(tmp_path):
    shutil.copytree(BUNDLES / "mri_hippocampus_unet", tmp_path / "hippocampus")
    return tmp_path / "hippocampus"


@pytest.fixture(scope="module")
def phantoms(tmp_path_factory):
    """Return overrides that point a bundle at phantoms."""
    manifest = write_phantom_dataset(tmp_path_factory.mktemp("data") / "phantoms", num_cases=8, seed=0)
    return [f"manifest={manifest}", f"dataset_dir={manifest.parent}"]


def check(*arguments):
    return CliRunner().invoke(app, ["check", *map(str, arguments)], catch_exceptions=False)


def test_a_sound_bundle_is_one_line(bundle, phantoms):
    result = check(bundle, *phantoms)

    assert (result.exit_code, result.stderr) == (0, "")
    assert result.stdout == f"{bundle}: no mistake found in configs/train.yaml, configs/inference.yaml\n"


def test_every_mistake_is_a_line(bundle, phantoms):
    train = bundle / "configs" / "train.yaml"
    train.write_text(train.read_text().replace("fused: true", "fuzed: true"))

    result = check(bundle, *phantoms, "epochz=9", "learning_rate=1e-3")

    assert result.exit_code == 2
    assert result.stdout.splitlines() == [
        "command line: epochz is no id of this configuration; did you mean epochs?",
        "command line: learning_rate is the text '1e-3', not a number; write it without quotes and with a point, as "
        "1.0e-3",
        f"configs/train.yaml:{_line(train, 'fuzed')}: optimizer#fuzed is no argument of torch.optim.AdamW; "
        "did you mean fused?",
    ]


def _line(path, text):
    return 1 + next(number for number, line in enumerate(path.read_text().splitlines()) if text in line)


def test_inference_is_checked_too_but_not_for_its_files(bundle, phantoms):
    inference = bundle / "configs" / "inference.yaml"
    inference.write_text(inference.read_text().replace("overwrite: false", "overwritten: false"))
    (bundle / "configs" / "inference.json").unlink()  # it would not be this inference.yaml
    (bundle / "models" / "model.pt").unlink()

    result = check(bundle, *phantoms)

    assert result.exit_code == 2
    assert result.stdout.startswith(
        f"configs/inference.yaml:{_line(inference, '@overwrite')}: cases#overwrite refers to @overwrite, which is not "
    )
    assert result.stdout.count("\n") == 1


def test_named_configurations_alone_are_checked(bundle, phantoms):
    (bundle / "configs" / "inference.yaml").write_text("broken: [\n")

    result = check(
        bundle,
        *phantoms,
        "--config",
        "configs/train.yaml",
        "--config",
        bundle / "configs" / "multi_gpu_train.yaml",
    )

    assert result.exit_code == 0
    assert result.stdout.endswith("no mistake found in configs/train.yaml, configs/multi_gpu_train.yaml\n")


@pytest.mark.slow
@pytest.mark.parametrize("modality", ["mri", "ct"])
def test_a_planned_bundle_is_sound(modality, tmp_path):
    for command in (
        ["phantoms", "dataset", tmp_path / "data", "--modality", modality, "--cases", "8"],
        ["plan", tmp_path / "data" / "dataset.json", "-o", tmp_path / "planned"],
    ):
        done = CliRunner().invoke(app, list(map(str, command)), catch_exceptions=False)
        assert done.exit_code == 0, done.output

    result = check(tmp_path / "planned")

    assert result.exit_code == 0, result.stdout


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["nowhere"], "nowhere: no folder and no bundle has this name"),
        (["./nowhere"], "nowhere: has no configs/train.yaml"),
        ([BUNDLES / "ct_covid_unet", "--config", "artikle.yaml"], "did you mean article.yaml?"),
        ([BUNDLES / "ct_covid_unet", "epochs"], "epochs: must be ID=VALUE"),
        ([BUNDLES / "ct_covid_unet", "window_size=[1"], "window_size=[1: [1 is no YAML"),
        (
            [BUNDLES / "ct_covid_unet", "config_file=train.yaml"],
            "config_file: name the configuration's files with",
        ),
    ],
    ids=str,
)
def test_what_cannot_be_checked_is_refused(arguments, expected):
    result = check(*arguments)

    assert (result.exit_code, result.stdout) == (2, "")
    assert result.stderr.startswith("segpipe: ")
    assert expected in result.stderr


def test_a_folder_of_scans_that_is_not_there_is_a_note_for_inference_alone(bundle):
    inference = bundle / "configs" / "inference.yaml"
    inference.write_text(
        re.sub(r"(?m)^dataset_dir:.*$", "dataset_dir: /path/to/scans", inference.read_text())
    )

    alone = check(bundle, "--config", "inference.yaml")
    given = check(bundle, "--config", "inference.yaml", "dataset_dir=/another/path")

    note, none = alone.stdout.splitlines()
    assert re.fullmatch(
        r"configs/inference\.yaml:\d+: note: dataset_dir is /path/to/scans: there is no such folder or file; give "
        "dataset_dir=DIR",
        note,
    )
    assert (none, alone.exit_code) == (f"{bundle}: no mistake found in configs/inference.yaml", 0)
    assert given.stdout == (
        "command line: dataset_dir is /another/path: there is no such folder or file; give dataset_dir=DIR\n"
    )
    assert given.exit_code == 2


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ("wandb", "tracking is 'wandb', must be mlflow"),
        ("none", "tracking=none: an argument of MONAI's run only switches a tracker on"),
    ],
)
def test_a_tracker_that_is_none_of_segpipes_is_refused(bundle, phantoms, given, message):
    result = check(bundle, *phantoms, f"tracking={given}")

    assert result.exit_code == 2
    assert message in " ".join(result.output.split())


def test_the_ids_of_a_tracker_are_used(bundle, phantoms):
    result = check(
        bundle, *phantoms, "tracking=mlflow", "tracking_uri=http://127.0.0.1:5000", "experiment_name=2026"
    )

    assert result.exit_code == 0, result.output
