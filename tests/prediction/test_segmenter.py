"""Segmenter against MONAI: label maps equal those of MONAI's run of a bundle, streamed or by MONAI's chain."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from monai.transforms import Compose
from scipy.ndimage import gaussian_filter
from segmenter_chains import (
    AFFINES,
    ARG_MAX,
    EXACT,
    HOLES,
    INVERT,
    LARGEST,
    NEAREST,
    OBLIQUE,
    SMALL,
    SOFTMAX,
    TURNED,
    WARNINGS_OF_MONAI,
    agreement,
    ending,
    geometry,
    predict,
    require_classes,
    require_streamed,
)

from segpipe.bundle.open import open_bundle
from segpipe.bundle.source import BundleSource
from segpipe.errors import SegpipeError
from segpipe.inference.streaming import CannotStreamError
from segpipe.volumes import Grid, read_volume, write_volume

pytestmark = WARNINGS_OF_MONAI


class TestStreamed:
    @pytest.mark.parametrize("affine", AFFINES.values(), ids=AFFINES)
    def test_labels_are_those_of_monais_run(self, zoo_bundle, write_scan, opened, by_monai, affine):
        root, scan = zoo_bundle(), write_scan(affine)
        segmenter, image, grid = opened(root, scan)

        segmentation = segmenter.segment(image, grid)

        require_streamed(segmentation)
        require_classes(segmentation.labels)
        assert segmentation.labels.dtype == np.uint8
        assert agreement(segmentation.labels, by_monai(root, scan)) > 0.999
        assert agreement(segmentation.labels, segmenter._by_monai(image, grid, "asked").labels) > 0.999

    @pytest.mark.parametrize(
        "change",
        [
            geometry(),
            geometry(
                {"_target_": "Spacingd", "keys": "image", "pixdim": [3.0, 0.9, 2.0], "mode": "bilinear"}
            ),
            geometry(
                {"_target_": "Orientationd", "keys": "image", "axcodes": "PLI", "labels": None},
                {
                    "_target_": "CropForegroundd",
                    "keys": "image",
                    "source_key": "image",
                    "allow_smaller": True,
                },
                {"_target_": "NormalizeIntensityd", "keys": "image", "nonzero": True},
                {"_target_": "DivisiblePadd", "keys": "image", "k": 8},
            ),
            geometry(
                {"_target_": "SpatialPadd", "keys": "image", "spatial_size": [40, 40, 40]},
                {"_target_": "CenterSpatialCropd", "keys": "image", "roi_size": [20, 18, 24]},
            ),
            ending(INVERT, ARG_MAX),
            lambda inference, _: inference["inferer"].update(mode="gaussian", overlap=0.25),
            lambda inference, _: inference["inferer"].update(padding_mode="reflect", roi_size=[16, 16, 40]),
        ],
        ids=["no geometry", "spacing", "orient, crop, pad", "pad, crop", "no softmax", "gaussian", "reflect"],
    )
    def test_labels_of_other_chains_are_those_of_monais_run(
        self, zoo_bundle, write_scan, opened, by_monai, change
    ):
        root, scan = zoo_bundle(change), write_scan(OBLIQUE)
        segmenter, image, grid = opened(root, scan)

        segmentation = segmenter.segment(image, grid)

        require_streamed(segmentation)
        require_classes(segmentation.labels)
        assert agreement(segmentation.labels, by_monai(root, scan)) > 0.999

    @pytest.mark.parametrize("affine", AFFINES.values(), ids=AFFINES)
    def test_labels_in_slabs_are_those_of_monais_run(
        self, zoo_bundle, write_scan, opened, by_monai, monkeypatch, affine
    ):
        root, scan = zoo_bundle(), write_scan(affine)
        expected = by_monai(root, scan)
        monkeypatch.setattr("segpipe.inference.slabs._SLAB_VOXELS", 2000)

        segmenter, image, grid = opened(root, scan)

        assert agreement(segmenter.segment(image, grid).labels, expected) > 0.999
        assert agreement(segmenter._by_monai(image, grid, "asked").labels, expected) > 0.999

    @pytest.mark.parametrize("dims", [2, 3])
    def test_label_maps_are_cleaned_as_by_monais_run(self, zoo_bundle, write_scan, opened, dims):
        """Pieces at the end of the chain are those of the whole label map, in mm3 of the scan's own grid."""
        root = zoo_bundle(ending(SOFTMAX, INVERT, ARG_MAX, HOLES, SMALL, LARGEST), dims=dims)
        scan = write_scan(TURNED) if dims == 3 else write_scan(size=(45, 38))
        segmenter, image, grid = opened(root, scan)

        segmentation = segmenter.segment(image, grid)

        require_streamed(segmentation)
        assert segmentation.labels.dtype == np.uint8
        assert segmentation.labels.any()
        by_chain = segmenter._by_monai(image, grid, "asked").labels
        np.testing.assert_array_equal(segmentation.labels, by_chain)
        segmenter.bundle = replace(
            segmenter.bundle, postprocessing=Compose(segmenter.bundle.postprocessing.transforms[:-3])
        )
        assert agreement(segmentation.labels, segmenter.segment(image, grid).labels) < 1

    def test_a_scan_smaller_than_a_window(self, zoo_bundle, write_scan, opened, by_monai):
        root, scan = zoo_bundle(geometry()), write_scan(TURNED, size=(9, 12, 7))
        segmenter, image, grid = opened(root, scan)

        segmentation = segmenter.segment(image, grid)

        require_streamed(segmentation)
        assert segmentation.windows == 1
        assert agreement(segmentation.labels, by_monai(root, scan)) > 0.999

    def test_slices_of_a_2d_bundle(self, zoo_bundle, write_scan, opened, by_monai):
        root, scan = zoo_bundle(dims=2), write_scan(TURNED, size=(45, 38))
        segmenter, image, grid = opened(root, scan)

        segmentation = segmenter.segment(image, grid)

        require_streamed(segmentation)
        require_classes(segmentation.labels)
        assert segmentation.labels.shape == (45, 38)
        assert agreement(segmentation.labels, by_monai(root, scan)) > 0.999

    def test_one_segmenter_takes_scan_after_scan(self, zoo_bundle, write_scan, opened):
        """No state of a scan is left for the next scan, and the first scan gives the same labels again."""
        root = zoo_bundle()
        scans = [write_scan(OBLIQUE, name="a"), write_scan(TURNED, (18, 33, 21), name="b", seed=1)]
        segmenter, first, grid = opened(root, scans[0])
        _, second, other_grid = opened(root, scans[1])
        alone = opened(root, scans[1])[0].segment(second, other_grid).labels

        before = segmenter.segment(first, grid).labels
        between = segmenter.segment(second, other_grid).labels
        after = segmenter.segment(first, grid).labels

        np.testing.assert_array_equal(before, after)
        np.testing.assert_array_equal(between, alone)

    @pytest.mark.parametrize("batch_size", [1, 3, 50])
    def test_the_batch_size_changes_no_label(self, zoo_bundle, write_scan, opened, batch_size):
        root, scan = zoo_bundle(), write_scan(OBLIQUE)
        segmenter, image, grid = opened(root, scan)
        batched, _, _ = opened(root, scan, batch_size=batch_size)

        labels = batched.segment(image, grid).labels

        assert agreement(labels, segmenter.segment(image, grid).labels) > 0.9999

    def test_its_windows_are_counted(self, zoo_bundle, write_scan, opened):
        """48 voxels in windows of 16, 8 apart, are 5 windows along each axis."""
        root, scan = zoo_bundle(geometry()), write_scan(size=(48, 48, 16))
        segmenter, image, grid = opened(root, scan)

        segmentation = segmenter.segment(image, grid)

        assert (segmentation.windows, segmentation.skipped) == (25, 0)


