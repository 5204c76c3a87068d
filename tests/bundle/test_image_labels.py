"""The classes of a bundle from its metadata, and the calibration beside its weights."""

import json
import shutil

import pytest
import torch
from monai.bundle import ConfigParser
from refusals import refusal_of
from tiny_classifier import CLASSES, FINDINGS, write_calibration

from segpipe.bundle import calibration
from segpipe.bundle.image_labels import calibration_of
from segpipe.calibration import Calibration, calibration_path
from segpipe.categories import Categories
from segpipe.errors import SegpipeError


@pytest.fixture
def metadata(tmp_path):
    """Return a function that writes metadata of categories."""

    def write(made, **changes):
        path = tmp_path / "metadata.json"
        path.write_text(json.dumps({**made.to_metadata(), **changes}))
        return path

    return write


@pytest.fixture
def weights(tmp_path):
    path = tmp_path / "model.pt"
    torch.save({"a": torch.ones(2)}, path)
    return path


def in_a_bundle(path, metadata=None):
    """Return the classes as a configuration gets them; `metadata` are those that MONAI's run has read."""
    parser = ConfigParser({"labels": {"_target_": "segpipe.bundle.categories", "metadata": str(path)}})
    parser["_meta_"] = metadata or {}
    return parser.get_parsed_content("labels")


@pytest.mark.parametrize("made", [CLASSES, FINDINGS])
def test_the_names_are_those_of_the_metadata(metadata, made):
    assert in_a_bundle(metadata(made)) == made
    assert in_a_bundle(metadata(made), made.to_metadata()) == made


def test_missing_or_unusable_metadata_are_refused(metadata, tmp_path):
    assert "none.json" in refusal_of(in_a_bundle, tmp_path / "none.json")
    assert "target" in refusal_of(in_a_bundle, metadata(CLASSES, target="mask"))


def test_metadata_that_differ_from_those_of_the_run_are_refused(metadata):
    of_run = Categories(("CNV", "NORMAL"), "class").to_metadata()
    path = metadata(CLASSES)

    assert refusal_of(in_a_bundle, path, of_run) == (
        f"{path}: its class names are CNV, DME, NORMAL; the metadata that this run has read name CNV, NORMAL; give "
        "--bundle_root the folder of the bundle that runs"
    )
    assert in_a_bundle(path.with_name("none.json"), of_run).names == ("CNV", "NORMAL")


def test_the_calibration_lies_beside_the_weights(weights, caplog):
    write_calibration(weights, CLASSES)

    found = calibration([str(weights)], CLASSES)

    assert found.temperature == (2.0,)
    assert caplog.text == ""


def test_a_program_that_names_no_folder_gets_the_calibration_of_the_bundle_that_it_runs(
    tmp_path, monkeypatch, caplog
):
    """MONAI Deploy leaves `bundle_root` at `.`, and adds the folder of every bundle that it opens to Python's path."""
    roots = [tmp_path / name for name in ("first", "second")]
    for temperature, root in enumerate(roots, 2):
        (root / "configs").mkdir(parents=True)
        described = {**CLASSES.to_metadata(), "name": f"{root.name} #1"}
        (root / "configs" / "metadata.json").write_text(json.dumps(described))
        (root / "models").mkdir()
        torch.save({"a": torch.ones(2)}, root / "models" / "model.pt")
        write_calibration(root / "models" / "model.pt", CLASSES, temperature=float(temperature))
        monkeypatch.syspath_prepend(root)
    monkeypatch.chdir(tmp_path)

    def calibration_in(root):
        parser = ConfigParser(
            {
                "labels": {"_target_": "segpipe.bundle.categories", "metadata": "./configs/metadata.json"},
                "calibration": {
                    "_target_": "segpipe.bundle.calibration",
                    "weights": ["./models/model.pt"],
                    "labels": "@labels",
                },
            }
        )
        parser.read_meta(f=json.loads((root / "configs" / "metadata.json").read_text()))
        parser.parse()
        return parser.get_parsed_content("calibration")

    assert [calibration_in(root).temperature for root in roots] == [(2.0,), (3.0,)]
    assert caplog.text == ""

    shutil.copy(roots[0] / "configs" / "metadata.json", roots[1] / "configs")
    assert calibration_in(roots[0]) == Calibration.none(CLASSES)
    assert "no calibration" in caplog.text


def test_without_a_calibration_one_warning_says_so(weights, tmp_path, caplog):
    assert calibration([weights], FINDINGS) == Calibration.none(FINDINGS)
    (record,) = caplog.records
    assert record.getMessage() == (
        f"{weights}: no calibration (model_calibration.json is missing): probabilities are the network's own, and "
        "every threshold is one half"
    )
    caplog.clear()
    write_calibration(weights, FINDINGS)

    assert calibration([weights, weights], FINDINGS) == Calibration.none(FINDINGS)
    assert "several weights are averaged" in caplog.text


def test_a_calibration_of_other_names_is_refused(weights):
    write_calibration(weights, CLASSES)
    turned = Categories(("DME", "CNV", "NORMAL"), "class")

    with pytest.raises(
        SegpipeError, match="is of CNV, DME, NORMAL, the bundle has DME, CNV, NORMAL; restore"
    ):
        calibration_of([weights], turned)


def test_a_calibration_of_other_weights_is_refused(weights):
    write_calibration(weights, CLASSES)
    torch.save({"a": torch.zeros(2)}, weights)

    with pytest.raises(
        SegpipeError, match=r"was fitted with other weights than model\.pt .* copy both files"
    ):
        calibration_of([weights], CLASSES)


def test_a_calibration_that_cannot_be_read_is_refused(weights):
    calibration_path(weights).write_text("{}")

    with pytest.raises(SegpipeError, match="is not a calibration that segpipe wrote"):
        calibration_of([weights], CLASSES)
