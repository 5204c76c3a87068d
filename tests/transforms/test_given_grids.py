"""Grids of images that a program has read itself, with the metadata of MONAI Deploy 4.0.0 for a DICOM series."""

import logging

import numpy as np
import pytest

from segpipe.errors import SegpipeError
from segpipe.transforms.given_grids import given_affine

SIZE = (8, 6, 5)
# columns 0.7 mm apart towards the left, rows 1.3 mm towards the back, slices 2.5 mm towards the head
TRUE = np.array([[-0.7, 0, 0, 31.5], [0, -1.3, 0, -12.25], [0, 0, 2.5, 40], [0, 0, 0, 1]])
OF_DEPLOY = TRUE @ np.diag([1.3 / 0.7, 0.7 / 1.3, 1, 1])
SERIES = {"row_pixel_spacing": 1.3, "col_pixel_spacing": 0.7, "depth_pixel_spacing": 2.5, "space": "RAS"}


def test_interchanged_spacings_of_pixels_are_those_of_the_series_again(caplog):
    corrected = given_affine(OF_DEPLOY, SERIES, "ct", SIZE)

    np.testing.assert_allclose(corrected, TRUE, atol=1e-12)
    assert caplog.messages == [
        "ct: the program gives pixels of 1.3 x 0.7 mm (x, y), the DICOM series has 0.7 x 1.3 mm, which is used"
    ]


@pytest.mark.parametrize("affine", [TRUE, TRUE @ np.diag([2, 2, 1, 1])], ids=["right", "resampled"])
def test_other_spacings_stay(affine, caplog):
    np.testing.assert_array_equal(given_affine(affine, SERIES, "ct", SIZE), affine)
    assert not caplog.messages


def test_an_affine_in_lps_is_turned_unless_it_is_deploys_own():
    """Deploy's `nifti_affine_transform` is RAS, also where the operator was made with affine_lps_to_ras=False."""
    lps = np.diag([-1, -1, 1, 1]) @ TRUE

    np.testing.assert_allclose(given_affine(lps, {"space": "LPS"}, "mr", SIZE), TRUE)
    named_lps = {**SERIES, "space": "LPS", "nifti_affine_transform": TRUE.tolist()}
    np.testing.assert_allclose(given_affine(TRUE, named_lps, "ct", SIZE), TRUE)


def test_tilted_slices_are_refused_and_a_tilt_by_rounding_is_removed():
    tilted = TRUE.copy()
    tilted[1, 2] = 0.5  # 0.5 mm sideways in 2.5 mm: arctan(0.2) = 11.31 degrees
    with pytest.raises(SegpipeError, match=r"ct: gantry tilt of 11\.31 degrees"):
        given_affine(tilted, SERIES, "ct", SIZE)

    rounded = TRUE.copy()
    rounded[1, 2] = 0.005  # 0.01 mm from the middle of five slices to the last one
    np.testing.assert_allclose(given_affine(rounded, SERIES, "ct", SIZE), TRUE, atol=1e-12)


def test_a_missing_slice_is_warned_of_on_upright_and_oblique_slices(caplog):
    """Deploy's distance of oblique slices is the norm of normal times step, component by component."""
    wide = TRUE.copy()
    wide[2, 2] = 10 / 3  # four slices over 10 mm
    given_affine(wide, SERIES, "ct", SIZE)
    assert caplog.messages[-1].startswith("ct: 2.5 mm between the first two slices, 3.333 mm on average")

    caplog.clear()
    half = np.sqrt(0.5)
    turned = np.eye(4)
    turned[:3, :3] = [[half, 0, -half], [0, 1, 0], [half, 0, half]]
    upright = {**SERIES, "depth_pixel_spacing": 2.5 * half}  # of components half * half * 2.5
    given_affine(turned @ TRUE, upright, "ct", SIZE)
    assert not caplog.messages


def test_a_volume_without_a_grid_is_warned_of_and_a_slice_is_not(caplog):
    caplog.set_level(logging.WARNING)
    given_affine(np.eye(4), {}, "scan", (8, 6))
    given_affine(np.eye(4), {"original_affine": np.eye(4)}, "scan", SIZE)
    assert not caplog.messages

    given_affine(np.eye(4), {"original_channel_dim": "no_channel"}, "scan", SIZE)

    assert caplog.messages[0].startswith("scan: the image came without its grid: voxels of 1 mm are assumed")