class TestFromFileToFile:
    def test_a_bundle_of_the_zoo(self, zoo_bundle, write_scan, by_monai, tmp_path):
        root, scan = zoo_bundle(), write_scan(OBLIQUE)

        (prediction,) = predict(scan.parent, root, tmp_path / "out", options=EXACT)

        written = read_volume(prediction.label_map)
        assert written.grid.differences(read_volume(scan).grid) == []
        assert agreement(written.array, by_monai(root, scan)) > 0.999
        counts = {volume.label: volume.voxels for volume in prediction.volumes}
        assert counts == {"spleen": np.sum(written.array == 1), "liver": np.sum(written.array == 2)}
        assert prediction.reason == ""

    @pytest.mark.filterwarnings("ignore:axcodes")  # by MONAI's inverse, which knows three axes
    def test_a_picture_lies_as_monai_lays_it(self, zoo_bundle, by_monai, tmp_path):
        """segpipe's orientation of images would turn the image by 180 degrees for the network."""
        turn = {"_target_": "Orientationd", "keys": "image", "axcodes": "RA", "labels": None}
        scan = tmp_path / "scans" / "case.png"
        noise = gaussian_filter(np.random.default_rng(0).normal(size=(45, 38)), 2)
        pixels = np.interp(noise, (noise.min(), noise.max()), (0, 255)).astype(np.uint8)
        write_volume(pixels, Grid.from_affine((45, 38), np.diag([-1.0, -1, 1, 1])), scan)

        def change(inference, _):
            inference["preprocessing"]["transforms"].insert(2, turn)

        root = zoo_bundle(change, dims=2)

        (prediction,) = predict(scan, root, tmp_path / "out", options=EXACT)

        labels = read_volume(prediction.label_map).array
        require_classes(labels)
        assert prediction.reason == ""
        assert agreement(labels, by_monai(root, scan)) > 0.999

    def test_each_prediction_states_the_chain_of_its_scan(self, zoo_bundle, write_scan, tmp_path):
        def diagonal(inference, _):
            inference["preprocessing"]["transforms"][3]["diagonal"] = True

        scans = write_scan(OBLIQUE, name="oblique").parent
        write_scan(TURNED, name="straight")
        messages = []

        predictions = predict(
            scans, zoo_bundle(diagonal), tmp_path / "out", options=EXACT, report=messages.append
        )

        oblique, straight = predictions
        reason = "it resamples between axes that are not parallel"
        assert oblique.reason == f"by MONAI's own chain: {reason}"
        assert straight.reason == ""
        assert [message for message in messages if "MONAI's own chain" in message] == [
            f"scans go through MONAI's own chain, which holds all scores in memory: {reason}"
        ]


