"""`segpipe plan` prints the planned numbers and refuses wrong arguments."""

import pytest
from typer.testing import CliRunner

from segpipe.cli import app
from segpipe.phantoms.files import write_phantom_dataset


@pytest.fixture(scope="module")
def manifest(tmp_path_factory):
    return write_phantom_dataset(tmp_path_factory.mktemp("data") / "set", num_cases=4, seed=0)


def run(manifest, folder, *arguments):
    where = ["--dataset-dir", str(manifest.parent), "-o", str(folder / "bundle")]
    return CliRunner().invoke(app, ["plan", str(manifest), *where, *arguments])


def test_it_prints_every_number_with_its_reason_and_the_peak(manifest, tmp_path):
    result = run(manifest, tmp_path, "--epochs", "3", "--memory", "4GB", "--no-cuda")

    assert result.exit_code == 0, result.output
    assert "patch_size" in result.output
    assert "as asked for" in result.output
    assert f"{tmp_path / 'bundle'}: written; training is planned to peak at " in result.output
    assert (tmp_path / "bundle" / "configs" / "train.yaml").is_file()


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["--memory", "8"], "--memory 8: must be a number with its unit, such as 8GB"),
        (["--memory", "lots"], "--memory lots"),
        (["--memory", "100MB"], "0.1 GB of memory are too few"),
        (["--network", "resnet"], "there is no network 'resnet'; choose one of unet, segnet"),
    ],
    ids=["no-unit", "no-number", "too-little", "network"],
)
def test_it_refuses_with_one_message(manifest, tmp_path, arguments, expected):
    result = run(manifest, tmp_path, *arguments)

    assert result.exit_code == 2
    assert expected in result.output
    assert not (tmp_path / "bundle").exists()
