"""The space of a search: ids of a bundle, and the values to try for each."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any

from segpipe.bundle_check.check_bundle import RUN_ARGUMENTS
from segpipe.configuration.finding import hint, nearest
from segpipe.configuration.references import sub_items
from segpipe.documents import DocumentError, parse_yaml, read_document
from segpipe.errors import SegpipeError, shown
from segpipe.search.experiment import SET_BY_SEGPIPE

Scalar = bool | int | float | str | None
_KINDS: Mapping[type, str] = {
    bool: "true or false",
    int: "a whole number",
    float: "a number",
    str: "a text",
    list: "a list",
    dict: "a mapping",
    type(None): "null",
}
_OF_SPAN = ("low", "high", "log", "step")
_MOST_COMBINATIONS = 100_000


@dataclass(frozen=True)
class Choices:
    """Values of one id, of which a trial takes one.

    Attributes:
        values: the values, each once.
    """

    values: tuple[Any, ...]

    @property
    def encoded(self) -> tuple[Scalar, ...]:
        """The values in types that a study stores; a list or mapping is JSON."""
        return tuple(
            json.dumps(value, sort_keys=True) if isinstance(value, list | dict) else value
            for value in self.values
        )

    def decoded(self, stored: Scalar) -> Any:
        """Return the value that is stored as `stored`."""
        places = [place for place, one in enumerate(self.encoded) if type(one) is type(stored)]
        return next(self.values[place] for place in places if self.encoded[place] == stored)

    def as_plain(self) -> Any:
        """Return the values in plain types."""
        return list(self.values)


@dataclass(frozen=True)
class Span:
    """Numbers of one id between two ends.

    Attributes:
        low: smallest number.
        high: largest number.
        log: whether the logarithm is drawn evenly.
        step: distance between two numbers; None: any number, or every whole number.
        whole: whether only whole numbers are tried.
    """

    low: float
    high: float
    log: bool = False
    step: float | None = None
    whole: bool = False

    def as_plain(self) -> Any:
        """Return the ends in plain types."""
        return {name: value for name, value in vars(self).items() if value not in (None, False)}


Dimension = Choices | Span


@dataclass(frozen=True)
class Space:
    """The ids of a search.

    Attributes:
        dimensions: id -> its values, in the order of the file.
    """

    dimensions: Mapping[str, Dimension]

    @property
    def is_grid(self) -> bool:
        """Whether every id has a list of values."""
        return all(isinstance(one, Choices) for one in self.dimensions.values())

    @property
    def combinations(self) -> int:
        """Number of combinations of a grid."""
        return math.prod(len(one.values) for one in self.dimensions.values() if isinstance(one, Choices))

    def grid(self) -> Iterator[dict[str, Any]]:
        """Yield every combination of a grid once; the last id of the file changes fastest."""
        lists = [one.values for one in self.dimensions.values() if isinstance(one, Choices)]
        for values in product(*lists):
            yield dict(zip(self.dimensions, values, strict=True))

    def as_plain(self) -> dict[str, Any]:
        """Return the space in plain types."""
        return {name: one.as_plain() for name, one in self.dimensions.items()}


def space_path(bundle: Path, given: Path) -> Path:
    """Return the path of a space: a file, or a name in the bundle's `configs/spaces/` with or without its suffix.

    Raises:
        SegpipeError: there is no such file; the message lists the bundle's spaces.
    """
    folder = bundle / "configs" / "spaces"
    named = [folder / given.name, folder / f"{given.name}.yaml"] if str(given) == given.name else []
    found = next((path for path in (given, *named) if path.is_file()), None)
    if found is None:
        there = sorted(path.stem for path in folder.glob("*.yaml"))
        spaces = f"the bundle's spaces are {shown(there)}" if there else "the bundle has no spaces of its own"
        raise SegpipeError(
            f"{given}: no such space; {spaces}; give a YAML file, such as one with batch_size: [4, 8]"
        )
    return found


def read_space(path: Path, settings: Mapping[str, Any], overrides: Mapping[str, Any]) -> Space:
    """Read a space, and compare it with a bundle's configuration.

    Args:
        path: YAML file; id -> list of values, or a mapping with `low`, `high` and, as the user likes, `log` or `step`.
        settings: configuration of the bundle's training, with its overrides.
        overrides: overrides of every trial.

    Raises:
        SegpipeError: the file cannot be read or is empty; the configuration lacks an id; an id is set by the search or
            by an override; a list is empty or repeats a value; a value is of another type than the bundle's; or the
            ends of numbers do not fit together.
    """
    try:
        _, content = parse_yaml(read_document(path))
    except DocumentError as error:
        raise SegpipeError(f"{path}: {error.reason}; a space is YAML, such as batch_size: [4, 8]") from error
    if not isinstance(content, dict) or not content:
        what = "is empty" if not content else f"is {_kind(content)}"
        raise SegpipeError(f"{path}: {what}, must name ids with their values, such as batch_size: [4, 8]")
    dimensions = {}
    for name, given in content.items():
        _require_id(path, name, settings, overrides)
        dimensions[str(name)] = _dimension(f"{path}: {name}", given, _value_at(settings, str(name)))
    space = Space(dimensions)
    if space.is_grid and space.combinations > _MOST_COMBINATIONS:
        raise SegpipeError(
            f"{path}: has {space.combinations} combinations, at most {_MOST_COMBINATIONS} can be tried one by one; "
            "give fewer values, or numbers between low and high"
        )
    return space


def _require_id(path: Path, name: Any, settings: Mapping[str, Any], overrides: Mapping[str, Any]) -> None:
    if not isinstance(name, str):
        raise SegpipeError(f"{path}: the id {name!r:.80} is no text; write an id of the bundle")
    if name in SET_BY_SEGPIPE or name in RUN_ARGUMENTS or name == "bundle_root":
        instead = "give the folds with --folds" if name == "fold" else "remove it"
        raise SegpipeError(f"{path}: {name} is set for each run by the search; {instead}")
    if name in overrides:
        raise SegpipeError(f"{path}: {name} is also given as {name}={overrides[name]!s:.80}; give it once")
    identifier = name.replace("#", "::")
    if _value_at(settings, name) is _MISSING:
        known = [*settings, *sub_items(dict(settings))]
        raise SegpipeError(
            f"{path}: {name} is no id of this bundle's training{hint(nearest(identifier, known), 'remove it')}"
        )


_MISSING = object()


def _value_at(settings: Mapping[str, Any], name: str) -> Any:
    """Return the bundle's value of an id; `_MISSING` if it has none."""
    value: Any = settings
    for part in name.replace("#", "::").split("::"):
        if isinstance(value, Mapping) and part in value:
            value = value[part]
        elif isinstance(value, list) and part.isdecimal() and int(part) < len(value):
            value = value[int(part)]
        else:
            return _MISSING
    return value