class TestSeveralNetworksAndMirrorImages:
    """The scan is one window and stays on its grid, so the bare networks give the expected label map."""

    size = (16, 16, 16)

    @pytest.fixture
    def one_window(self, zoo_bundle, write_scan, tmp_path, random_network):
        root, scan = zoo_bundle(geometry()), write_scan(size=self.size)
        weights = [tmp_path / "1.pt", tmp_path / "2.pt"]
        for seed, path in enumerate(weights, start=1):
            torch.save(random_network(seed=seed).state_dict(), path)
        return root, scan, weights

    @staticmethod
    def probabilities(segmenter, image, grid):
        filled = np.full((3, *grid.size), np.nan, np.float16)
        labels = segmenter.segment(image, grid, probabilities=filled).labels
        return labels, filled.astype(np.float32)

    def test_an_ensemble_is_the_mean_of_its_networks_scores(self, one_window, opened, random_network):
        root, scan, weights = one_window
        segmenter, image, grid = opened(root, scan, weights)
        with torch.no_grad():
            scores = [random_network(seed=seed)(image.as_tensor()[None])[0] for seed in (1, 2)]

        labels, probabilities = self.probabilities(segmenter, image, grid)

        mean = (scores[0] + scores[1]) / 2
        np.testing.assert_array_equal(labels, mean.argmax(0))
        np.testing.assert_allclose(probabilities, mean.softmax(0), atol=1e-3)
        assert agreement(labels, scores[0].argmax(0).numpy()) < 0.95
        of_probabilities = (scores[0].softmax(0) + scores[1].softmax(0)) / 2
        assert np.abs(of_probabilities.numpy() - probabilities).max() > 0.01

    @pytest.mark.parametrize("flips", [(0,), (1, 2), (0, 1, 2)], ids=str)
    def test_mirror_images_are_averaged_alone_and_together(self, one_window, opened, random_network, flips):
        root, scan, weights = one_window
        segmenter, image, grid = opened(root, scan, weights[:1], flips=flips)
        network, expected, count = random_network(seed=1), torch.zeros(3, *self.size), 0
        for chosen in np.ndindex((2,) * len(flips)):
            dims = [axis + 2 for axis, mirrored in zip(flips, chosen, strict=True) if mirrored]
            with torch.no_grad():
                expected += network(image.as_tensor()[None].flip(dims)).flip(dims)[0]
            count += 1

        labels, probabilities = self.probabilities(segmenter, image, grid)

        assert count == 2 ** len(flips)
        np.testing.assert_allclose(probabilities, (expected / count).softmax(0), atol=1e-3)
        assert agreement(labels, (expected / count).argmax(0).numpy()) > 0.999
        assert agreement(labels, segmenter._by_monai(image, grid, "asked").labels) > 0.999

    def test_the_bundles_own_mirror_images_can_be_left_out(self, zoo_bundle, write_scan, opened):
        def mirror(inference, _):
            inference["inferer"] = {
                "_target_": "segpipe.inference.FlipInferer",
                "inferer": inference["inferer"],
                "flips": [0],
            }

        scan = write_scan()
        plain, image, grid = opened(zoo_bundle(), scan)
        root = zoo_bundle(mirror, name="mirrored")
        mirrored, without = opened(root, scan)[0], opened(root, scan, flips=())[0]

        expected = plain.segment(image, grid).labels
        assert agreement(without.segment(image, grid).labels, expected) == 1
        assert agreement(mirrored.segment(image, grid).labels, expected) < 0.99
        again = opened(zoo_bundle(name="again"), scan, flips=(0,))[0]
        assert agreement(mirrored.segment(image, grid).labels, again.segment(image, grid).labels) == 1

    def test_an_axis_that_the_network_has_not_is_refused(self, one_window, opened):
        root, scan, _ = one_window
        segmenter, image, grid = opened(root, scan, flips=(3,))

        with pytest.raises(
            SegpipeError, match=r"flips in YAML\) is \[3\], but the network's input has the axes 0 to 2"
        ):
            segmenter.segment(image, grid)

    def test_an_ensemble_and_mirror_images_through_monais_chain(self, one_window, opened):
        root, scan, weights = one_window
        segmenter, image, grid = opened(root, scan, weights, flips=(0, 2))

        labels = segmenter.segment(image, grid).labels

        assert agreement(labels, segmenter._by_monai(image, grid, "asked").labels) > 0.999


