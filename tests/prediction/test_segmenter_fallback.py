"""Chains that segpipe leaves to MONAI, and network outputs that cannot be label scores."""

import numpy as np
import pytest
import torch
from segmenter_chains import (
    ARG_MAX,
    INVERT,
    LARGEST,
    NEAREST,
    OBLIQUE,
    SOFTMAX,
    TURNED,
    WARNINGS_OF_MONAI,
    agreement,
    ending,
    geometry,
    require_streamed,
)

from segpipe.errors import SegpipeError

pytestmark = WARNINGS_OF_MONAI


def first_answer(inference, _):
    inference["network_def"]["_target_"] = "scripts.networks.TwoAnswers"
    inference["inferer"]["_target_"] = "scripts.inferers.FirstAnswer"


def by_way_of_resize(inference, _):
    geometry({"_target_": "Resized", "keys": "image", "spatial_size": [20, 20, 20]})(inference, _)


def simple(inference, _):
    geometry({"_target_": "DivisiblePadd", "keys": "image", "k": 2})(inference, _)
    inference["inferer"] = {"_target_": "SimpleInferer"}


def lazy(inference, _):
    """Add a second resampling; MONAI's lazy mode combines the two."""
    inference["preprocessing"]["lazy"] = True
    coarse = {"_target_": "Spacingd", "keys": "image", "pixdim": [4.0, 4.0, 4.0], "mode": "bilinear"}
    inference["preprocessing"]["transforms"].insert(3, coarse)


FALLBACKS = {
    "arg max before inversion": (
        ending(SOFTMAX, ARG_MAX, NEAREST),
        "its postprocessing is AsDiscreted, Invertd, not Invertd, AsDiscreted",
    ),
    "largest component before the arg max": (
        ending(SOFTMAX, INVERT, {**LARGEST, "applied_labels": [1]}, ARG_MAX),
        "its postprocessing is Invertd, KeepLargestConnectedComponentd, AsDiscreted, not Invertd, AsDiscreted",
    ),
    "largest component of another key": (
        ending(SOFTMAX, INVERT, ARG_MAX, {**LARGEST, "keys": ["pred", "image"], "applied_labels": []}),
        "a step after the classes works on another key",
    ),
    "nearest scores": (ending(SOFTMAX, NEAREST, ARG_MAX), "its Invertd sets nearest_interp or post_func"),
    "sigmoid": (
        ending({"_target_": "Activationsd", "keys": "pred", "sigmoid": True}, INVERT, ARG_MAX),
        "its activation is not the softmax",
    ),
    "two answers": (first_answer, "its inferer is a FirstAnswer"),
    "the whole scan at once": (simple, "its inferer is a SimpleInferer"),
    "resized": (by_way_of_resize, "segpipe cannot invert Resize itself"),
    "lazy": (lazy, "a transform is lazy"),
}


