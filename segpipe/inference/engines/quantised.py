"""A network in int8: the files beside its weights, and the record of its price in Dice."""

from __future__ import annotations

import importlib.util
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from hashlib import sha256
from pathlib import Path
from typing import Any

import jsonschema
from jsonschema.exceptions import best_match

from segpipe.errors import SegpipeError, shown
from segpipe.files import file_sha256, read_json
from segpipe.inference.engines.names import AUTO, FLOAT32, INT8, OPENVINO
from segpipe.regular_files import open_regular

MOST_LOST = 0.002  # of a class's mean Dice
INT8_FASTER_BY = 1.2  # auto takes int8 where it is at least this much faster than the best other way
RECORD, XML, BIN = _SUFFIXES = (".int8.json", ".int8.xml", ".int8.bin")
_VERSION = 1
_LARGEST = 2**31  # bytes
_MESSAGE_LENGTH = 200  # characters of a schema error, which quotes the refused value
_DICE = {"type": "object", "additionalProperties": {"type": "number", "minimum": 0, "maximum": 1}}
_TEXT, _WHOLE = {"type": "string"}, {"type": "integer", "minimum": 0}
_SHAPE = {  # JSON schema of a record
    "type": "object",
    "required": ["version", "weights_sha256", "files", "window", "float32", "int8"],
    "properties": {
        "version": {"const": _VERSION},
        "weights_sha256": _TEXT,
        "files": {
            "type": "object",
            "required": [XML, BIN],
            "additionalProperties": _TEXT,
        },
        "window": {"type": "array", "items": _WHOLE, "minItems": 3, "maxItems": 5},
        "float32": _DICE,
        "int8": _DICE,
        "cases": {"type": "object"},
        "calibration": {"type": "object"},
        "versions": {"type": "object"},
        "warnings": {"type": "array", "items": _TEXT},
    },
    "additionalProperties": False,
}


@dataclass(frozen=True)
class QuantisedRecord:
    """The record of a network in int8, `model.int8.json`.

    Attributes:
        weights_sha256: hash of the weights that were quantised.
        files: suffix of each file -> its hash.
        window: shape `(1, C, *spatial)` of the windows that the network takes.
        float32, int8: class -> mean Dice before and after; empty before the network was scored.
        cases: the scored cases: manifest, part, number.
        calibration: windows and cases that the ranges were measured on, and the seed that drew them.
        versions: of the programs.
        warnings: limits of the scores' validity.
        version: of this format.
    """

    weights_sha256: str
    files: Mapping[str, str]
    window: Sequence[int]
    float32: Mapping[str, float] = field(default_factory=dict)
    int8: Mapping[str, float] = field(default_factory=dict)
    cases: Mapping[str, Any] = field(default_factory=dict)
    calibration: Mapping[str, Any] = field(default_factory=dict)
    versions: Mapping[str, str] = field(default_factory=dict)
    warnings: Sequence[str] = ()
    version: int = _VERSION

    def as_plain(self) -> dict[str, Any]:
        """Return the record in plain types."""
        return {**asdict(self), "window": list(self.window), "warnings": list(self.warnings)}


@dataclass(frozen=True)
class Quantised:
    """A network in int8.

    Attributes:
        path: of the record.
        record: the record.
        files: suffix -> bytes of the network's two files.
    """

    path: Path
    record: QuantisedRecord
    files: Mapping[str, bytes]

    @property
    def sha256(self) -> str:
        """Hash of the network."""
        return sha256("".join(self.record.files[name] for name in (XML, BIN)).encode()).hexdigest()


def quantised_paths(weights: Path) -> tuple[Path, ...]:
    """Return where the record and the files of a network in int8 lie: beside the weights."""
    return tuple(weights.with_suffix(suffix) for suffix in _SUFFIXES)


def losses(float32: Mapping[str, float], int8: Mapping[str, float]) -> dict[str, float]:
    """Return class -> mean Dice that int8 loses."""
    return {name: float32[name] - int8[name] for name in float32}


def losing(float32: Mapping[str, float], int8: Mapping[str, float]) -> str:
    """Return the classes that lose more than `MOST_LOST`, with both values; empty if none does."""
    # the sum of a float's rounding: .9000 to .8980 is no more than .002
    lost = [name for name, loss in losses(float32, int8).items() if not loss <= MOST_LOST + 1e-9]
    return ", ".join(f"{name} {float32[name]:.4f} in float32, {int8[name]:.4f} in int8" for name in lost)