class TestSkippedWindows:
    """The first half of a scan of 64 voxels along x is air, and the network classifies air as an organ."""

    @pytest.fixture
    def half_air(self, zoo_bundle, write_scan, opened, random_network):
        def without_overlap(inference, _):
            geometry()(inference, _)
            inference["inferer"]["overlap"] = 0.0

        scan = write_scan(size=(64, 16, 16))
        root = zoo_bundle(without_overlap)
        torch.save(random_network(seed=3).state_dict(), root / "models" / "model.pt")
        segmenter, image, grid = opened(root, scan)
        image[:, :32] = 0.0  # after the intensities were scaled to 0 to 1
        image[:, 32:] = 0.5 + image[:, 32:] / 2
        return root, scan, segmenter, image, grid

    def test_no_window_is_skipped_by_default(self, half_air):
        *_, segmenter, image, grid = half_air

        segmentation = segmenter.segment(image, grid)

        assert (segmentation.windows, segmentation.skipped) == (4, 0)
        assert agreement(segmentation.labels, segmenter._by_monai(image, grid, "asked").labels) == 1

    def test_windows_of_air_are_background_and_counted(self, half_air, opened):
        root, scan, segmenter, image, grid = half_air
        skipping, _, _ = opened(root, scan, skip_empty=0.1)

        segmentation = skipping.segment(image, grid)

        assert (segmentation.windows, segmentation.skipped) == (4, 2)
        assert not segmentation.labels[:32].any()
        expected = segmenter.segment(image, grid).labels
        np.testing.assert_array_equal(segmentation.labels[32:], expected[32:])
        assert expected[:32].all()  # which is what skipping changes

    def test_probabilities_of_skipped_windows_are_sure_of_background(self, half_air, opened):
        root, scan, _, image, grid = half_air
        skipping, _, _ = opened(root, scan, skip_empty=0.1)
        probabilities = np.full((3, *grid.size), np.nan, np.float16)

        segmentation = skipping.segment(image, grid, entropy=True, probabilities=probabilities)

        assert (probabilities[0, :32] == 1).all()
        assert segmentation.entropy[:32].max() < 1e-6


