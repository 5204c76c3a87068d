"""A locator's box: labels equal those of the whole scan, and every doubt leads to the whole scan, which is said."""

import csv
import math
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from located_bundle import BLOCK, SIZE, change_inference, write_blocks, write_located, write_margin
from monai.data import MetaTensor
from tiny_bundle import contents

import segpipe
from segpipe import PredictOptions
from segpipe.bundle.source import BundleSource
from segpipe.prediction.estimate import estimate
from segpipe.prediction.locator import (
    AT_BORDER,
    NOT_SMALLER,
    NOT_STREAMED,
    NOTHING_FOUND,
    REACHES_FACE,
    Edges,
    Locator,
)
from segpipe.prediction.options import Outcome
from segpipe.volumes import read_volume

LONG = (slice(10, 40), BLOCK[1], BLOCK[2])
TURNED = np.array([[0, -1.0, 0, 30], [1.0, 0, 0, 7], [0, 0, -1.0, -4], [0, 0, 0, 1.0]])
_ADAPTING = {
    "_target_": "monai.inferers.SlidingWindowInfererAdapt",
    "roi_size": "@window_size",
    "overlap": "@overlap",
}
FIXED = {"overlays": False, "engine": "torch", "precision": "float32"}


@pytest.fixture(scope="module")
def bundle(tmp_path_factory):
    return write_located(tmp_path_factory.mktemp("located") / "bundle")


@pytest.fixture(scope="module")
def scans(tmp_path_factory):
    folder = tmp_path_factory.mktemp("scans") / "scans"
    folder.mkdir()
    write_blocks(folder / "block.nii.gz", BLOCK)
    write_blocks(folder / "turned.nii.gz", BLOCK, affine=TURNED)
    write_blocks(folder / "two.nii.gz", BLOCK, (slice(40, 46), slice(14, 20), slice(12, 20)))
    write_blocks(folder / "long.nii.gz", LONG)
    write_blocks(folder / "border.nii.gz", (slice(0, 6), slice(4, 10), slice(5, 12)))
    write_blocks(folder / "none.nii.gz")
    return folder


@pytest.fixture(scope="module")
def outputs(bundle, scans, tmp_path_factory):
    folder = tmp_path_factory.mktemp("out")
    for name, is_located in (("located", True), ("whole", False)):
        predicted(scans, bundle, folder / name, locate=is_located)
    return folder


def predicted(scans, bundle, output, **options):
    source = BundleSource(bundle, trust=True)
    made = segpipe.predict(scans, source, output, options=PredictOptions(**{**FIXED, **options}))
    return {prediction.case: prediction for prediction in made}


def located(output):
    with (output / "volumes.csv").open(newline="") as file:
        return {row["case"]: row["located"] for row in csv.DictReader(file)}


def test_label_maps_equal_those_of_the_whole_scan(outputs):
    maps = {
        name: {path: content for path, content in contents(outputs / name).items() if path != "volumes.csv"}
        for name in ("located", "whole")
    }

    assert maps["located"] == maps["whole"]
    assert read_volume(outputs / "located" / "turned.nii.gz").array.sum() == 8 * 6 * 8


def test_the_table_says_which_part_the_network_saw(outputs):
    # x: the locator's voxels of 2 mm hold 20 to 28 of 60; 4 mm on both sides; at least a window of 16
    parts = located(outputs / "located")

    assert parts["none"] == NOTHING_FOUND
    assert parts["border"] == AT_BORDER
    shares = {
        case: int(text.removeprefix("box: ").removesuffix("% of the scan"))
        for case, text in parts.items()
        if "%" in text
    }
    assert set(shares) == {"block", "turned", "two", "long"}
    window = 100 * 16**3 / math.prod(SIZE)
    assert window <= shares["block"] + 0.5 < 1.6 * window
    assert shares["block"] < shares["two"] < 3 * shares["block"]
    assert set(located(outputs / "whole").values()) == {""}


