"""The scores of a calibration of the expected Dice in `segpipe info`."""

from dataclasses import asdict

import pytest
from confidence_cases import held_out

from segpipe.confidence import ConfidenceCalibration, TargetModel, assess
from segpipe.files import file_sha256
from segpipe.information import information_of


@pytest.fixture(scope="module")
def cases():
    return held_out(60)


@pytest.fixture
def weights(tmp_path, cases):
    """A weights file, and beside it a calibration of two classes, of which one was assessed on left-out folds."""
    path = tmp_path / "model.pt"
    path.write_bytes(b"weights")
    model, assessment = TargetModel.fitted(cases, "liver"), asdict(assess(cases, "liver"))
    about = {"assessment": {"liver": assessment, "tumour": None}}
    made = ConfidenceCalibration({"liver": model, "tumour": model}, (file_sha256(path),), {}, about)
    made.write(tmp_path / "model.confidence.json")
    return path


def test_the_scores_on_left_out_folds(weights, cases):
    about = information_of(weights)

    (liver,) = about.scores
    assert liver.of == "expected Dice of liver, 60 cases of left-out folds"
    assert liver.values["error"] == pytest.approx(assess(cases, "liver").error)
    assert list(liver.values) == ["error", "constant_error", "spearman", "auroc", "volume_coverage"]
    assert "model.confidence.json: how good the expected Dice of tumour is was not measured" in about.notes


def test_a_calibration_of_other_weights_is_noted(weights):
    weights.write_bytes(b"others")

    about = information_of(weights)

    assert about.scores == ()
    assert (
        "model.confidence.json is of other weights than model.pt; write it anew with `segpipe confidence`, or remove it"
        in about.notes
    )


def test_a_damaged_calibration_is_noted(weights):
    weights.with_suffix(".confidence.json").write_text('{"version": 9}')

    about = information_of(weights)

    assert any("is no confidence calibration (version 9, must be 1)" in note for note in about.notes)
