"""The file of a confidence calibration."""

import json
import math
from dataclasses import replace
from pathlib import Path

import pytest
from confidence_cases import held_out, score_features

from segpipe.confidence import ConfidenceCalibration, TargetModel, confidence_path
from segpipe.errors import SegpipeError

SETTINGS = {"overlap": [0.5, 0.5, 0.5], "flips": [], "precision": "full"}


@pytest.fixture(scope="module")
def model():
    return TargetModel.fitted(held_out(40), "liver")


def test_round_trip(tmp_path, model):
    """What is read predicts the same numbers; an infinite quantile is null in the file."""
    endless = replace(model, dice_spread=replace(model.dice_spread, quantile=math.inf))
    written = ConfidenceCalibration({"liver": model, "tumour": endless}, ("ab",), SETTINGS, {"folds": [0]})
    written.write(tmp_path / "model.confidence.json")

    read = ConfidenceCalibration.read(tmp_path / "model.confidence.json")

    assert read == written
    assert read.sha256 == written.sha256
    assert read.targets["liver"].confidence(score_features(0.8)) == model.confidence(score_features(0.8))
    assert (read.targets["tumour"].confidence(score_features(0.8))).dice_low == 0
    plain = json.loads((tmp_path / "model.confidence.json").read_text())
    assert plain["targets"]["tumour"]["dice_spread"]["quantile"] is None


def test_hash_leaves_out_how_it_was_made(model):
    first = ConfidenceCalibration({"liver": model}, ("ab",), SETTINGS, {"folds": [0]})

    assert replace(first, about={}).sha256 == first.sha256
    assert replace(first, settings={}).sha256 != first.sha256


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda plain: plain.update(version=9), "version 9, must be 1"),
        (lambda plain: plain.update(features=["size"]), "it has other features"),
        (lambda plain: plain["targets"]["liver"]["dice"].update(slopes=[1, 2]), "no list of 8 numbers"),
        (
            lambda plain: plain["targets"]["liver"]["dice"].update(slopes=[-1] + [0] * 7),
            "a slope is below 0",
        ),
        (lambda plain: plain["targets"]["liver"]["volume"].update(intercept="1"), "holds no numbers"),
        (lambda plain: plain["targets"]["liver"].update(patients=3), "40 cases of 3 patients"),
        (lambda plain: plain["targets"]["liver"]["dice_spread"].update(least=0), "not above 0"),
        (lambda plain: plain.update(targets=[]), "no attribute"),
        (lambda plain: plain.pop("settings"), "settings"),
    ],
)
def test_a_changed_file_is_refused(tmp_path, model, change, message):
    path = tmp_path / "model.confidence.json"
    ConfidenceCalibration({"liver": model}, ("ab",), SETTINGS).write(path)
    plain = json.loads(path.read_text())
    change(plain)
    path.write_text(json.dumps(plain))

    with pytest.raises(SegpipeError, match=f"is no confidence calibration .*{message}.*segpipe confidence"):
        ConfidenceCalibration.read(path)


def test_settings_that_differ_are_named(model):
    calibration = ConfidenceCalibration({"liver": model}, ("ab",), SETTINGS)

    assert calibration.different_setting(dict(SETTINGS)) is None
    assert (
        calibration.different_setting({**SETTINGS, "flips": [0]})
        == "flips is [0], and was [] when the confidence was calibrated"
    )


def test_the_file_lies_beside_the_weights():
    assert confidence_path([Path("models/model.pt")], ["ab"]) == Path("models/model.confidence.json")
    two = confidence_path([Path("a/best.pt"), Path("b/best.pt")], ["ab", "cd"])
    assert two.parent == Path("a")
    assert two.name.startswith("ensemble-")
