"""Surface distances on grids drawn by hand, against all pairs of points, and against MONAI."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from monai.metrics import HausdorffDistanceMetric, SurfaceDiceMetric, SurfaceDistanceMetric
from scipy.spatial.distance import cdist
from scipy.spatial.transform import Rotation

from segpipe.evaluation.surfaces import surface, surface_distances


def drawn(*rows):
    return np.array([[voxel == "#" for voxel in row] for row in rows])


def test_a_surface_has_an_outside_or_the_images_end_beyond_a_face():
    mask = drawn("####.", "####.", "####.", "##...")

    np.testing.assert_array_equal(surface(mask), drawn("####.", "#..#.", "#.##.", "##..."))


def test_a_voxel_moved_is_its_step_away():
    one, other = drawn("#....", "....."), drawn("...#.", ".....")
    result = surface_distances(one, other, (1.0, 0.5))

    assert result.from_prediction.tolist() == result.from_reference.tolist() == [1.5]
    assert result.hausdorff() == result.average() == 1.5


def test_two_lines_by_hand():
    """Three voxels against one voxel at their end: 0, 1 and 2 mm one way, 0 mm the other way."""
    result = surface_distances(drawn("###"), drawn("#.."), (5.0, 1.0))

    assert result.from_prediction.tolist() == [0, 1, 2]
    assert result.from_reference.tolist() == [0]
    assert result.hausdorff(100) == 2
    assert result.hausdorff(95) == pytest.approx(1.9)  # 0.95 of the way through 0, 1, 2
    assert result.average() == pytest.approx(3 / 4)
    assert [result.dice(tolerance) for tolerance in (0, 0.99, 1, 2)] == [2 / 4, 2 / 4, 3 / 4, 1]


def test_axes_that_are_not_at_right_angles():
    sheared = np.array([[1.0, 0.5], [0.0, 2.0], [0.0, 0.0]])

    result = surface_distances(drawn("#.", ".."), drawn("..", ".#"), sheared)

    assert result.hausdorff() == pytest.approx(np.hypot(1.5, 2.0))


@settings(max_examples=50, deadline=None)
@given(st.tuples(*[st.floats(-180, 180)] * 3), st.sampled_from([0.1, 0.2, 0.7, 1.0]), st.integers(1, 3))
def test_a_distance_of_the_tolerance_counts_however_the_scan_is_turned(degrees, spacing, voxels):
    """A file's float32 affine makes one distance a little larger than the tolerance."""
    cube = np.zeros((14, 8, 8), bool)
    cube[2:7, 2:6, 2:6] = True
    axes = (Rotation.from_euler("xyz", degrees, degrees=True).as_matrix() * spacing).astype(np.float32)

    result = surface_distances(np.roll(cube, voxels, 0), cube, axes)

    assert result.dice(voxels * spacing) == 1
    assert result.dice(voxels * spacing - 0.01) < 1


@pytest.mark.parametrize(("one", "other"), [("#", "."), (".", "#")])
def test_what_is_missing_is_infinitely_far(one, other):
    result = surface_distances(drawn(one), drawn(other), (1.0, 1.0))

    assert result.hausdorff() == result.average() == np.inf
    assert result.dice(1e9) == 0


def test_nothing_at_all_has_no_distance():
    result = surface_distances(drawn("."), drawn("."), (1.0, 1.0))

    assert np.isnan([result.hausdorff(), result.average(), result.dice(1)]).all()


masks = hnp.arrays(bool, hnp.array_shapes(min_dims=2, max_dims=3, max_side=6))
spacings = st.tuples(*[st.floats(0.1, 10.0)] * 3)


@given(st.data(), masks, spacings)
def test_agrees_with_every_pair_of_points(data, prediction, spacing):
    reference = data.draw(hnp.arrays(bool, prediction.shape))
    steps = spacing[: prediction.ndim]

    result = surface_distances(prediction, reference, steps)

    points = [np.argwhere(surface(mask)) * steps for mask in (prediction, reference)]
    if all(map(len, points)):
        pairs = cdist(*points)
        np.testing.assert_allclose(result.from_prediction, pairs.min(axis=1), atol=1e-12)
        np.testing.assert_allclose(result.from_reference, pairs.min(axis=0), atol=1e-12)
        ways = [np.percentile(pairs.min(axis=axis), 95) for axis in (0, 1)]
        assert result.hausdorff() == pytest.approx(max(ways), rel=1e-9)
        both = [*pairs.min(axis=0), *pairs.min(axis=1)]
        assert result.average() == pytest.approx(np.mean(both), rel=1e-9)


@pytest.mark.filterwarnings("ignore:.*always_return_as_numpy:FutureWarning")  # MONAI's own call
@settings(max_examples=20, deadline=None)
@given(st.data(), spacings)
def test_agrees_with_monai(data, spacing):
    """MONAI computes in float32; the tolerance itself and empty masks, for which MONAI warns, are left out."""
    shape = data.draw(st.tuples(*[st.integers(2, 9)] * 3))
    prediction, reference = (data.draw(hnp.arrays(bool, shape)) for _ in range(2))
    prediction[0, 0, 0] = reference[-1, -1, -1] = True
    distances = surface_distances(prediction, reference, spacing)
    tolerance = data.draw(st.floats(0.1, 20.0))
    batches = [torch.as_tensor(mask)[None, None].float() for mask in (prediction, reference)]

    def by_monai(metric):
        return float(metric(*batches, spacing=list(spacing))[0, 0])

    both = np.concatenate([distances.from_prediction, distances.from_reference])
    hausdorff = HausdorffDistanceMetric(include_background=True, percentile=95)
    average = SurfaceDistanceMetric(include_background=True, symmetric=True)
    rank_error = len(both) * 2.0**-23  # MONAI finds the percentile's rank in float32, and interpolates by it
    assert distances.hausdorff() == pytest.approx(
        by_monai(hausdorff), rel=1e-5, abs=1e-5 + rank_error * both.max()
    )
    assert distances.average() == pytest.approx(by_monai(average), rel=1e-5, abs=1e-5)
    if np.abs(both - tolerance).min() > 1e-5:
        dice = SurfaceDiceMetric([tolerance], include_background=True)
        assert distances.dice(tolerance) == pytest.approx(by_monai(dice), rel=1e-5, abs=1e-5)
