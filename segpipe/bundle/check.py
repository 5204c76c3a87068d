"""What MONAI takes from a command line in silence: misspelt ids, numbers and truth values that are strings."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Iterator
from typing import Any

from monai.bundle import ConfigParser
from monai.bundle.properties import InferProperties, TrainProperties

from segpipe.bundle.running import running_parser
from segpipe.errors import SegpipeError, exit_with_message

_REFERENCE = re.compile(r"@(\w+(?:(?:::|#)\w+)*)")
_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?")
_RUN_BY_MONAI = {"imports", "initialize", "run", "finalize"}
_NAMES = {
    *("bundle_root", "dataset_dir", "manifest", "output_dir"),
    *("run_name", "series_uid", "vgg16_weights", "weights"),
}


@exit_with_message()
def check_configuration() -> None:
    """Refuse what the running configuration says but does not mean; called first in `initialize`.

    Raises:
        SystemExit: a value that nothing refers to, usually a misspelt override, with the nearest id; a number
            (`1e-3`) or a truth value (`false`) that arrives as a string.
    """
    findings = configuration_findings(running_parser())
    if findings:
        raise SegpipeError("; ".join(findings))


def configuration_findings(parser: ConfigParser) -> list[str]:
    """Return one sentence a mistake, in the order of the configuration."""
    configuration = {name: value for name, value in parser.get().items() if name != parser.meta_key}
    return [*_unused(configuration), *_misread(configuration)]


def _unused(configuration: dict[str, Any]) -> Iterator[str]:
    """Find ids that neither the configuration refers to nor MONAI reads."""
    references = {
        reference.replace("#", "::")
        for _, text in _strings(configuration, "")
        for reference in _REFERENCE.findall(text)
    }
    properties = TrainProperties if "train" in configuration else InferProperties
    read = _RUN_BY_MONAI | references | {str(known["id"]) for known in properties.values()}
    # a whole is used with each of its parts, and a part's wholes with it
    wholes = {identifier.rpartition("::")[0] for identifier in read} | {i.partition("::")[0] for i in read}
    for name, value in configuration.items():
        if name not in read | wholes:
            yield _unused_sentence(name, configuration)
        elif name not in references and isinstance(value, dict) and "_target_" not in value:
            for key in value:
                if f"{name}::{key}" not in read | wholes:
                    yield _unused_sentence(f"{name}#{key}", [f"{name}#{other}" for other in value])


def _unused_sentence(name: str, others: Iterable[str]) -> str:
    nearest = difflib.get_close_matches(name, [other for other in others if other != name], n=1)
    hint = f"did you mean {nearest[0]}?" if nearest else "leave it out"
    return f"{name} is used by nothing in this configuration; {hint}"


def _misread(configuration: dict[str, Any]) -> Iterator[str]:
    """Find texts that were meant as something else, or that MONAI has changed."""
    for place, text in _strings(configuration, ""):
        named = place.partition("#")[0] in _NAMES
        if named and "::" in text and not text.startswith(("$", "@", "%")):
            yield f"{place} is {text!r}: MONAI turns # into ::, so no path or name may hold either; rename it"
        elif not named and _NUMBER.fullmatch(text.strip()):
            yield f"{place} is the text {text!r}, not a number; write it without quotes and with a point, as 1.0e-3"
        elif not named and text.strip().lower() in ("true", "false"):
            yield f"{place} is the text {text!r}, not a truth value; write True or False"


def _strings(value: Any, place: str) -> Iterator[tuple[str, str]]:
    """Yield every string of a configuration with its id."""
    if isinstance(value, str):
        yield place, value
    elif isinstance(value, dict):
        for key, item in value.items():
            yield from _strings(item, f"{place}#{key}" if place else str(key))
    elif isinstance(value, list):
        for position, item in enumerate(value):
            yield from _strings(item, f"{place}#{position}")
