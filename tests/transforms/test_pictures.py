"""Random crops and colours of pictures."""

import numpy as np
import pytest
import torch
from monai.data import MetaTensor

from segpipe.errors import SegpipeError
from segpipe.transforms import RandColorJitterd, RandResizedCropd


def picture(rows=8, cols=12):
    """Return red = row / rows, green = column / columns, blue = 0.5."""
    red, green = torch.meshgrid(torch.arange(rows) / rows, torch.arange(cols) / cols, indexing="ij")
    return torch.stack([red, green, torch.full_like(red, 0.5)])


def pixel(*rgb):
    return torch.tensor(rgb).view(3, 1, 1)


def test_a_crop_of_the_whole_picture_is_only_resized():
    whole = picture(6, 6)

    crop = RandResizedCropd("image", 6, scale=(1, 1), ratio=(1, 1))({"image": whole})["image"]

    torch.testing.assert_close(crop, whole)


def test_a_quarter_of_the_area_is_half_of_each_side():
    cropper = RandResizedCropd("image", 4, scale=(0.25, 0.25), ratio=(1, 1)).set_random_state(0)

    places = [cropper.rectangle(8, 8) for _ in range(200)]

    assert {place[2:] for place in places} == {(4, 4)}
    assert {place[0] for place in places} == {place[1] for place in places} == {0, 1, 2, 3, 4}


def test_areas_and_ratios_cover_their_ranges():
    cropper = RandResizedCropd("image", 4, scale=(0.5, 0.8), ratio=(0.8, 1.25)).set_random_state(0)

    places = np.array([cropper.rectangle(1000, 1000) for _ in range(2000)], float)

    share, ratio = places[:, 2] * places[:, 3] / 1e6, places[:, 3] / places[:, 2]
    assert share.min() == pytest.approx(0.5, abs=0.005)
    assert share.max() == pytest.approx(0.8, abs=0.005)
    assert share.mean() == pytest.approx(0.65, abs=0.01)
    assert np.log(ratio).mean() == pytest.approx(0, abs=0.01)
    assert ratio.min() == pytest.approx(0.8, abs=0.005)
    assert ratio.max() == pytest.approx(1.25, abs=0.005)


@pytest.mark.parametrize(
    ("size", "place"), [((10, 100), (0, 43, 10, 13)), ((100, 10), (43, 0, 13, 10))], ids=["wide", "high"]
)
def test_a_picture_that_no_rectangle_fits_is_cropped_in_its_centre(size, place):
    """A whole picture ten times as wide as high has no aspect ratio of 3/4 to 4/3: 10 x 13 are left."""
    cropper = RandResizedCropd("image", 4, scale=(1, 1))

    assert cropper.rectangle(*size) == place


def test_the_pixels_are_those_of_the_rectangle_for_every_key():
    cropper = RandResizedCropd(["image", "other"], (4, 6), scale=(0.25, 0.25), ratio=(1.5, 1.5))
    cropper.set_random_state(3)
    whole = picture()

    cropped = cropper({"image": whole, "other": whole[:1]})

    assert cropped["image"].shape == (3, 4, 6)
    torch.testing.assert_close(cropped["other"][0], cropped["image"][0])
    steps = cropped["image"][0].diff(dim=0)
    torch.testing.assert_close(steps, torch.full_like(steps, 1 / 8))


def test_a_larger_crop_is_averaged():
    """Pixels of 0 and 1 in turn are grey at half the size."""
    board = (torch.arange(16)[:, None] + torch.arange(16)) % 2 * torch.ones(1, 16, 16)

    small = RandResizedCropd("image", 8, scale=(1, 1), ratio=(1, 1))({"image": board})["image"]

    torch.testing.assert_close(small, torch.full((1, 8, 8), 0.5), atol=0.02, rtol=0)


def test_records_that_are_not_drawn_are_resized_whole():
    crop = RandResizedCropd("image", (4, 6), scale=(0.1, 0.1), prob=0.0)({"image": picture()})["image"]

    torch.testing.assert_close(crop[:, 1:3].mean(dim=(1, 2)), picture()[:, 2:6].mean(dim=(1, 2)))


def test_a_seed_repeats_the_crops_and_metadata_stays():
    image = MetaTensor(picture(), meta={"filename_or_obj": "eye.jpeg"})
    crops = [
        [transform({"image": image})["image"] for _ in range(3)]
        for transform in (RandResizedCropd("image", 5).set_random_state(7) for _ in range(2))
    ]

    for first, second in zip(*crops, strict=True):
        assert torch.equal(first.as_tensor(), second.as_tensor())
    assert not torch.equal(crops[0][0].as_tensor(), crops[0][1].as_tensor())
    assert crops[0][0].meta["filename_or_obj"] == "eye.jpeg"


