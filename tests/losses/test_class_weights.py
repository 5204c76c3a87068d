import numpy as np
import pytest
import torch

from segpipe.errors import SegpipeError
from segpipe.losses import (
    ClassCounts,
    effective_number_weights,
    inverse_frequency_weights,
    median_frequency_weights,
)

SLICES = np.array([100, 96, 78, 25])  # of the 100, how many contain each class


@pytest.mark.parametrize(
    ("side", "voxels", "published"),
    [
        (512, [24_394_464, 1_196_461, 589_210, 34_265], [0.0410, 0.8031, 1.3249, 7.3023]),
        (256, [6_098_507, 299_217, 147_271, 8_605], [0.0410, 0.8029, 1.3254, 7.2704]),
    ],
)
def test_the_published_weights_of_the_covid_slices(side, voxels, published):
    counts = ClassCounts(np.array(voxels), SLICES * side**2)

    weights = median_frequency_weights(counts)

    assert [round(weight, 4) for weight in weights.tolist()] == published


def test_an_absent_class_does_not_dilute_its_frequency():
    """A class is measured only over the maps that contain it."""
    with_lesion, without = [3, 1], [4, 0]

    counts = ClassCounts.of_maps([with_lesion, without], ())

    assert counts.class_voxels.tolist() == [7, 1]
    assert counts.map_voxels.tolist() == [8, 4]
    # background 7/8, lesion 1/4 (not 1/8), median 0.5625
    torch.testing.assert_close(
        median_frequency_weights(counts), torch.tensor([0.5625 / 0.875, 0.5625 / 0.25])
    )


def test_the_median_of_an_even_number_is_the_mean_of_the_middle_two():
    counts = ClassCounts(np.array([80, 10, 6, 4]), np.full(4, 100))

    # frequencies .8 .1 .06 .04: median .08, where torch.median would take .06
    torch.testing.assert_close(median_frequency_weights(counts), torch.tensor([0.1, 0.8, 0.08 / 0.06, 2.0]))


def test_maps_of_several_sizes_are_counted_by_their_voxels():
    counts = ClassCounts.of_maps([[4, 0, 0], [0, 27, 0], [0, 0, 5]], ["air", "lung", "lesion"])

    assert counts.class_voxels.tolist() == counts.map_voxels.tolist() == [4, 27, 5]
    assert counts.names == ("air", "lung", "lesion")


def test_inverse_frequency_is_one_for_equal_classes():
    assert inverse_frequency_weights(ClassCounts(np.array([9, 9]), np.array([18, 18]))).tolist() == [1, 1]
    # 100 voxels, 4 classes: 100 / (4 * 80), ...
    weights = inverse_frequency_weights(ClassCounts(np.array([80, 10, 5, 5]), np.full(4, 100)))
    torch.testing.assert_close(weights, torch.tensor([0.3125, 2.5, 5.0, 5.0]))


def test_effective_number_lies_between_equal_weights_and_the_inverse_frequency():
    counts = ClassCounts(np.array([3, 1]), np.full(2, 4))

    assert effective_number_weights(counts, beta=0).tolist() == [1, 1]
    # (1 - 0.5^3) / 0.5 = 1.75 and 1 voxels: 1 / 1.75 to 1, of sum 2
    torch.testing.assert_close(
        effective_number_weights(counts, beta=0.5), torch.tensor([2 / 2.75, 2 * 1.75 / 2.75])
    )
    torch.testing.assert_close(effective_number_weights(counts, beta=1 - 1e-9), torch.tensor([0.5, 1.5]))


@pytest.mark.parametrize(
    "weighting", [median_frequency_weights, inverse_frequency_weights, effective_number_weights]
)
def test_a_class_without_a_voxel_is_named(weighting):
    counts = ClassCounts.of_maps([[2, 1, 0]], ["healthy", "ground-glass", "effusion"])

    with pytest.raises(SegpipeError, match="no training case has a voxel of effusion") as refusal:
        weighting(counts)

    assert "ground-glass" not in str(refusal.value)


@pytest.mark.parametrize("beta", [-0.1, 1.0])
def test_beta_out_of_range_is_refused(beta):
    with pytest.raises(SegpipeError, match="from 0 to below 1"):
        effective_number_weights(ClassCounts(np.array([1, 1]), np.array([2, 2])), beta)