@pytest.mark.filterwarnings("ignore:'lazy' is set to True but lazy execution is not supported:UserWarning")
class TestMonaisChain:
    @pytest.mark.parametrize(("change", "reason"), FALLBACKS.values(), ids=FALLBACKS)
    def test_labels_are_those_of_monais_run_and_the_reason_is_told_once(
        self, zoo_bundle, write_scan, opened, by_monai, change, reason
    ):
        root, scan, messages = zoo_bundle(change), write_scan(OBLIQUE), []
        segmenter, image, grid = opened(root, scan, report=messages.append)

        segmentation = segmenter.segment(image, grid)
        again = segmenter.segment(image, grid)

        assert reason in segmentation.fallback
        assert messages == [
            f"scans go through MONAI's own chain, which holds all scores in memory: {segmentation.fallback}"
        ]
        assert agreement(segmentation.labels, by_monai(root, scan)) > 0.999
        np.testing.assert_array_equal(again.labels, segmentation.labels)
        assert segmentation.labels.any()
        assert segmentation.labels.dtype == np.uint8

    def test_only_scans_that_need_monais_chain_use_it(self, zoo_bundle, write_scan, opened, by_monai):
        """A spacing along the patient's axes turns an oblique scan, and cannot be inverted axis by axis."""

        def diagonal(inference, _):
            inference["preprocessing"]["transforms"][3]["diagonal"] = True

        root = zoo_bundle(diagonal)
        oblique, straight = write_scan(OBLIQUE, name="a"), write_scan(TURNED, name="b")
        messages = []
        segmenter, turned, grid = opened(root, oblique, report=messages.append)
        _, image, other_grid = opened(root, straight)

        by_the_chain, streamed = segmenter.segment(turned, grid), segmenter.segment(image, other_grid)

        assert by_the_chain.fallback == "it resamples between axes that are not parallel"
        require_streamed(streamed)
        assert len(messages) == 1
        assert agreement(by_the_chain.labels, by_monai(root, oblique)) > 0.999
        assert agreement(streamed.labels, by_monai(root, straight)) > 0.999

    def test_in_2d(self, zoo_bundle, write_scan, opened, by_monai):
        root, scan = zoo_bundle(ending(SOFTMAX, ARG_MAX, NEAREST), dims=2), write_scan(size=(45, 38))
        segmenter, image, grid = opened(root, scan)

        labels = segmenter.segment(image, grid).labels

        assert labels.shape == (45, 38)
        assert agreement(labels, by_monai(root, scan)) > 0.999

    def test_a_chain_that_does_not_come_back_is_refused(self, zoo_bundle, write_scan, opened):
        segmenter, image, grid = opened(zoo_bundle(ending(SOFTMAX, ARG_MAX)), write_scan())

        with pytest.raises(SegpipeError, match=r"chain ends with \(1, .*needs Invertd and AsDiscreted"):
            segmenter.segment(image, grid)

    def test_a_chain_that_comes_back_to_other_voxels_of_that_number_is_refused(
        self, zoo_bundle, write_scan, opened
    ):
        """A cube that is turned and not turned back keeps its size."""

        def turn(inference, metadata):
            geometry({"_target_": "Orientationd", "keys": "image", "axcodes": "LPI", "labels": None})(
                inference, metadata
            )
            ending(SOFTMAX, ARG_MAX)(inference, metadata)

        segmenter, image, grid = opened(zoo_bundle(turn), write_scan(size=(20, 20, 20)))

        with pytest.raises(SegpipeError, match=r"leaves the scan's grid: .*origin"):
            segmenter.segment(image, grid)

    def test_one_hot_maps_are_refused(self, zoo_bundle, write_scan, opened):
        one_hot = {"_target_": "AsDiscreted", "keys": "pred", "argmax": True, "to_onehot": 3}
        segmenter, image, grid = opened(zoo_bundle(ending(SOFTMAX, INVERT, one_hot)), write_scan())

        with pytest.raises(SegpipeError, match=r"chain ends with \(3, 30, 26, 22\)"):
            segmenter.segment(image, grid)

    @pytest.mark.parametrize("value", [7, -1])
    def test_labels_beyond_the_table_are_refused(self, zoo_bundle, write_scan, opened, value):
        other = {
            "_target_": "MapLabelValued",
            "keys": "pred",
            "orig_labels": [1],
            "target_labels": [value],
            "dtype": "$np.int64",
        }
        segmenter, image, grid = opened(zoo_bundle(ending(SOFTMAX, INVERT, ARG_MAX, other)), write_scan())

        with pytest.raises(SegpipeError, match=rf"classes .*{value}.*its label table has 0 to 2"):
            segmenter.segment(image, grid)

    def test_probabilities_in_the_place_of_labels_are_refused(self, zoo_bundle, write_scan, opened):
        def one_class(inference, _):
            ending(SOFTMAX, INVERT, {"_target_": "Lambdad", "keys": "pred", "func": "$lambda x: x[:1]"})(
                inference, _
            )

        segmenter, image, grid = opened(zoo_bundle(one_class), write_scan())

        with pytest.raises(SegpipeError, match="not whole numbers"):
            segmenter.segment(image, grid)


class TestAnswersThatMeanSomethingElse:
    @pytest.mark.parametrize(
        "chain", [(SOFTMAX, INVERT, ARG_MAX), (SOFTMAX, ARG_MAX, NEAREST)], ids=["ours", "monai"]
    )
    @pytest.mark.parametrize("scored", [2, 5])
    def test_another_number_of_classes_than_the_table_has(
        self, zoo_bundle, write_scan, opened, chain, scored
    ):
        """Fewer scores would become existing classes."""
        segmenter, image, grid = opened(zoo_bundle(ending(*chain), classes=scored), write_scan())

        with pytest.raises(SegpipeError, match=f"the network scores {scored} classes, .* label table has 3"):
            segmenter.segment(image, grid)

    def test_scores_of_another_size(self, zoo_bundle, write_scan, opened):
        """MONAI would assign the scores to the image's first voxels, and its inversion does not resize them."""

        def half(inference, _):
            inference["network_def"]["_target_"] = "scripts.networks.HalfTheSize"

        messages = []
        segmenter, image, grid = opened(zoo_bundle(half), write_scan(), report=messages.append)

        with pytest.raises(
            SegpipeError, match=r"scores of \(10, 9, 8\) voxels for an image of \(20, 18, 15\)"
        ):
            segmenter.segment(image, grid)
        assert "answers a window of (16, 16, 16) voxels with (8, 8, 8)" in messages[0]

    @pytest.mark.parametrize("flips", [(), (0,)], ids=str)
    def test_two_answers_where_one_is_wanted(self, zoo_bundle, write_scan, opened, flips):
        def two(inference, _):
            inference["network_def"]["_target_"] = "scripts.networks.TwoAnswers"

        segmenter, image, grid = opened(zoo_bundle(two), write_scan(), flips=flips)

        with pytest.raises(SegpipeError, match="returns a tuple"):
            segmenter.segment(image, grid)

    @pytest.mark.parametrize(
        "chain", [(SOFTMAX, INVERT, ARG_MAX), (SOFTMAX, ARG_MAX, NEAREST)], ids=["ours", "monai"]
    )
    def test_scores_that_are_no_numbers(self, zoo_bundle, write_scan, opened, chain):
        """The arg max of NaN would be background."""
        segmenter, image, grid = opened(zoo_bundle(ending(*chain)), write_scan())
        image[0, 8, 8, 8] = torch.nan

        with pytest.raises(SegpipeError, match="no numbers"):
            segmenter.segment(image, grid)
