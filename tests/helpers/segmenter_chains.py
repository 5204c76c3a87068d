"""Transform chains of small bundles, and requirements of their segmentations."""

import numpy as np
import pytest

from segpipe import PredictOptions
from segpipe import predict as predict_audited
from segpipe.bundle.source import BundleSource

TURNED = np.array([[0, -1.5, 0, 3], [2.0, 0, 0, 1], [0, 0, 0.7, -4], [0, 0, 0, 1]])


OBLIQUE = np.array([[1.2, -0.5, 0, 3], [0.6, 1.0, 0, 1], [0, 0, -2.2, -4], [0, 0, 0, 1]])


EXACT = PredictOptions(precision="float32", overlays=False)


AFFINES = {"straight": np.diag([1.0, 1, 1, 1]), "turned": TURNED, "oblique": OBLIQUE}


WARNINGS_OF_MONAI = [
    pytest.mark.filterwarnings("ignore:.*nvImageCodec"),  # from every LoadImaged
    pytest.mark.filterwarnings("ignore:inverse has been called but no invertible"),  # chains without geometry
]


def predict(scans, root, output, **arguments):
    """Predict with a trusted bundle: the bundle has modules."""
    return predict_audited(scans, BundleSource(root, trust=True), output, **arguments)


def geometry(*steps):
    """Return a change that replaces the orientation and spacing steps after the load."""

    def change(inference, _):
        inference["preprocessing"]["transforms"][2:4] = steps

    return change


def ending(*steps):
    """Return a change that replaces the steps before the save."""

    def change(inference, _):
        transforms = inference["postprocessing"]["transforms"]
        transforms[:-1] = [transforms[:3][step] if isinstance(step, int) else step for step in steps]

    return change


SOFTMAX, INVERT, ARG_MAX = 0, 1, 2  # the steps of the bundle


HOLES = {"_target_": "FillHolesd", "keys": "pred", "applied_labels": [2]}


SMALL = {
    "_target_": "segpipe.transforms.RemoveSmallPiecesd",
    "keys": "pred",
    "applied_labels": [1, 2],
    "min_volumes": [20.0, 30.0],
}


LARGEST = {"_target_": "KeepLargestConnectedComponentd", "keys": "pred", "applied_labels": [1, 2]}


NEAREST = {
    "_target_": "Invertd",
    "keys": "pred",
    "transform": "@preprocessing",
    "orig_keys": "image",
    "nearest_interp": True,
}


def agreement(one, other):
    assert one.shape == other.shape
    return np.mean(one == other)


def require_classes(labels, classes=3):
    """Require several classes: two maps of background alone would always agree."""
    counts = np.bincount(labels.ravel(), minlength=classes)
    assert counts.min() > 0.02 * counts.sum(), counts


def require_streamed(segmentation):
    assert segmentation.fallback is None
    assert segmentation.windows > 0
