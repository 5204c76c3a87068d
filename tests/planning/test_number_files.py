"""Files of numbers: a comment is a reason, a second file can extend the first, and mistakes are refused by name."""

import pytest
import yaml

from segpipe.errors import SegpipeError
from segpipe.planning.number_files import read_number_file, rendered_configs

NUMBERS = """
about: ["Trains a network: of two classes."]
inference_about: [Segments scans.]
form: {architecture: UNet, dims: 2, spatial_dims: 2, num_channels: 1, intensity: z-score}
run:
  manifest: mine     # a manifest
  dataset_dir: /data
  fold: 0
image:
  patch_size: [64, 64]    # half an image: # of 128
  window_size: [64, 64]
  overlap: 0.25
network: {widths: [8, 16], dropout: 0.2}
training: {precision: auto, batch_size: 2, epochs: 3, learning_rate: 1.0e-3, weight_decay: 0.0, val_interval: 1}
literals: {warm_up_share: 0.1, dice_weight: 1.0, batch_dice: false, rotation: 0.1, scaling: [0.1, 0.1], contrast: 0.1,
  brightness: 0.1, gamma: [0.9, 1.1], noise: 0.1}
"""


def write(folder, text=NUMBERS, name="mine.yaml"):
    path = folder / name
    path.write_text(text)
    return path


def test_a_comment_behind_a_value_is_its_reason(tmp_path):
    numbers = read_number_file(write(tmp_path)).experiment.numbers

    assert (numbers["patch_size"].value, numbers["patch_size"].why) == ([64, 64], "half an image: # of 128")
    assert numbers["window_size"].why == ""
    assert list(numbers)[:4] == ["patch_size", "window_size", "overlap", "widths"]


def test_reasons_and_values_reach_the_yaml(tmp_path):
    text = rendered_configs(read_number_file(write(tmp_path)))["train.yaml"]

    assert text.startswith("# Trains a network: of two classes.\nimports:")
    assert "patch_size: [64, 64]                 # half an image: # of 128\n" in text
    read = yaml.safe_load(text)
    assert (read["patch_size"], read["learning_rate"], read["loss"]["batch_dice"]) == ([64, 64], 0.001, False)


def test_an_id_is_referenced_and_a_literal_stands_in_place(tmp_path):
    with_an_id = NUMBERS.replace("literals: {warm_up_share: 0.1,", "literals: {").replace(
        "val_interval: 1}", "val_interval: 1, warm_up_share: 0.3}"
    )

    literal, reference = (
        yaml.safe_load(rendered_configs(read_number_file(write(tmp_path, text)))["train.yaml"])
        for text in (NUMBERS, with_an_id)
    )

    assert literal["lr_scheduler"]["pct_start"]["share"] == 0.1
    assert reference["lr_scheduler"]["pct_start"]["share"] == "@warm_up_share"
    assert reference["warm_up_share"] == 0.3


def test_a_file_extends_another(tmp_path):
    write(tmp_path, name="base.yaml")
    path = write(tmp_path, "extends: base.yaml\ntraining:\n  epochs: 9    # longer\n")

    experiment = read_number_file(path).experiment

    assert (experiment.numbers["epochs"].value, experiment.numbers["epochs"].why) == (9, "longer")
    assert experiment.numbers["batch_size"].value == 2
    assert experiment.architecture == "UNet"


def test_an_overlay_fills_its_templates(tmp_path):
    folder = tmp_path / "overlays"
    folder.mkdir()
    (folder / "longer.yaml").write_text("# {{ overlay_about }}\n{{ line('epochs') }}\n")
    (folder / "longer_inference.yaml").write_text("# {{ value('widths') }}\n")
    text = "overlays: {longer: {about: Twice as long, numbers: {epochs: 6, widths: [4, 8]}}}\n"

    texts = rendered_configs(read_number_file(write(tmp_path, NUMBERS + text)))

    assert texts["longer.yaml"] == "# Twice as long\nepochs: 6\n"
    assert texts["longer_inference.yaml"] == "# [4, 8]\n"


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("about:", "abuot:", "abuot: is no entry of a file of numbers"),
        ("dims: 2, spatial", "dimensions: 2, spatial", "form: dimensions: there is no such entry"),
        ("num_channels: 1, ", "", "form: lacks num_channels"),
        ("architecture: UNet", "architecture: Unet", "Unet must be one of: DynUNet; UNet; SegNet"),
        ("num_channels: 1", "num_channels: 2, explicit_defaults: false", "explicit_defaults must be true"),
        ("warm_up_share: 0.1", "warmup: 0.1", "no template has warmup"),
        ("warm_up_share: 0.1, ", "", "neither an id nor a literal warm_up_share"),
        ("  fold: 0\n", "", "run: must have the entries dataset_dir, fold, manifest"),
        ("  fold: 0\n", "  fold: 0\n  fold: 1\n", "fold is there twice"),
        ("network: {widths: [8, 16], dropout: 0.2}", "network: 3", "must be a mapping"),
        ("about: [", "about: [[", "is no YAML"),
    ],
    ids=lambda text: text[:20].strip() or "nothing",
)
def test_a_mistake_is_refused_by_name(old, new, message, tmp_path):
    assert old in NUMBERS
    path = write(tmp_path, NUMBERS.replace(old, new))

    with pytest.raises(SegpipeError, match=message):
        rendered_configs(read_number_file(path))


def test_a_file_that_is_not_there_is_refused(tmp_path):
    with pytest.raises(SegpipeError, match=r"absent\.yaml"):
        read_number_file(tmp_path / "absent.yaml")
