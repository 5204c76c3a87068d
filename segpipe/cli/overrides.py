"""Overrides of a bundle's configuration on the command line, as ID=VALUE."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from segpipe.errors import SegpipeError

_MONAIS = ("@", "$", "%")  # first characters of MONAI's references, expressions and macros


def parse_overrides(given: Sequence[str], option: str = "") -> dict[str, Any]:
    """Return id -> value; values are YAML, as in the files.

    Args:
        given: overrides as typed.
        option: text before each override, for messages.

    Raises:
        SegpipeError: an override is not ID=VALUE, or its value is no YAML.
    """
    import yaml

    overrides = {}
    for text in given:
        name, equals, value = text.partition("=")
        if not equals or not name:
            raise SegpipeError(f"{option}{text}: must be ID=VALUE, such as {option}intensity=hu")
        try:
            overrides[name] = value if value.startswith(_MONAIS) else yaml.safe_load(value)
        except yaml.YAMLError as error:
            reason = " ".join(str(error).split())
            raise SegpipeError(f"{option}{text}: {value} is no YAML: {reason}") from error
    return overrides
