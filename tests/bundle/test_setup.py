"""A bundle's `initialize` refuses wrong arguments; these tests need no bundle."""

from types import SimpleNamespace

import pytest
import torch
from monai.inferers import SimpleInferer

from segpipe.bundle import setup
from segpipe.bundle.setup import check_sizes
from segpipe.errors import SegpipeError
from segpipe.inference import PrecisionInferer
from segpipe.inference.heap import LARGEST_OF_A_STEP
from segpipe.networks.group_norms import ChannelNorm

ANISOTROPIC = [[1, 1, 1], [2, 2, 1], [2, 2, 2]]


def test_strides_may_differ_by_axis():
    check_sizes(ANISOTROPIC, {"patch_size": [32, 24, 10]})


@pytest.mark.parametrize("size", [[30, 24, 10], [32, 24, 9], [4, 4, 2]])
def test_a_patch_must_be_halved_to_whole_voxels_along_each_axis(size):
    with pytest.raises(SegpipeError) as ended:
        check_sizes(ANISOTROPIC, {"patch_size": size})

    assert "a multiple of [4, 4, 2]" in str(ended.value)


def test_what_is_proposed_fits():
    with pytest.raises(SegpipeError) as ended:
        check_sizes(ANISOTROPIC, {"patch_size": [4, 4, 3]})

    check_sizes(ANISOTROPIC, {"patch_size": eval(str(ended.value).rpartition("use ")[2])})


@pytest.mark.parametrize(
    ("device", "monai_run", "norm", "kept"),
    [
        ("cpu", True, ChannelNorm, [LARGEST_OF_A_STEP]),
        ("cpu", False, ChannelNorm, []),  # another program chooses the settings of its process
        ("cuda", True, torch.nn.InstanceNorm3d, []),
    ],
)
def test_a_training_on_a_processor_takes_group_norms_and_keeps_memory(
    monkeypatch, device, monai_run, norm, kept
):
    sizes = []
    monkeypatch.setattr(setup, "keep_freed_memory", lambda largest: sizes.append(largest))
    monkeypatch.setattr(setup, "is_monai_run", lambda: monai_run)
    network = torch.nn.Sequential(torch.nn.InstanceNorm3d(2))

    setup._prepare_processor(
        SimpleNamespace(network=network, state=SimpleNamespace(device=torch.device(device)))
    )

    assert type(network[0]) is norm
    assert sizes == kept


@pytest.mark.parametrize(("precision", "expected"), [("bfloat16", True), ("float32", False)])
def test_a_training_in_bfloat16_without_norms_has_its_channels_last(precision, expected):
    """In float32 the layout gains nothing."""
    network = torch.nn.Conv2d(2, 4, 3)

    setup._prepare_processor(
        SimpleNamespace(
            network=network,
            inferer=PrecisionInferer(SimpleInferer(), precision),
            state=SimpleNamespace(device=torch.device("cpu")),
        )
    )

    assert network.weight.is_contiguous(memory_format=torch.channels_last) is expected
