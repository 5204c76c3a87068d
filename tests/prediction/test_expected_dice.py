"""The expected Dice and volume of the classes of a scan."""

import csv
from dataclasses import replace
from types import SimpleNamespace

import pytest
from confidence_cases import held_out, score_features

from segpipe.confidence import ConfidenceCalibration, TargetModel
from segpipe.errors import SegpipeError
from segpipe.inference.class_volume import ClassVolume, Expected
from segpipe.prediction.expected_dice import expected_volume, with_expected
from segpipe.prediction.ledger import EXPECTED_COLUMNS, Entry, Ledger, State
from segpipe.prediction.score_settings import score_settings

SETTINGS = score_settings((0.5, 0.5, 0.5), (), "bfloat16", located=False)


@pytest.fixture(scope="module")
def model():
    return TargetModel.fitted(held_out(60), "liver")


def run(model, warnings=(), settings=SETTINGS, voxels=1000):
    calibration = ConfidenceCalibration({"liver": model}, ("ab",), SETTINGS)
    segmenter = SimpleNamespace(
        bundle=SimpleNamespace(confidence=calibration), score_settings=lambda *, located: settings
    )
    result = SimpleNamespace(features=(score_features(0.8), score_features(0.8)), located="")
    volumes = [ClassVolume("liver", voxels, 20.0, 1), ClassVolume("tumour", voxels, 2.0, 1)]
    return [volume.expected for volume in with_expected(segmenter, result, volumes, warnings)]


def test_the_volume_s_interval_is_in_millilitres(model):
    factors = model.confidence(score_features(0.8))

    liver, tumour = run(model)

    assert liver.millilitres_low == pytest.approx(20 * factors.volume_low)
    assert liver.millilitres_high == pytest.approx(20 * factors.volume_high)
    assert (liver.dice, liver.note) == (factors.dice, "")
    assert tumour == Expected(note="not predicted: too few held-out cases have the class")


def test_a_scan_unlike_the_training_cases_has_no_expected_dice(model):
    for expected in run(model, warnings=["its spacing is 9 mm"]):
        assert expected == Expected(note="not predicted: the scan differs from the training cases")


def test_other_settings_have_none(model):
    liver, _ = run(model, settings=score_settings((0.5, 0.5, 0.5), (), "int8", located=False))

    assert liver.dice is None
    assert liver.note == (
        "not predicted: number_format is int8, and was floating point when the confidence was calibrated"
    )


def test_a_class_without_voxels_has_none(model):
    assert run(model, voxels=0) == [None, None]


def test_a_label_map_outside_the_calibrated_cases_has_no_interval(model):
    expected = expected_volume(model, score_features(0.8, voxels=10), 1.0)

    assert expected.dice is not None
    assert (expected.dice_low, expected.dice_high, expected.millilitres_low) == (None, None, None)
    assert expected.note == "no interval: outside the calibrated cases by the volume"


def test_a_slice_has_no_interval_of_a_volume(model):
    expected = expected_volume(model, score_features(0.8), None)

    assert expected.dice_low < expected.dice < expected.dice_high
    assert (expected.millilitres_low, expected.millilitres_high) == (None, None)


def test_the_ledger_keeps_what_was_expected(tmp_path):
    """Columns are there where any scan has an expected Dice; other rows are empty there."""
    liver = ClassVolume("liver", 5, 0.5, 1, expected=Expected(0.9, 0.8, 1.0, 0.4, None, ""))
    plain = ClassVolume("liver", 5, 0.5, 1)
    entry = Entry("a", State.DONE, "a.nii.gz", volumes=(liver,))
    ledger = Ledger(tmp_path)
    ledger.append(replace(entry, case="b", volumes=(plain,)))
    ledger.write_volumes()
    assert "expected_dice" not in (tmp_path / "volumes.csv").read_text()

    ledger.append(entry)
    ledger.write_volumes()

    assert Ledger(tmp_path).entries["a"].volumes == (liver,)
    assert Ledger(tmp_path).entries["b"].volumes == (plain,)
    with (tmp_path / "volumes.csv").open() as file:
        first, second = csv.DictReader(file)
    assert [first[name] for name in EXPECTED_COLUMNS] == ["0.9", "0.8", "1", "0.4", "", ""]
    assert [second[name] for name in EXPECTED_COLUMNS] == [""] * 6


def test_a_ledger_with_a_wrong_expected_dice_is_refused(tmp_path):
    entry = Entry(
        "a", State.DONE, "a.nii.gz", volumes=(ClassVolume("liver", 5, 0.5, 1, expected=Expected(0.9)),)
    )
    Ledger(tmp_path).append(entry)
    path = tmp_path / "predictions.jsonl"
    path.write_text(path.read_text().replace("0.9", '"high"'))

    with pytest.raises(SegpipeError, match="line 1 was not written by segpipe"):
        Ledger(tmp_path)