def _dimension(where: str, given: Any, present: Any) -> Dimension:
    if isinstance(given, list):
        return _choices(where, given, present)
    if isinstance(given, dict):
        return _span(where, given, present)
    raise SegpipeError(
        f"{where}: is {_kind(given)} ({given!r:.80}), must be a list of values, or low and high; for one value give "
        "the override ID=VALUE instead"
    )


def _choices(where: str, values: list[Any], present: Any) -> Choices:
    if not values:
        raise SegpipeError(f"{where}: has no value; give at least one, or remove the id")
    for value in values:
        _require_kind(where, value, present)
        if isinstance(value, float) and not math.isfinite(value):
            raise SegpipeError(f"{where}: has the value {value}; give finite numbers")
    choices = Choices(tuple(values))
    seen: list[tuple[type, Scalar]] = []
    for value, encoded in zip(values, choices.encoded, strict=True):
        if (type(encoded), encoded) in seen:
            raise SegpipeError(f"{where}: has the value {value!s:.80} twice; give each value once")
        seen.append((type(encoded), encoded))
    return choices


def _span(where: str, given: Mapping[Any, Any], present: Any) -> Span:
    unknown = [str(name) for name in given if name not in _OF_SPAN]
    if unknown:
        meant = nearest(unknown[0], _OF_SPAN)
        raise SegpipeError(
            f"{where}: {unknown[0]} is unknown{hint(meant, f'the names are {shown(_OF_SPAN)}')}; a mapping as a value "
            "stands in a list"
        )
    missing = [name for name in ("low", "high") if name not in given]
    if missing:
        raise SegpipeError(f"{where}: has no {missing[0]}; give low and high, or a list of values")
    log, step = given.get("log", False), given.get("step")
    if not isinstance(log, bool):
        raise SegpipeError(f"{where}: log is {log!r:.80}, must be true or false")
    numbers = {"low": given["low"], "high": given["high"], **({} if step is None else {"step": step})}
    for name, number in numbers.items():
        if not _is_number(number) or not math.isfinite(number):
            raise SegpipeError(
                f"{where}: {name} is {_described(number)}, must be a number{_as_number(number)}"
            )
        _require_kind(f"{where}: {name}", number, present)
    low, high = numbers["low"], numbers["high"]
    if not low < high:
        raise SegpipeError(f"{where}: low is {low:g} and high is {high:g}; low must be below high")
    if step is not None and (step <= 0 or log):
        rule = "must be above 0" if step <= 0 else "cannot be combined with log: true"
        raise SegpipeError(f"{where}: step is {step:g}, which {rule}; leave step or log out")
    if log and low <= 0:
        raise SegpipeError(f"{where}: low is {low:g}, which has no logarithm; give a low above 0")
    whole = all(isinstance(number, int) for number in numbers.values()) and not isinstance(present, float)
    return Span(low, high, log, step, whole)