def read_quantised(weights: Path, weights_sha256: str) -> Quantised:
    """Read the network in int8 beside weights.

    Args:
        weights: path of the weights file.
        weights_sha256: its hash.

    Raises:
        SegpipeError: there is none, it was made of other weights, or a file was changed or cut short.
    """
    path, *_ = quantised_paths(weights)
    again = "make it again with `segpipe quantize`"
    if not path.is_file():
        raise SegpipeError(
            f"{weights}: has no network in int8 beside it ({path.name}); make it with `segpipe quantize`, or "
            f"give --precision {FLOAT32}"
        )
    content = read_json(path, "the record of a network in int8")
    wrong = best_match(jsonschema.Draft7Validator(_SHAPE).iter_errors(content))
    if wrong is not None:
        what = f"{wrong.json_path}: {wrong.message[:_MESSAGE_LENGTH]}"
        raise SegpipeError(f"{path}: is no record of a network in int8: {what}; {again}")
    record = QuantisedRecord(**content)
    if set(record.float32) != set(record.int8):
        raise SegpipeError(f"{path}: has a Dice of different classes in float32 and int8; {again}")
    if record.weights_sha256 != weights_sha256:
        raise SegpipeError(
            f"{path}: was made of other weights (SHA-256 {record.weights_sha256[:12]}...) than {weights.name} "
            f"({weights_sha256[:12]}...); {again}"
        )
    files = {}
    for name in (XML, BIN):
        file = weights.with_suffix(name)
        files[name] = _content(file, again)
        found = sha256(files[name]).hexdigest()
        if found != record.files[name]:
            raise SegpipeError(
                f"{file}: was changed or cut short: SHA-256 {found[:12]}..., its record {path.name} has "
                f"{record.files[name][:12]}...; {again}"
            )
    return Quantised(path, record, files)


def quantised_sha256(weights: Sequence[Path]) -> str:
    """Return the hash of the record of a network in int8; empty without one: the run itself refuses."""
    path = quantised_paths(weights[0])[0]
    return file_sha256(path) if path.is_file() else ""


def _content(file: Path, again: str) -> bytes:
    try:
        with open_regular(file) as opened:
            content = opened.read(_LARGEST + 1)
    except OSError as error:
        raise SegpipeError(f"{file}: cannot be read ({error.strerror}); {again}") from error
    if len(content) > _LARGEST:
        raise SegpipeError(
            f"{file}: is larger than {_LARGEST >> 30} GiB, so it is no network in int8; {again}"
        )
    return content


def quantised_for(
    weights: Sequence[Path],
    weights_sha256: Sequence[str],
    engine: str,
    precision: str,
    device: str,
    report: Callable[[str], None],
) -> Quantised | None:
    """Return the network in int8 that a run may compute with; None where it must not.

    With `auto`, a network in int8 that is damaged, or that loses too much, is reported and not used.

    Args:
        weights: the bundle's weights files.
        weights_sha256: their hashes.
        engine: a name of `ENGINES`, or auto.
        precision: int8, auto, or another one.
        device: type of the network's device.
        report: called with a message for the user.

    Raises:
        SegpipeError: int8 is asked for, and there is no such network, or the processor cannot compute it.
    """
    if precision == INT8:
        if len(weights) != 1:
            names = shown([path.name for path in weights])
            raise SegpipeError(
                f"--precision {INT8}: {len(weights)} weights files are an ensemble ({names}), and only one file can be "
                f"quantised; give one, or --precision {FLOAT32}"
            )
        found = read_quantised(weights[0], weights_sha256[0])
        reason = why_not_int8()
        if reason:
            raise SegpipeError(f"--precision {INT8}: {reason}; give --precision {FLOAT32}")
        return found
    if precision != AUTO or engine not in (AUTO, OPENVINO) or device != "cpu" or len(weights) != 1:
        return None
    path, *_ = quantised_paths(weights[0])
    if not path.is_file() or importlib.util.find_spec("openvino") is None:
        return None
    try:
        found = read_quantised(weights[0], weights_sha256[0])
    except SegpipeError as error:
        report(f"{INT8} is not used: {error}")
        return None
    reason = _why_not_by_itself(found) or why_not_int8()
    if reason:
        report(f"{INT8} is not used: {reason}")
        return None
    return found


def _why_not_by_itself(quantised: Quantised) -> str:
    """Return why a run must not choose a network in int8 by itself; empty if it may."""
    record = quantised.record
    if not record.float32:
        return f"{quantised.path}: its Dice is not known"
    lost = losing(record.float32, record.int8)
    return lost and f"{quantised.path}: a class loses more than {MOST_LOST:g} of mean Dice ({lost})"


def why_not_int8() -> str:
    """Return why this processor cannot compute in int8; empty if it can."""
    from segpipe.inference.engines.openvino_engine import capabilities

    able = capabilities()
    if "INT8" in able:
        return ""
    return f"this processor does not compute in {INT8} (OpenVINO lists {', '.join(able) or 'nothing'})"


def mean_of(values: Mapping[str, float]) -> dict[str, float]:
    """Return the finite values: a class that no case has, has no Dice."""
    return {name: value for name, value in values.items() if math.isfinite(value)}
