"""CT in HU and CT in 8 bit: distinguished, windowed, refused."""

import numpy as np
import pytest
import torch
from monai.data import MetaTensor

from segpipe.errors import SegpipeError
from segpipe.transforms import (
    CTIntensityd,
    CTKindd,
)

WINDOW = [-1000.0, 400.0]


def ct_of(array, modality="", is_hounsfield=False, window=WINDOW, intensity="auto"):
    meta = {"filename_or_obj": "scan.nii", "modality": modality, "is_hounsfield": is_hounsfield}
    image = MetaTensor(torch.as_tensor(array), meta=meta)
    return CTIntensityd("image", window)(CTKindd("image", intensity)({"image": image}))["image"]


@pytest.mark.parametrize("dtype", [np.int16, np.int32, np.float32])
def test_hounsfield_units_are_windowed(dtype):
    scaled = ct_of(np.array([[-1024, -1000, -300, 400, 3000]], dtype))

    assert scaled.dtype == torch.float32
    torch.testing.assert_close(scaled.as_tensor(), torch.tensor([[0, 0, 0.5, 1, 1]]))
    assert scaled.meta["filename_or_obj"] == "scan.nii"


def test_eight_bit_pictures_are_taken_as_they_are():
    scaled = ct_of(np.array([[0, 51, 255]], np.uint8))

    torch.testing.assert_close(scaled.as_tensor(), torch.tensor([[0, 0.2, 1]]))


def test_a_ct_series_that_is_not_rescaled_is_refused():
    """Stored values are not HU: water is often 1024, and values outside the scanner's circle are below 0."""
    for low in (0, -2000):
        with pytest.raises(SegpipeError, match="nor DICOM CT with RescaleSlope and RescaleIntercept"):
            ct_of(np.array([[low, 1024]], np.int32), modality="CT")


def test_a_rescaled_ct_series_is_in_hounsfield_units_whatever_its_range():
    """A crop of the liver has no voxel below 0."""
    scaled = ct_of(np.array([[0, 50, 400]], np.int32), modality="CT", is_hounsfield=True)

    torch.testing.assert_close(scaled.as_tensor(), torch.tensor([[1000 / 1400, 1050 / 1400, 1]]))


@pytest.mark.parametrize(
    "array",
    [
        np.array([[0, 255]], np.int16),
        np.array([[0, 999]], np.uint16),
        np.array([[0, 1]], np.float32),
        np.array([[-3, 12]], np.float32),  # z-scored
    ],
)
def test_what_can_be_either_kind_is_refused_unless_said(array):
    with pytest.raises(SegpipeError, match=r"scan\.nii: .* neither 8-bit nor HU .*--intensity hu"):
        ct_of(array)

    top = float(array.max())
    if top <= 255 and array.min() >= 0:
        scaled = ct_of(array, intensity="uint8").max().as_tensor()
        torch.testing.assert_close(scaled, torch.tensor(top / 255))
    hu = torch.tensor(min((top + 1000) / 1400, 1.0))
    torch.testing.assert_close(ct_of(array, intensity="hu").max().as_tensor(), hu)


@pytest.mark.parametrize(
    ("kinds", "array", "expected"),
    [
        (
            ["hu"],
            np.array([[0, 200]], np.uint8),
            r"scan\.nii: is CT as 8-bit images; .* in Hounsfield units",
        ),
        (["uint8"], np.array([[-1000, 300]], np.int16), r"scan\.nii: is CT in Hounsfield units; .* 8-bit"),
    ],
    ids=["hu", "uint8"],
)
def test_a_kind_that_was_not_trained_on_is_refused(kinds, array, expected):
    meta = {"filename_or_obj": "scan.nii", "modality": "", "is_hounsfield": False}
    image = MetaTensor(torch.as_tensor(array)[None], meta=meta)

    with pytest.raises(SegpipeError, match=expected):
        CTKindd("image", kinds=kinds)({"image": image})


@pytest.mark.parametrize("kinds", [[], ["HU"], ["hu", "mr"]], ids=str)
def test_kinds_that_are_none_are_refused(kinds):
    with pytest.raises(SegpipeError, match="must be a list of uint8 and hu"):
        CTKindd("image", kinds=kinds)


def test_eight_bit_that_is_none_is_refused():
    with pytest.raises(SegpipeError, match=r"scan\.nii: intensity is uint8, but voxels go from -1000 to 300"):
        ct_of(np.array([[-1000, 300]], np.int16), intensity="uint8")


@pytest.mark.parametrize("intensity", ["auto", "hu"])
def test_a_series_of_another_modality_is_refused(intensity):
    with pytest.raises(SegpipeError, match=r"scan\.nii: a DICOM series of modality MR where CT is wanted"):
        ct_of(np.array([[-5, 300]], np.int16), modality="MR", intensity=intensity)


@pytest.mark.parametrize(
    "window", [[400, -1000], [0, 0], [0], [0, float("inf")], [float("nan"), 1], 400, ["a", "b"]]
)
def test_a_window_with_reversed_ends_is_refused(window):
    with pytest.raises(SegpipeError, match="must be two numbers in HU, the lower first"):
        ct_of(np.array([[0]], np.uint8), window=window)


def test_an_unknown_intensity_is_refused():
    with pytest.raises(SegpipeError, match="intensity is 'HU'; must be one of auto, uint8, hu"):
        ct_of(np.array([[0]], np.uint8), intensity="HU")