def _require_kind(where: str, value: Any, present: Any) -> None:
    """Refuse a value of another type than the bundle's; a bundle's null, expression or reference says no type."""
    if isinstance(present, str) and present.startswith(("$", "@", "%")):
        return
    if present is None or present is _MISSING or value is None:
        return
    if isinstance(value, str) and value.startswith(("$", "@")):
        return
    fits = isinstance(value, type(present)) and isinstance(value, bool) == isinstance(present, bool)
    if isinstance(present, float):
        fits = _is_number(value)
    if not fits:
        wanted = _KINDS.get(type(present), type(present).__name__)
        raise SegpipeError(
            f"{where}: the value {_described(value)}, the bundle's {present!r:.80} is {wanted}; give {wanted}"
            f"{_as_number(value) if _is_number(present) else ''}"
        )


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _as_number(value: Any) -> str:
    """Return a hint for a text such as 1e-3, which is no number in YAML."""
    if not isinstance(value, str):
        return ""
    try:
        number = float(value)
    except ValueError:
        return ""
    mantissa, exponent, power = value.lower().partition("e")
    dotted = f"{mantissa}{'' if '.' in mantissa else '.0'}{exponent}"
    signed = power if power.startswith(("+", "-")) else f"+{power}"
    return (
        f"; in YAML {value} is a text: write {dotted}{signed if exponent else ''}"
        if math.isfinite(number)
        else ""
    )


def _described(value: Any) -> str:
    return f"{value!r:.80} is {_kind(value)}"


def _kind(value: Any) -> str:
    return _KINDS.get(type(value), type(value).__name__)


def space_rows(space: Space) -> Sequence[tuple[str, str]]:
    """Return each id with its values in words."""
    rows = []
    for name, one in space.dimensions.items():
        if isinstance(one, Choices):
            rows.append((name, ", ".join(map(str, one.encoded))))
        else:
            further = ", even in the logarithm" if one.log else f", step {one.step:g}" if one.step else ""
            rows.append((name, f"{one.low:g} to {one.high:g}{further}"))
    return rows
