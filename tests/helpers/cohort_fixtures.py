"""Fixtures of a cohort: a small bundle, three scans, an output folder, and runs of `segpipe.predict` on them."""

import pytest
from tiny_bundle import contents, write_bundle, write_scans, write_weights

import segpipe
from segpipe import PredictOptions
from segpipe.bundle.source import BundleSource


@pytest.fixture(scope="session")
def bundle(tmp_path_factory):
    return write_bundle(tmp_path_factory.mktemp("bundle") / "tiny")


@pytest.fixture(scope="session")
def weights(bundle, tmp_path_factory):
    """Return second weights for the same bundle."""
    return [write_weights(bundle, tmp_path_factory.mktemp("weights") / "other.pt", seed=1)]


@pytest.fixture
def scans(tmp_path):
    return write_scans(tmp_path / "scans", 3)


@pytest.fixture
def out(tmp_path):
    return tmp_path / "out"


@pytest.fixture
def run(bundle, out):
    """Return a function that predicts and returns case -> prediction; overlays only on request."""

    def predict(scans, folder=out, *, weights=(), overrides=None, **options):
        predictions = segpipe.predict(
            scans,
            BundleSource(bundle, weights=weights, overrides=overrides or {}),
            folder,
            options=PredictOptions(**{"overlays": False, **options}),
        )
        return {prediction.case: prediction for prediction in predictions}

    return predict


@pytest.fixture
def clean(run, scans, tmp_path):
    """Return the output files of an undisturbed run."""
    run(scans, tmp_path / "clean")
    return contents(tmp_path / "clean")


@pytest.fixture
def clean_with_weights(run, scans, tmp_path, weights):
    run(scans, tmp_path / "clean_by_others", weights=weights)
    return contents(tmp_path / "clean_by_others")
