"""`segpipe quantize` prints the Dice of both number formats, and refuses a network that loses too much."""

import pytest
from typer.testing import CliRunner

from segpipe import PredictOptions
from segpipe.cli import app
from segpipe.errors import SegpipeError
from segpipe.inference.engines import names, quantising
from segpipe.inference.engines.quantised import QuantisedRecord
from segpipe.inference.option_values import require_precision
from segpipe.model_evaluation import quantise as room
from segpipe.model_evaluation.quantise import Quantisation, QuantiseOptions


@pytest.fixture
def invoke(monkeypatch, tmp_path):
    """Return a function that runs the command with a result."""
    (tmp_path / "bundle").mkdir()
    monkeypatch.chdir(tmp_path)
    (tmp_path / "model.int8.bin").write_bytes(bytes(20000))
    record = QuantisedRecord(
        "a",
        {},
        (1, 1, 8, 8),
        {"liver": 0.9},
        {"liver": 0.8965},
        cases={"number": 3, "part": "fold 0"},
        warnings=("trained",),
    )

    def run(*arguments, refusal=""):
        def quantise(bundle, manifest, options, *given, **named):
            run.options = options
            return Quantisation(record, () if refusal else (tmp_path / "model.int8.bin",), refusal)

        monkeypatch.setattr(room, "quantise", quantise)
        command = ["quantize", "bundle", "--manifest", "noise", *arguments]
        return CliRunner().invoke(app, command, env={"COLUMNS": "160"})

    return run


def test_the_dice_of_both_formats_and_the_files_are_printed(invoke):
    result = invoke("--split", "1", "--windows", "7", "--seed", "3", "--replace", "--no-checksums")

    assert result.exit_code == 0
    assert "Mean Dice of 3 cases, fold 0" in result.stdout
    (row,) = [line for line in result.stdout.splitlines() if "liver" in line]
    assert row.split("│")[1:5] == [" liver ", " 0.9000        ", " 0.8965     ", " +0.0035 "]
    assert "model.int8.bin (0.02 MB)" in result.stdout
    assert "WARNING: trained" in result.stderr
    assert invoke.options == QuantiseOptions("1", 7, 3, checksums=False, replace=True)


def test_a_class_that_loses_too_much_ends_with_status_2(invoke):
    result = invoke(refusal="model.pt: a class loses more than 0.002 of mean Dice")

    assert result.exit_code == 2
    assert "0.8965" in result.stdout
    assert "segpipe: model.pt: a class loses more than 0.002 of mean Dice" in result.stderr


def test_the_command_that_installs_nncf_is_named(monkeypatch):
    monkeypatch.setattr(quantising.importlib.util, "find_spec", lambda name: None)

    with pytest.raises(
        SegpipeError, match=r"nncf, openvino is not installed; run: pip install 'segpipe\[int8\]'"
    ):
        quantising.require_nncf()


def test_a_processor_without_int8_is_named(monkeypatch):
    monkeypatch.setattr(room, "require_nncf", lambda: None)
    monkeypatch.setattr(room, "why_not_int8", lambda: "this processor does not compute in int8")

    with pytest.raises(SegpipeError, match=r"does not compute in int8, so its labels cannot be scored here"):
        room.quantise("bundle", "noise")


def test_int8_is_computed_by_openvino_alone(monkeypatch):
    monkeypatch.setattr(names.importlib.util, "find_spec", lambda name: name)
    for engine in ("auto", "openvino"):
        PredictOptions(precision="int8", engine=engine).check()
    with pytest.raises(
        SegpipeError,
        match=r"--precision int8 is computed by openvino, and --engine is torch; leave --engine out",
    ):
        PredictOptions(precision="int8", engine="torch").check()
    monkeypatch.setattr(names.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(SegpipeError, match="openvino is not installed"):
        PredictOptions(precision="int8").check()


def test_images_are_not_classified_in_int8():
    with pytest.raises(
        SegpipeError, match="'int8' is for segmentation with a network that `segpipe quantize` made"
    ):
        require_precision("int8")
    with pytest.raises(
        SegpipeError, match=r"precision 'int9' is unknown; use auto or one of float32, .*, int8"
    ):
        require_precision("int9", quantised=True)
