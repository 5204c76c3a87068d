"""MRI phantoms are reproducible, look as described, and are not solvable by thresholds."""

import numpy as np
import pytest
from threshold_search import best_dice_of_two_thresholds

from segpipe.errors import SegpipeError
from segpipe.phantoms.mri import mri_phantom


@pytest.fixture(scope="module")
def phantoms():
    return [mri_phantom(seed=5, index=index) for index in range(8)]


def test_same_seed_and_index_give_the_same_phantom(phantoms):
    """Earlier phantoms do not count: index 3 equals the fourth of eight phantoms."""
    image, labels, grid = mri_phantom(seed=5, index=3)

    np.testing.assert_array_equal(image, phantoms[3][0])
    np.testing.assert_array_equal(labels, phantoms[3][1])
    assert grid == phantoms[3][2]


def test_other_seed_or_index_gives_another_phantom(phantoms):
    other = mri_phantom(seed=6, index=3)

    assert len({image.tobytes() for image, _, _ in [*phantoms, other]}) == 9


def test_types_sizes_and_classes(phantoms):
    for image, labels, grid in phantoms:
        assert (image.dtype, labels.dtype) == (np.int16, np.uint8)
        assert image.shape == labels.shape == grid.size
        assert all(
            low <= n <= high for n, low, high in zip(grid.size, (31, 40, 24), (43, 59, 47), strict=True)
        )
        assert grid.spacing_mm == (1.0, 1.0, 1.0)
        assert 0 <= image.min() < image.max() < 2000
        shares = np.bincount(labels.ravel(), minlength=3) / labels.size
        assert shares[0] > 0.9
        assert shares[1] > 0.01
        assert shares[2] > 0.008


def test_head_lies_in_front_of_tail(phantoms):
    """In RAS the second axis points to the front."""
    for _, labels, _ in phantoms:
        assert np.argwhere(labels == 1)[:, 1].mean() > np.argwhere(labels == 2)[:, 1].mean() + 10


def test_spacing_keeps_the_size_in_mm():
    """The same body on a coarser grid: volumes agree to the voxels of the coarser grid."""
    _, fine, fine_grid = mri_phantom(seed=1, index=0)
    _, coarse, coarse_grid = mri_phantom(seed=1, index=0, spacing_mm=(1.0, 1.0, 2.0))

    assert coarse_grid.spacing_mm == (1.0, 1.0, 2.0)
    assert abs(coarse_grid.size[2] * 2 - fine_grid.size[2]) <= 1
    assert np.count_nonzero(coarse) * 2 == pytest.approx(np.count_nonzero(fine), rel=0.05)


def test_oblique_grid_turns_every_axis():
    _, _, grid = mri_phantom(seed=1, index=0, oblique=True)

    assert not grid.is_sheared
    assert (np.abs(np.diag(grid.direction_lps)) < 0.999).all()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"seed": -1, "index": 0}, "seed and index must be at least 0, are -1 and 0"),
        ({"seed": 0, "index": 0, "spacing_mm": (1, 1, 9)}, r"spacing must be 0.25 to 4 mm .* is \(1, 1, 9\)"),
    ],
)
def test_out_of_range_is_refused(arguments, message):
    with pytest.raises(SegpipeError, match=message):
        mri_phantom(**arguments)


@pytest.mark.parametrize("normalised", [False, True])
def test_no_pair_of_thresholds_finds_the_body(phantoms, normalised):
    """Dice is pooled over the phantoms: raw, and with each image standardised.

    A pair may also answer one class alone, and the best is taken for each class: all stay under 0.6.
    """
    images = [(image - image.mean()) / image.std() if normalised else image for image, _, _ in phantoms]
    labels = np.concatenate([labels.ravel() for _, labels, _ in phantoms])

    for wanted in (labels > 0, labels == 1, labels == 2):
        assert best_dice_of_two_thresholds(images, wanted) < 0.6


def test_the_search_for_thresholds_finds_them_where_there_are_any():
    """Voxels of intensity 3 and 4 are foreground, another voxel of 4 is not: Dice 2 * 3 / (4 + 3)."""
    intensities = np.array([0, 1, 3, 3, 4, 4, 5])
    wanted = np.array([0, 0, 1, 1, 1, 0, 0], bool)

    assert best_dice_of_two_thresholds([intensities], wanted) == pytest.approx(6 / 7)
