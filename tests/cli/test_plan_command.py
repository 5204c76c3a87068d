"""`segpipe plan` prints the planned numbers and refuses wrong arguments."""

import pytest
import yaml
from typer.testing import CliRunner

from segpipe.cli import app
from segpipe.phantoms.files import write_phantom_dataset
from segpipe.phantoms.labelled_images import write_class_phantoms


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
        pytest.param(["--memory", "100MB"], "0.1 GB of memory are too few", marks=pytest.mark.slow),
        (["--conv", "deep"], "plan: conv is 'deep'; choose one of plain, separable, dynamic"),
        (["--attention", "self"], "plan: attention is 'self'; choose one of none, multi_scale_context"),
        (["--network", "segnet", "--conv", "dynamic"], "only a U-Net has them; leave --network segnet out"),
        (["--network", "resnet"], "there is no network 'resnet'; choose one of unet, segnet, resenc"),
        (
            ["--preset", "M"],
            "--preset M is for --network resenc, and the network is unet; add --network resenc",
        ),
        (["--network", "resenc", "--preset", "S"], "there is no preset 'S'; choose one of M, L, XL"),
        (
            ["--network", "resenc", "--preset", "M", "--memory", "1GB"],
            "; leave --preset out for a network that is planned for a processor; or give --memory ",
        ),
    ],
    ids=[
        "no-unit",
        "no-number",
        "too-little",
        "conv",
        "attention",
        "blocks-of-a-segnet",
        "network",
        "preset-of-unet",
        "preset",
        "too-large",
    ],
)
def test_it_refuses_with_one_message(manifest, tmp_path, arguments, expected):
    result = run(manifest, tmp_path, *arguments)

    assert result.exit_code == 2
    assert expected in result.output
    assert not (tmp_path / "bundle").exists()


def test_blocks_and_balanced_draws_reach_both_configurations(manifest, tmp_path):
    result = run(manifest, tmp_path, "--conv", "separable", "--balanced", "--no-cuda", "--memory", "4GB")

    assert result.exit_code == 0, result.output
    train, inference = (
        yaml.safe_load((tmp_path / "bundle" / "configs" / f"{name}.yaml").read_text())
        for name in ("train", "inference")
    )
    assert train["network_def"] == inference["network_def"]
    assert train["network_def"]["_target_"] == "segpipe.networks.UNet"
    assert (train["conv"], inference["conv"], train["attention"]) == ("separable", "separable", "none")
    text = (tmp_path / "bundle" / "configs" / "train.yaml").read_text()
    assert "# as asked for: a case counts by its rarest class" in text
    assert (train["sampling"], "sampling" in inference) == ("rarest_class", False)


@pytest.fixture(scope="module")
def classes(tmp_path_factory):
    return write_class_phantoms(tmp_path_factory.mktemp("classes") / "set", 24, seed=0, size=32)


def test_a_manifest_of_classes_gives_a_classifier(classes, tmp_path):
    result = run(classes, tmp_path, "--epochs", "3", "--balanced", "--network", "densenet")

    assert result.exit_code == 0, result.output
    assert "warning: fewer than 10 images with DRUSEN (8), FLUID (8), NORMAL (8)" in result.stderr
    assert result.stdout.endswith(f"{tmp_path / 'bundle'}: written, for 3 classes\n")
    assert "DenseNet121" in (tmp_path / "bundle" / "configs" / "train.yaml").read_text()


@pytest.mark.parametrize(
    ("arguments", "given"),
    [
        (["--dims", "2"], "--dims"),
        (["--locate"], "--locate"),
        (["--memory", "8GB", "--no-cuda"], "--memory, --cuda"),
    ],
)
def test_options_of_label_maps_are_not_for_classes(classes, tmp_path, arguments, given):
    result = run(classes, tmp_path, *arguments)

    assert result.exit_code == 2
    assert f"plan: {given} is not for a manifest whose target is class; leave the option out" in result.output
    assert not (tmp_path / "bundle").exists()


def test_options_and_networks_of_the_other_task_are_refused(manifest, classes, tmp_path):
    separable = run(classes, tmp_path, "--conv", "separable")
    unet, efficientnet = (
        run(classes, tmp_path, "--network", "unet"),
        run(manifest, tmp_path, "--network", "efficientnet"),
    )

    assert (separable.exit_code, unet.exit_code, efficientnet.exit_code) == (2, 2, 2)
    assert "plan: --conv is not for a manifest whose target is class" in separable.output
    assert "--network unet: must be one of efficientnet, densenet for classes and findings" in unet.output
    assert "there is no network 'efficientnet'; choose one of unet, segnet" in efficientnet.output
    assert not (tmp_path / "bundle").exists()
