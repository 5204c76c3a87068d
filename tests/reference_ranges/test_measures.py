"""Measures of scans made by hand, and of a network's predicted scores."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from label_tables import table
from nibabel.orientations import apply_orientation, axcodes2ornt, inv_ornt_aff, ornt_transform

from segpipe.inference.streaming import Band
from segpipe.inference.volumetry import class_volumes
from segpipe.reference_ranges import EntropyMeter, image_measures, result_measures, scan_measures
from segpipe.volumes import Grid

NAMES = ("background", "liver", "tumour")


def ramp(*size):
    return np.arange(np.prod(size), dtype=np.float32).reshape(1, *size)


def test_spacing_and_length_are_along_the_patients_axes():
    affine = np.array([[0, 0, 3.0, 0], [-2.0, 0, 0, 0], [0, 1.0, 0, 0], [0, 0, 0, 1]])  # A, S, R

    values = scan_measures(ramp(4, 5, 6), Grid.from_affine((4, 5, 6), affine), by_slices=False)

    assert [values[f"spacing/{axis}"] for axis in "xyz"] == [3, 2, 1]
    assert [values[f"extent/{axis}"] for axis in "xyz"] == [18, 8, 5]


def test_slices_have_a_size_and_no_spacing_across():
    """2D images have no spacing; for a volume by slices, the number and distance of slices is no measure."""
    flat, deep = ramp(4, 5), ramp(4, 5, 9)

    for voxels, affine in ((flat, np.eye(4)), (deep, np.diag([2, 2, 7, 1]))):
        grid = Grid.from_affine(voxels.shape[1:], affine)
        of_network = image_measures(torch.as_tensor(voxels), by_slices=True)
        values = scan_measures(voxels, grid, by_slices=True) | of_network.values
        assert {name: value for name, value in values.items() if "size" in name} == {
            "size/x": 4,
            "size/y": 5,
        }
        geometry = {name: value for name, value in values.items() if name.startswith(("spacing", "extent"))}
        of_deep = {"spacing/x": 2, "spacing/y": 2, "extent/x": 8, "extent/y": 10}
        assert geometry == (of_deep if voxels is deep else {})


def test_intensities_and_tones_of_a_channel():
    voxels = np.concatenate([np.zeros(50), np.full(25, 500.0), np.full(25, 1000.0)]).reshape(1, 10, 10)

    values = scan_measures(voxels, Grid.from_affine((10, 10), np.eye(4)), by_slices=True, scaled=True)

    assert values["scaled/0.5th percentile"] == 0
    assert values["scaled/99.5th percentile"] == 1000
    assert values["tone/25th percentile"] == 0
    assert 0.5 <= values["tone/75th percentile"] <= 1
    assert (values["ends/lowest"], values["ends/highest"]) == (0.5, 0.25)


def test_a_blank_channel_has_measures():
    values = scan_measures(np.full((1, 8, 8), 7), Grid.from_affine((8, 8), np.eye(4)), by_slices=True)

    assert all(math.isfinite(value) for value in values.values())
    assert (values["ends/lowest"], values["ends/highest"]) == (1, 1)


def test_channels_are_measured_by_themselves():
    grid = Grid.from_affine((4, 5), np.eye(4))
    both = np.concatenate([ramp(4, 5), 100 + ramp(4, 5)])
    values = scan_measures(both, grid, by_slices=True, scaled=True)
    of_image = image_measures(torch.as_tensor(both), by_slices=True).values

    for kind, measured in (("scaled", values), ("normalised", of_image)):
        medians = [measured[f"{kind}/median, channel {channel}"] for channel in (0, 1)]
        assert medians[1] - medians[0] == pytest.approx(100)


def test_intensities_are_measured_once_before_or_after_the_normalisation():
    """CT on its absolute scale, as stored; other intensities only as the bundle normalises them."""
    grid = Grid.from_affine((4, 5), np.eye(4))

    for scaled, kind in ((True, "scaled"), (False, "normalised")):
        values = scan_measures(ramp(4, 5), grid, by_slices=True, scaled=scaled)
        values |= image_measures(torch.as_tensor(ramp(4, 5)), by_slices=True, scaled=scaled).values
        assert [name for name in values if name.endswith("/0.5th percentile")] == [f"{kind}/0.5th percentile"]


def test_a_scanners_gain_changes_no_measure():
    """As stored, a scan of another gain and offset has the same tones and ends."""
    voxels, grid = ramp(6, 7, 8), Grid.from_affine((6, 7, 8), np.eye(4))

    usual, other = (scan_measures(own, grid, by_slices=False) for own in (voxels, 17 * voxels + 1000))

    assert other == pytest.approx(usual)


def test_roughness_is_of_second_differences_over_the_spread():
    """Alternating +1 and -1 along x: second differences of 4, a standard deviation of 1; no differences along y."""
    image = torch.ones(1, 40, 40)
    image[:, ::2] = -1

    values = image_measures(image, by_slices=True).values

    assert values["roughness/x"] == pytest.approx(4, rel=1e-3)
    assert values["roughness/y"] == 0


def test_roughness_knows_noise_from_smoothness():
    noise = torch.randn(1, 20, 20, 20, generator=torch.Generator().manual_seed(0))
    smooth = torch.nn.functional.avg_pool3d(noise, 5, stride=1, padding=2)

    rough, even = (image_measures(image, by_slices=False).values for image in (noise, smooth))

    axes = [name for name in rough if name.startswith("roughness")]
    assert axes == ["roughness/x", "roughness/y", "roughness/z"]
    assert all(rough[axis] > 2 * even[axis] for axis in axes)


def test_an_axis_of_two_voxels_has_no_roughness():
    values = image_measures(torch.randn(1, 8, 8, 2), by_slices=False).values

    assert math.isnan(values["roughness/z"])
    assert values["roughness/x"] > 0


def test_a_volume_by_slices_has_a_picture_of_each_of_some():
    assert image_measures(torch.rand(1, 16, 16, 5), by_slices=True).coarse_images.shape == (5, 1, 12, 12)
    assert image_measures(torch.rand(1, 16, 16, 500), by_slices=True).coarse_images.shape == (32, 1, 12, 12)


def test_uncertainty_is_the_mean_entropy_where_something_is_found():
    """Two of four voxels are background; the others have 1/2, 1/4, 1/4 and a single certain class."""
    probabilities = torch.tensor([[0.9, 0.4, 0.25, 0.0], [0.05, 0.3, 0.5, 1.0], [0.05, 0.3, 0.25, 0.0]])
    scores = probabilities.clamp_min(1e-30).log()
    meter = EntropyMeter()
    band = Band(0, 0, scores.T.reshape(4, 3, 1, 1))

    assert list(meter.bands([band])) == [band]
    entropy = (0.5 * math.log(2) + 2 * 0.25 * math.log(4)) / math.log(3)
    assert meter.voxels == 2
    assert meter.mean == pytest.approx((entropy + 0) / 2, abs=1e-6)


def test_nothing_found_has_no_uncertainty():
    meter = EntropyMeter()
    meter.add(torch.tensor([[5.0, 5.0], [0.0, 0.0]]))

    assert meter.mean is None


def label_map():
    labels = np.zeros((10, 20, 8), np.uint8)
    labels[2:4, 5:15, 1] = 1
    labels[2:4, 5:15, 2:4] = 1
    labels[8, 0, 0] = 2
    labels[8, 19, 0] = 2
    return labels


def test_what_was_found_in_a_volume():
    labels = label_map()
    volumes = class_volumes(labels, table(*NAMES), (10, 10, 10))

    values = result_measures(labels, volumes, 0.25, by_slices=False)

    foreground = np.argwhere(labels > 0)
    centre = (foreground.mean(axis=0) + 0.5) / labels.shape
    assert values == {
        "found": 1,
        "volume/liver": 60,
        "pieces/liver": 1,
        "volume/tumour": 2,
        "pieces/tumour": 2,
        "uncertainty": 0.25,
        "centre/x": pytest.approx(centre[0]),
        "centre/y": pytest.approx(centre[1]),
        "centre/z": pytest.approx(centre[2]),
    }


@settings(max_examples=30, deadline=None)
@given(
    st.permutations([("R", "L"), ("A", "P"), ("S", "I")]), st.tuples(*[st.integers(0, 1)] * 3), st.booleans()
)
def test_what_was_found_does_not_depend_on_how_the_file_lies(axes, ends, by_slices):
    """The network gets one orientation; the label map lies on the file's grid."""
    axcodes = tuple(pair[end] for pair, end in zip(axes, ends, strict=True))
    affine, labels = np.diag([2.0, 3, 4, 1]), label_map()
    turn = ornt_transform(axcodes2ornt("RAS"), axcodes2ornt(axcodes))
    turned = np.ascontiguousarray(apply_orientation(labels, turn))
    grids = [
        Grid.from_affine(labels.shape, affine),
        Grid.from_affine(turned.shape, affine @ inv_ornt_aff(turn, labels.shape)),
    ]
    of_image = image_measures(torch.randn(1, *labels.shape), by_slices=by_slices)
    of_image = replace(of_image, axcodes=("R", "A", "S"))

    measures, of_turned = (
        of_image.with_result(
            label_array, grid, class_volumes(label_array, table(*NAMES), (2, 3, 4)), 0.25, by_slices=by_slices
        ).values
        for label_array, grid in zip((labels, turned), grids, strict=True)
    )

    assert of_turned == pytest.approx(measures)
    assert measures["centre/x"] != pytest.approx(1 - measures["centre/x"])


def test_what_was_found_slice_by_slice_is_of_the_slice_with_most_of_it():
    labels = label_map()
    volumes = class_volumes(labels, table(*NAMES), (10, 10, 10))

    values = result_measures(labels, volumes, 0.25, by_slices=True)

    assert (values["area/liver"], values["pieces/liver"]) == (20, 1)
    assert (values["area/tumour"], values["pieces/tumour"]) == (2, 2)
    assert "centre/z" not in values


def test_nothing_found_has_no_centre():
    labels = np.zeros((4, 4), np.uint8)

    values = result_measures(labels, class_volumes(labels, table(*NAMES), (1, 1)), None, by_slices=True)

    assert values == {"found": 0, "area/liver": 0, "pieces/liver": 0, "area/tumour": 0, "pieces/tumour": 0}
