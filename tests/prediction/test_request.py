"""The hash of a request: equal bytes give equal hashes, and nothing that an output depends on is left out."""

import pytest
from tiny_bundle import write_bundle

from segpipe.bundle.source import BundleSource
from segpipe.prediction import request
from segpipe.prediction.request import covers, request_sha256


@pytest.fixture
def bundle(tmp_path):
    return write_bundle(tmp_path / "tiny")


def test_the_same_request_has_the_same_hash(bundle):
    first = request_sha256(BundleSource(bundle), {"overlays": True})

    assert len(first) == 64
    assert request_sha256(BundleSource(bundle), {"overlays": True}) == first


@pytest.mark.parametrize(
    "source",
    [
        {"overrides": {"overlap": 0.5}},
        {"device": "cuda:0"},
        {"weights": ["models/model.pt"]},
        {"configs": ["inference.yaml"]},
    ],
)
def test_another_source_has_another_hash(bundle, source):
    plain = request_sha256(BundleSource(bundle), {})

    assert request_sha256(BundleSource(bundle, **source), {}) != plain


def test_other_options_versions_or_machines_have_another_hash(bundle, monkeypatch):
    plain = request_sha256(BundleSource(bundle), {"entropy": False})

    assert request_sha256(BundleSource(bundle), {"entropy": True}) != plain
    monkeypatch.setattr(request, "__version__", "99")
    assert request_sha256(BundleSource(bundle), {"entropy": False}) != plain


@pytest.mark.parametrize("folder", ["runs/first", "docs", "__pycache__", ".git"])
def test_runs_and_documents_are_left_out(bundle, folder):
    plain = request_sha256(BundleSource(bundle), {})
    (bundle / folder).mkdir(parents=True, exist_ok=True)
    (bundle / folder / "file.txt").write_text("text")

    assert request_sha256(BundleSource(bundle), {}) == plain


def test_a_folder_full_of_other_data_has_no_hash(bundle, monkeypatch):
    monkeypatch.setattr(request, "_MOST_BYTES", 100)
    assert request_sha256(BundleSource(bundle), {}) == ""

    monkeypatch.undo()
    monkeypatch.setattr(request, "_MOST_FILES", 1)
    assert request_sha256(BundleSource(bundle), {}) == ""


def test_weights_are_covered_in_the_bundle_or_where_they_are_given(bundle, tmp_path):
    inside, outside = bundle / "models" / "model.pt", tmp_path / "other.pt"

    assert covers(BundleSource(bundle), [inside])
    assert not covers(BundleSource(bundle), [outside])
    assert covers(BundleSource(bundle, weights=[outside]), [outside])
    assert not covers(BundleSource(bundle), [bundle / "runs" / "first" / "best.pt"])
