"""A plan repeats the network of other weights."""

import pytest
from refusals import refusal_of

from segpipe.bundle.source_weights import SourceWeights
from segpipe.networks.weights import Sidecar
from segpipe.planning import Channel, Class, Fingerprint, PlanOptions
from segpipe.planning.like_network import like_network
from segpipe.planning.planner import _like
from segpipe.planning.rules import plan

CT = Channel("CT", -1000.0, 1200.0, -80.4, 210.2)


def planned(like, size, channels):
    """Return the plan for 100 cases of one size, 1 mm a voxel."""
    classes = (Class(0.9, 100), Class(0.1, 100))
    data = Fingerprint(100, (size,) * 100, ((1.0, 1.0, 1.0),) * 100, channels, classes)
    return plan(data, PlanOptions(like=like, dims=3, training_share=0.8), lambda *_: 1)


def source(tmp_path, definition, **ids):
    configuration = {"network_def": definition, **ids}
    return SourceWeights(tmp_path / "a.pt", "mine", Sidecar("", {}, [], [], {"configuration": configuration}))


DYNUNET = {
    "_target_": "monai.networks.nets.DynUNet",
    "spatial_dims": 3,
    "in_channels": 1,
    "out_channels": "$@labels.num_classes",
    "filters": "@filters",
    "kernel_size": [[3, 3, 1], 3, 3],
    "strides": "@strides",
    "upsample_kernel_size": [[2, 2, 1], 2],
}
IDS = {"filters": [4, 8, 12], "strides": [1, [2, 2, 1], 2]}


def test_the_network_is_that_of_the_weights_and_the_rest_follows_from_the_data(tmp_path):
    like = like_network(source(tmp_path, DYNUNET, **IDS))

    result = planned(like, (50, 45, 30), (CT, CT))

    numbers = {name: number.value for name, number in result.numbers.items()}
    assert numbers["filters"] == [4, 8, 12]
    assert numbers["strides"] == [[1, 1, 1], [2, 2, 1], [2, 2, 2]]
    assert numbers["kernel_size"] == [[3, 3, 1], [3, 3, 3], [3, 3, 3]]
    assert numbers["upsample_kernel_size"] == [[2, 2, 1], [2, 2, 2]]
    assert numbers["patch_size"] == [48, 44, 30]  # multiples of 4, 4 and 2
    assert result.numbers["filters"].why == result.dims.why == "as in mine"
    assert (result.architecture.num_channels, result.architecture.num_classes) == (2, 2)
    assert result.warnings == ()


def test_a_patch_larger_than_the_cases_is_warned_of(tmp_path):
    steep = {**DYNUNET, "upsample_kernel_size": [[4, 4, 1], 2], "strides": [1, [4, 4, 1], 2]}
    like = like_network(source(tmp_path, steep, **IDS))

    result = planned(like, (50, 6, 30), (CT,))

    assert result.numbers["patch_size"].value == [48, 8, 30]
    assert (
        "so a patch of 48 x 8 x 30 voxels is larger than the median case of 50 x 6 x 30" in result.warnings[0]
    )


@pytest.mark.parametrize(
    ("definition", "name", "widths", "strides"),
    [
        (
            {"_target_": "segpipe.networks.UNet", "widths": [4, 8, 16], "norm": "none"},
            "UNet",
            (4, 8, 16),
            ((1, 1), (2, 2), (2, 2)),
        ),
        (
            {"_target_": "segpipe.networks.SegNet", "stages": [[4, 4], [8, 8]], "strides": [2, [2, 1]]},
            "SegNet",
            (4, 8),
            ((1, 1), (2, 2), (2, 1)),
        ),
    ],
)
def test_networks_of_slices(tmp_path, definition, name, widths, strides):
    architecture = like_network(source(tmp_path, definition)).architecture

    assert (architecture.name, architecture.dims) == (name, 2)
    assert (architecture.widths, architecture.strides) == (widths, strides)
    assert architecture.norm == (None if name == "UNet" else "instance")


def test_other_networks_are_refused(tmp_path):
    for definition in (
        {"_target_": "segpipe.networks.SegNet", "stages": [[4, 4, 4]]},
        {"_target_": "monai.networks.nets.SegResNet", "spatial_dims": 3},
        {**DYNUNET, "upsample_kernel_size": [1, 1]},
    ):
        refusal = refusal_of(like_network, source(tmp_path, definition, **IDS))
        assert refusal.startswith(f"{tmp_path / 'a.pt'}: a plan cannot repeat its network, a ")

    assert "has no sidecar that describes its network" in refusal_of(
        like_network, SourceWeights(tmp_path / "a.pt", "a", None)
    )


def test_other_dimensions_are_refused_with_both(tmp_path):
    definition = {"_target_": "segpipe.networks.UNet", "widths": [4, 8, 16]}

    refusal = refusal_of(_like, source(tmp_path, definition), PlanOptions(dims=3))

    assert refusal == (
        f"plan: the network of {tmp_path / 'a.pt'} is 2D, and --dims is 3; leave out --dims, or --from"
    )
