"""A bundle's locator is opened with it; one that does not fit is refused with the reason and a remedy."""

import json
import shutil
from types import SimpleNamespace

import pytest
from located_bundle import change_metadata, write_bright, write_located, write_margin

from segpipe.bundle.locator_margin import LocatorMargin, margin_path
from segpipe.bundle.open import open_bundle
from segpipe.bundle.open_locator import OpenLocator, with_locator
from segpipe.bundle.source import BundleSource
from segpipe.errors import SegpipeError


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    return write_located(tmp_path_factory.mktemp("located") / "bundle")


@pytest.fixture
def bundle(written, tmp_path):
    return shutil.copytree(written, tmp_path / "bundle")


def opened(bundle, report=lambda _: None):
    source = BundleSource(bundle, trust=True)
    return with_locator(open_bundle(source), source, report)


def test_a_locator_is_opened_with_its_margin(bundle):
    one = opened(bundle)

    assert one.locator.margin.margin_mm == (4.0, 4.0, 4.0)
    assert one.locator.bundle.labels.names == ("background", "foreground")


def test_its_hash_depends_on_bundle_and_margin():
    margins = [LocatorMargin((4.0, 4.0, last), "hash", (2.0, 2.0, 2.0), "case", 3, 0) for last in (4.0, 5.0)]
    hashes = [
        OpenLocator(SimpleNamespace(sha256=bundle), margin).sha256 for bundle in "ab" for margin in margins
    ]

    assert len(set(hashes)) == 4


def test_a_locator_without_weights_is_named_and_left_out(bundle):
    (bundle / "locator" / "models" / "model.pt").unlink()
    messages = []

    assert opened(bundle, messages.append).locator is None
    assert "has no weights yet, so whole scans are segmented; train and promote the locator" in messages[0]


def cut_short(bundle):
    path = bundle / "locator" / "models" / "model.pt"
    path.write_bytes(path.read_bytes()[:400])


def without_margin(bundle):
    margin_path(bundle / "locator" / "models" / "model.pt").unlink()


def margin_of_others(bundle):
    margin = margin_path(bundle / "locator" / "models" / "model.pt")
    margin.write_text(json.dumps({**json.loads(margin.read_text()), "weights_sha256": "0" * 64}))


def margin_changed(**entries):
    def change(bundle):
        margin = margin_path(bundle / "locator" / "models" / "model.pt")
        margin.write_text(json.dumps({**json.loads(margin.read_text()), **entries}))

    return change


def other_classes(bundle):
    change_metadata(bundle / "locator", locates=["background", "liver"])


def no_locator(bundle):
    change_metadata(bundle / "locator", locates=None)


def weights_of_the_bundle(bundle):
    for name in ("model.pt", "model.json"):
        content = (bundle / "models" / name).read_bytes()
        (bundle / "locator" / "models" / name).write_bytes(content)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (cut_short, r"model\.pt"),
        (without_margin, r"the locator has no margin \(model_margin\.json\).*promote its weights again"),
        (margin_of_others, r"was measured with other weights than model\.pt; promote the weights again"),
        (margin_changed(margin_mm=[1, 2]), r"is not a margin that segpipe wrote \(margins are \[1, 2\]"),
        (margin_changed(margin_mm=[1, 2, -3]), r"must be 3 distances in mm\)"),
        (margin_changed(version=2), r"another version"),
        (other_classes, r"names background, liver .* and the bundle has background, anterior, posterior"),
        (no_locator, r"is not the locator of .* names no classes"),
        (weights_of_the_bundle, r"model\.pt"),
    ],
    ids=lambda one: getattr(one, "__name__", ""),
)
def test_a_locator_that_does_not_fit_is_refused(bundle, change, message):
    change(bundle)

    with pytest.raises(SegpipeError, match=message):
        opened(bundle)


def test_a_network_of_more_classes_is_no_locator(bundle):
    table = json.loads((bundle / "configs" / "metadata.json").read_text())["label_table"]
    change_metadata(bundle / "locator", label_table=table)
    path = bundle / "locator" / "configs" / "inference.yaml"
    path.write_text(path.read_text().replace("out_channels: 2", "out_channels: 3"))
    write_margin(write_bright(bundle / "locator", 3))

    with pytest.raises(
        SegpipeError, match="a locator has background and one class, this one has background, ant"
    ):
        opened(bundle)