@pytest.mark.slow
def test_a_label_map_at_a_face_of_the_box_gives_the_whole_scan(bundle, scans, outputs, tmp_path):
    other = write_located(tmp_path / "bundle", margin_mm=(0.0, 0.0, 0.0))

    predicted(scans / "long.nii.gz", other, tmp_path / "out")

    assert located(tmp_path / "out") == {"long": REACHES_FACE}
    whole = (outputs / "whole" / "long.nii.gz").read_bytes()
    assert (tmp_path / "out" / "long.nii.gz").read_bytes() == whole


def test_outside_the_box_the_background_is_certain(bundle, scans, tmp_path):
    predicted(scans / "block.nii.gz", bundle, tmp_path, probabilities=True, entropy=True)

    probabilities = np.load(tmp_path / "probabilities" / "block.npy")
    assert probabilities[:, 50, 30, 30].tolist() == [1.0, 0.0, 0.0]
    np.testing.assert_allclose(probabilities.sum(axis=0), 1, atol=2e-3)
    assert probabilities[1, 24, 17, 16] > 0.9
    assert read_volume(tmp_path / "entropy" / "block.nii.gz").array[50, 30, 30] == 0


@pytest.mark.slow
def test_the_ledger_tells_runs_with_and_without_locator_apart(bundle, scans, tmp_path):
    scan, other = scans / "block.nii.gz", write_located(tmp_path / "bundle")
    outcomes = [predicted(scan, other, tmp_path / "out", locate=False)["block"].outcome]
    outcomes += [predicted(scan, other, tmp_path / "out")["block"].outcome for _ in range(2)]
    write_margin(other / "locator" / "models" / "model.pt", (6.0, 6.0, 6.0))
    outcomes.append(predicted(scan, other, tmp_path / "out")["block"].outcome)

    assert outcomes == [Outcome.DONE, Outcome.DONE, Outcome.SKIPPED, Outcome.DONE]


@pytest.mark.slow
def test_a_chain_that_is_not_streamed_gets_the_whole_scan(scans, tmp_path):
    bundle = write_located(tmp_path / "bundle")
    change_inference(bundle, inferer=_ADAPTING)

    predicted(scans / "block.nii.gz", bundle, tmp_path / "out")

    assert located(tmp_path / "out") == {"block": NOT_STREAMED}


@pytest.mark.slow
def test_a_dry_run_counts_the_box_alone(bundle, scans, tmp_path, monkeypatch):
    sizes = []

    def cost(self, image):
        sizes.append(tuple(image.shape[1:]))
        return 1, 1.0, 1

    monkeypatch.setattr("segpipe.prediction.segmenter.Segmenter.cost", cost)
    for is_located in (True, False):
        options = PredictOptions(**FIXED, locate=is_located)
        estimate(scans / "long.nii.gz", BundleSource(bundle, trust=True), tmp_path, options=options)

    assert sizes[1] == SIZE
    assert math.prod(sizes[0]) < math.prod(SIZE) / 3


def test_a_box_is_grown_by_the_margin_in_mm_and_brought_to_the_finer_image():
    """Coarse voxels of 4 mm, fine ones of 2 mm, the first voxels at the same place."""
    locator = object.__new__(Locator)
    locator.margin_mm = np.array([4.0, 0.0, 8.0])
    locator._finder = SimpleNamespace(
        found=lambda _: Edges(np.array([4.5, 2.5, 0.5]), np.array([6.5, 4.5, 9.5]))
    )
    coarse = MetaTensor(torch.zeros(1, 10, 10, 10), affine=np.diag([4.0, 4.0, 4.0, 1.0]))
    image = MetaTensor(torch.zeros(1, 20, 20, 20), affine=np.diag([2.0, 2.0, 2.0, 1.0]))

    # x: 4.5 - 1 to 6.5 + 1 coarse is 7 to 15 fine; voxels 7.5 -> 7 and 15.5 -> 16
    # y: 5 to 9 fine, voxels 5 to 10, a window of 8 about them; z: -3 to 23 fine is all
    box = locator.box(coarse, image, (4, 8, 4))

    assert box == (slice(7, 16), slice(4, 12), slice(0, 20))
    locator.margin_mm = np.array([40.0, 40.0, 40.0])
    assert locator.box(coarse, image, (4, 8, 4)) == NOT_SMALLER