class TestProbabilitiesAndEntropy:
    @pytest.mark.parametrize("affine", AFFINES.values(), ids=AFFINES)
    @pytest.mark.parametrize(
        "chain", [(SOFTMAX, INVERT, ARG_MAX), (INVERT, ARG_MAX)], ids=["softmax", "none"]
    )
    def test_probabilities_add_up_and_entropy_is_theirs(self, zoo_bundle, write_scan, opened, chain, affine):
        segmenter, image, grid = opened(zoo_bundle(ending(*chain)), write_scan(affine))
        probabilities = np.full((3, *grid.size), np.nan, np.float16)

        segmentation = segmenter.segment(image, grid, entropy=True, probabilities=probabilities)

        wide = probabilities.astype(np.float64)
        np.testing.assert_allclose(wide.sum(0), 1, atol=3e-3)
        logarithms = np.log(wide, out=np.zeros_like(wide), where=wide > 0)
        expected = -(wide * logarithms).sum(0) / np.log(3)
        np.testing.assert_allclose(segmentation.entropy, expected, atol=5e-3)
        assert segmentation.entropy.dtype == np.float32
        assert segmentation.entropy.min() >= 0
        assert segmentation.entropy.max() <= 1
        assert segmentation.entropy.max() > 0.5

    @pytest.mark.parametrize(
        "chain", [(SOFTMAX, INVERT, ARG_MAX), (INVERT, ARG_MAX)], ids=["softmax", "none"]
    )
    def test_labels_do_not_depend_on_requested_probabilities(self, zoo_bundle, write_scan, opened, chain):
        """A chain without softmax interpolates scores, also if probabilities are requested."""
        segmenter, image, grid = opened(zoo_bundle(ending(*chain)), write_scan(OBLIQUE))

        with_entropy = segmenter.segment(image, grid, entropy=True).labels

        assert agreement(with_entropy, segmenter.segment(image, grid).labels) > 0.9999

    def test_probabilities_are_those_that_monai_inverts(self, zoo_bundle, write_scan, opened):
        segmenter, image, grid = opened(zoo_bundle(), write_scan(OBLIQUE))
        probabilities = np.zeros((3, *grid.size), np.float16)
        segmenter.segment(image, grid, probabilities=probabilities)
        captured = []
        steps = segmenter.bundle.postprocessing.transforms
        spied = Compose([*steps[:2], lambda record: captured.append(record["pred"]) or record, *steps[2:]])
        object.__setattr__(segmenter.bundle, "postprocessing", spied)

        segmenter._by_monai(image, grid, "asked")

        np.testing.assert_allclose(probabilities, captured[0].numpy(), atol=1e-3)

    @pytest.mark.parametrize(
        "chain", [(SOFTMAX, INVERT, ARG_MAX), (INVERT, ARG_MAX)], ids=["softmax", "none"]
    )
    def test_cropped_voxels_are_certain_background(self, zoo_bundle, write_scan, opened, chain):
        """The result there is background with probability 0 for all classes and zero entropy."""

        def crop(inference, metadata):
            geometry({"_target_": "CenterSpatialCropd", "keys": "image", "roi_size": [16, 16, 16]})(
                inference, metadata
            )
            ending(*chain)(inference, metadata)

        segmenter, image, grid = opened(zoo_bundle(crop), write_scan(size=(16, 16, 24)))
        probabilities = np.full((3, *grid.size), np.nan, np.float16)

        segmentation = segmenter.segment(image, grid, entropy=True, probabilities=probabilities)

        outside = np.r_[0:4, 20:24]
        assert not probabilities[..., outside].any()
        assert not segmentation.labels[..., outside].any()
        assert not segmentation.entropy[..., outside].any()
        np.testing.assert_allclose(probabilities[..., 4:20].astype(np.float32).sum(0), 1, atol=3e-3)

    def test_probabilities_of_slices_have_two_axes(self, zoo_bundle, write_scan, opened):
        segmenter, image, grid = opened(zoo_bundle(dims=2), write_scan(size=(40, 30)))
        probabilities = np.full((3, 40, 30), np.nan, np.float16)

        segmentation = segmenter.segment(image, grid, entropy=True, probabilities=probabilities)

        assert segmentation.entropy.shape == (40, 30)
        np.testing.assert_allclose(probabilities.astype(np.float32).sum(0), 1, atol=3e-3)
        assert agreement(segmentation.labels, probabilities.argmax(0)) > 0.99  # float16 makes ties

    @pytest.mark.parametrize("entropy", [True, False])
    def test_probabilities_are_refused_with_monais_chain(self, zoo_bundle, write_scan, opened, entropy):
        segmenter, image, grid = opened(zoo_bundle(ending(SOFTMAX, ARG_MAX, NEAREST)), write_scan())
        probabilities = None if entropy else np.zeros((3, *grid.size), np.float16)

        with pytest.raises(
            SegpipeError,
            match="this bundle cannot produce probabilities and entropy: its postprocessing is AsDiscreted",
        ):
            segmenter.segment(image, grid, entropy=entropy, probabilities=probabilities)


