"""Regular expressions of the templates in `segpipe.dataset.importing.known_sets`."""

from __future__ import annotations

import re
from collections.abc import Mapping

_ABOVE = r"(?:.+/)?"
_FIELD = r"[^/]+?"
_TOKEN = re.compile(r"\{(\w+)\}|\*\*/|.", re.DOTALL)
_SYNTAX = {"**/": _ABOVE, "*": "[^/]*", "[": "(?:", "]": ")?", "(": "(?:", ")": ")", "|": "|"}


def set_pattern(template: str, fields: Mapping[str, str]) -> re.Pattern[str]:
    """Return the regular expression of a template.

    Args:
        template: `{name}` stands for a field, `[...]` may be missing, `(a|b)` is one of both, `*` any text without a
            slash, `**/` any number of folders. A field that stands twice has one text.
        fields: field -> regular expression; by default `above` is any number of folders, another field any text
            without a slash.
    """
    pattern, named = "", set()
    for token in _TOKEN.finditer(template):
        name = token.group(1)
        if name is None:
            pattern += _SYNTAX.get(token.group(), re.escape(token.group()))
        elif name in named:
            pattern += f"(?P={name})"
        else:
            named.add(name)
            pattern += f"(?P<{name}>{fields.get(name, _ABOVE if name == 'above' else _FIELD)})"
    return re.compile(pattern, re.IGNORECASE)
