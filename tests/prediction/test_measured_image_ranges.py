"""Training images are measured and images compared with them, with the tiny classifier."""

import csv

import numpy as np
import pytest
from PIL import Image
from tiny_classifier import CLASSES, write_classifier
from typer.testing import CliRunner

from segpipe.bundle.source import BundleSource
from segpipe.cli import app
from segpipe.dataset import Case, Manifest, write_manifest
from segpipe.errors import SegpipeError
from segpipe.files import read_json
from segpipe.prediction.classify import classify
from segpipe.prediction.measured_image_ranges import write_image_ranges

NOT_COMPARED = "not compared with the training cases"


def write_disc(path, seed):
    """A bright disc left of the middle, with noise: upside down and inverted images differ from it."""
    generator = np.random.default_rng(seed)
    rows, columns = np.mgrid[:32, :32]
    disc = (rows - 8) ** 2 + (columns - 12) ** 2 < 40
    pixels = 60 + 120 * disc + 2 * rows + generator.normal(0, 8, (32, 32))
    Image.fromarray(np.clip(pixels, 0, 255).astype(np.uint8)).save(path)


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    folder = tmp_path_factory.mktemp("data")
    cases = []
    for number in range(24):
        write_disc(folder / f"i{number}.png", number)
        cases.append(
            Case(
                f"i{number}", (f"i{number}.png",), patient=f"p{number}", classes=(CLASSES.names[number % 3],)
            )
        )
    manifest = Manifest("discs", ("OCT",), dict(enumerate(CLASSES.names)), tuple(cases), target="class")
    write_manifest(manifest, folder / "dataset.json")
    return folder


@pytest.fixture(scope="module")
def measured(data, tmp_path_factory):
    bundle = write_classifier(tmp_path_factory.mktemp("bundle") / "tiny")
    write_image_ranges(BundleSource(bundle, trust=True), data / "dataset.json", data)
    return bundle


def warnings_of(bundle, images, output):
    classify(images, BundleSource(bundle, trust=True), output)
    with (output / "predictions.csv").open(newline="") as file:
        return {row["image"]: row["warnings"] for row in csv.DictReader(file)}


def test_unlike_images_are_warned_of_and_good_ones_are_not(measured, tmp_path):
    images = tmp_path / "images"
    images.mkdir()
    write_disc(images / "good.png", 100)
    pixels = np.asarray(Image.open(images / "good.png"))
    Image.fromarray(255 - pixels).save(images / "inverted.png")
    Image.fromarray(pixels[::-1].copy()).save(images / "upside_down.png")
    Image.fromarray((pixels * 0.2).astype(np.uint8)).save(images / "dark.png")

    warned = warnings_of(measured, images, tmp_path / "out")

    assert warned["good.png"] == ""
    for name in ("inverted", "upside_down", "dark"):
        assert "training cases" in warned[f"{name}.png"], name
        assert warned[f"{name}.png"] != NOT_COMPARED


def test_without_ranges_the_table_says_so(data, tmp_path):
    bundle = write_classifier(tmp_path / "tiny")

    assert set(warnings_of(bundle, data / "i0.png", tmp_path / "out").values()) == {NOT_COMPARED}


def test_ranges_make_another_recipe(measured, data, tmp_path):
    """An image that was classified without ranges is classified again, and compared."""
    bundle = write_classifier(tmp_path / "tiny")
    before = warnings_of(bundle, data / "i0.png", tmp_path / "out")
    write_image_ranges(BundleSource(bundle, trust=True), data / "dataset.json", data)

    after = warnings_of(bundle, data / "i0.png", tmp_path / "out")

    assert (set(before.values()), set(after.values())) == ({NOT_COMPARED}, {""})


def test_the_command_goes_by_the_bundles_task(data, tmp_path):
    bundle = write_classifier(tmp_path / "tiny")
    arguments = ["reference-ranges", bundle, "--trust", "--manifest", data / "dataset.json"]

    result = CliRunner().invoke(
        app, list(map(str, [*arguments, "--dataset-dir", data, "--most-patients", 20]))
    )

    assert result.exit_code == 0, result.output
    content = read_json(bundle / "models" / "model.reference_ranges.json", "the ranges")
    assert (content["cases"], content["patients"]) == (20, 20)


def test_other_names_and_few_patients_are_refused(data, tmp_path):
    bundle = BundleSource(write_classifier(tmp_path / "tiny"), trust=True)
    manifest = Manifest(
        "other",
        ("OCT",),
        {0: "a", 1: "b", 2: "c"},
        (Case("i0", ("i0.png",), patient="p", classes=("a",)),),
        target="class",
    )
    write_manifest(manifest, tmp_path / "other.json")
    few = Manifest(
        "few",
        ("OCT",),
        dict(enumerate(CLASSES.names)),
        (Case("i0", ("i0.png",), patient="p", classes=("CNV",)),),
        target="class",
    )
    write_manifest(few, tmp_path / "few.json")

    with pytest.raises(SegpipeError, match="its names are a, b, c"):
        write_image_ranges(bundle, tmp_path / "other.json", data)
    with pytest.raises(SegpipeError, match="fewer than 5 patients"):
        write_image_ranges(bundle, tmp_path / "few.json", data)