@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [
        ("brightness", 0.5, (0.3, 0.1, 0.2)),
        ("brightness", 2.0, (1.0, 0.4, 0.8)),
        # luminance .2989 x .6 + .587 x .2 + .114 x .4 = .34234
        ("contrast", 0.5, (0.47117, 0.27117, 0.37117)),
        ("saturation", 0.0, (0.34234, 0.34234, 0.34234)),
        ("saturation", 1.0, (0.6, 0.2, 0.4)),
        ("hue", 1 / 3, (0.4, 0.6, 0.2)),
        ("hue", -1 / 3, (0.2, 0.4, 0.6)),
    ],
)
def test_a_change_of_one_pixel(monkeypatch, name, value, expected):
    jitter = RandColorJitterd("image", **{name: 0.5})
    monkeypatch.setattr(jitter, "randomize", lambda: [(name, value)])

    changed = jitter({"image": pixel(0.6, 0.2, 0.4)})["image"]

    torch.testing.assert_close(changed, pixel(*expected), atol=1e-5, rtol=0)


def test_contrast_is_around_the_mean_luminance(monkeypatch):
    """Grey 0.2 and 0.6 have the mean 0.4; a factor of 1.5 gives 0.1 and 0.7."""
    grey = torch.tensor([0.2, 0.6]).expand(3, 1, 2)
    jitter = RandColorJitterd("image", contrast=0.5)
    monkeypatch.setattr(jitter, "randomize", lambda: [("contrast", 1.5)])

    changed = jitter({"image": grey})["image"]

    torch.testing.assert_close(changed, torch.tensor([0.1, 0.7]).expand(3, 1, 2), atol=1e-4, rtol=0)


def test_factors_and_orders_are_drawn_over_their_ranges():
    jitter = RandColorJitterd("image", 0.2, 0.3, 2.0, 0.1).set_random_state(0)

    drawn = [jitter.randomize() for _ in range(1000)]

    ranges = {"brightness": (0.8, 1.2), "contrast": (0.7, 1.3), "saturation": (0, 3), "hue": (-0.1, 0.1)}
    for name, (low, high) in ranges.items():
        values = [dict(changes)[name] for changes in drawn]
        assert min(values) == pytest.approx(low, abs=0.02)
        assert max(values) == pytest.approx(high, abs=0.02)
    assert len({tuple(name for name, _ in changes) for changes in drawn}) == 24


def test_grey_pictures_stay_grey_and_values_stay_in_range():
    jitter = RandColorJitterd("image", 0.9, 0.9, 0.9, 0.5).set_random_state(0)
    grey = torch.linspace(0, 1, 12).view(1, 3, 4).expand(3, 3, 4)

    for _ in range(20):
        changed = jitter({"image": grey})["image"]
        torch.testing.assert_close(changed[0], changed[2], atol=1e-5, rtol=0)
        assert changed.min() >= 0
        assert changed.max() <= 1


def test_nothing_is_changed_by_zeros_nor_without_a_draw():
    for jitter in (RandColorJitterd("image"), RandColorJitterd("image", 0.5, 0.5, 0.5, 0.5, prob=0.0)):
        torch.testing.assert_close(jitter({"image": picture()})["image"], picture())


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: RandResizedCropd("image", 0), "size is 0; must be one or two numbers of pixels"),
        (lambda: RandResizedCropd("image", (1, 2, 3)), r"size is \(1, 2, 3\)"),
        (lambda: RandResizedCropd("image", 4, scale=(0.5, 1.5)), "cannot be larger than the picture"),
        (
            lambda: RandResizedCropd("image", 4, scale=(0, 1)),
            r"scale is \(0, 1\); must be two numbers above 0",
        ),
        (lambda: RandResizedCropd("image", 4, ratio=(2, 1)), "the smaller first"),
        (lambda: RandResizedCropd("image", 4, prob=2), "prob is 2; must be 0 to 1"),
        (lambda: RandColorJitterd("image", hue=0.6), "hue is 0.6; must be 0 to 0.5"),
        (lambda: RandColorJitterd("image", contrast=-1), "contrast is -1; must be 0 or more"),
        (lambda: RandResizedCropd("image", 4)({"image": torch.zeros(4, 4)}), r"image is of shape \(4, 4\)"),
        (
            lambda: RandColorJitterd("image", 0.1)({"image": torch.zeros(1, 4, 4)}),
            "has 1 channels; must have 3",
        ),
        (
            lambda: RandResizedCropd(["a", "b"], 4)({"a": torch.zeros(1, 4, 4), "b": torch.zeros(1, 5, 4)}),
            "b has 5 x 4 pixels, the first key",
        ),
    ],
)
def test_bad_input_is_refused(make, message):
    with pytest.raises(SegpipeError, match=message):
        make()
