"""The files of a network in int8: a changed, foreign or too lossy one is refused, or not used by itself."""

import hashlib
import json

import pytest

from segpipe.errors import SegpipeError
from segpipe.inference.engines import openvino_engine, quantised
from segpipe.inference.engines.quantised import (
    BIN,
    RECORD,
    XML,
    QuantisedRecord,
    losing,
    mean_of,
    quantised_for,
    quantised_paths,
    read_quantised,
)

FILES = {XML: b"<net/>", BIN: bytes(range(50))}
SHA256 = "a" * 64  # of the weights


@pytest.fixture
def weights(tmp_path):
    """Return weights with a network in int8 beside them."""
    path = tmp_path / "model.pt"
    for suffix, content in FILES.items():
        path.with_suffix(suffix).write_bytes(content)
    hashes = {suffix: hashlib.sha256(content).hexdigest() for suffix, content in FILES.items()}
    record = QuantisedRecord(SHA256, hashes, (1, 1, 8, 8, 8), {"liver": 0.9}, {"liver": 0.8985})
    path.with_suffix(RECORD).write_text(json.dumps(record.as_plain()))
    return path


@pytest.fixture
def able(monkeypatch):
    """Return the list of formats that the processor computes in."""
    formats = ["FP32", "INT8"]
    monkeypatch.setattr(openvino_engine, "capabilities", lambda: formats)
    monkeypatch.setattr(quantised.importlib.util, "find_spec", lambda name: name)
    return formats


def changed(weights, **values):
    path = weights.with_suffix(RECORD)
    path.write_text(json.dumps({**json.loads(path.read_text()), **values}))


def test_a_network_is_read_with_its_record(weights):
    found = read_quantised(weights, SHA256)

    assert found.files == FILES
    assert found.record.int8 == {"liver": 0.8985}
    assert [path.name for path in quantised_paths(weights)] == [
        "model.int8.json",
        "model.int8.xml",
        "model.int8.bin",
    ]


def without_a_file(weights):
    weights.with_suffix(BIN).unlink()


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (
            lambda weights: weights.with_suffix(RECORD).unlink(),
            r"model\.pt: has no network in int8 beside it \(model\.int8\.json\); make it with `segpipe quantize`, or "
            "give --precision float32",
        ),
        (
            lambda weights: weights.with_suffix(BIN).write_bytes(FILES[BIN][:40]),
            r"model\.int8\.bin: was changed or cut short: SHA-256 .{12}\.\.\., its record model\.int8\.json has",
        ),
        (lambda weights: weights.with_suffix(XML).write_bytes(b"<x/>"), r"model\.int8\.xml: was changed"),
        (without_a_file, r"model\.int8\.bin: cannot be read \(No such file or directory\)"),
        (
            lambda weights: changed(weights, weights_sha256="b" * 64),
            r"made of other weights \(SHA-256 b{12}\.\.\.\) than model\.pt \(a{12}\.\.\.\); make it again with",
        ),
        (lambda weights: weights.with_suffix(RECORD).write_text("{"), "the record of a network in int8"),
        (lambda weights: changed(weights, version=2), r"is no record of a network in int8: \$\.version"),
        (lambda weights: changed(weights, files={}), r"is no record of a network in int8: \$\.files"),
        (lambda weights: changed(weights, int8={"liver": "no"}), r"no record of a network in int8: \$\.int8"),
        (lambda weights: changed(weights, int8={}), "a Dice of different classes in float32 and int8"),
    ],
    ids=[
        *("none", "cut short", "other graph", "missing", "other weights"),
        *("half", "version", "files", "text", "classes"),
    ],
)
def test_a_damaged_network_is_refused_where_it_is_asked_for_and_else_not_used(weights, able, damage, message):
    damage(weights)
    said = []

    with pytest.raises(SegpipeError, match=message):
        quantised_for([weights], [SHA256], "auto", "int8", "cpu", said.append)
    assert said == []
    assert quantised_for([weights], [SHA256], "auto", "auto", "cpu", said.append) is None
    assert len(said) == weights.with_suffix(RECORD).exists()  # without a record there is nothing to say
    assert all(message.startswith("int8 is not used: ") for message in said)


def test_a_sound_network_is_used(weights, able):
    for precision in ("int8", "auto"):
        found = quantised_for([weights], [SHA256], "auto", precision, "cpu", pytest.fail)
        assert found.files == FILES


@pytest.mark.parametrize(
    ("engine", "precision", "device"),
    [("torch", "auto", "cpu"), ("auto", "float32", "cpu"), ("auto", "auto", "cuda")],
)
def test_another_engine_precision_or_device_reads_nothing(weights, able, engine, precision, device):
    assert quantised_for([weights], [SHA256], engine, precision, device, pytest.fail) is None


def test_a_processor_without_int8_is_refused(weights, able):
    able.remove("INT8")
    said = []

    with pytest.raises(
        SegpipeError,
        match=r"--precision int8: this processor does not compute in int8 \(OpenVINO lists FP32\); give --precision "
        "float32",
    ):
        quantised_for([weights], [SHA256], "auto", "int8", "cpu", said.append)
    assert quantised_for([weights], [SHA256], "auto", "auto", "cpu", said.append) is None
    assert said == ["int8 is not used: this processor does not compute in int8 (OpenVINO lists FP32)"]


def test_an_ensemble_has_no_network_in_int8(weights, able):
    several = [weights, weights.with_name("other.pt")]

    with pytest.raises(SegpipeError, match=r"2 weights files are an ensemble \(model\.pt, other\.pt\)"):
        quantised_for(several, [SHA256] * 2, "auto", "int8", "cpu", pytest.fail)
    assert quantised_for(several, [SHA256] * 2, "auto", "auto", "cpu", pytest.fail) is None


@pytest.mark.parametrize(
    ("int8", "message"),
    [
        ({"liver": 0.897}, "a class loses more than 0.002 of mean Dice (liver 0.9000 in float32, 0.8970 in"),
        (None, "its Dice is not known"),
    ],
)
def test_auto_takes_no_network_that_loses_too_much_or_was_not_scored(weights, able, int8, message):
    changed(weights, **({"int8": int8} if int8 else {"int8": {}, "float32": {}}))
    said = []

    assert quantised_for([weights], [SHA256], "auto", "auto", "cpu", said.append) is None
    assert message in said[0]


@pytest.mark.parametrize(
    ("float32", "int8", "lost"),
    [
        ({"a": 0.9}, {"a": 0.898}, ""),  # .002, which floats make a little more
        ({"a": 0.9}, {"a": 0.8979}, "a 0.9000 in float32, 0.8979 in int8"),
        ({"a": 0.9, "b": 0.5}, {"a": 0.95, "b": 0.4}, "b 0.5000 in float32, 0.4000 in int8"),
        ({"a": 0.9}, {"a": float("nan")}, "a 0.9000 in float32, nan in int8"),
    ],
)
def test_classes_that_lose_too_much(float32, int8, lost):
    assert losing(float32, int8) == lost


def test_a_class_that_no_case_has_is_left_out():
    assert mean_of({"a": 0.9, "b": float("nan")}) == {"a": 0.9}
