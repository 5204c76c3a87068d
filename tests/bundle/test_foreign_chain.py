"""Classes of bundles without segpipe's label table: exclusive classes, overlapping regions, one class alone."""

import numpy as np
import pytest
import torch
from segmenter_chains import WARNINGS_OF_MONAI

from segpipe.bundle.open import open_bundle
from segpipe.bundle.source import BundleSource
from segpipe.errors import SegpipeError
from segpipe.prediction.options import PredictOptions
from segpipe.prediction.predict import predict
from segpipe.volumes import read_volume

pytestmark = WARNINGS_OF_MONAI

SIGMOID = {"_target_": "Activationsd", "keys": "pred", "sigmoid": True}
HALF = {"_target_": "AsDiscreted", "keys": "pred", "threshold": 0.5}
JOIN = "$lambda x: torch.where(x[[2]] > 0, 4, torch.where(x[[0]] > 0, 1, torch.where(x[[1]] > 0, 2, 0)))"
REGIONS = ["Tumour core", "Whole tumour", "Enhancing tumour"]
TABLE = [
    {"index": 0, "name": "background", "value": 0},
    {"index": 1, "name": "necrosis", "value": 1},
    {"index": 2, "name": "oedema", "value": 2},
    {"index": 3, "name": "enhancing", "value": 4},
]
OF_REGIONS = [
    {"name": "whole tumour", "classes": ["necrosis", "oedema", "enhancing"]},
    {"name": "tumour core", "classes": ["necrosis", "enhancing"]},
    {"name": "enhancing tumour", "classes": ["enhancing"]},
]


def regions(
    *, threshold=0.5, after=({"_target_": "Lambdad", "keys": "pred", "func": JOIN},), names=REGIONS, **more
):
    """Return a change of `zoo_bundle`: a sigmoid for each output, a threshold, and one map of several regions."""

    def change(inference, metadata):
        invert, save = (inference["postprocessing"]["transforms"][place] for place in (1, 3))
        steps = [SIGMOID, invert, {**HALF, "threshold": threshold}, *after, save]
        inference["postprocessing"]["transforms"] = steps
        output = metadata["network_data_format"]["outputs"]["pred"]
        output["channel_def"] = {str(place): name for place, name in enumerate(names)}
        output["num_channels"] = len(names)
        output.update(more)

    return change


def refused(root):
    with pytest.raises(SegpipeError) as refusal:
        open_bundle(BundleSource(root, trust=True))
    return str(refusal.value)


def test_regions_without_classes_are_refused_before_the_network_is_made(zoo_bundle):
    root = zoo_bundle(regions())
    (root / "models" / "model.pt").unlink()

    assert refused(root) == (
        f"{root}: its network scores Tumour core, Whole tumour, Enhancing tumour each by itself (a threshold, no arg "
        "max), so they may overlap, and metadata.json does not say which class a voxel in several of them gets: "
        "network_data_format: outputs: pred has no label_table and no regions; add label_table (the classes, with the "
        "values that files store) and regions (the classes of each output), see docs/howto/model_zoo.md"
    )


def test_regions_with_their_classes_are_written_as_by_monais_run(zoo_bundle, write_scan, by_monai, tmp_path):
    """The network's outputs stand in another order than that in which regions are written."""
    root, scan = zoo_bundle(regions(label_table=TABLE, regions=OF_REGIONS)), write_scan()

    (prediction,) = predict(
        scan,
        BundleSource(root, trust=True),
        tmp_path / "out",
        options=PredictOptions(precision="float32", overlays=False),
    )

    labels = read_volume(prediction.label_map).array
    expected = by_monai(root, scan)
    assert set(np.unique(expected)) == {0, 1, 2, 4}
    assert np.mean(labels == expected) > 0.999
    assert [volume.label for volume in prediction.volumes] == [
        "whole tumour",
        "tumour core",
        "enhancing tumour",
    ]
    assert prediction.reason == ""  # streamed


def test_the_outputs_are_those_of_the_regions_by_name(zoo_bundle, random_network):
    root = zoo_bundle(regions(label_table=TABLE, regions=OF_REGIONS))
    bundle = open_bundle(BundleSource(root, trust=True))
    image = torch.rand(1, 1, 16, 16, 16)

    torch.testing.assert_close(bundle.network(image), random_network()(image)[:, [1, 0, 2]])
    assert bundle.labels.values == (0, 1, 2, 4)


def test_one_output_alone_is_one_class(zoo_bundle, write_scan, by_monai, tmp_path):
    root, scan = zoo_bundle(regions(after=(), names=["nuclei"]), classes=1), write_scan()

    (prediction,) = predict(
        scan,
        BundleSource(root, trust=True),
        tmp_path / "out",
        options=PredictOptions(precision="float32", overlays=False),
    )

    labels = read_volume(prediction.label_map).array
    assert set(np.unique(labels)) == {0, 1}
    assert np.mean(labels == by_monai(root, scan)) > 0.999
    assert [volume.label for volume in prediction.volumes] == ["nuclei"]


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"label_table": TABLE}, "outputs: pred has no regions;"),
        ({"regions": OF_REGIONS}, "outputs: pred has no label_table;"),
        (
            {"label_table": TABLE, "regions": OF_REGIONS[::-1]},
            "write larger regions before the regions inside them",
        ),
        ({"label_table": TABLE[:3], "regions": OF_REGIONS}, "has the class enhancing, which is unknown"),
        ({"label_table": {}, "regions": OF_REGIONS}, "has no label_table"),
        ({"label_table": [1], "regions": OF_REGIONS}, "label_table must be a list of rows"),
        (
            {"label_table": TABLE, "regions": [*OF_REGIONS[:2], {"name": "ET", "classes": ["enhancing"]}]},
            "give each channel a region of its name",
        ),
        (
            {"label_table": TABLE, "regions": OF_REGIONS, "threshold": 0.4},
            "has the threshold 0.4, where segpipe",
        ),
        (
            {
                "label_table": TABLE,
                "regions": OF_REGIONS,
                "after": ({"_target_": "KeepLargestConnectedComponentd", "keys": "pred"},),
            },
            "goes on with KeepLargestConnectedComponentd after the threshold",
        ),
    ],
)
def test_regions_that_cannot_be_written(zoo_bundle, change, expected):
    assert expected in refused(zoo_bundle(regions(**change)))


def test_class_numbers_that_would_be_interpolated(zoo_bundle):
    def decide_first(inference, _):
        steps = inference["postprocessing"]["transforms"]
        steps[1], steps[2] = steps[2], steps[1]

    root = zoo_bundle(decide_first)
    (root / "models" / "model.pt").unlink()

    assert refused(root) == (
        f"{root}: its Invertd undoes Spacingd after AsDiscreted, by linear interpolation: labels would be fractions of "
        "class numbers, such as 1.5; give --set postprocessing#transforms#2#nearest_interp=True, or correct the "
        "configuration"
    )
