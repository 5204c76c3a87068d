"""The picture of a heatmap: grey image, coloured map, caption."""

import numpy as np

from segpipe.pictures import heatmap
from segpipe.pictures.heatmap import heat_colors, heatmap_picture


def test_more_is_brighter():
    """The order stays in grey, and for readers who do not see all colours."""
    luminance = heat_colors(np.linspace(0, 1, 50)) @ np.array([0.299, 0.587, 0.114])

    assert (np.diff(luminance) > 0).all()
    assert heat_colors(np.zeros((2, 3))).shape == (2, 3, 3)


def test_the_image_stays_grey_where_the_map_is_empty(monkeypatch):
    seen = {}
    monkeypatch.setattr(heatmap, "captioned", lambda views, title, legend: seen.update(views) or legend)
    image = np.random.default_rng(0).normal(size=(3, 16, 24)).astype(np.float32)
    maps = np.zeros((2, 16, 24), np.float32)
    maps[0, :, :8] = 1

    legend = heatmap_picture(image, maps, ["CNV", "DME"], [0.91, 0.05], "a.png", "Grad-CAM")

    plain, coloured, empty = seen.values()
    assert plain.shape == coloured.shape == (213, 320, 3)
    np.testing.assert_array_equal(plain, empty)
    np.testing.assert_array_equal(plain[:, 160:], coloured[:, 160:])
    assert np.ptp(coloured[:, :90].astype(int), axis=-1).max() > 20
    assert np.ptp(plain.astype(int), axis=-1).max() == 0
    assert list(seen) == ["as the network gets it", "1: CNV", "2: DME"]
    texts = [text for _, text in legend]
    assert texts[0] == "CNV: probability 0.910"
    assert texts[1] == "DME: probability 0.050; nothing in the image speaks for it"
    assert texts[-1] == "where the network looked, not where the disease is"


def test_a_whole_picture():
    picture = heatmap_picture(
        np.zeros((1, 8, 8)),
        np.ones((1, 8, 8)),
        ["a very long name of a finding " * 4],
        [0.5],
        "a.png",
        "occlusion",
    )

    assert picture.dtype == np.uint8
    assert picture.shape[2] == 3
