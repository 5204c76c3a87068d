"""`segpipe.predict` with another accuracy: overlap, mirror images, the ledger, the next run, and refusals."""

import re

import pytest
from cohort_files import DONE, SKIPPED, entries, outcomes
from segmenter_chains import WARNINGS_OF_MONAI, predict
from tiny_bundle import contents, write_bundle, write_scan

import segpipe
from segpipe import PredictOptions
from segpipe.bundle.source import BundleSource
from segpipe.errors import SegpipeError
from segpipe.prediction.estimate import estimate

pytestmark = WARNINGS_OF_MONAI
BEST = PredictOptions(overlays=False, accuracy="best")
MIRRORED = {"mirror_axes": [0]}  # as of a bundle whose training mirrored along the first axis


@pytest.fixture
def scan(tmp_path):
    """Return a scan that windows of 16 voxels cover twice with an overlap of .25, and three times with .5."""
    return write_scan(tmp_path / "scans" / "long.nii.gz", size=(28, 16, 12))


@pytest.fixture
def label_map(run, scan, tmp_path):
    """Return a function that segments the scan into a folder, and returns label map and entry of the ledger."""

    def segmented(name, **options):
        run(scan, tmp_path / name, **options)
        return contents(tmp_path / name)["long.nii.gz"], entries(tmp_path / name)["long"]

    return segmented


def test_a_name_is_its_numbers_in_one_network_and_in_an_ensemble(label_map, bundle, weights):
    both = [bundle / "models" / "model.pt", *weights]

    fast, entry = label_map("fast", accuracy="fast", weights=both)

    assert fast == label_map("numbers", overlap=0.25, flips=(), weights=both)[0]
    assert fast == label_map("set", weights=both, overrides={"overlap": 0.25})[0]
    assert fast != label_map("bundle", weights=both)[0]  # whose overlap is .5
    assert entry["overlap"] == [0.25]
    assert "flips" not in entry


def test_best_averages_the_mirror_images_that_training_had(label_map):
    best, entry = label_map("best", accuracy="best", overrides=MIRRORED)

    assert best == label_map("numbers", overlap=0.5, flips=(0,), overrides=MIRRORED)[0]
    assert best != label_map("standard", accuracy="standard", overrides=MIRRORED)[0]
    assert (entry["overlap"], entry["flips"]) == ([0.5], [0])


def test_best_of_a_network_without_mirror_images_is_standard_and_says_so(label_map, bundle, scan, tmp_path):
    told = []

    segpipe.predict(
        [scan],
        BundleSource(bundle),
        tmp_path / "best",
        options=BEST,
        report=told.append,
    )

    assert told == [
        "this bundle was trained without mirror images, so --accuracy best computes the same as --accuracy standard"
    ]
    assert contents(tmp_path / "best")["long.nii.gz"] == label_map("standard", accuracy="standard")[0]


def test_another_accuracy_is_another_recipe(run, scan, out):
    assert outcomes(run(scan, accuracy="fast")) == {DONE: 1}
    assert outcomes(run(scan, accuracy="fast")) == {SKIPPED: 1}
    assert outcomes(run(scan, accuracy="standard")) == {DONE: 1}
    assert outcomes(run(scan, overlap=0.4)) == {DONE: 1}
    assert entries(out)["long"]["overlap"] == [0.4]


def test_without_the_options_the_recipe_is_that_of_an_earlier_segpipe():
    described = PredictOptions().described()

    assert "overlap" not in described
    assert "accuracy" not in described


def _estimated(scans, root, output, options):
    return estimate(scans, BundleSource(root, trust=True), output, options=options)


@pytest.mark.parametrize("ask", [predict, _estimated], ids=["predict", "estimate"])
def test_a_bundle_that_names_no_axes_has_no_best(zoo_bundle, write_scan, tmp_path, ask):
    root = zoo_bundle()
    wanted = re.escape(f"{root}: does not say along which axes its training mirrored images (mirror_axes in ")

    with pytest.raises(
        SegpipeError, match=wanted + r".*give --overlap 0\.5 and --mirror, with the axes or none"
    ):
        ask([write_scan()], root, tmp_path / "out", options=BEST)


@pytest.mark.parametrize(
    ("axes", "rule"),
    [
        ("all", "is 'all', must be a list of axes"),
        ([1, 1], r"is \[1, 1\]; each must be an axis, from 0, and none may come twice"),
        (["x"], r"is \['x'\]; each must be an axis"),
    ],
)
def test_axes_that_are_none_are_refused(tmp_path, scan, axes, rule):
    root = write_bundle(tmp_path / "tiny", mirror_axes=axes)

    with pytest.raises(SegpipeError, match=f"mirror_axes in configs/inference.yaml {rule}"):
        segpipe.predict([scan], root, tmp_path / "out", options=BEST)


def test_a_bundle_without_windows_has_no_overlap(zoo_bundle, write_scan, tmp_path):
    def simple(inference, _):
        inference["inferer"] = {"_target_": "SimpleInferer"}

    root = zoo_bundle(simple)

    with pytest.raises(
        SegpipeError, match="the bundle's inferer is a SimpleInferer, whose windows do not overlap"
    ):
        predict(
            [write_scan()], root, tmp_path / "out", options=PredictOptions(accuracy="fast", overlays=False)
        )


def test_monais_own_chain_gets_the_overlap_too(zoo_bundle, write_scan, opened, by_monai):
    """The chain's labels are those of MONAI's own run with this overlap, from more windows than the bundle's."""
    root, scan = zoo_bundle(), write_scan(size=(60, 52, 44))
    segmenter, image, grid = opened(root, scan, overlap=0.75)
    bundles, own_image, _ = opened(root, scan)
    windows = []
    for network in (segmenter.bundle.network, bundles.bundle.network):
        network.register_forward_hook(lambda network, inputs, _: windows.append((network, len(inputs[0]))))

    labels = segmenter._by_monai(image, grid, "asked").labels
    bundles._by_monai(own_image, grid, "asked")

    assert (
        labels == by_monai(root, scan, inferer={**bundles.bundle.configuration["inferer"], "overlap": 0.75})
    ).all()
    denser, own = (
        sum(count for of, count in windows if of is one.bundle.network) for one in (segmenter, bundles)
    )
    assert denser > 2 * own > 0
    assert (segmenter.segment(image, grid).labels == labels).mean() > 0.999
