"""Volumes that are small enough for embedding in a page."""

import base64
import gzip
import hashlib

import nibabel
import numpy as np
import pytest

from segpipe.labels import LabelTable
from segpipe.report.viewer import label_colors, niivue, scrolled

AFFINE = np.array([[0.8, -0.6, 0, 5], [0.6, 0.8, 0, -7], [0, 0, 2.5, 30], [0, 0, 0, 1]])


def opened(text):
    return nibabel.Nifti1Image.from_bytes(gzip.decompress(base64.b64decode(text)))


@pytest.fixture
def volumes():
    random = np.random.default_rng(0)
    return random.normal(0, 100, (7, 6, 5)), *(random.integers(0, 4, (2, 7, 6, 5)).astype(np.uint8))


def test_small_volumes_are_there_as_they_are(volumes):
    image, reference, prediction = volumes
    result = scrolled([image], reference, prediction, AFFINE, (1, 2, 3))

    assert result.step == 1
    for text, expected in ((result.reference, reference), (result.prediction, prediction)):
        np.testing.assert_array_equal(opened(text).dataobj, expected)
        np.testing.assert_allclose(opened(text).affine, AFFINE, atol=1e-6)
    grey = np.asarray(opened(result.image).dataobj)
    assert (grey.dtype, grey.min(), grey.max()) == (np.uint8, 0, 255)
    inside = (grey > 0) & (grey < 255)
    assert np.corrcoef(grey[inside], image[inside])[0, 1] > 0.999


def test_large_volumes_are_thinned_out_where_they_lie(volumes, monkeypatch):
    monkeypatch.setattr("segpipe.report.viewer._MOST_VOXELS", 4 * 3 * 3)
    result = scrolled(volumes[:1], *volumes[1:], AFFINE, (0, 0, 0))

    assert result.step == 2
    for text in (result.image, result.reference, result.prediction):
        assert opened(text).shape == (4, 3, 3)
    np.testing.assert_array_equal(opened(result.reference).dataobj, volumes[1][::2, ::2, ::2])
    # voxel (1, 1, 1) is what (2, 2, 2) was
    np.testing.assert_allclose(opened(result.image).affine @ [1, 1, 1, 1], AFFINE @ [2, 2, 2, 1], atol=1e-6)


def test_colours_are_the_tables():
    table = LabelTable.from_rows(
        {"index": index, "name": name, "color": color, "value": 50 * index}
        for index, (name, color) in enumerate([("background", [0, 0, 0]), ("liver", [230, 160, 0])])
    )

    assert label_colors(table) == {
        "R": [0, 230],
        "G": [0, 160],
        "B": [0, 0],
        "A": [0, 255],
        "I": [0, 1],
        "labels": ["background", "liver"],
    }


def test_niivue_is_that_of_its_package():
    """The file is version 0.69.0, dist/niivue.umd.js."""
    assert hashlib.sha256(niivue().encode()).hexdigest() == (
        "47b896b77ec4a5be3ef1949c33ad393b6f45629921f326c279000bcf51bdb4af"
    )
