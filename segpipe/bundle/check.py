"""What MONAI takes from a command line in silence: misspelt ids, numbers and truth values that are strings."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterator
from typing import Any

from monai.bundle import ConfigParser
from monai.bundle.properties import InferProperties, TrainProperties

from segpipe.bundle.running import running_parser
from segpipe.errors import SegpipeError, exit_with_message

_REFERENCE = re.compile(r"@(\w+)")
_FLOAT = re.compile(r"[+-]?\d+(\.\d*)?[eE][+-]?\d+")
_READ_BY_MONAI = {"imports", "initialize", "run", "finalize"} | {
    str(known["id"]).partition("::")[0] for known in [*TrainProperties.values(), *InferProperties.values()]
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
    used = {name for _, text in _strings(configuration, "") for name in _REFERENCE.findall(text)}
    findings = []
    for name, value in configuration.items():
        if name in used or name in _READ_BY_MONAI or isinstance(value, dict):
            continue
        if _is_component_list(value):
            continue
        nearest = difflib.get_close_matches(name, [other for other in configuration if other != name], n=1)
        hint = f"did you mean {nearest[0]}?" if nearest else "leave it out"
        findings.append(f"{name} is used by nothing in this configuration; {hint}")
    for place, text in _strings(configuration, ""):
        if _FLOAT.fullmatch(text.strip()):
            findings.append(f"{place} is the text {text!r}, not a number; write it with a point, as 1.0e-3")
        elif text.strip().lower() in ("true", "false"):
            findings.append(f"{place} is the text {text!r}, not a truth value; write True or False")
    return findings


def _is_component_list(value: Any) -> bool:
    """Tell whether a value makes objects, as `handlers` do, which MONAI's tools read without a reference."""
    return isinstance(value, list) and any(isinstance(item, dict) for item in value)


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