class TestCost:
    def test_the_estimated_windows_are_those_of_the_segmentation(self, zoo_bundle, write_scan, opened):
        segmenter, image, grid = opened(zoo_bundle(), write_scan(OBLIQUE))

        windows, seconds, held = segmenter.cost(image)

        assert windows == segmenter.segment(image, grid).windows
        assert 0 < seconds < 60
        assert held > 0

    def test_the_windows_of_monais_chain_are_unknown(self, zoo_bundle, write_scan, opened):
        segmenter, image, _ = opened(zoo_bundle(ending(SOFTMAX, ARG_MAX, NEAREST)), write_scan())

        with pytest.raises(CannotStreamError):
            segmenter.cost(image)


def test_precision_is_the_bundles_own_unless_asked_for(zoo_bundle, write_scan, opened):
    def precise(inference, _):
        inference["inferer"] = {
            "_target_": "segpipe.inference.PrecisionInferer",
            "inferer": inference["inferer"],
            "precision": "float32",
        }

    root, scan = zoo_bundle(precise), write_scan()

    assert opened(root, scan, precision="auto")[0].precision == "float32"
    assert opened(root, scan, precision="bfloat16")[0].precision == "bfloat16"


def test_bfloat16_gives_nearly_the_same_labels(zoo_bundle, write_scan, opened):
    """Scores of random weights lie close together; other tests compare trained weights."""
    root, scan = zoo_bundle(), write_scan(OBLIQUE)
    exact, image, grid = opened(root, scan)
    reduced, _, _ = opened(root, scan, precision="bfloat16")

    share = agreement(reduced.segment(image, grid).labels, exact.segment(image, grid).labels)

    assert 0.95 < share < 1


def test_the_first_scan_decides_on_auto(zoo_bundle, write_scan, opened):
    segmenter, image, grid = opened(zoo_bundle(), write_scan(), precision="auto")

    assert segmenter.precision == "auto"
    segmenter.segment(image, grid)
    assert segmenter.precision in ("float32", "bfloat16")


def test_a_foreign_bundle_leaves_what_the_scan_says_of_itself(zoo_bundle, write_scan):
    """The chain's image knows its file, so that MONAI's steps can name the file."""
    scan = write_scan()
    bundle = open_bundle(BundleSource(zoo_bundle(), trust=True))

    assert bundle.load({"image": str(scan)})["image"].meta["filename_or_obj"] == str(scan)
