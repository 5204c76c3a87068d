"""CT phantoms are reproducible, as imbalanced as the COVID slices, and not solvable by thresholds."""

import numpy as np
import pytest
from threshold_search import best_dice_of_two_thresholds

from segpipe.errors import SegpipeError
from segpipe.phantoms.ct import ct_phantom, ct_slice_phantom

SIZE = 128


@pytest.fixture(scope="module")
def slices():
    return [ct_slice_phantom(seed=5, index=index, size=SIZE)[:2] for index in range(40)]


def test_same_seed_and_index_give_the_same_phantom(slices):
    image, labels, grid = ct_slice_phantom(seed=5, index=3, size=SIZE)

    np.testing.assert_array_equal(image, slices[3][0])
    np.testing.assert_array_equal(labels, slices[3][1])
    assert (grid.size, grid.spacing_mm) == ((SIZE, SIZE), (1.0, 1.0))
    images = [ct_slice_phantom(seed=6, index=3, size=SIZE)[0], *(image for image, _ in slices)]
    assert len({other.tobytes() for other in images}) == 41


def test_hounsfield_units_of_what_is_there(slices):
    for image, labels in slices:
        assert (image.dtype, labels.dtype) == (np.int16, np.uint8)
        assert -1024 <= image.min() < -950
        assert image.max() > 300
    pooled, classes = (np.concatenate([pair[k].ravel() for pair in slices]) for k in (0, 1))
    medians = [np.median(pooled[classes == index]) for index in (1, 2, 3)]
    assert -700 < medians[0] < -250
    assert -30 < medians[1] < 90
    assert 0 < medians[2] < 40


def test_classes_are_as_rare_as_in_the_covid_slices(slices):
    """COVID slices: 92.8, 4.6, 2.4 and 0.1 % of the pixels; in 98, 80 and 29 % of the slices."""
    voxels = np.array([np.bincount(labels.ravel(), minlength=4) for _, labels in slices])

    share, in_slices = voxels.sum(0) / voxels.sum(), (voxels > 0).mean(0)

    assert 0.9 < share[0] < 0.97
    assert 0.02 < share[1] < 0.08
    assert 0.01 < share[2] < 0.05
    assert 0.0005 < share[3] < 0.005
    assert in_slices[1] > 0.9
    assert 0.6 < in_slices[2] < 0.95
    assert 0.15 < in_slices[3] < 0.45


def test_no_pair_of_thresholds_finds_a_class(slices):
    """Dice is pooled over the phantoms, for each class and for the union of the disease classes."""
    classes = np.concatenate([labels.ravel() for _, labels in slices])

    for wanted in (classes > 0, classes == 1, classes == 2, classes == 3):
        assert best_dice_of_two_thresholds([image for image, _ in slices], wanted) < 0.6


def test_disease_and_fluid_lie_behind_and_beside_the_heart_not_in_it():
    """The middle of the chest has no label, and fluid lies at the back."""
    for index in range(12):
        _, labels, _ = ct_phantom(5, index, size=SIZE)
        middle = slice(SIZE // 2 - 2, SIZE // 2 + 2)
        assert not labels[middle, SIZE // 2].any()
        fluid = np.argwhere(labels[..., 0] == 3)
        if len(fluid):
            assert fluid[:, 1].mean() > SIZE / 2


def test_a_volume_lies_in_the_patient():
    image, labels, grid = ct_phantom(5, 0, size=64, slices=3)

    assert image.shape == labels.shape == grid.size == (64, 64, 3)
    assert grid.spacing_mm == (360 / 64, 360 / 64, 8.0)
    np.testing.assert_allclose(grid.direction_lps, np.eye(3))
    np.testing.assert_allclose(grid.affine @ [31.5, 31.5, 1, 1], [0, 0, 0, 1])
    foam = image[:, -10:, :].mean()  # the patient lies on the back
    assert foam > image[:, :10, :].mean() + 100


def test_a_slice_has_the_back_to_the_right():
    """The COVID slices are distributed in this orientation."""
    image, labels, _ = ct_slice_phantom(5, 0, size=64)
    volume, volume_labels, _ = ct_phantom(5, 0, size=64)

    np.testing.assert_array_equal(image, volume[:, :, 0].T)
    np.testing.assert_array_equal(labels, volume_labels[:, :, 0].T)


@pytest.mark.parametrize(
    "arguments",
    [{"seed": -1, "index": 0}, {"seed": 0, "index": 0, "size": 32}, {"seed": 0, "index": 0, "slices": 0}],
)
def test_out_of_range_is_refused(arguments):
    with pytest.raises(SegpipeError, match=r"CT phantom: .* must be at least 0, 0, 64 and 1"):
        ct_phantom(**arguments)
