"""Ids of a bundle's configuration that the command line overrides, as ID=VALUE."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from segpipe.errors import SegpipeError

_MONAIS = ("@", "$", "%")  # what references, expressions and macros begin with; YAML has other uses for these


def parse_overrides(given: Sequence[str], option: str = "") -> dict[str, Any]:
    """Return id -> value; values are YAML, as in the files.

    Args:
        given: as typed.
        option: what stands before each, for messages.

    Raises:
        SegpipeError: no ID=VALUE, or no YAML.
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
            said = " ".join(str(error).split())
            raise SegpipeError(f"{option}{text}: {value} is no YAML: {said}") from error
    return overrides
